"""Run folders as pandas tables: one row per candidate, one row per trial.

    from analysis.load import candidates, newest, trials
    table = candidates("runs/first", "runs/second")

Both functions take any number of run folders. An unfinished run can be read, too; values not known yet are missing (NaN,
NA). An unreadable file raises `Damaged` with its path: a table never drops a row silently.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import BadInput
from pipeline.metric import Estimate, Metric
from pipeline.records import Failure, Purpose, Score
from pipeline.report.standings import baseline_estimate, standing
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths, number_of
from pipeline.store.reader import read_archive
from pipeline.store.run import is_void, open_run
from pipeline.store.views import Attempt, Candidate, Trial

BASELINE = "baseline"
"""Value of the column `candidate` for trials of the unmodified code."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    dtype: str
    """Pandas type."""
    meaning: str
    """Meaning and unit."""


CANDIDATES: Mapping[str, Column] = {
    "run": Column("string", "name of the run"),
    "candidate": Column("string", "id, e.g. generation_000/candidate_003; also its folder in the run"),
    "generation": Column("Int64", "number of the generation, from 0"),
    "title": Column("string", "the idea in a few words"),
    "origin": Column("string", "where the idea comes from: explore, exploit, tune, human, …"),
    "parents": Column("string", "ids of the candidates it builds on, separated by spaces; empty for the baseline"),
    "source": Column("string", "publication the idea was taken from; empty if none"),
    "state": Column("string", "proposed, ready, queued, running, scored or failed"),
    "value": Column("Float64", "the metric in its unit, from the candidate's search trial, which selection uses"),
    "standard_error": Column("Float64", "standard error of this evaluation, over problems or rows, without seed noise"),
    "gain": Column("Float64", "how much better than the baseline's mean; positive is better for every metric"),
    "gain_error": Column("Float64", "standard error of the gain, including seed noise"),
    "trials": Column("Int64", "number of trials scored on the validation split"),
    "stage": Column("string", "where it failed: implement, train, evaluate"),
    "kind": Column("string", "kind of failure, as in docs/reference/run-folder.md"),
    "reason": Column("string", "why it failed: one line, then the last lines of the log"),
    "changed": Column("string", "files that differ from the baseline, separated by spaces"),
}
"""Columns of `candidates`, in order."""

TRIALS: Mapping[str, Column] = {
    "run": Column("string", "name of the run"),
    "candidate": Column("string", "id of the candidate, or baseline"),
    "generation": Column("Int64", "number of the generation, from 0; missing for the baseline"),
    "attempt": Column("Int64", "number of the implementation, from 0; missing for the baseline"),
    "trial": Column("Int64", "number of the trial, from 0"),
    "purpose": Column("string", "search, baseline, canary, confirm, test, look or rung"),
    "split": Column("string", "validation, which selection uses, or test, which it never uses"),
    "seed": Column("Int64", "seed of training and of the evaluation's sampling"),
    "state": Column("string", "ready, queued, running, scored or failed"),
    "value": Column("Float64", "the metric, in its unit"),
    "standard_error": Column("Float64", "standard error of this evaluation, over problems or rows"),
    "n": Column("Int64", "number of problems or rows it was scored on"),
    "stage": Column("string", "where it failed"),
    "kind": Column("string", "kind of failure"),
    "reason": Column("string", "why it failed: one line, then the last lines of the log"),
    "tries": Column("Int64", "number of jobs, retries and resumes included"),
    "wait_s": Column("Float64", "from submission to start of the newest job, seconds"),
    "start_up_s": Column("Float64", "from start of the job to start of training, sum over tries, seconds"),
    "train_s": Column("Float64", "training, sum over tries, seconds"),
    "evaluate_s": Column("Float64", "scoring, sum over tries, seconds"),
    "host": Column("string", "node of the newest finished job"),
    "gpu": Column("string", "GPU model there; empty without a GPU"),
    "folder": Column("string", "folder of the trial, inside the run"),
}
"""Columns of `trials`, in order. Secondary metrics of the evaluator follow as `secondary.NAME`."""


def candidates(*runs: Path | str) -> pd.DataFrame:
    """One row per candidate of these runs, in order of proposal. `CANDIDATES` describes the columns."""
    return _table([row for run in runs for row in _candidate_rows(run)], CANDIDATES)


def trials(*runs: Path | str) -> pd.DataFrame:
    """One row per trial of these runs, the baseline's first. A scoring on the test split is a trial with the purpose `test`.

    `TRIALS` describes the columns.
    """
    return _table([row for run in runs for row in _trial_rows(run)], TRIALS)


def metric_of(run: Path | str) -> Metric:
    """The metric of a run."""
    return open_run(RunPaths(Path(run))).config.baseline.metric.metric


def newest(runs: Path | str) -> Path:
    """The run folder that was created last. Raises `BadInput` if there is none."""
    found = [path.parent for path in Path(runs).glob("*/run.json")]
    if not found:
        raise BadInput(f"{runs} holds no run folders; start a run, or name the folder of one")
    return max(found, key=lambda folder: open_run(RunPaths(folder)).facts.created_at)


def _candidate_rows(run: Path | str) -> Iterator[dict[str, Any]]:
    metric, archive = metric_of(run), _archive(run)
    baseline = baseline_estimate(archive)
    for candidate in archive.candidates:
        attempt = candidate.attempt
        made = attempt.implementation if attempt is not None else None
        yield {
            "run": archive.paths.folder.name,
            "candidate": candidate.id,
            "generation": _generation(candidate),
            "title": candidate.idea.title,
            "origin": candidate.idea.origin,
            "parents": " ".join(candidate.idea.parents),
            "source": candidate.idea.source,
            "state": candidate.state.value,
            "trials": len(attempt.scores(Purpose.SEARCH, Purpose.CONFIRM)) if attempt is not None else 0,
            "changed": " ".join(made.paths) if made is not None else None,
            **_outcome(candidate.score, candidate.failure),
            **_gain(candidate.score, baseline, metric),
        }


def _trial_rows(run: Path | str) -> Iterator[dict[str, Any]]:
    archive = _archive(run)
    name = archive.paths.folder.name
    for trial in archive.baseline.trials:
        yield {"run": name, "candidate": BASELINE} | _trial(archive, trial)
    for candidate in archive.candidates:
        for attempt in candidate.attempts:
            place = {"run": name, "candidate": candidate.id, "generation": _generation(candidate)}
            for trial in attempt.trials:
                yield place | {"attempt": _number(attempt)} | _trial(archive, trial)


def _trial(archive: Archive, trial: Trial) -> dict[str, Any]:
    newest = trial.newest
    results = [one.result for one in trial.tries if one.result is not None]
    row: dict[str, Any] = {
        "trial": number_of(trial.paths.folder.name),
        "purpose": trial.purpose.value,
        "split": newest.job.split,
        "seed": newest.job.seed,
        "state": trial.state.value,
        "n": trial.score.n if trial.score is not None else None,
        "tries": len(trial.tries),
        "folder": trial.paths.folder.relative_to(archive.paths.folder).as_posix(),
        **_outcome(trial.score, trial.failure),
    }
    claim = newest.claim
    if claim is not None and not is_void(claim) and newest.job.submitted_at is not None:
        row["wait_s"] = max(0.0, claim.at - newest.job.submitted_at)
    if results:
        row["start_up_s"] = sum(result.seconds.start_up for result in results)
        row["train_s"] = sum(result.seconds.train for result in results)
        row["evaluate_s"] = sum(result.seconds.evaluate for result in results)
        row |= {"host": results[-1].host, "gpu": results[-1].gpu}
    if trial.score is not None:
        row |= {f"secondary.{name}": value for name, value in sorted(trial.score.secondary.items())}
    return row


def _outcome(score: Score | None, failure: Failure | None) -> dict[str, Any]:
    if score is not None:
        return {"value": score.value, "standard_error": score.standard_error}
    if failure is not None:
        return {"stage": failure.stage.value, "kind": failure.kind.value, "reason": failure.reason}
    return {}


def _gain(score: Score | None, baseline: Estimate | None, metric: Metric) -> dict[str, float]:
    if score is None or baseline is None:
        return {}
    row = standing(metric, "", [score], baseline)
    return {"gain": row.gain, "gain_error": row.gain_error}


def _archive(run: Path | str) -> Archive:
    """The archive of a run. A finished run is read once for several tables, any other at every call."""
    paths = open_run(RunPaths(Path(run).resolve())).paths
    if not paths.report.exists() or paths.controller.exists():
        return read_archive(paths.folder)
    report = paths.report.stat()
    return _finished(paths.folder, (report.st_ino, report.st_mtime_ns))


@functools.lru_cache(4)
def _finished(folder: Path, report: tuple[int, int]) -> Archive:
    """`report` identifies report.json: a run that is resumed writes another."""
    return read_archive(folder)


def _generation(candidate: Candidate) -> int:
    return number_of(candidate.paths.folder.parent.name)


def _number(attempt: Attempt) -> int:
    return number_of(attempt.paths.folder.name)


def _table(rows: list[dict[str, Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    """Rows as a table; columns and types are the same for any rows."""
    more = sorted({name for row in rows for name in row if name not in columns})
    kinds = {name: column.dtype for name, column in columns.items()} | dict.fromkeys(more, "Float64")
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in kinds.items()})
