"""Results that arrive at a bad moment: after the cluster reported the end of the job, as on NFS, or between the poll
that should have read them and the decision that requires them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import loop
from pipeline.cluster.base import JobStatus, Phase, Request
from pipeline.errors import CannotContinue
from pipeline.records import Ended, Failure, FailureKind, Pause, Result, Stage
from pipeline.stages import evaluate, select
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import TryPaths
from pipeline.store.reader import read_archive
from pipeline.store.run import claim
from pipeline.store.views import Trial
from tests.benchmarks.__main__ import advance, search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster


class LateFiles(SimulatedCluster):
    """Results become visible when the cluster is polled and reports that the jobs are over, or never."""

    late = True
    over = False

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        if self.over and self.late:
            self.settle()
        state = JobStatus(Phase.ENDED, "it is gone", FailureKind.VANISHED) if self.over else JobStatus(Phase.RUNNING)
        return dict.fromkeys(job_ids, state)


@pytest.mark.parametrize("late", [True, False])
def test_a_result_file_overrules_the_cluster(late: bool, tmp_path: Path) -> None:
    clock = Clock(1e9)
    cluster = LateFiles(clock, 1, lambda rng: 1.0)
    cluster.late = late
    context = search_in(tmp_path, clock, cluster, "ideate.candidates=1", "stop.generations=1", "train.retries=0")
    for _ in range(2):  # submitted, and read again
        loop.tick(context)
    clock.now, cluster.over = clock.now + 10, True
    for _ in range(3):
        loop.tick(context)
    context.background.close()
    (trial,) = read_archive(context.run.paths.folder).baseline.trials
    assert (trial.score is not None) is late and (trial.tries[0].failure is None) is late
    assert context.run.paths.pause.exists() is not late


class Losing(SimulatedCluster):
    """Reports that some jobs are gone; their real outcome is a different matter."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.gone: dict[str, JobStatus] = {}
        """What it reports for each job; the empty name stands for all others."""
        self.cancelled: list[str] = []
        self.claims = True
        """Whether jobs really start."""

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        taken = super().submit(requests, avoid)
        for request in requests if not self.claims else ():
            TryPaths(request.folder).claim.unlink()
        return taken

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        running = self.gone.get("", JobStatus(Phase.RUNNING))
        return {job_id: self.gone.get(job_id, running) for job_id in job_ids}

    def cancel(self, job_ids: Sequence[str]) -> None:
        self.cancelled.extend(job_ids)


VANISHED = JobStatus(Phase.ENDED, "nobody knows it", FailureKind.VANISHED, node="n7")


@dataclass(frozen=True)
class Scene:
    """One run whose jobs get lost."""

    context: Context
    clock: Clock
    cluster: Losing

    @classmethod
    def open(cls, folder: Path, lengths: Sequence[float], *settings: str) -> "Scene":
        left = iter(lengths)
        clock = Clock(1e9)
        cluster = Losing(clock, 4, lambda rng: next(left))
        context = search_in(folder, clock, cluster, "ideate.candidates=1", "stop.generations=1", *settings)
        return cls(context, clock, cluster)

    def go(self, seconds: float = 1.0) -> None:
        """Do everything that can be done now, then let time pass."""
        advance(self.context, self.clock, self.cluster, seconds)

    def read(self) -> Archive:
        """Read the archive as any other process would."""
        return read_archive(self.context.run.paths.folder)

    @property
    def paused(self) -> str:
        pause = files.read_if_there(self.context.run.paths.pause, Pause)
        return pause.reason if pause is not None else ""

    def events(self, what: str) -> list[str]:
        lines = map(json.loads, self.context.run.paths.events.read_text().splitlines())
        return [line["detail"] for line in lines if line["what"] == what]

    def lose(self, archive_of: Callable[[Archive], Trial]) -> None:
        """The newest job of a trial is reported as gone from now on."""
        job = archive_of(self.read()).newest.job.job_id
        assert job is not None
        self.cluster.gone[job] = VANISHED


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene.open(tmp_path, *request.param)
    yield made
    made.context.background.close()


def of_baseline(archive: Archive) -> Trial:
    return archive.baseline.trials[0]


def of_candidate(archive: Archive) -> Trial:
    (candidate,) = archive.candidates
    assert candidate.attempt is not None and candidate.attempt.search is not None
    return candidate.attempt.search


@pytest.mark.parametrize("scene", [([100.0, 500.0, 1000.0],)], indirect=True)
def test_a_result_that_arrives_while_the_next_job_runs_counts_and_ends_that_job(scene: Scene) -> None:
    scene.go()
    scene.lose(of_baseline)
    scene.go()
    trial = of_baseline(scene.read())
    assert [one.failure.kind if one.failure else None for one in trial.tries] == [FailureKind.VANISHED, None]
    assert trial.tries[0].declared and not trial.tries[0].paths.result.exists() and trial.tries[0].result.host == "n7"  # type: ignore[union-attr]
    scene.clock.now += 200  # the first job was running all the time, and ends now
    scene.go()
    trial = of_baseline(scene.read())
    assert trial.score is not None and trial.score.try_ == "try_0" and trial.failure is None
    assert scene.cluster.cancelled == [trial.tries[1].job.job_id] and len(trial.tries) == 2
    assert trial.tries[1].failure is not None and trial.tries[1].failure.kind is FailureKind.INTERRUPTED
    assert trial.tries[0].ended_at == 1e9 + 100 and not trial.tries[0].declared  # the reason given by the job itself


@pytest.mark.parametrize("scene", [([1.0, 100.0, 1.0, 1.0], "train.retries=0")], indirect=True)
@pytest.mark.parametrize("restart", [False, True])
def test_a_result_that_arrives_after_the_candidate_failed_is_its_outcome(scene: Scene, restart: bool) -> None:
    while not scene.read().candidates or len(scene.cluster.spans) < 1:
        scene.go()
    scene.go()
    scene.lose(of_candidate)
    for _ in range(3):
        scene.go()
    (candidate,) = scene.read().candidates
    assert candidate.failure is not None and candidate.failure.kind is FailureKind.VANISHED and candidate.order == 1
    assert scene.read().generations[0].settled and scene.read().generations[0].paths.summary.exists()
    if restart:
        scene.context.run.own()
    scene.clock.now += 200
    for _ in range(2):
        scene.go()
    (candidate,) = scene.read().candidates
    assert candidate.failure is None and candidate.score is not None and candidate.order == 2
    assert candidate.attempt is not None and candidate.attempt.failure is None
    assert candidate.paths.old_failure(0).exists() and len(of_candidate(scene.read()).tries) == 1
    report = scene.read().report
    assert report is not None and loop.is_over(scene.context, loop.tick(scene.context))


@pytest.mark.parametrize("scene", [([1.0, 100.0, 1.0, 1.0], "train.retries=0")], indirect=True)
@pytest.mark.parametrize("writes", [1, 2, 3])
def test_retracting_a_failure_may_be_interrupted_anywhere(
    scene: Scene, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    while not scene.read().candidates or len(scene.cluster.spans) < 1:
        scene.go()
    scene.go()
    scene.lose(of_candidate)
    for _ in range(3):
        scene.go()
    done: list[Path] = []

    def set_aside(path: Path, elsewhere: Callable[[int], Path], original: Any = files.set_aside) -> None:
        original(path, elsewhere)
        done.append(path)
        if len(done) == writes:
            raise KeyboardInterrupt  # the controller is killed here

    scene.clock.now += 200
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "set_aside", set_aside)
        for _ in range(3):
            scene.go()
    scene.context.run.own()
    for _ in range(2):
        scene.go()
    (candidate,) = scene.read().candidates
    assert candidate.failure is None and candidate.score is not None and not candidate.open
    assert candidate.attempt is not None and candidate.attempt.failure is None
    assert candidate.paths.old_failure(0).exists() and not candidate.paths.old_failure(1).exists()


@pytest.mark.parametrize("scene", [([300.0, *[1000.0] * 5, 1.0, 1.0, 1.0, 1.0], "train.retries=1")], indirect=True)
def test_lost_jobs_of_the_baseline_pause_the_run_and_blame_the_machines(scene: Scene) -> None:
    scene.cluster.gone[""] = VANISHED
    scene.go()
    for _ in range(3):
        scene.go()
    trial = of_baseline(scene.read())
    assert len(trial.tries) == 2 and not trial.closed
    assert "fault of the machines" in scene.paused and "vanished: no result: nobody knows it" in scene.paused
    assert f"python -m pipeline resume {scene.context.run.paths.folder}" in scene.paused
    assert str(trial.paths.folder) in scene.paused and str(scene.context.run.paths.jobs) in scene.paused
    assert "fix it" not in scene.paused and "new run" not in scene.paused
    assert scene.events("paused") == [scene.paused]  # once
    scene.context.run.paths.pause.unlink()
    for _ in range(4):
        scene.go()
    assert len(of_baseline(scene.read()).tries) == 4 and scene.paused  # as many retries as before
    scene.clock.now += 400  # the first job was running all the time
    scene.go()
    trial = of_baseline(scene.read())
    assert trial.score is not None and trial.score.try_ == "try_0"


@pytest.mark.parametrize("scene", [([1000.0] * 9, "train.retries=0")], indirect=True)
def test_a_run_that_an_older_version_ended_because_of_a_lost_baseline_can_be_resumed(scene: Scene) -> None:
    scene.go()
    trial = of_baseline(scene.read())
    failure = Failure(Stage.TRAIN, FailureKind.VANISHED, "no result", "try_0")
    files.create(trial.newest.paths.result, Result(Ended.FAILED, failure=failure))
    files.create(trial.paths.failure, failure)
    scene.context.run.own()
    scene.go()
    assert "fault of the machines" in scene.paused and not of_baseline(scene.read()).closed
    scene.context.run.paths.pause.unlink()
    scene.go()
    assert len(of_baseline(scene.read()).tries) == 2


@pytest.mark.parametrize("scene", [([1.0] * 9, "train.retries=0")], indirect=True)
def test_a_failure_of_the_baselines_own_code_still_ends_the_run(scene: Scene) -> None:
    scene.go(0)
    newest = of_baseline(scene.read()).newest
    failure = Failure(Stage.TRAIN, FailureKind.EXCEPTION, "a bug", "try_0")
    files.create(newest.paths.result, Result(Ended.FAILED, failure=failure))
    with pytest.raises(CannotContinue, match=r"baseline failed \(train/exception\): a bug.*fix it"):
        scene.go()


@pytest.mark.parametrize("scene", [([1000.0] * 9, "train.retries=1")], indirect=True)
def test_a_job_that_was_lost_before_it_started_can_never_start(scene: Scene) -> None:
    scene.cluster.claims = False
    scene.go()
    first = of_baseline(scene.read()).newest
    scene.lose(of_baseline)
    scene.go()
    assert not claim(first.paths, "12")  # its job reports that the try is already claimed, and exits
    trial = of_baseline(scene.read())
    assert len(trial.tries) == 2 and trial.tries[0].void and trial.tries[0].waited_s(scene.clock.now) == 0.0


@pytest.mark.parametrize("scene", [([1000.0] * 9, "train.retries=1")], indirect=True)
def test_a_job_that_starts_while_the_cluster_reports_it_as_gone_is_not_given_up(scene: Scene) -> None:
    scene.cluster.claims = False
    scene.go()
    archive = scene.context.run.reader.read()
    newest = of_baseline(archive).newest
    scene.lose(of_baseline)
    assert claim(newest.paths, "12")
    evaluate.step(scene.context, archive)  # which had been read before
    assert not newest.paths.ended.exists() and not of_baseline(scene.read()).newest.declared


@pytest.mark.parametrize("scene", [([1000.0] * 9, "train.retries=1")], indirect=True)
def test_the_reason_shows_the_last_output_of_a_job_that_never_started(scene: Scene) -> None:
    scene.cluster.claims = False
    scene.go()
    scene.cluster.gone[""] = replace(VANISHED, last_line="ModuleNotFoundError: No module named 'pipeline'")
    scene.go(0)
    failure = of_baseline(scene.read()).tries[0].failure
    assert failure is not None and failure.reason.endswith(
        "its log ends with: ModuleNotFoundError: No module named 'pipeline'"
    )


@pytest.mark.parametrize("scene", [([1000.0] * 9,)], indirect=True)
def test_a_note_of_the_cluster_about_a_job_is_an_event(scene: Scene) -> None:
    scene.go()
    job = of_baseline(scene.read()).newest.job.job_id
    scene.cluster.gone[str(job)] = JobStatus(Phase.RUNNING, "?", note="Slurm printed '7|HIBERNATING'")
    loop.tick(scene.context)
    scene.cluster.gone.clear()
    scene.go()
    assert scene.events("unclear") == ["Slurm printed '7|HIBERNATING'"]
    assert len(of_baseline(scene.read()).tries) == 1


@pytest.mark.parametrize("scene", [([1000.0] * 9,)], indirect=True)
def test_a_job_that_only_reports_its_termination_does_not_overrule_the_cause(scene: Scene) -> None:
    scene.go()
    newest = of_baseline(scene.read()).newest
    evaluate.end_jobs(scene.read(), scene.cluster, "cancelled by the command cancel", scene.clock.now)
    assert not newest.declared and of_baseline(scene.read()).newest.may_report
    terminated = Failure(Stage.TRAIN, FailureKind.CANCELLED, "the job was terminated", "try_0")
    files.create(newest.paths.result, Result(Ended.FAILED, failure=terminated))
    scene.context.run.own()
    for archive in (scene.read(), scene.context.run.reader.read()):
        newest = of_baseline(archive).tries[0]
        assert newest.failure is not None and newest.failure.kind is FailureKind.INTERRUPTED and not newest.may_report


def test_no_generation_is_decided_while_a_result_is_unread(tmp_path: Path) -> None:
    """Two slots, three candidates: one never ends, and when the last of the others has ended, a slot would be idle."""
    clock, lengths = Clock(1e9), iter([1.0, 1e6, 1.0, 50.0])
    cluster = SimulatedCluster(clock, 2, lambda rng: next(lengths))
    more = ("ideate.candidates=3", "stop.generations=2", "select.quorum=0.9")
    context = search_in(tmp_path, clock, cluster, *more)
    while len(cluster.spans) < 2 or len(context.run.reader.read().in_flight()) < 2:
        advance(context, clock, cluster)
    clock.now += 100
    cluster.settle()
    select.step(context, context.run.reader.read())
    assert [generation.selection for generation in context.run.reader.read().generations] == [None]
    for _ in range(2):  # read the result before deciding
        loop.tick(context)
    context.background.close()
    (generation,) = context.run.reader.read().generations
    assert generation.selection is not None and generation.selection.seen.outcomes == 2


@pytest.mark.parametrize("scene", [([1000.0] * 9,)], indirect=True)
def test_a_job_that_was_cancelled_in_the_queue_can_never_start(scene: Scene) -> None:
    scene.cluster.claims = False
    scene.go()
    newest = of_baseline(scene.read()).newest
    evaluate.end_jobs(scene.read(), scene.cluster, "cancelled by the command cancel", scene.clock.now)
    assert not claim(newest.paths, "12") and not of_baseline(scene.read()).newest.may_report
