"""The state of a candidate, derived from its files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import Damaged
from pipeline.records import (
    Claim,
    Ended,
    Failure,
    FailureKind,
    Idea,
    Implementation,
    Job,
    Knowledge,
    Mark,
    Parents,
    Purpose,
    Result,
    Score,
    Selection,
    Smoke,
    Stage,
    StepMeasures,
)
from pipeline.store import files
from pipeline.store.archive import Archive, Index
from pipeline.store.paths import CandidatePaths, RunPaths, TryPaths, number_of, run_of, short
from pipeline.store.reader import Reader, read_archive
from pipeline.store.views import Attempt, Candidate, State, Trial, Try

SCORE = Score("loss", 1.0, 0.1, 3, "validation", 0)
FAILURE = Failure(Stage.TRAIN, FailureKind.NAN, "it is NaN", "try_0")
RECORDS: dict[str, object] = {
    "idea.json": Idea("a title", "a text", "explore"),
    "attempt_0/implement.json": Implementation("bank", ("train.py",), "abc"),
    "attempt_0/smoke.json": Smoke(1.0),
    "attempt_0/failure.json": FAILURE,
    "attempt_0/trial_0/try_0/job.json": Job("name", 0, "validation"),
    "attempt_0/trial_0/try_0/claim.json": Claim("1", "node", 1, 0.0),
    "attempt_0/trial_0/try_0/result.json": Result(Ended.FAILED, failure=FAILURE),
    "attempt_0/trial_0/try_1/job.json": Job("name", 0, "validation"),
    "attempt_0/trial_0/score.json": SCORE,
    "attempt_0/trial_0/failure.json": FAILURE,
    "failure.json": FAILURE,
}
MEASURES = StepMeasures(0, 4, 3, 0.5, (0.5, 0.5, 0.5, 0.5), 0.9, 4, 0.25, 0, 2.0, 10.0, 30.0, {}, {}, 1.0, 2.0, 0.5)
TRIAL = "attempt_0/trial_0"
READY = ["idea.json", "attempt_0/implement.json", "attempt_0/smoke.json"]
QUEUED = [*READY, f"{TRIAL}/try_0/job.json"]
RUNNING = [*QUEUED, f"{TRIAL}/try_0/claim.json"]
ENDED = [*RUNNING, f"{TRIAL}/try_0/result.json"]


def write(run: RunPaths, names: Sequence[str]) -> CandidatePaths:
    paths = run.generation(0).candidate(0)
    files_of = {paths.folder / name: RECORDS[name] for name in names}
    for path, record in files_of.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, record)
    return paths


@pytest.mark.parametrize(
    ("names", "state", "closed"),
    [
        (READY[:1], State.PROPOSED, False),
        (READY[:2], State.PROPOSED, False),
        (READY, State.READY, False),
        (QUEUED, State.QUEUED, False),
        (RUNNING, State.RUNNING, False),
        (ENDED, State.READY, False),
        ([*ENDED, f"{TRIAL}/try_1/job.json"], State.QUEUED, False),
        ([*ENDED, f"{TRIAL}/score.json"], State.SCORED, True),
        ([*ENDED, f"{TRIAL}/failure.json"], State.FAILED, False),  # the candidate's own failure.json is not written yet
        ([*ENDED, f"{TRIAL}/failure.json", "attempt_0/failure.json", "failure.json"], State.FAILED, True),
        (["idea.json", "attempt_0/failure.json"], State.PROPOSED, False),
        (["idea.json", "attempt_0/failure.json", "failure.json"], State.FAILED, True),
    ],
)
def test_the_state_follows_from_the_files(names: list[str], state: State, closed: bool, tmp_path: Path) -> None:
    write(RunPaths(tmp_path), names)
    (candidate,) = read_archive(tmp_path).candidates
    assert (candidate.id, candidate.state, candidate.closed) == ("generation_000/candidate_000", state, closed)


def test_a_folder_without_its_first_file_does_not_exist_yet(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    run.generation(0).candidate(0).folder.mkdir(parents=True)
    assert read_archive(tmp_path).candidates == ()
    write(run, READY)
    (tmp_path / "generation_000/candidate_000/attempt_0/trial_0/try_0").mkdir(parents=True)
    (candidate,) = read_archive(tmp_path).candidates
    assert candidate.state is State.READY and candidate.attempts[0].trials == ()


def test_a_reader_rereads_what_can_change(tmp_path: Path) -> None:
    run, reader = RunPaths(tmp_path), Reader(RunPaths(tmp_path))
    for names, state in (
        (READY, State.READY),
        (RUNNING, State.RUNNING),
        ([*ENDED, f"{TRIAL}/score.json"], State.SCORED),
    ):
        write(run, names)
        assert [one.state for one in reader.read().candidates] == [state]


def job_of(paths: CandidatePaths, trial: int) -> TryPaths:
    """One more trial with a job, written without notifying any reader."""
    made = paths.attempt(0).trial(trial).try_(0)
    made.folder.mkdir(parents=True)
    files.create(made.job, Job("name", trial, "validation", purpose=Purpose.CONFIRM))
    return made


def test_the_controller_rereads_what_it_changed_and_what_its_jobs_wrote(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    paths = write(run, QUEUED)
    reader = Reader(run, controller=True)
    before = reader.read().candidates[0]
    assert before.state is State.QUEUED and reader.read().candidates[0] is before
    job_of(paths, 1)
    assert reader.read().candidates[0] is before  # the reader was not notified
    write(run, [f"{TRIAL}/try_0/claim.json"])  # jobs are always read again
    assert reader.read().candidates[0].state is State.RUNNING
    write(run, [f"{TRIAL}/try_0/result.json"])
    archive = reader.read()
    (trial,) = archive.candidates[0].attempts[0].trials
    assert trial.newest.result is not None and not reader.changed
    reader.touch(paths.attempt(0).trial(1).try_(0).folder)
    assert reader.changed and len(reader.read().candidates[0].attempts[0].trials) == 2


def test_a_settled_generation_is_read_from_its_summary_until_something_is_added(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    paths, generation = write(run, [*ENDED, f"{TRIAL}/score.json"]), run.generation(0)
    files.create(generation.parents, Parents(ideas=1))
    assert not Reader(run, controller=True).read().generations[0].settled  # the selection does not exist yet
    assert not generation.summary.exists()
    files.create(generation.selection, Selection((), Knowledge(1)))
    full = Reader(run, controller=True).read()
    assert full.generations[0].settled and full.open == () and generation.summary.exists()
    paths.idea.unlink()  # the summary is read instead
    brief = Reader(run).read()
    assert brief.candidates == full.candidates and brief.index.ranking == full.index.ranking
    write(run, ["idea.json"])
    reader = Reader(run, controller=True)
    reader.read()
    reader.reopen(paths.attempt(0).trial(1).try_(0).folder)
    assert not generation.summary.exists()
    added = job_of(paths, 1)
    reader.touch(added.folder)
    assert [one.paths for one in reader.read().in_flight()] == [added]
    assert [one.paths for one in Reader(run).read().in_flight()] == [added]


@pytest.mark.parametrize("controller", [True, False])
def test_a_generation_without_its_parents_does_not_exist_yet(controller: bool, tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    run.generation(0).folder.mkdir()
    reader = Reader(run, controller)
    assert reader.read().generations == ()
    files.create(run.generation(0).parents, Parents(ideas=2))
    reader.touch(run.generation(0).folder)
    (generation,) = reader.read().generations
    assert not generation.complete


def test_a_damaged_summary_is_ignored(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    write(run, [*ENDED, f"{TRIAL}/score.json"])
    files.create(run.generation(0).selection, Selection((), Knowledge(1)))
    run.generation(0).summary.write_text('{"format": 2, "candidates": 7}')
    assert len(Reader(run).read().candidates) == 1


def test_marks_are_always_read(tmp_path: Path) -> None:
    run, name = RunPaths(tmp_path), "generation_000/candidate_000"
    write(run, [*ENDED, f"{TRIAL}/score.json"])
    reader = Reader(run, controller=True)
    assert not reader.read().is_banned(name)
    run.mark(name).parent.mkdir(parents=True)
    files.create(run.mark(name), Mark(False, "it cheats", "somebody", 0.0))
    assert reader.read().is_banned(name) and read_archive(tmp_path).banned == {name: "it cheats"}
    run.mark(name).unlink()
    assert not reader.read().is_banned(name)


def test_the_controller_reads_the_newest_measures_of_the_policy_once(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    reader = Reader(run, controller=True)
    assert reader.read().measures is None
    for number in (0, 1):
        step, found = run.policy_step(number), replace(MEASURES, step=number)
        step.folder.mkdir(parents=True)
        files.create(step.measures, found)
        reader.touch(step.folder)
        assert reader.read().measures == found
    run.policy_step(2).folder.mkdir()
    assert read_archive(tmp_path).measures == found
    run.policy_step(1).measures.unlink()
    assert reader.read().measures == found


def test_the_index_follows_every_change(tmp_path: Path) -> None:
    """After each step it equals the index of a new reader of the same files."""
    run = RunPaths(tmp_path)
    write(run, READY)
    reader = Reader(run, controller=True)
    reader.read()
    for name in (
        *(f"{TRIAL}/try_0/job.json", f"{TRIAL}/try_0/claim.json", f"{TRIAL}/try_0/result.json"),
        *(f"{TRIAL}/try_1/job.json", f"{TRIAL}/score.json", "attempt_0/failure.json", "failure.json"),
    ):
        paths = write(run, [name])
        reader.touch((paths.folder / name).parent)
        index, fresh = reader.read().index, Reader(run).read().index
        for name in (
            "candidates",
            "open",
            "unclosed",
            "ranking",
            "by_order",
            "outcomes",
            "by_code",
            "recent",
            "last_on",
            "children",
            "rungs",
        ):
            assert getattr(index, name) == getattr(fresh, name), name
        for name in ("states", "trial_states", "failures"):
            assert +getattr(index, name) == +getattr(fresh, name), name
        assert index.spent.held_s == pytest.approx(fresh.spent.held_s) and index.spent.tries == fresh.spent.tries


def candidate_with(number: int, tries: Sequence[tuple[str, float]], value: float = 1.0) -> Candidate:
    """A candidate whose tries ended on these nodes at these times."""
    paths = RunPaths(Path("/r")).generation(0).candidate(number)
    trial = paths.attempt(0).trial(0)
    made = tuple(
        Try(trial.try_(k), Job("name", 0, "validation"), None, Result(Ended.SCORED, SCORE, host=host, ended_at=at))
        for k, (host, at) in enumerate(tries)
    )
    scored = Trial(trial, made, replace(SCORE, value=value), None)
    attempt = Attempt(paths.attempt(0), None, None, None, (scored,))
    return Candidate(f"generation_000/candidate_{number:03d}", paths, Idea("t", "x", "explore"), (attempt,), None)


def test_the_last_two_tries_on_each_node() -> None:
    index = Index()
    index.put(candidate_with(0, [("a", 3.0), ("b", 2.0)]))
    index.put(candidate_with(1, [("a", 1.0), ("", 4.0), ("a", 2.0)]))
    found = {node: [one.at for one in last] for node, last in index.last_on.items()}
    assert found == {"a": [3.0, 2.0], "b": [2.0]}
    assert [one.at for one in index.recent] == [1.0, 2.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("highest_first", [True, False])
def test_equal_values_have_the_same_ranks_in_both_directions(highest_first: bool) -> None:
    index = Index()
    for number, value in enumerate([2.0, 1.0, 2.0, 3.0]):
        index.put(candidate_with(number, [("a", 1.0)], value))
    run = RunPaths(Path("/r"))
    archive = Archive(run, Attempt(run.baseline, None, None, None, ()), (), index)
    numbers = [number_of(one.id) for one in archive.ranked(highest_first)]
    assert numbers == ([3, 0, 2, 1] if highest_first else [1, 0, 2, 3])


def test_in_flight(tmp_path: Path) -> None:
    for names, in_flight in (
        (READY, None),
        (QUEUED, 0),
        (RUNNING, 0),
        (ENDED, None),
        ([*ENDED, f"{TRIAL}/try_1/job.json"], 1),
    ):
        write(RunPaths(tmp_path), names)
        trials = read_archive(tmp_path).candidates[0].attempts[0].trials
        found = trials[0].in_flight if trials else None
        assert (found.number if found else None) == in_flight


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    paths = write(RunPaths(tmp_path), READY)
    paths.idea.write_text('{"title": 3}')
    with pytest.raises(Damaged, match=r"candidate_000/idea\.json is damaged"):
        read_archive(tmp_path)


def test_parents_and_reports_of_an_open_run(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    run.generation(1).folder.mkdir(parents=True)
    files.create(run.generation(1).parents, Parents(("generation_000/candidate_000",), 0.5))
    archive = read_archive(tmp_path)
    assert archive.newest is not None and archive.newest.parents.exploit_share == 0.5
    assert archive.newest.selection is None and archive.report is None


def test_names() -> None:
    assert number_of("generation_000/candidate_012") == 12
    assert short("generation_001/candidate_012") == "g1/c12" and short("baseline") == "baseline"


def test_the_run_around_a_folder(tmp_path: Path) -> None:
    paths = write(RunPaths(tmp_path / "run"), READY)
    assert run_of(paths.folder) is None
    files.create(RunPaths(tmp_path / "run").facts, Smoke(0.0))
    assert run_of(paths.attempt(0).folder) == RunPaths(tmp_path / "run")
