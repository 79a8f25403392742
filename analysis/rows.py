"""Rows of tables from the records of a run. Pure, except that completions, learning, events and curves come from files."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from analysis.columns import BASELINE, LEARNING
from pipeline.config import Config
from pipeline.errors import Damaged
from pipeline.records import Completion, Event, Failure, Purpose, Score, StepMeasures
from pipeline.store import files
from pipeline.store.paths import PolicyPaths, RunPaths, TryPaths, number_of
from pipeline.store.views import Attempt, Candidate, Generation, Trial, Try

Row = dict[str, Any]


def generation_row(generation: Generation) -> Row:
    """The row of one generation."""
    parents, selection = generation.parents, generation.selection
    return {
        "generation": generation.number,
        "ideas": parents.size,
        "exploit_share": parents.exploit_share,
        "parents": list(parents.candidates),
        "selected": list(selection.parents) if selection is not None else None,
        "candidates": len(generation.candidates),
    }


def candidate_row(candidate: Candidate, count: int) -> Row:
    """The row of one candidate, without columns that compare it with others. `count` is the number of devices of a job."""
    attempt = candidate.attempt
    made = attempt.implementation if attempt is not None else None
    failure = candidate.failure
    prices = [candidate.idea.usd] + [
        one.implementation.usage.usd for one in candidate.attempts if one.implementation and one.implementation.usage
    ]
    tries = list(candidate.tries())
    ended = [one.ended_at for one in tries if one.ended_at]
    return {
        "candidate": candidate.id,
        "generation": number_of(candidate.paths.folder.parent.name),
        "title": candidate.idea.title,
        "text": candidate.idea.text,
        "origin": candidate.idea.origin,
        "parents": list(candidate.idea.parents),
        "source": candidate.idea.source,
        "proposer": candidate.idea.maker,
        "maker": made.maker if made is not None else None,
        "state": candidate.state.value,
        "trials": len(attempt.scores(Purpose.SEARCH, Purpose.CONFIRM)) if attempt is not None else 0,
        "attempts": len(candidate.attempts),
        "order": candidate.order or None,
        "twin": failure.twin.rpartition("/")[0] if failure is not None and failure.twin else None,
        "changed": list(made.paths) if made is not None else [],
        "syntax": made.syntax if made is not None else None,
        "device_h": sum(one.held_s(0.0) for one in tries) * count / 3600,
        "search_h": sum(one.held_s(0.0) for one in _of_search(candidate)) * count / 3600,
        "train_s": sum(one.result.seconds.train for one in tries if one.result is not None) if tries else None,
        "usd": sum(known) if (known := [price for price in prices if price is not None]) else None,
        "started_at": min((one.claim.at for one in tries if one.claim is not None and not one.void), default=None),
        "ended_at": max(ended, default=None),
        **_outcome(candidate.score, failure),
    }


def _of_search(candidate: Candidate) -> Iterator[Try]:
    for attempt in candidate.attempts:
        for trial in attempt.of(Purpose.SEARCH, Purpose.RUNG):
            yield from trial.tries


def attempt_row(candidate: Candidate, attempt: Attempt) -> Row:
    """The row of one implementation."""
    made = attempt.implementation
    row: Row = _holder(candidate, attempt)
    if made is not None:
        row |= {"maker": made.maker, "tries": made.tries, "changed": list(made.paths), "syntax": made.syntax}
        if made.usage is not None:
            row |= {"tokens_in": made.usage.tokens_in, "tokens_out": made.usage.tokens_out, "usd": made.usage.usd}
    if attempt.smoke is not None:
        row["smoke_s"] = attempt.smoke.seconds
    return row | _outcome(None, attempt.failure)


def trial_row(run: Path, candidate: Candidate | None, attempt: Attempt, trial: Trial) -> Row:
    """The row of one trial of a candidate or of the baseline."""
    newest, results = trial.newest, [one.result for one in trial.tries if one.result is not None]
    row: Row = _holder(candidate, attempt) | {
        "trial": number_of(trial.paths.folder.name),
        "purpose": trial.purpose.value,
        "split": newest.job.split,
        "seed": newest.job.seed,
        "state": trial.state.value,
        "n": trial.score.n if trial.score is not None else None,
        "tries": len(trial.tries),
        "folder": trial.paths.folder.relative_to(run).as_posix(),
        **_outcome(trial.score, trial.failure),
    }
    if newest.claim is not None and not newest.void and newest.job.submitted_at is not None:
        row["wait_s"] = max(0.0, newest.claim.at - newest.job.submitted_at)
    if results:
        row["start_up_s"] = sum(result.seconds.start_up for result in results)
        row["train_s"] = sum(result.seconds.train for result in results)
        row["evaluate_s"] = sum(result.seconds.evaluate for result in results)
        row |= {"host": results[-1].host, "gpu": results[-1].gpu}
    if trial.score is not None:
        row |= {f"secondary.{name}": value for name, value in sorted(trial.score.secondary.items())}
    return row


def job_row(run: Path, candidate: Candidate | None, trial: Trial, one: Try, count: int) -> Row:
    """The row of one try of a trial. `count` is the number of devices that it holds."""
    row: Row = _owner(candidate) | {
        "folder": one.paths.folder.relative_to(run).as_posix(),
        "purpose": trial.purpose.value,
        "job_id": one.job.job_id,
        "submitted_at": one.job.submitted_at,
        "device_h": one.held_s(0.0) * count / 3600,
    }
    if one.claim is not None and not one.void:
        row |= {"started_at": one.claim.at, "host": one.claim.host}
    if one.result is not None:
        failure = one.failure
        row |= {"ended_at": one.result.ended_at or None, "gpu": one.result.gpu}
        row["ended"] = failure.kind.value if failure is not None else one.result.ended.value
    return row


def completion_rows(paths: RunPaths, damaged: list[str]) -> Iterator[Row]:
    """Rows of all answers of language models."""
    for folder in sorted(paths.llm.glob("*")):
        for path in sorted(folder.glob("sample_*.json")):
            try:
                answer = files.read(path, Completion)
            except Damaged as error:
                damaged.append(str(error))
                continue
            except FileNotFoundError:
                continue  # a run that is being deleted
            usage = answer.usage
            yield {
                "prompt": folder.name,
                "purpose": folder.name.rpartition("-")[0],
                "sample": path.stem,
                "model": answer.model,
                "finish": answer.finish,
                "tokens_in": usage.tokens_in,
                "tokens_cached": usage.tokens_cached,
                "tokens_out": usage.tokens_out,
                "usd": usage.usd,
                "requests": answer.requests,
                "seconds": answer.seconds,
                "at": answer.at,
            }


def learning_rows(paths: RunPaths, damaged: list[str]) -> Iterator[Row]:
    """Every step of reinforcement learning that is over."""
    for folder in files.folders(paths.policy, "step"):
        try:
            one = files.read_if_there(PolicyPaths(folder).measures, StepMeasures)
        except Damaged as error:
            damaged.append(str(error))
            continue
        if one is None:
            continue
        low, middle, high, best = one.reward_quantiles or (None, None, None, None)
        row: Row = {
            name: getattr(one, name)
            for name in LEARNING
            if name in StepMeasures.__dataclass_fields__ and name not in ("alarms", "failures", "staleness")
        }
        row |= {"reward_low": low, "reward_median": middle, "reward_high": high, "reward_best": best}
        row |= {"failed": sum(one.failures.values()), "alarms": list(one.alarms)}
        row["failures"] = [f"{kind}: {count}" for kind, count in one.failures.items()]
        if learned := sum(one.staleness.values()):
            row["staleness"] = sum(int(age) * count for age, count in one.staleness.items()) / learned
        if one.update is not None:
            kept = ("loss", "gradient_norm", "ratio", "ratio_max", "clipped", "weight", "truncated")
            row |= {name: getattr(one.update, name) for name in kept}
            row |= {"learned": one.update.rows, "kl": one.update.kl_start}
        yield row


def event_rows(paths: RunPaths, damaged: list[str]) -> Iterator[Row]:
    """Rows of all lines of events.jsonl. An incomplete last line is harmless and is not counted as damage."""
    try:
        lines = paths.events.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            event = msgspec.json.decode(line, type=Event)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            if number < len(lines):
                damaged.append(f"{paths.events}, line {number} is damaged ({error})")
            continue
        yield {"at": event.at, "what": event.what, "where": event.where, "detail": event.detail}


def curve_rows(paths: TryPaths) -> Iterator[Row]:
    """Rows of all numbers in metrics.jsonl. A variant may write anything; values that are not numbers are left out."""
    try:
        lines = files.head(paths.metrics).splitlines()
    except OSError:
        return
    for number, line in enumerate(lines):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(found, dict):
            continue
        numbers = {str(name): value for name, value in found.items() if type(value) in (int, float)}
        finite = {name: float(value) for name, value in numbers.items() if abs(value) < 1e300 and not math.isnan(value)}
        step = finite.pop("step", float(number))
        yield from ({"step": step, "metric": name, "value": value} for name, value in finite.items())


def run_row(folder: Path, config: Config) -> Row:
    """The columns of a run that come from its settings."""
    metric = config.baseline.metric.metric
    return {
        "folder": str(folder),
        "group": config.group,
        "arm": config.arm,
        "method": _target(config.select.method),
        "ideator": _target(config.ideate.maker),
        "implementer": _target(config.implement.maker),
        "baseline": config.baseline.name,
        "scale": config.scale,
        "seed": config.seed,
        "metric": metric.name,
        "direction": metric.direction.value,
        "percent": metric.percent,
        "device": config.train.resources.device,
    }


def _target(settings: Mapping[str, Any]) -> str:
    return str(settings.get("_target_", "")).rpartition(".")[2]


def _owner(candidate: Candidate | None) -> Row:
    if candidate is None:
        return {"candidate": BASELINE}
    return {"candidate": candidate.id, "generation": number_of(candidate.paths.folder.parent.name)}


def _holder(candidate: Candidate | None, attempt: Attempt) -> Row:
    if candidate is None:
        return _owner(None)
    return _owner(candidate) | {"attempt": number_of(attempt.paths.folder.name)}


def _outcome(score: Score | None, failure: Failure | None) -> Row:
    if score is not None:
        return {"value": score.value, "standard_error": score.standard_error, "sandbox": score.sandbox}
    if failure is not None:
        return {"stage": failure.stage.value, "kind": failure.kind.value, "reason": failure.reason}
    return {}
