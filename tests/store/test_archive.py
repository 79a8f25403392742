"""What the files of a candidate say about it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import Damaged
from pipeline.records import (
    Claim,
    Ended,
    Failure,
    Idea,
    Implementation,
    Job,
    Kind,
    Mark,
    Parents,
    Result,
    Score,
    Selection,
    Smoke,
    Stage,
    Standing,
)
from pipeline.store import files
from pipeline.store.archive import Reader, State, Try, by_node, read_archive
from pipeline.store.paths import CandidatePaths, RunPaths, TryPaths, number_of, run_of, short

SCORE = Score("loss", 1.0, 0.1, 3, "validation", 0)
FAILURE = Failure(Stage.TRAIN, Kind.NAN, "it is NaN", "try_0")
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
        ([*ENDED, f"{TRIAL}/failure.json"], State.FAILED, False),  # the candidate's own failure.json is still to come
        ([*ENDED, f"{TRIAL}/failure.json", "attempt_0/failure.json", "failure.json"], State.FAILED, True),
        (["idea.json", "attempt_0/failure.json"], State.PROPOSED, False),
        (["idea.json", "attempt_0/failure.json", "failure.json"], State.FAILED, True),
    ],
)
def test_the_state_is_what_the_files_say(names: list[str], state: State, closed: bool, tmp_path: Path) -> None:
    write(RunPaths(tmp_path), names)
    (candidate,) = read_archive(tmp_path).candidates
    assert (candidate.id, candidate.state, candidate.closed) == ("generation_000/candidate_000", state, closed)


def test_a_folder_without_its_first_file_is_not_there_yet(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    run.generation(0).candidate(0).folder.mkdir(parents=True)
    assert read_archive(tmp_path).candidates == ()
    write(run, READY)
    (tmp_path / "generation_000/candidate_000/attempt_0/trial_0/try_0").mkdir(parents=True)
    (candidate,) = read_archive(tmp_path).candidates
    assert candidate.state is State.READY and candidate.attempts[0].trials[0].tries == ()


def test_a_reader_reads_anew_what_can_change(tmp_path: Path) -> None:
    run, reader = RunPaths(tmp_path), Reader(RunPaths(tmp_path))
    for names, state in (
        (READY, State.READY),
        (RUNNING, State.RUNNING),
        ([*ENDED, f"{TRIAL}/score.json"], State.SCORED),
    ):
        write(run, names)
        assert [one.state for one in reader.read().candidates] == [state]


def test_a_reader_reads_settled_candidates_once_until_told_to_forget(tmp_path: Path) -> None:
    run, reader = RunPaths(tmp_path), Reader(RunPaths(tmp_path))
    paths = write(run, [*ENDED, f"{TRIAL}/score.json"])
    before = reader.read().candidates[0]
    second = paths.attempt(0).trial(1).try_(0)
    second.folder.mkdir(parents=True)
    files.create(second.job, RECORDS[f"{TRIAL}/try_0/job.json"])
    assert reader.read().candidates[0] is before
    reader.forget(second.folder)
    assert len(reader.read().candidates[0].attempts[0].trials) == 2


def test_a_settled_generation_is_read_once_and_marks_always(tmp_path: Path) -> None:
    run, reader = RunPaths(tmp_path), Reader(RunPaths(tmp_path))
    paths = write(run, [*ENDED, f"{TRIAL}/score.json"])
    assert not reader.read().generations[0].settled  # a selection is still to come
    files.create(run.generation(0).selection, Selection((), Standing("baseline", 1.0, 0.1, 1), 0.0, (), ()))
    before = reader.read().generations[0]
    assert before.settled and reader.read().generations[0] is before and reader.read().unsettled == ()
    assert before.values == (1.0, 1.0) and [one.number for one, _ in before.ended] == [0]
    run.mark("generation_000/candidate_000").parent.mkdir(parents=True)
    files.create(run.mark("generation_000/candidate_000"), Mark(False, "it cheats", "somebody", 0.0))
    assert reader.read().candidates[0].banned and read_archive(tmp_path).candidates[0].banned
    run.mark("generation_000/candidate_000").unlink()
    assert not reader.read().candidates[0].banned
    second = paths.attempt(0).trial(1).try_(0)
    second.folder.mkdir(parents=True)
    files.create(second.job, RECORDS[f"{TRIAL}/try_0/job.json"])
    reader.forget(second.folder)
    assert [one.paths for one in reader.read().flying()] == [second]


def test_the_last_two_tries_on_each_node(tmp_path: Path) -> None:
    tries = [
        Try(TryPaths(tmp_path / f"try_{number}"), Job("name", 0, "validation"), None, result)
        for number, result in enumerate(
            Result(Ended.SCORED, SCORE, host=host, ended_at=at)
            for host, at in (("a", 3.0), ("b", 2.0), ("a", 1.0), ("", 4.0), ("a", 2.0))
        )
    ]
    found = {node: [one.number for one in last] for node, last in by_node(tries).items()}
    assert found == {"a": [0, 4], "b": [1]}


def test_flying(tmp_path: Path) -> None:
    for names, flying in (
        (READY, None),
        (QUEUED, 0),
        (RUNNING, 0),
        (ENDED, None),
        ([*ENDED, f"{TRIAL}/try_1/job.json"], 1),
    ):
        write(RunPaths(tmp_path), names)
        trials = read_archive(tmp_path).candidates[0].attempts[0].trials
        found = trials[0].flying if trials else None
        assert (found.number if found else None) == flying


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
