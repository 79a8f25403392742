"""Run folders as pandas tables.

    from analysis.load import load
    tables = load("runs/first", "runs/second")
    tables.candidates[["title", "gain", "gain_error"]]

`load` reads each run once, finished or in progress; unknown values are missing (NA). A damaged file has no row and is listed
in `Tables.damaged`. `analysis/columns.py` describes all columns.
"""

import functools
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cache import read_cache, write_cache
from analysis.columns import BASELINE, TABLES, table
from analysis.compare import compared, with_baseline
from analysis.rows import (
    Row,
    attempt_row,
    candidate_row,
    completion_rows,
    curve_rows,
    event_rows,
    generation_row,
    job_row,
    learning_rows,
    run_row,
    trial_row,
)
from pipeline.errors import BadInput, Damaged
from pipeline.metric import Direction, Metric
from pipeline.records import Report
from pipeline.store import files
from pipeline.store.paths import GenerationPaths, RunPaths, TryPaths, number_of
from pipeline.store.run import Facts, open_run
from pipeline.store.survey import Survey, survey_generation, survey_run

_KEPT = ("generations", "candidates", "attempts", "trials", "jobs")
"""Tables whose rows of settled generations are cached."""


@dataclass(frozen=True)
class Tables:
    """Some runs as tables; `analysis/columns.py` describes their columns."""

    runs: pd.DataFrame
    """One row for each run."""
    generations: pd.DataFrame
    """One row for each generation."""
    candidates: pd.DataFrame
    """One row for each candidate."""
    attempts: pd.DataFrame
    """One row for each implementation."""
    trials: pd.DataFrame
    """One row for each trial."""
    jobs: pd.DataFrame
    """One row for each try of a trial."""
    paths: dict[str, RunPaths]
    """Folder of each run by name."""
    reports: dict[str, Report | None]
    """report.json of each run by name; none while it is in progress."""
    damaged: list[str] = field(default_factory=list)
    """One line for each damaged file, which is in no table. `completions`, `learning` and `events` add to it."""

    @functools.cached_property
    def completions(self) -> pd.DataFrame:
        """One row for each answer of a language model; read on first use."""
        return self._each("completions", completion_rows)

    @functools.cached_property
    def learning(self) -> pd.DataFrame:
        """A row for each step of reinforcement learning; read at the first use."""
        return self._each("learning", learning_rows)

    @functools.cached_property
    def events(self) -> pd.DataFrame:
        """One row for each event; read on first use."""
        return self._each("events", event_rows)

    def curves(self, run: str, candidates: Iterable[str] = (BASELINE,)) -> pd.DataFrame:
        """One row for each step and quantity in metrics.jsonl of the newest try of each trial of some candidates."""
        wanted = set(candidates)
        ours = self.trials[(self.trials["run"] == run) & self.trials["candidate"].isin(wanted)]
        ours = ours[ours["purpose"] != "test"]
        rows: list[Row] = []
        for candidate, folder, tries, seed in zip(
            ours["candidate"], ours["folder"], ours["tries"], ours["seed"], strict=True
        ):
            place = f"{folder}/try_{tries - 1}"
            found = curve_rows(TryPaths(self.paths[run].folder / place))
            rows += [{"run": run, "candidate": candidate, "folder": place, "seed": seed} | row for row in found]
        return table(rows, TABLES["curves"])

    def metric(self, run: str) -> Metric:
        """The metric of a run."""
        row = self.about(run)
        return Metric(row["metric"], Direction(row["direction"]), percent=row["percent"])

    def about(self, run: str) -> dict[str, Any]:
        """The row of a run; missing values are none."""
        (row,) = self.runs[self.runs["run"] == run].to_dict("records")
        return {str(name): None if value is pd.NA else value for name, value in row.items()}

    def _each(self, name: str, read: Callable[[RunPaths, list[str]], Iterator[Row]]) -> pd.DataFrame:
        rows = [{"run": run} | row for run, paths in self.paths.items() for row in read(paths, self.damaged)]
        return table(rows, TABLES[name])


def load(*runs: Path | str, cache: bool = True) -> Tables:
    """The tables of some run folders. Raises `BadInput` if one is not a run folder.

    With `cache`, rows of settled generations are stored as Parquet files in the user's cache folder."""
    damaged: list[str] = []
    with _no_collection():
        found = [
            _read(RunPaths(Path(run).resolve()), name, cache, damaged)
            for run, name in zip(runs, _names([Path(run).resolve() for run in runs]), strict=True)
        ]
    joined = {name: _joined(name, [one.tables[name] for one in found]) for name in ("runs", *_KEPT)}
    by_name = {one.name: one for one in found}
    return Tables(
        **joined,
        paths={name: one.survey.run.paths for name, one in by_name.items()},
        reports={name: one.survey.report for name, one in by_name.items()},
        damaged=damaged,
    )


def candidates(*runs: Path | str) -> pd.DataFrame:
    """One row for each candidate of these runs, in order of proposal."""
    return load(*runs).candidates


def trials(*runs: Path | str) -> pd.DataFrame:
    """One row for each trial of these runs, the baseline's first."""
    return load(*runs).trials


def metric_of(run: Path | str) -> Metric:
    """The metric of a run."""
    return open_run(RunPaths(Path(run))).config.baseline.metric.metric


def newest(runs: Path | str) -> Path:
    """The most recently created run folder. Raises `BadInput` if there is none."""
    found = []
    for path in Path(runs).glob("*/run.json"):
        try:
            found.append((files.read(path, Facts).created_at, path.parent))
        except (Damaged, FileNotFoundError):
            continue
    if not found:
        raise BadInput(f"{runs} contains no run folders; start a run, or name the folder of one")
    return max(found)[1]


# ---- one run


@dataclass(frozen=True)
class _Read:
    name: str
    survey: Survey
    tables: dict[str, pd.DataFrame]


def _read(paths: RunPaths, name: str, cache: bool, damaged: list[str]) -> _Read:
    """Read one run: settled generations from the cache if possible, everything else from files."""
    survey = survey_run(paths, damaged)
    marks = {number_of(one.folder.name): _mark(one) for one in survey.generations}
    cached_marks, cached = read_cache(paths.folder, _KEPT) if cache else ({}, {})
    usable = {number for number, mark in cached_marks.items() if mark and marks.get(number) == mark}
    missing = [one for one in survey.generations if number_of(one.folder.name) not in usable]
    read = _rows(survey, missing, damaged)
    tables = {part: table(rows, TABLES[part]) for part, rows in read.items()}
    if cached:
        tables = {
            part: _joined(part, [_only(cached[part], usable), tables[part]], by_generation=True) for part in _KEPT
        }
    settled = {number: mark for number, mark in marks.items() if mark}
    if cache and any(settled[number] for number in settled if number not in usable):
        write_cache(paths.folder, settled, {part: _only(tables[part], set(settled)) for part in _KEPT})
    return _Read(name, survey, _finished(survey, name, tables))


def _finished(survey: Survey, name: str, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Add the baseline's rows, the columns that compare candidates, the row of the run, and its name."""
    count = survey.run.config.train.resources.devices
    folder = survey.run.paths.folder
    ours = [(trial, one) for trial in survey.baseline.trials for one in trial.tries]
    first = {
        "trials": [trial_row(folder, None, survey.baseline, trial) for trial in survey.baseline.trials],
        "jobs": [job_row(folder, None, trial, one, count) for trial, one in ours],
    }
    tables = dict(tables)
    for part, rows in first.items():
        tables[part] = _joined(part, [table(rows, TABLES[part]), tables[part]])
    tables["candidates"] = _with_learning(survey, compared(survey, tables["candidates"], tables["trials"]))
    row = run_row(folder, survey.run.config_in_force()) | with_baseline(survey)
    candidates = tables["candidates"]
    row |= {
        "candidates": len(candidates),
        "scored": int((candidates["state"] == "scored").sum()),
        "failed": int((candidates["state"] == "failed").sum()),
        "device_h": float(tables["jobs"]["device_h"].sum()),
        "created_at": survey.run.facts.created_at,
        "stopped": survey.report.stopped if survey.report is not None else None,
        "version": survey.run.facts.version,
    }
    tables["runs"] = table([row], TABLES["runs"])
    for one in tables.values():
        one["run"] = pd.Series(name, index=one.index, dtype="string")
    return tables


def _with_learning(survey: Survey, candidates: pd.DataFrame) -> pd.DataFrame:
    """The hours in which the ideator sampled and learned, added to the first candidate of each generation."""
    hours = {row["step"]: row["sample_h"] + row["update_h"] for row in learning_rows(survey.run.paths, [])}
    if hours:
        first = ~candidates["generation"].duplicated()
        candidates["search_h"] += candidates["generation"].where(first).map(hours).fillna(0.0)
    return candidates


def _rows(survey: Survey, missing: Sequence[GenerationPaths], damaged: list[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in _KEPT}
    folder, count = survey.run.paths.folder, survey.run.config.train.resources.devices
    for paths in missing:
        generation = survey_generation(paths, damaged)
        if generation is None:
            continue
        found["generations"].append(generation_row(generation))
        for candidate in generation.candidates:
            found["candidates"].append(candidate_row(candidate, count))
            for attempt in candidate.attempts:
                found["attempts"].append(attempt_row(candidate, attempt))
                for trial in attempt.trials:
                    found["trials"].append(trial_row(folder, candidate, attempt, trial))
                    found["jobs"] += [job_row(folder, candidate, trial, one, count) for one in trial.tries]
    return found


def _mark(paths: GenerationPaths) -> str:
    """An identity of the summary file of a settled generation; empty if there is none."""
    try:
        found = paths.summary.stat()
    except OSError:
        return ""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _only(part: pd.DataFrame, generations: set[int]) -> pd.DataFrame:
    return part[part["generation"].isin(generations)]


def _joined(name: str, parts: Sequence[pd.DataFrame], by_generation: bool = False) -> pd.DataFrame:
    """The tables concatenated, always with the columns of this table first."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return parts[0] if parts else table([], TABLES[name])
    joined = pd.concat(filled, ignore_index=True) if len(filled) > 1 else filled[0].reset_index(drop=True)
    if by_generation and len(filled) > 1:
        joined = joined.sort_values("generation", kind="stable", ignore_index=True)
    more = sorted(set(joined.columns).difference(TABLES[name]))
    return joined[[*TABLES[name], *more]]


def _names(folders: Sequence[Path]) -> list[str]:
    """The name of each run, with as much of its folder as makes the names unique. Raises `BadInput` for a run that is named
    twice."""
    if len(set(folders)) < len(folders):
        raise BadInput("a run is named twice; name each once")
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return ["/".join(folder.parts[-depth:]) for folder in folders]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection: ten thousand candidates are a million live objects, and scanning them takes half of the
    time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
