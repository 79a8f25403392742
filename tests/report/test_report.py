"""The report at the end of a run: results of the elites on the test split."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.metric import Direction, Metric
from pipeline.records import EliteTest, Failure, FailureKind, Purpose, Stage
from pipeline.report.report import elite_tests, final_report
from pipeline.store.archive import Archive
from tests import archives
from tests.archives import ERROR, Made, archive_of, name

ACCURACY, LOSS = Metric("quality", Direction.maximize), Metric("quality", Direction.minimize)


def rows_of(archive: Archive, *order: int, metric: Metric = ACCURACY) -> list[EliteTest]:
    return list(elite_tests(archive, metric, [name(number) for number in order]))


def one_elite(tested: tuple[float, ...] = (0.6, 0.7, 0.8)) -> Archive:
    made = [Made(0.9, confirmed=tested, tested=tested), Made(0.5)]
    return archive_of(made, baseline=(0.5, 0.5, 0.5), baseline_tested=(0.4, 0.5, 0.6))


def test_hand_worked_numbers() -> None:
    """Both variances are 0.01 with 2 degrees of freedom each, and no evaluation has results of single items, so these
    count with 2 · 0.01²."""
    (found,) = rows_of(one_elite(), 0)
    assert (found.candidate, found.seeds, found.failed, found.touches, found.paired) == (name(0), 3, 0, 3, False)
    assert found.value == pytest.approx(0.7) and found.gain == pytest.approx(0.2)
    assert found.gain_error == pytest.approx(math.sqrt(0.01 * 2 / 3 + 2 * ERROR**2))
    assert found.search == 0.9 and found.excess == pytest.approx(0.2)
    assert found.p_value == found.corrected and found.significant == (found.p_value < 0.05)
    assert found.low is not None and found.high is not None and found.low < 0.2 < found.high
    assert (found.low > 0) == found.significant


def test_a_lower_loss_is_a_gain() -> None:
    (found,) = rows_of(one_elite((0.1, 0.2, 0.3)), 0, metric=LOSS)
    assert found.gain == pytest.approx(0.3) and found.significant
    assert found.excess == pytest.approx(-0.7)  # the search score, 0.9, was worse


def test_every_code_scored_on_the_test_split_counts_as_a_test() -> None:
    """An elite of an earlier end of the run is corrected for, listed after the present ones."""
    values = (0.6, 0.7, 0.8)
    made = [Made(0.7, confirmed=values, tested=values), Made(0.9, confirmed=values, tested=values), Made(0.8)]
    archive = archive_of(made, baseline_tested=(0.4, 0.5, 0.6))
    alone, both = rows_of(one_elite(), 0), rows_of(archive, 1)
    assert [one.candidate for one in both] == [name(1), name(0)]
    assert both[0].corrected == pytest.approx(2 * both[0].p_value) and alone[0].corrected == alone[0].p_value


@pytest.mark.parametrize(
    ("baseline", "elite"),
    [((), (0.6, 0.7)), ((0.5, 0.6), ())],
    ids=["no baseline on the test split", "no elite on the test split"],
)
def test_no_test_without_both_scores(baseline: tuple[float, ...], elite: tuple[float, ...]) -> None:
    archive = archive_of([Made(0.9, confirmed=elite, tested=elite)], baseline_tested=baseline)
    assert rows_of(archive, 0) == []


def test_one_seed_each_allows_no_claim() -> None:
    (found,) = rows_of(archive_of([Made(0.9, confirmed=(0.9,), tested=(0.9,))], baseline_tested=(0.1,)), 0)
    assert (found.low, found.high, found.p_value, found.significant) == (None, None, 1.0, False)


@pytest.mark.parametrize(
    ("kind", "seed", "failed"),
    [
        pytest.param(FailureKind.NAN, 3, 1, id="of the code, with a final seed"),
        pytest.param(FailureKind.NAN, 9, 0, id="of the code, in the race"),
        pytest.param(FailureKind.NODE_FAIL, 3, 0, id="of a machine"),
    ],
)
def test_a_code_that_failed_with_a_final_seed_is_not_claimed(kind: FailureKind, seed: int, failed: int) -> None:
    archive = one_elite((0.90, 0.91, 0.92))
    candidate = archive.candidate(name(0))
    (attempt,) = candidate.attempts
    trials = list(attempt.trials)
    number = next(k for k, one in enumerate(trials) if one.purpose is Purpose.CONFIRM and one.seed == 3)
    tries = tuple(replace(one, job=replace(one.job, seed=seed)) for one in trials[number].tries)
    trials[number] = replace(trials[number], tries=tries, score=None, failure=Failure(Stage.TRAIN, kind, "it broke"))
    archive.index.put(replace(candidate, attempts=(replace(attempt, trials=tuple(trials)),)))
    generation = replace(archive.generations[0], candidates=tuple(archive.index.candidates.values()))
    (found,) = elite_tests(replace(archive, generations=(generation,)), ACCURACY, [name(0)], seeds=[1, 2, 3])
    assert (found.failed, found.significant) == (failed, not failed)


def test_the_report_counts_every_use_of_the_test_split() -> None:
    archive = one_elite()
    report = final_report(archive, ACCURACY, [archive.candidate(name(0))], "why", ())
    assert report.touches == 6 and [one.touches for one in report.tests] == [3]
    assert [one.candidate for one in report.elites_test] == [name(0)]


def test_trials_of_the_race_are_not_part_of_an_elites_numbers() -> None:
    archive = archive_of([Made(0.9, confirmed=(0.8, 0.6, 0.7))])
    chosen = [archive.candidate(name(0))]
    (row,) = final_report(archive, ACCURACY, chosen, "why", (), seeds=[2, 3]).elites
    assert row.value == pytest.approx(0.65) and row.trials == 2
    (row,) = final_report(archive, ACCURACY, chosen, "the budget", (), seeds=[7]).elites
    assert row.trials == 3  # the existing trials, if the budget ended the run during the race


# ---- items


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(archives, "RUN", type(archives.RUN)(tmp_path))
    return tmp_path


def write_items(archive: Archive, baseline: list[float], elite: list[float]) -> None:
    for code, items in ((archive.baseline, baseline), (archive.candidate(name(0)).attempts[0], elite)):
        for trial in code.of(Purpose.TEST):
            assert trial.score is not None
            path = trial.paths.named(trial.score.try_).evaluation
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"value": trial.score.value, "items": items, "n": len(items)}))


def test_difficulty_that_both_codes_share_is_not_noise(on_disk: Path) -> None:
    archive = one_elite()
    hard, easy = [0.0] * 50, [1.0] * 50
    write_items(archive, [*hard, *easy], [*hard, *easy])
    (found,) = rows_of(archive, 0)
    assert found.paired and found.gain_error == pytest.approx(math.sqrt(0.01 * 2 / 3))


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([1.0] * 99, id="another number of items than n"),
        pytest.param([], id="none"),
    ],
)
def test_items_that_do_not_match_the_score_are_not_used(items: list[float], on_disk: Path) -> None:
    archive = one_elite()
    write_items(archive, [1.0] * 100, items)
    assert not rows_of(archive, 0)[0].paired
