"""Run folders as pandas tables: one row for each candidate, one row for each trial.

    from analysis.load import candidates, newest, trials
    table = candidates("runs/first", "runs/second")

Both take any number of run folders. A run that is still going on is read as far as it came; what is not known yet is
missing (NaN, NA). A file that cannot be read raises `Damaged`, whose message names it: a table never leaves out a row in
silence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import BadInput
from pipeline.metric import Estimate, Metric, difference, estimate
from pipeline.records import Failure, Score
from pipeline.store.archive import Archive, Attempt, Candidate, Trial
from pipeline.store.paths import RunPaths, number_of
from pipeline.store.run import is_void, open_run

BASELINE = "baseline"
"""What the column `candidate` holds for trials of the unmodified code."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    dtype: str
    """Its pandas type."""
    meaning: str
    """What it holds, with the unit."""


CANDIDATES: Mapping[str, Column] = {
    "run": Column("string", "name of the run"),
    "candidate": Column("string", "id, e.g. generation_000/candidate_003; also its folder in the run"),
    "generation": Column("Int64", "number of the generation, from 0"),
    "title": Column("string", "the idea in a few words"),
    "origin": Column("string", "where the idea comes from: explore, exploit, tune, human, …"),
    "parents": Column("string", "ids of the candidates it builds on, with spaces between; empty for the baseline"),
    "source": Column("string", "publication the idea was taken from; empty if none"),
    "state": Column("string", "proposed, ready, queued, running, scored or failed"),
    "value": Column("Float64", "the metric, from the first trial: what selection goes by; in the metric's unit"),
    "standard_error": Column("Float64", "of this one evaluation, over problems or rows; no seed noise in it"),
    "gain": Column("Float64", "how much better than the baseline's mean; positive is better for every metric"),
    "gain_error": Column("Float64", "standard error of the gain, with the noise of seeds and of the evaluations"),
    "trials": Column("Int64", "how many of its trials are scored on the validation split"),
    "stage": Column("string", "where it failed: implement, train, evaluate"),
    "kind": Column("string", "why it failed, in one word, as in docs/reference/run-folder.md"),
    "reason": Column("string", "why it failed: one line, then the last lines of the log"),
    "changed": Column("string", "files that differ from the baseline, with spaces between"),
}
"""Columns of `candidates`, in order."""

TRIALS: Mapping[str, Column] = {
    "run": Column("string", "name of the run"),
    "candidate": Column("string", "id of the candidate, or baseline"),
    "generation": Column("Int64", "number of the generation, from 0; missing for the baseline"),
    "attempt": Column("Int64", "number of the implementation, from 0; missing for the baseline"),
    "trial": Column("Int64", "number of the trial, from 0; trial k of every code has the same seed"),
    "split": Column("string", "validation, which selection sees, or test, which it never does"),
    "seed": Column("Int64", "seed of training and of the evaluation's sampling"),
    "state": Column("string", "ready, queued, running, scored or failed"),
    "value": Column("Float64", "the metric, in its unit"),
    "standard_error": Column("Float64", "of this one evaluation, over problems or rows"),
    "n": Column("Int64", "number of problems or rows it was scored on"),
    "stage": Column("string", "where it failed"),
    "kind": Column("string", "why it failed, in one word"),
    "reason": Column("string", "why it failed: one line, then the last lines of the log"),
    "tries": Column("Int64", "number of jobs, retries and resumes included"),
    "wait_s": Column("Float64", "from submission to start of the newest job, seconds; no run time"),
    "start_up_s": Column("Float64", "start of a job to start of training, all tries together, seconds"),
    "train_s": Column("Float64", "training, all tries together, seconds"),
    "evaluate_s": Column("Float64", "scoring, all tries together, seconds"),
    "host": Column("string", "node of the newest job that has ended"),
    "gpu": Column("string", "model of its GPU; empty without one"),
    "folder": Column("string", "folder of the trial, inside the run"),
}
"""Columns of `trials`, in order. Other numbers that the evaluator reports follow as `secondary.NAME`."""


def candidates(*runs: Path | str) -> pd.DataFrame:
    """One row for each candidate of these runs, in order of proposal. `CANDIDATES` says what the columns hold."""
    return _table([row for run in runs for row in _candidate_rows(run)], CANDIDATES)


def trials(*runs: Path | str) -> pd.DataFrame:
    """One row for each trial of these runs, the baseline's first; a scoring on the test split is a row of its own.

    `TRIALS` says what the columns hold.
    """
    return _table([row for run in runs for row in _trial_rows(run)], TRIALS)


def metric_of(run: Path | str) -> Metric:
    """The metric that a run searches for."""
    found = open_run(RunPaths(Path(run))).config.baseline.metric
    low = float("-inf") if found.low is None else found.low
    high = float("inf") if found.high is None else found.high
    return Metric(found.name, found.direction, low, high, found.percent)


def newest(runs: Path | str) -> Path:
    """The run folder that was begun last. Raises `BadInput` when there is none."""
    found = [path.parent for path in Path(runs).glob("*/run.json")]
    if not found:
        raise BadInput(f"{runs} holds no run folders; start a run, or name the folder of one")
    return max(found, key=lambda folder: open_run(RunPaths(folder)).facts.created_at)


def _candidate_rows(run: Path | str) -> Iterator[dict[str, Any]]:
    metric, archive = metric_of(run), _archive(run)
    baseline = _estimate(archive.baseline.scores)
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
            "trials": len(attempt.scores) if attempt is not None else 0,
            "changed": " ".join(made.paths) if made is not None else None,
            **_outcome(candidate.score, candidate.failure),
            **_gain(candidate.score, baseline, metric),
        }


def _trial_rows(run: Path | str) -> Iterator[dict[str, Any]]:
    archive = _archive(run)
    name = archive.paths.folder.name
    for trial in archive.baseline.all_trials():
        yield {"run": name, "candidate": BASELINE} | _trial(archive, trial)
    for candidate in archive.candidates:
        for attempt in candidate.attempts:
            place = {"run": name, "candidate": candidate.id, "generation": _generation(candidate)}
            for trial in attempt.all_trials():
                yield place | {"attempt": _number(attempt)} | _trial(archive, trial)


def _trial(archive: Archive, trial: Trial) -> dict[str, Any]:
    newest = trial.newest
    results = [one.result for one in trial.tries if one.result is not None]
    on_test = trial.paths.folder.name == "test"
    row: dict[str, Any] = {
        "trial": number_of((trial.paths.folder.parent if on_test else trial.paths.folder).name),
        "split": "test" if on_test else "validation",
        "seed": newest.job.seed if newest is not None else None,
        "state": trial.state.value,
        "n": trial.score.n if trial.score is not None else None,
        "tries": len(trial.tries),
        "folder": trial.paths.folder.relative_to(archive.paths.folder).as_posix(),
        **_outcome(trial.score, trial.failure),
    }
    claim = newest.claim if newest is not None else None
    if newest is not None and claim is not None and not is_void(claim) and newest.job.submitted_at is not None:
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
    ours = estimate([score.value], [score.standard_error], baseline.seed_sd)
    gain, error = difference(metric, ours, baseline)
    return {"gain": gain, "gain_error": error}


def _estimate(scores: tuple[Score, ...]) -> Estimate | None:
    if not scores:
        return None
    return estimate([score.value for score in scores], [score.standard_error for score in scores])


def _archive(run: Path | str) -> Archive:
    return open_run(RunPaths(Path(run).resolve())).reader.read()


def _generation(candidate: Candidate) -> int:
    return number_of(candidate.paths.folder.parent.name)


def _number(attempt: Attempt) -> int:
    return number_of(attempt.paths.folder.name)


def _table(rows: list[dict[str, Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    """Rows as a table whose columns and types do not depend on what happened to be there."""
    more = sorted({name for row in rows for name in row if name not in columns})
    kinds = {name: column.dtype for name, column in columns.items()} | dict.fromkeys(more, "Float64")
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in kinds.items()})
