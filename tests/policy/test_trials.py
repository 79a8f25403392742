"""Retries, budgets, stop rules, the agenda and alarms: decisions on archives in memory."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import (
    BudgetConfig,
    Codes,
    IdeateConfig,
    MeasureConfig,
    Mode,
    SearchConfig,
    SelectConfig,
    StopConfig,
)
from pipeline.errors import BadInput
from pipeline.metric import Direction
from pipeline.policy.accounting import committed_h, trial_h
from pipeline.policy.agenda import agenda, elites, is_done, reference_seeds
from pipeline.policy.budget import affordable, out_of_budget, undecided
from pipeline.policy.machines import cause_for_alarm, deciding_trial, shunned, signature
from pipeline.policy.stopping import finishing, stop_reason
from pipeline.policy.trials import is_ready, to_retry
from pipeline.records import Alarm, Failure, FailureKind, Purpose, Stage
from pipeline.store.archive import Archive
from tests.archives import Made, archive_of, config_of, name, terms_of

K = FailureKind


def on_gpus(hours: float, reserve: float = 0.2) -> object:
    """Settings with which a trial may take an hour of one GPU."""
    config = config_of(budget=BudgetConfig(gpu_hours=hours, reserve=reserve))
    resources = replace(config.train.resources, gpus_per_node=1, time_min=60)
    return replace(config, train=replace(config.train, resources=resources))


# ---- retries


@pytest.mark.parametrize(
    ("tries", "retries", "again"),
    [
        ([K.NAN], 2, False),
        ([K.PREEMPTED], 2, True),
        ([K.PREEMPTED], 0, False),
        ([K.PREEMPTED, K.NODE_FAIL], 2, True),
        ([K.PREEMPTED, K.NODE_FAIL, K.DEVICE], 2, False),
        ([K.PREEMPTED, K.NODE_FAIL, K.INTERRUPTED], 2, True),
        ([K.INTERRUPTED] * 9, 0, True),
        ([K.SPOILED, K.PREEMPTED], 1, True),
        ([K.PREEMPTED, K.NAN], 2, False),
        ([None], 2, False),
    ],
    ids=str,
)
def test_which_tries_are_retried(tries: Sequence[FailureKind | None], retries: int, again: bool) -> None:
    (candidate,) = archive_of([Made(tries=tries)]).candidates
    trial = candidate.attempts[0].search
    assert trial is not None and to_retry(trial, retries) is again and is_ready(trial, retries) is again
    assert is_ready(None, 0)


# ---- budgets


@given(
    hours=st.floats(0.5, 40),
    reserve=st.floats(0, 0.9),
    scored=st.integers(0, 12),
    running=st.integers(0, 12),
    final=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_budget_is_never_exceeded(hours: float, reserve: float, scored: int, running: int, final: bool) -> None:
    archive = archive_of([*[Made(0.6)] * scored, *[Made(tries=[None])] * running], selected=False)
    terms = terms_of(on_gpus(hours, reserve))  # type: ignore[arg-type]
    more, each = affordable(terms, archive, final), trial_h(terms.config)
    committed = committed_h(terms.config, archive, terms.clock())
    allowed = hours if final else hours * (1 - reserve)
    assert more == 0 or committed + more * each <= allowed + 1e-9
    assert committed + (more + 1) * each > allowed - 1e-9  # and the budget is used up


def test_hand_worked_hours() -> None:
    """Each of 3 scored trials used a GPU for 10 minutes, as did the 2 of the baseline; the running one may take an
    hour."""
    archive = archive_of([*[Made(0.6)] * 3, Made(tries=[None])], selected=False)
    config = on_gpus(10)
    assert committed_h(config, archive, 2000.0) == pytest.approx(5 / 6 + 1)  # type: ignore[arg-type]
    assert affordable(terms_of(config), archive, final=False) == 6  # type: ignore[arg-type]  # of 8 hours 6.17 are left
    assert affordable(terms_of(config), archive, final=True) == 8  # type: ignore[arg-type]


def test_no_search_is_out_of_budget_while_a_result_is_undecided() -> None:
    terms = terms_of(on_gpus(0.1))  # type: ignore[arg-type]
    running = archive_of([Made(tries=[None])], selected=False)
    assert undecided(terms, running) == 1 and not out_of_budget(terms, running, final=False)
    spoiled = archive_of([Made(tries=[K.PREEMPTED])], selected=False)  # it waits for a retry beyond the budget
    assert undecided(terms, spoiled) == 0 and out_of_budget(terms, spoiled, final=False)


# ---- stop rules


@pytest.mark.parametrize(
    ("values", "groups", "reason"),
    [
        ([0.6] * 8, {}, None),
        ([0.6] * 12, {}, "stop.generations=3 reached"),
        ([0.6] * 8, {"stop": StopConfig(generations=9, candidates=8)}, "stop.candidates=8 reached"),
        (
            [0.6],
            {"stop": StopConfig(date="1970-01-01T00:00:10+00:00")},
            "stop.date=1970-01-01T00:00:10+00:00 has passed",
        ),
        ([0.6], {"stop": StopConfig(date="2999-01-01")}, None),
        ([0.6, 0.8], {"stop": StopConfig(target=0.8)}, "stop.target=0.8 reached"),
        ([0.6, 0.8], {"stop": StopConfig(target=0.81)}, None),
        (
            [*[0.7] * 4, *[0.6] * 4],
            {"stop": StopConfig(patience=1)},
            "no better candidate in stop.patience=1 generations",
        ),
        ([*[0.6] * 4, *[0.7] * 4], {"stop": StopConfig(patience=1)}, None),
        ([0.6] * 11, {"search": SearchConfig(mode=Mode.steady)}, None),
        ([0.6] * 12, {"search": SearchConfig(mode=Mode.steady)}, "stop.generations=3 reached"),
        ([0.6], {"ideate": IdeateConfig(candidates=0)}, "every proposal has been tried (ideate.candidates=0)"),
    ],
)
def test_stop_rules(values: list[float], groups: dict[str, object], reason: str | None) -> None:
    terms = terms_of(config_of(**groups))  # type: ignore[arg-type]
    assert stop_reason(terms, archive_of([Made(value) for value in values])) == reason


def test_a_target_is_reached_from_the_better_side() -> None:
    config = config_of(Direction.minimize, stop=StopConfig(generations=9, target=0.3))
    assert stop_reason(terms_of(config), archive_of([Made(0.4)])) is None
    assert stop_reason(terms_of(config), archive_of([Made(0.4), Made(0.2)])) == "stop.target=0.3 reached"


def test_a_bad_date_is_refused() -> None:
    with pytest.raises(BadInput, match=r"stop\.date=soon is not a date"):
        stop_reason(terms_of(config_of(stop=StopConfig(date="soon"))), archive_of([Made(0.6)]))


def test_a_search_is_finished_when_all_is_decided() -> None:
    terms = terms_of(config_of(stop=StopConfig(generations=1)))
    assert finishing(terms, archive_of([Made(0.6)] * 4))
    assert not finishing(terms, archive_of([*[Made(0.6)] * 3, Made(tries=[None])]))
    assert not finishing(terms, archive_of())


# ---- elites and the agenda


def purposes(terms: object, archive: Archive) -> list[tuple[str, Purpose, int]]:
    found = agenda(terms, archive)  # type: ignore[arg-type]
    return [(one.holder.paths.folder.parent.name, one.purpose, one.seed) for one in found]


@pytest.mark.parametrize("direction", list(Direction))
def test_elites_are_the_best_by_their_search_trial(direction: Direction) -> None:
    values = [0.6, 0.8, 0.7, 0.5]
    if direction is Direction.minimize:
        values = [1 - value for value in values]
    # Scores of confirmations change nothing: the search's best candidate scores badly there.
    archive = archive_of([Made(value, confirmed=[0.55, 0.45]) for value in values], marks={2: False, 3: True})
    assert [one.id for one in elites(terms_of(config_of(direction)), archive)] == [name(3), name(1)]


def test_the_search_then_the_confirmation_then_the_test_split() -> None:
    terms = terms_of(config_of(stop=StopConfig(generations=1)))
    searching = archive_of([Made(0.6), Made(), Made(ready=False), Made(0.7)], baseline=(0.5,))
    assert purposes(terms, searching) == [("r", Purpose.BASELINE, 1), ("candidate_001", Purpose.SEARCH, 0)]
    over = archive_of([Made(0.6), Made(0.4), Made(kind=K.NAN), Made(0.7)])
    assert purposes(terms, over) == [
        *(("candidate_003", Purpose.CONFIRM, 1), ("candidate_003", Purpose.CONFIRM, 2)),
        *(("candidate_000", Purpose.CONFIRM, 1), ("candidate_000", Purpose.CONFIRM, 2)),
        *(("r", Purpose.TEST, 0), ("r", Purpose.TEST, 1)),
    ]
    confirmed = archive_of([Made(0.6), Made(0.4), Made(kind=K.NAN), Made(0.7, confirmed=[0.68, 0.69])])
    found = purposes(terms, confirmed)
    assert ("candidate_003", Purpose.TEST, 1) in found and ("candidate_003", Purpose.TEST, 2) in found
    assert ("candidate_003", Purpose.TEST, 0) not in found  # the trial that chose the candidate is never scored there
    assert not is_done(terms, confirmed)


def test_an_alarm_stops_all_but_the_baseline() -> None:
    alarm = Alarm("train/exception: it broke", (name(0),), seed=2, since=0.0)
    archive = archive_of([Made(), Made()], alarms=[alarm])
    assert purposes(terms_of(config_of()), archive) == [("r", Purpose.CANARY, 2)]


@pytest.mark.parametrize(("unattended", "canary", "seeds"), [(False, True, 2), (True, False, 2), (True, True, 4)])
def test_a_canary_for_each_later_generation(unattended: bool, canary: bool, seeds: int) -> None:
    config = config_of(select=SelectConfig(baseline_seeds=2, canary=canary))
    config = replace(config, cluster=replace(config.cluster, unattended=unattended))
    found = list(reference_seeds(terms_of(config), archive_of([Made(0.6)] * 12)))
    assert [seed for _, seed in found] == list(range(seeds))
    assert [purpose for purpose, _ in found] == [Purpose.BASELINE] * 2 + [Purpose.CANARY] * (seeds - 2)


def test_looks_come_last_and_only_for_methods_that_measure_them() -> None:
    archive = archive_of([Made(0.6, confirmed=[0.6, 0.6])] * 4)
    config = config_of(stop=StopConfig(generations=1), measure=MeasureConfig(codes=Codes.scored, target=0.55))
    config = replace(config, train=replace(config.train, budget_steps=60))
    assert Purpose.LOOK not in {one for _, one, _ in purposes(terms_of(config_of()), archive)}
    looks = [place for place, one, _ in purposes(terms_of(config), archive) if one is Purpose.LOOK]
    assert looks == [f"candidate_{number:03d}" for number in range(4)]  # the baseline misses the target


# ---- machines


def failed(reason: str = "exit code 1: libcublas", parents: tuple[int, ...] = (), at: float = 1500.0) -> Made:
    return Made(kind=K.EXCEPTION, reason=reason, parents=parents, ended_at=at)


def test_three_unrelated_candidates_with_the_same_failure_raise_an_alarm() -> None:
    archive = archive_of([failed(), failed(), failed()], selected=False)
    alarm = cause_for_alarm(terms_of(config_of()), archive)
    assert alarm is not None and set(alarm.candidates) == {name(0), name(1), name(2)} and alarm.seed == 2
    assert cause_for_alarm(terms_of(config_of()), archive_of([failed(), failed()], selected=False)) is None


def test_a_family_raises_none() -> None:
    archive = archive_of([failed(), failed(parents=(0,)), failed(parents=(1,))], selected=False)
    assert cause_for_alarm(terms_of(config_of()), archive) is None


def test_a_canary_that_fails_raises_one() -> None:
    archive = archive_of([Made(0.6)], baseline=(0.5, 0.5))
    trials = archive.baseline.trials
    failure = Failure(Stage.TRAIN, K.EXCEPTION, "exit code 1: libcublas")
    canary = replace(
        trials[1],
        score=None,
        failure=failure,
        tries=tuple(replace(one, job=replace(one.job, purpose=Purpose.CANARY)) for one in trials[1].tries),
    )
    broken = replace(archive, baseline=replace(archive.baseline, trials=(trials[0], canary)))
    alarm = cause_for_alarm(terms_of(config_of()), broken)
    assert alarm is not None and (alarm.seed, alarm.candidates) == (1, ())
    assert deciding_trial(broken, alarm) == canary and deciding_trial(archive, alarm) is None


@pytest.mark.parametrize(
    ("kinds", "avoided"),
    [
        ([K.NODE_FAIL], ()),
        ([K.NODE_FAIL, K.DEVICE], ("n1",)),
        ([K.NODE_FAIL, K.NAN], ()),
        ([K.OTHER_GPU], ("n1",)),
    ],
    ids=str,
)
def test_which_nodes_are_avoided(kinds: list[FailureKind], avoided: tuple[str, ...]) -> None:
    archive = archive_of([Made(tries=kinds)], baseline=(), selected=False)
    for candidate in archive.candidates:  # the same jobs, with the node that they ran on
        (attempt,) = candidate.attempts
        (trial,) = attempt.trials
        tries = tuple(
            replace(one, result=replace(one.result, host="n1", ended_at=1000.0 + k) if one.result else None)
            for k, one in enumerate(trial.tries)
        )
        archive = archive_of(baseline=())
        archive.index.put(replace(candidate, attempts=(replace(attempt, trials=(replace(trial, tries=tries),)),)))
    assert shunned(archive, 2000.0) == avoided
    if K.OTHER_GPU not in kinds:
        assert shunned(archive, 2000.0 + 7 * 3600) == ()  # the node may have been repaired by then


def test_a_signature_omits_numbers_and_paths() -> None:
    one = Failure(Stage.TRAIN, K.EXCEPTION, "exit code 1: /a/b.so: 0x7f12 at line 3\nmore")
    two = Failure(Stage.TRAIN, K.EXCEPTION, "exit code 1: /c/d.so: 0x99 at line 4")
    assert signature(one) == signature(two) == "train/exception: exit code N: PATH N at line N"
