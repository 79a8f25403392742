"""Reads as much of a run as possible, for tables and reports: a damaged file costs only the row it belongs to, and is
named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import BadInput, Damaged
from pipeline.records import Mark, Parents, Pause, Report, Selection
from pipeline.store import files
from pipeline.store.paths import AttemptPaths, CandidatePaths, GenerationPaths, RunPaths, TrialPaths, number_of
from pipeline.store.reader import read_attempt, read_candidate, read_marks, read_summary, read_trial
from pipeline.store.run import Run, open_run
from pipeline.store.views import Attempt, Generation

T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """One run without its generations, which `survey_generation` reads one by one."""

    run: Run
    baseline: Attempt
    """With its readable trials."""
    report: Report | None
    pause: Pause | None
    marks: Mapping[str, Mark]
    """By candidate id."""
    generations: tuple[GenerationPaths, ...]
    """Sorted by number."""


def survey_run(paths: RunPaths, damaged: list[str]) -> Survey:
    """One run without its generations. For each damaged file one line is appended to `damaged`.

    Raises `BadInput` if the folder is not a run of this format, or its run.json is damaged."""
    try:
        run = open_run(paths)
        _ = run.config
    except Damaged as error:
        raise BadInput(str(error)) from error
    return Survey(
        run,
        _baseline(paths.baseline, damaged),
        _read(lambda: files.read_if_there(paths.report, Report), damaged),
        _read(lambda: files.read_if_there(paths.pause, Pause), damaged),
        _read(lambda: dict(read_marks(paths)), damaged) or {},
        tuple(map(GenerationPaths, files.folders(paths.folder, "generation"))),
    )


def survey_generation(paths: GenerationPaths, damaged: list[str]) -> Generation | None:
    """One generation with its readable candidates; none if it is not open yet."""
    parents = _read(lambda: files.read_if_there(paths.parents, Parents), damaged)
    selection = _read(lambda: files.read_if_there(paths.selection, Selection), damaged)
    candidates = read_summary(paths)
    if candidates is None:
        folders = map(CandidatePaths, files.folders(paths.folder, "candidate"))
        read = (_read(lambda folder=folder: read_candidate(folder), damaged) for folder in folders)  # type: ignore[misc]
        candidates = tuple(one for one in read if one is not None)
    if parents is None and not candidates:
        return None
    return Generation(number_of(paths.folder.name), paths, parents or Parents(), candidates, selection)


def _baseline(paths: AttemptPaths, damaged: list[str]) -> Attempt:
    try:
        return read_attempt(paths)
    except Damaged:
        folders = map(TrialPaths, files.folders(paths.folder, "trial"))
        read = [_read(lambda folder=folder: read_trial(folder), damaged) for folder in folders]  # type: ignore[misc]
        return Attempt(paths, None, None, None, tuple(trial for trial in read if trial is not None))


def _read(reader: Callable[[], T], damaged: list[str]) -> T | None:
    try:
        return reader()
    except Damaged as error:
        damaged.append(str(error))
        return None
