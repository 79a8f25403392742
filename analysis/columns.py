"""The columns of all tables, in order, with type, meaning and unit. `docs/reference/tables.md` is generated from them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

BASELINE = "baseline"
"""Value of the column `candidate` for trials of the unmodified code."""

_SANDBOX = "`none` means that the code could change its own score; empty if not recorded, missing without a score"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    dtype: str
    """Pandas type; `object` stands for a list of strings."""
    meaning: str
    """Meaning and unit."""


def _text(meaning: str) -> Column:
    return Column("string", meaning)


def _count(meaning: str) -> Column:
    return Column("Int64", meaning)


def _number(meaning: str) -> Column:
    return Column("Float64", meaning)


def _flag(meaning: str) -> Column:
    return Column("boolean", meaning)


def _list(meaning: str) -> Column:
    return Column("object", f"{meaning}; a list of strings")


RUNS: Mapping[str, Column] = {
    "run": _text("name of the run; if several have the same name, with as much of the folder as makes it unique"),
    "folder": _text("folder of the run"),
    "group": _text("group of runs that were started together for comparison; empty if none"),
    "arm": _text("arm of a comparison of methods; empty if it is none"),
    "method": _text("search method: name of the class in `select.method`"),
    "ideator": _text("name of the class that writes the ideas"),
    "implementer": _text("name of the class that writes the code"),
    "baseline": _text("name of the baseline"),
    "scale": _text("name of the scale: tiny, small, paper, …"),
    "seed": _count("seed of the search"),
    "metric": _text("name of the metric"),
    "direction": _text("maximize or minimize"),
    "percent": _flag("whether the metric is shown in percent"),
    "value": _number("the baseline's mean on the validation split, in the unit of the metric"),
    "standard_error": _number("its standard error, with both parts of the noise"),
    "seed_sd": _number("standard deviation between the baseline's seeds"),
    "trials": _count("number of the baseline's trials in the mean"),
    "candidates": _count("number of candidates"),
    "scored": _count("of them, those with a score"),
    "failed": _count("of them, those that failed"),
    "device": _text("device of the device hours: GPU or core"),
    "device_h": _number("hours that all jobs held their devices, by the jobs' own clocks"),
    "created_at": _number("seconds since 1970"),
    "stopped": _text("the stop rule that ended it; missing while it is in progress"),
    "version": _text("version of Groundwork that created it"),
}
"""Columns of `Tables.runs`: one row for each run."""

GENERATIONS: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "generation": _count("number of the generation, from 0"),
    "ideas": _count("number of ideas requested"),
    "exploit_share": _number("share of the ideas that build on parents, 0 to 1"),
    "parents": _list("ids of the candidates that ideas may build on, best first"),
    "selected": _list("ids of the parents that its selection chose, best first; missing before the selection"),
    "candidates": _count("number of candidates so far"),
}
"""Columns of `Tables.generations`: one row for each generation."""

CANDIDATES: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "candidate": _text("id, e.g. generation_000/candidate_003; also its folder in the run"),
    "generation": _count("number of the generation, from 0"),
    "title": _text("the idea in a few words"),
    "text": _text("the idea: what to do and why"),
    "origin": _text("where the idea comes from: explore, exploit, tune, human, …"),
    "parents": _list("ids of the candidates it builds on, empty for the baseline"),
    "source": _text("publication the idea was taken from; empty if none"),
    "proposer": _text("author of the idea: the name of a model, or the class of another ideator; empty for a person"),
    "maker": _text("author of its code: the bank, a person, or the name of a model"),
    "state": _text("proposed, ready, queued, running, scored or failed"),
    "value": _number("the metric in its unit, from the candidate's search trial, which selection uses"),
    "standard_error": _number("standard error of this evaluation, over problems or rows, without seed noise"),
    "sandbox": _text(f"kind of sandbox in which its search trial was trained; {_SANDBOX}"),
    "gain": _number("how much better than the baseline's mean; positive is better for every metric"),
    "gain_error": _number("standard error of the gain, including seed noise"),
    "gain_parent": _number(
        "how much better than its first parent's search trial; missing if it builds on the baseline"
    ),
    "gain_parent_error": _number("standard error of that gain, including seed noise"),
    "confirmed": _number("mean over the trials with other seeds, after the search; missing if there are none"),
    "confirmed_error": _number("its standard error, with both parts of the noise"),
    "confirmed_gain": _number("how much better that mean is than the baseline's"),
    "confirmed_gain_error": _number("standard error of that gain"),
    "seeds": _count("number of trials with other seeds"),
    "test": _number("mean on the test split, which selection never saw; missing for all but elites"),
    "test_error": _number("its standard error"),
    "test_gain": _number("how much better than the baseline on the test split"),
    "test_gain_error": _number("standard error of that gain"),
    "test_p": _number(
        "p-value of that gain, one-sided, corrected for all tests of the run; missing if it was not tested"
    ),
    "test_low": _number("lower limit of that gain, with 95 % confidence for all tests of the run together"),
    "elite": _flag("whether it is an elite in the report"),
    "mark": _text("mark by a person: pinned, banned, or empty"),
    "trials": _count("number of trials scored on the validation split"),
    "attempts": _count("number of implementations"),
    "order": _count("position of its outcome among all outcomes of the run, from 1"),
    "stage": _text("where it failed: implement, train, evaluate"),
    "kind": _text("kind of failure, as in docs/reference/run-folder.md"),
    "reason": _text("why it failed: one line, then the last lines of the log"),
    "twin": _text("with kind duplicate: the candidate with the same code"),
    "changed": _list("files that differ from the baseline"),
    "syntax": _text("hash of the changed files' syntax trees; equal for equal code"),
    "device_h": _number("hours that its jobs held their devices, by their own clocks"),
    "search_h": _number(
        "of them, those of the search: without confirmation and test; for the first of a generation with the hours of the "
        "jobs in which the ideator sampled and learned"
    ),
    "train_s": _number("training, sum over its jobs, seconds"),
    "usd": _number("price of its code and its share of the batch of ideas, US dollars; missing if unknown"),
    "started_at": _number("start of its first job, seconds since 1970"),
    "ended_at": _number("end of its last job, seconds since 1970"),
}
"""Columns of `Tables.candidates`: one row for each candidate, in order of proposal."""

ATTEMPTS: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "candidate": _text("id of the candidate"),
    "generation": _count("number of the generation, from 0"),
    "attempt": _count("number of the implementation, from 0; the repair of a crash is a new one"),
    "maker": _text("author of the code: the bank, a person, or the name of a model"),
    "tries": _count("number of answers requested until one applied"),
    "tokens_in": _count("tokens of the prompts; missing without a language model"),
    "tokens_out": _count("tokens of the answers"),
    "usd": _number("their price, US dollars; missing if unknown"),
    "changed": _list("files that differ from the baseline"),
    "syntax": _text("hash of the changed files' syntax trees"),
    "smoke_s": _number("run time of the smoke test, seconds; missing if it did not pass"),
    "stage": _text("where it failed"),
    "kind": _text("kind of failure"),
    "reason": _text("why it failed"),
}
"""Columns of `Tables.attempts`: one row for each implementation."""

TRIALS: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "candidate": _text("id of the candidate, or baseline"),
    "generation": _count("number of the generation, from 0; missing for the baseline"),
    "attempt": _count("number of the implementation, from 0; missing for the baseline"),
    "trial": _count("number of the trial, from 0"),
    "purpose": _text("search, baseline, canary, confirm, test, look or rung"),
    "split": _text("validation, which selection uses, or test, which it never uses"),
    "seed": _count("seed of training and of the evaluation's sampling"),
    "state": _text("ready, queued, running, scored or failed"),
    "value": _number("the metric, in its unit"),
    "standard_error": _number("standard error of this evaluation, over problems or rows"),
    "sandbox": _text(f"kind of sandbox in which it was trained; {_SANDBOX}"),
    "n": _count("number of problems or rows it was scored on"),
    "stage": _text("where it failed"),
    "kind": _text("kind of failure"),
    "reason": _text("why it failed: one line, then the last lines of the log"),
    "tries": _count("number of jobs, including retries and resumes"),
    "wait_s": _number("from submission to start of the newest job, seconds"),
    "start_up_s": _number("from start of the job to start of training, sum over tries, seconds"),
    "train_s": _number("training, sum over tries, seconds"),
    "evaluate_s": _number("scoring, sum over tries, seconds"),
    "host": _text("node of the newest finished job"),
    "gpu": _text("GPU model there; empty without a GPU"),
    "folder": _text("folder of the trial, inside the run"),
}
"""Columns of `Tables.trials`: one row for each trial, the baseline's first. A scoring on the test split is a trial with the
purpose `test`. Secondary metrics of the evaluator follow as `secondary.NAME`."""

JOBS: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "candidate": _text("id of the candidate, or baseline"),
    "generation": _count("number of the generation, from 0; missing for the baseline"),
    "folder": _text("folder of the try, inside the run"),
    "purpose": _text("purpose of its trial"),
    "job_id": _text("the cluster's id"),
    "host": _text("node"),
    "gpu": _text("GPU model; empty without a GPU"),
    "submitted_at": _number("seconds since 1970"),
    "started_at": _number("when the job claimed its try, seconds since 1970"),
    "ended_at": _number("seconds since 1970; missing while it runs"),
    "ended": _text("scored, or the kind of failure; missing while it waits or runs"),
    "device_h": _number("hours that it held its devices"),
}
"""Columns of `Tables.jobs`: one row for each try of a trial."""

CURVES: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "candidate": _text("id of the candidate, or baseline"),
    "folder": _text("folder of the try, inside the run"),
    "seed": _count("seed of the training"),
    "step": _number("step of training, as the variant reports it"),
    "metric": _text("name of the quantity"),
    "value": _number("its value, as the variant reports it: it describes the training and is never a score"),
}
"""Columns of `Tables.curves()`: one row for each step and quantity of metrics.jsonl."""

COMPLETIONS: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "prompt": _text("key of the prompt; its folder is llm/KEY in the run"),
    "purpose": _text("first, explore, exploit, lessons, implement, repair_patch, repair_crash or embed"),
    "sample": _text("name of the answer's file"),
    "model": _text("name of the model, as reported by the provider"),
    "finish": _text("why the answer ended, as in docs/reference/run-folder.md"),
    "tokens_in": _count("tokens of the prompt, including cached ones"),
    "tokens_cached": _count("prompt tokens read from the provider's cache"),
    "tokens_out": _count("tokens of the answer, including hidden reasoning"),
    "usd": _number("price, US dollars; missing if unknown"),
    "requests": _count("number of requests until it answered"),
    "seconds": _number("from the first request to the answer, seconds"),
    "at": _number("time of the answer, seconds since 1970"),
}
"""Columns of `Tables.completions`: one row for each answer of a language model."""

LEARNING: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "step": _count("step of the policy, from 0; also the generation that it sampled"),
    "ideas": _count("number of ideas sampled"),
    "known": _count("of them, those with a reward"),
    "reward_mean": _number("mean reward; missing if none is known"),
    "reward_low": _number("reward at the quantile 0.1"),
    "reward_median": _number("median reward"),
    "reward_high": _number("reward at the quantile 0.9"),
    "reward_best": _number("largest reward of the step"),
    "best_so_far": _number("largest reward of this step and those before"),
    "distinct": _count("number of distinct ideas, by code, or by text where there is no code"),
    "common_share": _number("share of the commonest idea, 0 to 1"),
    "unreadable": _count("answers that hold no idea"),
    "failed": _count("ideas that failed"),
    "failures": _list("kinds of these failures, each as `kind: number`"),
    "entropy": _number("mean entropy of the policy when it sampled, nats per token"),
    "thinking": _number("mean length of the thinking, tokens"),
    "idea_length": _number("mean length of what follows the thinking, tokens"),
    "learned": _count("ideas that the update learned from; missing if there was nothing to learn from"),
    "staleness": _number("their mean age, steps; 0 for ideas of this step"),
    "loss": _number("mean loss of the update"),
    "gradient_norm": _number("mean norm of its gradient before clipping"),
    "kl": _number("mean over the ideas of log pi - log pi_0, the policy at the start of the run, nats per token"),
    "ratio": _number("mean probability ratio of a token to the policy at the start of the update"),
    "ratio_max": _number("largest of these ratios"),
    "clipped": _number("share of tokens whose gradient was cut, 0 to 1"),
    "weight": _number("mean importance weight of an idea"),
    "truncated": _number("share of ideas whose weight was truncated, 0 to 1"),
    "sample_h": _number("device hours of sampling"),
    "execute_h": _number("device hours of the trials of the step"),
    "update_h": _number("device hours of the update"),
    "alarms": _list("signs that the policy collapses"),
}
"""Columns of `Tables.learning`: one row for each step of reinforcement learning that is over."""

EVENTS: Mapping[str, Column] = {
    "run": _text("name of the run"),
    "at": _number("seconds since 1970"),
    "what": _text("name of the event"),
    "where": _text("folder inside the run"),
    "detail": _text("more about it"),
}
"""Columns of `Tables.events`: one row for each line of events.jsonl."""

TABLES: Mapping[str, Mapping[str, Column]] = {
    "runs": RUNS,
    "generations": GENERATIONS,
    "candidates": CANDIDATES,
    "attempts": ATTEMPTS,
    "trials": TRIALS,
    "jobs": JOBS,
    "curves": CURVES,
    "completions": COMPLETIONS,
    "learning": LEARNING,
    "events": EVENTS,
}
"""Columns by name of the table."""


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    """Rows as a table, always with the same columns and types. Other names in the rows follow as numeric columns."""
    found = list(rows)
    more = sorted({name for row in found for name in row}.difference(columns))
    kinds = {name: column.dtype for name, column in columns.items()} | dict.fromkeys(more, "Float64")
    return pd.DataFrame({name: pd.Series([row.get(name) for row in found], dtype=kind) for name, kind in kinds.items()})
