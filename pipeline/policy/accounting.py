"""Device hours of a run: requested, used, wasted, waited. Devices are GPUs, or cores if trials have no GPU.

Every try counts. Times are those of the cluster's accounting if it has any, because a job also holds its GPUs before and
after our program runs; otherwise those of the job's own clock.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.store.archive import Archive, Spent
from pipeline.store.views import Attempt, Try


@dataclass(frozen=True)
class Account:
    """Device hours of some jobs."""

    device: str
    """`GPU` or `core`."""
    requested_h: float
    """Time limits of all submitted jobs, times their devices."""
    used_h: float
    """Time for which the jobs held their devices, times the devices."""
    evaluate_h: float
    """Part of `used_h` spent on scoring checkpoints."""
    wasted_h: Mapping[str, float]
    """Part of `used_h` spent on neither training nor scoring: by kind of failure, and `start_up`."""
    waited_h: float
    """Hours in the queue, not multiplied by devices; not part of `used_h`, and never counted against a limit."""

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
        """The account in one line."""
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
    """Account of all its tries."""
    candidates: Mapping[str, Account]
    """Accounts by candidate id."""


@dataclass(frozen=True)
class RunAccount:
    """The account of a run (account.json), as of its report."""

    at: float
    """Seconds since 1970."""
    run: Account
    """Account of all tries."""
    baseline: Account
    """Account of the tries of the unmodified code."""


def trial_h(config: Config) -> float:
    """The most device hours that one trial can cost."""
    return config.train.resources.time_min * config.train.resources.devices / 60


def account(config: Config, tries: Iterable[Try], seconds: Mapping[str, float], now: float) -> Account:
    """The account of some tries. `seconds` is the time by job id in the cluster's accounting; other jobs are counted by
    their own clock, and running ones up to `now`, seconds since 1970."""
    return _added(config, Spent(), tries, seconds, now)


def account_of_run(config: Config, archive: Archive, seconds: Mapping[str, float], now: float) -> Account:
    """The account of the whole run, computed in time independent of the archive's size. Ended tries of candidates are
    counted by their own clocks."""
    open_tries = (one for candidate in archive.open for one in candidate.tries() if one.result is None)
    return _added(config, archive.index.spent, [*tries_of([archive.baseline]), *open_tries], seconds, now)


def tries_of(holders: Iterable[Attempt]) -> list[Try]:
    """All tries of some attempts."""
    return [one for holder in holders for trial in holder.trials for one in trial.tries]


def committed_h(config: Config, archive: Archive, now: float) -> float:
    """GPU hours that are spent or may still be spent by jobs in flight, each up to its time limit; 0 without GPUs."""
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
