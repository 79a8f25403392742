"""What may be removed, and what a run costs and may cost: pure decisions with hand-worked numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Codes, Config, Keep, KeepConfig, MeasureConfig, ResourcesConfig, SelectConfig, StopConfig
from pipeline.policy.accounting import account, account_of_run, tries_of
from pipeline.policy.forecast import forecast, wave_needs
from pipeline.policy.retention import removable_folders, would_be_elites
from pipeline.records import FailureKind, Purpose
from pipeline.store.archive import Archive
from tests import archives
from tests.archives import Made, archive_of, config_of, name, terms_of

# ---- retention


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where archives have folders."""
    monkeypatch.setattr(archives, "RUN", type(archives.RUN)(tmp_path))
    return tmp_path


def make_folders(archive: Archive) -> None:
    for candidate in archive.candidates:
        for attempt in candidate.attempts:
            attempt.paths.variant.mkdir(parents=True)
            for one in candidate.tries():
                one.paths.checkpoint.mkdir(parents=True, exist_ok=True)


def removed(archive: Archive, config: Config) -> set[str]:
    terms = terms_of(config)
    found = removable_folders(terms, archive, archive.candidates, would_be_elites(terms, archive))
    return {path.relative_to(archive.paths.folder).as_posix().replace("/attempt_0", "") for path in found}


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        pytest.param(KeepConfig(Keep.all, Keep.all), [], id="everything"),
        pytest.param(KeepConfig(Keep.elites, Keep.all), [0, 2], id="checkpoints of the two best"),
        pytest.param(KeepConfig(Keep.none, Keep.all), [0, 1, 2, 3], id="no checkpoints"),
    ],
)
def test_which_checkpoints_are_removed(keep: KeepConfig, expected: list[int], on_disk: Path) -> None:
    archive = archive_of([Made(0.6), Made(0.8), Made(0.5), Made(0.7)])
    make_folders(archive)
    found = removed(archive, config_of(keep=keep, stop=StopConfig(generations=9)))
    assert found == {f"{name(number)}/trial_0/try_0/output/checkpoint" for number in expected}


def test_an_open_candidate_or_one_whose_failure_may_be_retracted_keeps_its_code(on_disk: Path) -> None:
    archive = archive_of([Made(), Made(kind=FailureKind.EXCEPTION), Made(0.1), Made(0.9)], selected=False)
    make_folders(archive)
    config = config_of(keep=KeepConfig(Keep.elites, Keep.elites), select=SelectConfig(elites=1))
    variants = {path for path in removed(archive, config) if path.endswith("variant")}
    assert variants == {f"{name(2)}/variant"}


def test_a_checkpoint_that_the_test_split_still_needs_is_never_removed(on_disk: Path) -> None:
    archive = archive_of([Made(0.9, confirmed=[0.8])])
    make_folders(archive)
    config = config_of(
        keep=KeepConfig(Keep.none, Keep.all), stop=StopConfig(generations=1), select=SelectConfig(elites=1)
    )
    assert removed(archive, config) == {f"{name(0)}/trial_0/try_0/output/checkpoint"}  # trial_1 is the confirmation


# ---- accounts


def with_gpus(count: int) -> Config:
    config = config_of()
    needs = ResourcesConfig(nodes=1, gpus_per_node=count, time_min=30)
    return replace(config, train=replace(config.train, resources=needs))


def test_hours_by_hand() -> None:
    """Each try waited 300 s and used its GPUs for 600 s."""
    archive = archive_of([Made(0.6), Made(kind=FailureKind.NAN), Made(tries=[FailureKind.PREEMPTED])], baseline=())
    found = account(with_gpus(2), (one for c in archive.candidates for one in c.tries()), {}, 2000.0)
    assert found.device == "GPU" and found.requested_h == pytest.approx(3 * 2 * 0.5)
    assert found.used_h == pytest.approx(3 * 2 * 600 / 3600) and found.waited_h == pytest.approx(3 * 300 / 3600)
    assert found.wasted_h == {"nan": pytest.approx(2 * 600 / 3600), "preempted": pytest.approx(2 * 600 / 3600)}
    assert account_of_run(with_gpus(2), archive, {}, 2000.0) == found


def test_the_clusters_accounts_take_precedence_and_cores_count_without_gpus() -> None:
    archive = archive_of(baseline=(0.5,))
    found = account(config_of(), tries_of([archive.baseline]), {"1": 3600.0}, 2000.0)
    assert (found.device, found.used_h) == ("core", pytest.approx(1.0))
    assert "1.00 used of 0.50 requested" in found.text()


def test_a_try_in_flight_counts_until_now() -> None:
    archive = archive_of([Made(tries=[None])], baseline=(), selected=False)
    assert account_of_run(with_gpus(1), archive, {}, 4000.0).used_h == pytest.approx(3600 / 3600)


def test_accounts_add_up() -> None:
    archive = archive_of([Made(0.6), Made(kind=FailureKind.NAN)], baseline=())
    one, two = (account(with_gpus(1), candidate.tries(), {}, 0.0) for candidate in archive.candidates)
    assert one + two == account_of_run(with_gpus(1), archive, {}, 0.0)


# ---- forecast


@pytest.mark.parametrize(
    ("groups", "trainings", "scorings"),
    [
        # 2 of the baseline, 3 x 4 candidates, 2 elites x 2 seeds; the test split scores the baseline's and the elites'.
        pytest.param({}, 2 + 12 + 4, 2 + 4, id="a search"),
        pytest.param({"stop": StopConfig(generations=3, candidates=5)}, 2 + 5 + 4, 6, id="a limit of candidates"),
        pytest.param({"measure": MeasureConfig(Codes.elites, 0.5, 5)}, 18 + 3 * 5, 6, id="looks at three codes"),
    ],
)
def test_the_maximal_cost_of_a_run(groups: dict[str, object], trainings: int, scorings: int) -> None:
    config = config_of(**groups)  # type: ignore[arg-type]
    found = forecast(config, 8)
    assert (found.trainings, found.scorings) == (trainings, scorings)
    assert found.device_h == pytest.approx((trainings + scorings) * 0.5)


def test_a_canary_is_forecast_on_a_cluster_and_a_wave_by_its_jobs() -> None:
    config = config_of()
    alone, watched = forecast(replace(config, cluster=replace(config.cluster, unattended=True)), 8), forecast(config, 8)
    assert alone.trainings - watched.trainings == 2 and alone.scorings - watched.scorings == 2
    assert wave_needs(config, 3) == (3 * config.train.disk_gb, 180)


def test_purposes_are_kept_apart() -> None:
    (candidate,) = archive_of([Made(0.9, confirmed=[0.8, 0.7])]).candidates
    (attempt,) = candidate.attempts
    assert [score.value for score in attempt.scores(Purpose.CONFIRM)] == [0.8, 0.7]
    assert [score.value for score in attempt.scores(Purpose.SEARCH, Purpose.CONFIRM)] == [0.9, 0.8, 0.7]
    assert candidate.score is not None and candidate.score.value == 0.9
