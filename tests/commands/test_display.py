"""The display of a run: the page at two terminal sizes, the final table, and the numbers behind them."""

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from pipeline.commands.display import candidate_table, estimated, learning, results
from pipeline.commands.page import Page, current_page, doing, last_metrics, lines, page_of, shares
from pipeline.commands.progress import phase, progress, span, summary_line
from pipeline.config import Mode, SearchConfig, SelectConfig, StopConfig
from pipeline.methods.base import Terms
from pipeline.metric import Metric
from pipeline.policy.agenda import elites
from pipeline.records import (
    Claim,
    FailureKind,
    Holdup,
    Job,
    Pause,
    Purpose,
    StepMeasures,
    UpdateMeasures,
    Usage,
    Waiting,
)
from pipeline.report.report import final_report
from pipeline.setup.preview import CostEstimate, Requests
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import AttemptPaths, RunPaths, TryPaths
from pipeline.store.reader import read_archive
from pipeline.store.views import Attempt, Trial, Try
from pipeline.text import plain_line
from tests.archives import Made, archive_of, config_of, name, terms_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden/screen"
RENEW = "look at the difference; `RENEW_GOLDEN=1 python -m pytest tests/commands/test_display.py` regenerates it"
SIZES = [(80, 24), (120, 40)]
NOW = 2000.0


def golden(case: str, text: str) -> None:
    path = GOLDEN / f"{case}.txt"
    if os.environ.get("RENEW_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), RENEW


def printed(what: RenderableType, width: int, height: int) -> str:
    """The content of a terminal of this size, without trailing spaces."""
    console = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=False)
    console.print(what)
    return "".join(f"{line.rstrip()}\n" for line in console.export_text().splitlines())


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    __import__("time").tzset()


# ---- archives with jobs in flight


def job(paths: AttemptPaths, number: int, purpose: Purpose, seed: int, started: float | None) -> Trial:
    """A trial whose job is pending, or running since the given time."""
    place = paths.trial(number)
    claim = Claim("7", "n1", 1, started) if started is not None else None
    one = Try(
        place.try_(0), Job("job", seed, "validation", purpose=purpose, job_id="7", submitted_at=1900.0), claim, None
    )
    return Trial(place, (one,), None, None)


def with_jobs(attempt: Attempt, purpose: Purpose, *started: float | None) -> Attempt:
    have = len(attempt.trials)
    made = [job(attempt.paths, have + k, purpose, have + k, at) for k, at in enumerate(started)]
    return replace(attempt, trials=(*attempt.trials, *made))


def busy(archive: Archive, jobs: Sequence[tuple[int, Purpose, float | None]]) -> Archive:
    """The archive with a job in flight for each candidate given by its number; -1 is the baseline."""
    for number, purpose, started in jobs:
        if number < 0:
            archive = replace(archive, baseline=with_jobs(archive.baseline, purpose, started))
        else:
            candidate = archive.candidate(name(number))
            assert candidate.attempt is not None
            attempts = (with_jobs(candidate.attempt, purpose, started),)
            archive.index.put(replace(candidate, attempts=attempts))
    return archive


def watch(one: Try) -> str:
    """Every job is at a different step."""
    return f"step {one.job.seed + 40}  loss 0.531"


def searching() -> tuple[Terms, Archive]:
    """Twelve candidates run, more than fit; others were scored, and some failed."""
    made = [
        *(Made(0.5 + number / 100) for number in range(6)),
        Made(kind=FailureKind.EXCEPTION, reason="exit code 1: ValueError: no such luck\nTraceback …"),
        Made(kind=FailureKind.OUT_OF_MEMORY, reason="the processes of the variant used more than 24 GB"),
        *(Made() for _ in range(16)),
        *(Made(ready=False) for _ in range(4)),
    ]
    archive = archive_of(made)
    jobs = [(number, Purpose.SEARCH, 1500.0 + 30 * number) for number in range(8, 20)]
    waiting = [(number, Purpose.SEARCH, None) for number in range(20, 24)]
    return terms_of(config_of(stop=StopConfig(generations=7))), busy(
        archive, [(-1, Purpose.BASELINE, 1990.0), *jobs, *waiting]
    )


def confirming() -> tuple[Terms, Archive]:
    """The search is over, and the best two are retrained."""
    made = [Made(0.50 + number / 100, confirmed=[0.58] if number == 11 else ()) for number in range(12)]
    return terms_of(config_of()), busy(archive_of(made), [(11, Purpose.CONFIRM, 1900.0), (10, Purpose.CONFIRM, 1940.0)])


def racing() -> tuple[Terms, Archive]:
    """The same in the second round of a race; one of four was eliminated."""
    made = [Made(0.50 + number / 100) for number in range(8)]
    made += [
        Made(0.60, confirmed=(0.59,)),
        Made(0.61, confirmed=(0.4,)),
        Made(0.62, confirmed=(0.61,)),
        Made(0.63, confirmed=(0.6, 0.6)),
    ]
    config = config_of(select=SelectConfig(baseline_seeds=2, confirm=[[4, 1], [2, 2]], elites=1, elite_seeds=3))
    return terms_of(config, now=NOW), archive_of(made)


CASES = {"searching": searching, "confirming": confirming, "racing": racing}
HOLDUPS = (
    Holdup("submitting jobs", "Slurm did not take the jobs: Socket timed out on send/recv operation", 1800.0, 2040.0),
    Holdup("asking the language model", "openai/default: the key was refused: set the right one", 1950.0),
)


def page(terms: Terms, archive: Archive, holdups: Sequence[Holdup] = ()) -> Page:
    return page_of(terms, archive, progress(terms, archive, 4, NOW - 750), holdups, watch)


# ---- reinforcement learning

STEP = StepMeasures(
    0, 4, 3, 0.5, (0.2, 0.5, 0.8, 0.9), 0.9, 4, 0.25, 0, 2.0, 10.0, 30.0, {"nan": 1}, {"0": 3}, 1.0, 2.0, 0.5
)
UPDATE = UpdateMeasures(3, 0.1, 2.0, 1.0, 1.2, 0.05, 1.0, 0.0, 0.0213)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        pytest.param(STEP, "nothing to learn from; 3.50 device hours; failed: 1 nan", id="no update"),
        pytest.param(replace(STEP, update=UPDATE), "learned from 3, KL 0.021; 3.50 device hours", id="an update"),
        pytest.param(
            replace(STEP, update=replace(UPDATE, kl_start=None)), "; learned from 3; 3.50 device hours", id="KL unknown"
        ),
        pytest.param(replace(STEP, failures={"nan": 1, "smoke": 2}), "; failed: 1 nan, 2 smoke", id="two kinds"),
        pytest.param(replace(STEP, failures={}), "; 3.50 device hours", id="no failure"),
        pytest.param(
            replace(STEP, known=0, reward_mean=None, reward_quantiles=()), "no reward yet of 0", id="no reward"
        ),
    ],
)
def test_a_step_is_one_line(one: StepMeasures, wanted: str) -> None:
    (line,) = learning([one])
    assert wanted in line and ("failed" in line) is bool(one.failures)


# ---- the page


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("case", CASES)
def test_the_page(case: str, width: int, height: int) -> None:
    text = printed(page(*CASES[case]()), width, height)
    assert text.count("\n") < height
    golden(f"{case}_{width}x{height}", text)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_the_run_waits_for_is_on_the_page(width: int, height: int) -> None:
    terms, archive = searching()
    paused = replace(archive, pause=Pause("me", "lunch", 1.0))
    golden(f"waiting_{width}x{height}", printed(page(terms, paused, HOLDUPS), width, height))


@pytest.mark.parametrize(
    ("alarms", "holdups", "shown"),
    [
        pytest.param([], (), [], id="nothing"),
        pytest.param([()], (), [], id="a healthy step"),
        pytest.param([("the entropy fell",)], (), ["the policy may collapse: the entropy fell"], id="an alarm"),
        pytest.param([("the entropy fell",), ()], (), [], id="it is over"),
        pytest.param([(), ("a", "b")], (), ["the policy may collapse: a", "the policy may collapse: b"], id="two"),
        pytest.param([], HOLDUPS, ["waiting since", "waiting since"], id="what the run waits for"),
    ],
)
def test_the_notices_of_a_run_come_from_its_folder(
    alarms: Sequence[tuple[str, ...]], holdups: tuple[Holdup, ...], shown: list[str], tmp_path: Path
) -> None:
    terms, archive = searching()
    paths = RunPaths(tmp_path)
    for number, signs in enumerate(alarms):
        place, one = paths.policy_step(number).measures, replace(STEP, step=number, alarms=signs)
        files.in_folder(place.parent, lambda place=place, one=one: files.create(place, one))  # type: ignore[misc]
    paths.policy_step(len(alarms)).folder.mkdir(parents=True)  # the step that is not over yet
    if holdups:
        files.create(paths.waiting, Waiting(holdups))
    archive = replace(archive, paths=paths, measures=read_archive(tmp_path).measures)
    found = current_page(terms, archive, progress(terms, archive, 4, NOW - 750)).notices
    assert [one[: len(start)] for one, start in zip(found, shown, strict=True)] == shown


@pytest.mark.parametrize("height", [5, 8, 10, 12, 15, 18, 24, 50, 100])
@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("case", CASES)
def test_it_fits_any_size(case: str, width: int, height: int) -> None:
    for holdups in ((), HOLDUPS):
        shown = lines(page(*CASES[case](), holdups), width, height)
        assert len(shown) < height and all(line.cell_len <= width for line in shown)


def test_a_command_in_a_notice_can_be_copied_where_the_page_is_not_redrawn() -> None:
    terms, archive = searching()
    reason = f"the disk is full; free some space, then: python -m pipeline resume /{'scratch/' * 9}runs/first"
    shown = lines(page(terms, replace(archive, pause=Pause("me", reason, 1.0))), 80, None)
    assert f"PAUSED: {reason}" in [line.plain for line in shown]


@pytest.mark.parametrize("kind", ["none", "landlock"])
def test_missing_isolation_is_announced_on_the_page_and_below_the_results(kind: str) -> None:
    terms, archive = terms_of(config_of()), archive_of([Made(0.6, sandbox=kind), Made(0.5, sandbox="bubblewrap")])
    assert ("NO SANDBOX: 1 scored" in printed(page(terms, archive), 120, 40)) is (kind == "none")
    report = final_report(archive, terms.metric, [], "stop.generations=1 reached", ())
    text = printed(results(archive, report, terms.metric), 200, 40)
    assert ("NO SANDBOX: 1 scored" in text, "isolated by bubblewrap" in text) == (kind == "none", kind != "none")


def test_running_candidates_come_first() -> None:
    """Twelve run and four wait; a small terminal shows those that run."""
    text = printed(page(*searching()), 80, 24)
    shown = [line.split()[0] for line in text.splitlines() if "  step " in line]
    assert shown[0] == "baseline" and len(shown) >= 7
    assert "queued" not in text.partition("in flight")[2] and "more" in text


@pytest.mark.parametrize(
    ("counts", "room", "wanted"),
    [
        pytest.param([2, 3, 1], None, [3, 4, 2], id="no limit"),
        pytest.param([2, 3, 1], 9, [3, 4, 2], id="all fit"),
        pytest.param([20, 20, 20], 20, [12, 4, 4], id="the first has priority"),
        pytest.param([1, 20, 20], 20, [2, 14, 4], id="the next one gets what the first leaves"),
        pytest.param([20, 20, 1], 10, [4, 4, 2], id="all keep a few"),
        pytest.param([20, 20, 20], 7, [7, 0, 0], id="too small for all"),
        pytest.param([20, 20], 1, [0, 0], id="no room"),
        pytest.param([20, 20], -3, [0, 0], id="less than no room"),
        pytest.param([], 10, [], id="nothing to show"),
    ],
)
def test_lines_are_distributed(counts: list[int], room: int | None, wanted: list[int]) -> None:
    assert shares(counts, room) == wanted


def test_titles_and_reasons_cannot_write_to_the_terminal() -> None:
    evil = "red \x1b[31m\x07 and\nmore\r\u202e"
    assert plain_line(evil) == "red �[31m� and more �"
    terms, archive = terms_of(config_of()), archive_of([Made(kind=FailureKind.NAN, reason=evil)])
    for what in (page(terms, archive), candidate_table(archive, terms.metric, archive.candidates)):
        assert "\x1b" not in printed(what, 80, 24)


# ---- the progress of a job


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param('{"step": 1, "loss": 2.5}\n', {"step": 1.0, "loss": 2.5}, id="a line"),
        pytest.param('{"step": 1}\n{"step": 2}\n{"st', {"step": 2.0}, id="half a line"),
        pytest.param('{"st', {}, id="only half a line"),
        pytest.param(
            '{"step": 3, "name": "x", "on": true, "none": null, "nan": NaN}\n', {"step": 3.0}, id="no numbers"
        ),
        pytest.param(
            '{"step": 3, "big": 1e999, "long": %s}\n' % ("9" * 4000), {"step": 3.0}, id="numbers that are not finite"
        ),
        pytest.param("[1, 2]\n", {}, id="no object"),
        pytest.param("[" * 5000 + "\n", {}, id="nested"),
        pytest.param('{"step": 1}\n' + "x" * 100_000 + "\n", {}, id="a long line"),
        pytest.param("x" * 100_000 + '\n{"step": 7}\n', {"step": 7.0}, id="after a long line"),
        pytest.param("\x00\udcff\n", {}, id="no text"),
    ],
)
def test_the_last_metrics_of_a_file_that_a_variant_writes(text: str, wanted: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    assert last_metrics(tmp_path / "metrics.jsonl") == wanted


def test_the_progress_of_a_job(tmp_path: Path) -> None:
    paths = TryPaths(tmp_path / "try_0")
    one = Try(paths, Job("job", 0, "validation"), None, None)
    assert doing(one) == "starting"
    paths.output.mkdir(parents=True)
    paths.metrics.write_text('{"step": 12, "reward": 0.640625, "norm": 3}\n')
    assert doing(one) == "step 12  reward 0.6406"
    paths.evaluate_log.touch()
    assert doing(one) == "scoring"


# ---- numbers


def test_the_phase_of_a_run() -> None:
    terms = terms_of(config_of())
    no_baseline = {"baseline": ()}
    assert phase(terms, archive_of(**no_baseline)) == "starting"  # type: ignore[arg-type]
    first = busy(archive_of([Made()], **no_baseline), [(-1, Purpose.BASELINE, None)])  # type: ignore[arg-type]
    assert phase(terms, first) == "generation 1 of 3, baseline"
    assert phase(terms, archive_of([Made(0.5)] * 5)) == "generation 2 of 3"
    steady = terms_of(config_of(search=SearchConfig(mode=Mode.steady)))
    assert phase(steady, archive_of([Made(0.5)] * 5)) == "candidate 5 of 12"
    over = [Made(0.5)] * 12
    assert phase(terms, archive_of(over)) == "final training of the best"
    confirmed = [Made(0.5, confirmed=(0.5, 0.5))] * 12
    assert phase(terms, archive_of(confirmed)) == "scoring on the test split"


def test_an_unconfirmed_trial_is_not_the_best_once_others_are_confirmed() -> None:
    terms = terms_of(config_of())
    archive = archive_of([Made(0.60, confirmed=(0.57, 0.58)), Made(0.61), Made(0.3), Made(0.2)])
    now = progress(terms, archive, 1)
    assert (now.best, now.best_seeds) == (name(0), 2) and now.best_value == pytest.approx(0.575)
    text = printed(page(terms, archive), 120, 40)
    assert "best       g0/c0 0.5750" in text and "confirmed by 2 seeds" in text
    assert "candidate  g0/c1 0.6100" in text and "not confirmed: idea 1" in text
    line = summary_line(now, terms.metric)
    assert "best 0.5750 (g0/c0, confirmed by 2 seeds)" in line and "generation 1 of 3" in line


def test_scorings_on_the_test_split_are_not_trainings() -> None:
    made = [Made(0.5 + number / 100, confirmed=(0.5, 0.5)) for number in range(12)]
    terms, archive = terms_of(config_of()), archive_of(made)
    assert len(elites(terms, archive)) == 2
    now = progress(terms, archive, 1)
    assert now.phase == "scoring on the test split" and now.trainings_left == 0
    assert now.trainings == 2 + 3 * 12


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3570, "1 h"), (7500, "2 h 5 min"), (266_400, "3 d 2 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text


# ---- the expected cost of a run


@pytest.mark.parametrize("usd", [None, 0.125])
def test_an_unknown_price_is_reported_once(usd: float | None) -> None:
    usage = Usage(9000, 3000, 1600, usd)
    sent = ("openai/m", "max_tokens=100")
    part = (Requests("ideas", 2, usage, *sent), Requests("code", 4, usage, *sent))
    lines = estimated(config_of(), CostEstimate(0, part, part, usd, "core", 4, None, 0.5))
    text = "\n".join(lines)
    assert text.count("unknown") == (usd is None) and text.count("$") == (0 if usd is None else 8)
    assert ("price unknown of openai/m: set llm.usd_in and llm.usd_out" in text) is (usd is None)
    assert "ideas by openai/m (max_tokens=100)" in text and "code by openai/m" in text
    assert ("all 3 generations: about $0.50" in text) is (usd is not None)


# ---- the last table


def finished() -> tuple[Metric, Archive]:
    """A single trial is better than the confirmed ones."""
    made = [
        Made(0.742, parents=()),
        Made(0.70, confirmed=(0.752, 0.75)),
        Made(0.71, parents=(1,), confirmed=(0.66, 0.68)),
        Made(kind=FailureKind.NAN),
    ]
    terms = terms_of(config_of())
    metric = replace(terms.metric, percent=True, name="accuracy")
    archive = archive_of(made)
    chosen = [archive.candidate(name(number)) for number in (1, 2)]
    report = final_report(archive, metric, chosen, "stop.generations=1 reached", ())
    return metric, replace(archive, report=report)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_results(width: int, height: int) -> None:
    metric, archive = finished()
    assert archive.report is not None
    golden(f"results_{width}x{height}", printed(results(archive, archive.report, metric), width, height))


def on_the_test_split() -> tuple[Metric, Archive]:
    """Two elites on the test split; one of them is better."""
    made = [
        Made(0.742, confirmed=(0.70, 0.72, 0.71), tested=(0.70, 0.71, 0.72)),
        Made(0.74, confirmed=(0.53, 0.52, 0.51), tested=(0.53, 0.51, 0.52)),
    ]
    metric = replace(terms_of(config_of()).metric, percent=True, name="accuracy")
    archive = archive_of(made, baseline=(0.52, 0.50, 0.51), baseline_tested=(0.51, 0.49, 0.50))
    chosen = [archive.candidate(name(number)) for number in (0, 1)]
    return metric, replace(archive, report=final_report(archive, metric, chosen, "stop.generations=1 reached", ()))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_results_on_the_test_split(width: int, height: int) -> None:
    metric, archive = on_the_test_split()
    assert archive.report is not None
    golden(f"tested_{width}x{height}", printed(results(archive, archive.report, metric), width, height))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"failed": 1}, "3 of 4"),
        ({"failed": 1}, "No gain is claimed for code that failed with one of the final seeds."),
        ({"low": None, "high": None}, "(unknown)"),
        ({"corrected": 1e-9}, "< 0.001"),
        ({"significant": False}, "No gain is claimed: no p is below 0.05."),
        ({"paired": True}, "touches: scorings on the test split, 9 in this run."),
    ],
    ids=str,
)
def test_the_table_of_the_test_split(change: dict[str, object], said: str) -> None:
    metric, archive = on_the_test_split()
    assert archive.report is not None
    tests = tuple(replace(one, **change) for one in archive.report.tests)  # type: ignore[arg-type]
    text = printed(results(archive, replace(archive.report, tests=tests), metric), 120, 40)
    assert said in text and ("wider than necessary" not in text) == ("paired" in change)


def test_kinds_of_sandbox_that_differ_are_a_column() -> None:
    metric, archive = on_the_test_split()
    assert archive.report is not None
    first, second = archive.report.tests
    for kind, shown in (("none", True), ("bubblewrap", False)):
        tests = (replace(first, sandbox="bubblewrap"), replace(second, sandbox=kind))
        text = printed(results(archive, replace(archive.report, tests=tests), metric), 120, 40)
        assert ("touches  sandbox" in text) is shown


def test_a_loser_of_the_race_is_shown_with_the_trials_of_the_race() -> None:
    _, archive = racing()
    metric = replace(terms_of(config_of()).metric, percent=True)
    report = final_report(archive, metric, [archive.candidate(name(11))], "stop.generations=3 reached", ())
    text = printed(results(archive, report, metric), 120, 60)
    _, lost, single = text.partition("confirmed: trained")[2].partition("lost the race")
    raced = single.partition("not confirmed: one trial each")[0].splitlines()[1:]
    assert lost and [line.split()[:2] for line in raced if line] == [
        ["g2/c2", "61.0"],
        ["g2/c0", "59.0"],
        ["g2/c1", "40.0"],
    ]


def test_no_single_trial_is_listed_above_confirmed_ones() -> None:
    metric, archive = finished()
    assert archive.report is not None
    text = printed(results(archive, archive.report, metric), 120, 40)
    first, _, second = text.partition("not confirmed: one trial each")
    assert "75.1" in first and "67.0" in first and "74.2" not in first and "74.2" in second


def test_an_elite_that_the_budget_left_unconfirmed_is_not_called_confirmed() -> None:
    metric, archive = finished()
    report = final_report(archive, metric, [archive.candidate(name(0))], "budget.gpu_hours=1", ())
    text = printed(results(archive, report, metric), 120, 40)
    assert "confirmed: trained again" not in text and "g0/c0" in text.partition("not confirmed")[2]
