"""What a run takes in hours of GPUs (of cores where a trial has no GPU): requested, used, wasted, waited.

Counts every try. Start and end are taken from the job's own clock; where the cluster keeps accounts, theirs is taken
instead, because a job also holds its GPUs before our first and after our last line.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.store.archive import Archive, Spent
from pipeline.store.views import Attempt, Try


@dataclass(frozen=True)
class Account:
    """Hours of devices."""

    device: str
    """`GPU` or `core`."""
    requested_h: float
    """Time limits of all jobs submitted, times their devices."""
    used_h: float
    """Time the jobs held their devices."""
    evaluate_h: float
    """Part of `used_h` that scored checkpoints."""
    wasted_h: Mapping[str, float]
    """Part of `used_h` that neither trained nor scored: by kind of failure, and `start_up`."""
    waited_h: float
    """Hours in the queue, not times devices; no part of `used_h`, and held against no limit."""

    def __add__(self, other: "Account") -> "Account":
        wasted = Counter(self.wasted_h)
        wasted.update(other.wasted_h)
        return Account(
            self.device,
            self.requested_h + other.requested_h,
            self.used_h + other.used_h,
            self.evaluate_h + other.evaluate_h,
            dict(wasted),
            self.waited_h + other.waited_h,
        )

    def text(self) -> str:
        """One line for a person."""
        line = f"{self.device} hours: {self.used_h:.2f} used of {self.requested_h:.2f} requested"
        if self.evaluate_h:
            line += f", {self.evaluate_h:.2f} of them for scoring"
        if self.wasted_h:
            parts = ", ".join(f"{kind} {hours:.2f}" for kind, hours in sorted(self.wasted_h.items()))
            line += f"; {sum(self.wasted_h.values()):.2f} wasted ({parts})"
        return f"{line}; waited {self.waited_h:.2f} h in the queue"


@dataclass(frozen=True)
class GenerationAccount:
    """The account of a generation and of its candidates (generation_NNN/account.json), as of its selection."""

    at: float
    """Seconds since 1970."""
    generation: Account
    """All its tries."""
    candidates: Mapping[str, Account]
    """By id."""


@dataclass(frozen=True)
class RunAccount:
    """The account of a run (account.json), as of its report."""

    at: float
    """Seconds since 1970."""
    run: Account
    """All tries."""
    baseline: Account
    """Those of the unmodified code."""


def trial_h(config: Config) -> float:
    """Device hours that one trial can cost at most."""
    return config.train.resources.time_min * config.train.resources.devices / 60


def account(config: Config, tries: Iterable[Try], seconds: Mapping[str, float], now: float) -> Account:
    """Add up some tries. `seconds` is what the cluster accounts to job ids; jobs it does not know are counted by their own
    clock, and those still running up to `now`, seconds since 1970."""
    return _added(config, Spent(), tries, seconds, now)


def account_of_run(config: Config, archive: Archive, seconds: Mapping[str, float], now: float) -> Account:
    """The whole run in a time that does not grow with the archive; tries of candidates that are over by their own clocks."""
    open_tries = (one for candidate in archive.open for one in candidate.tries() if one.result is None)
    return _added(config, archive.index.spent, [*tries_of([archive.baseline]), *open_tries], seconds, now)


def tries_of(holders: Iterable[Attempt]) -> list[Try]:
    """All tries of some holders of trials."""
    return [one for holder in holders for trial in holder.trials for one in trial.tries]


def committed_h(config: Config, archive: Archive, now: float) -> float:
    """GPU hours that are spent, or may yet be spent by what is in flight: each job up to its time limit."""
    if not config.train.resources.gpus_per_node:
        return 0.0
    count = config.train.resources.devices
    over_s = archive.index.spent.held_s + sum(one.held_s(now) for one in tries_of([archive.baseline]) if one.result)
    in_flight = sum(one.result is None for one in tries_of(archive.open_holders()))
    return over_s * count / 3600 + in_flight * trial_h(config)


def _added(config: Config, spent: Spent, tries: Iterable[Try], seconds: Mapping[str, float], now: float) -> Account:
    device, count = config.train.resources.device, config.train.resources.devices
    number, held_s, waited_s, wasted_s = spent.tries, spent.held_s, spent.waited_s, Counter(spent.wasted_s)
    for one in tries:
        own_s = seconds.get(one.job.job_id or "", one.held_s(now))
        number += 1
        held_s += own_s
        waited_s += one.waited_s(now)
        if one.failure is not None:
            wasted_s[one.failure.kind.value] += own_s  # type: ignore[assignment]
        elif one.result is not None:
            wasted_s["start_up"] += one.result.seconds.start_up  # type: ignore[assignment]
            wasted_s["evaluate"] += one.result.seconds.evaluate  # type: ignore[assignment]
    evaluate_s = wasted_s.pop("evaluate", 0.0)
    hours = {kind: spent_s * count / 3600 for kind, spent_s in wasted_s.items() if spent_s > 1e-6}
    return Account(
        device,
        number * trial_h(config),
        held_s * count / 3600,
        evaluate_s * count / 3600,
        hours,
        waited_s / 3600,
    )
