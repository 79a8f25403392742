"""What a run costs in hours of GPUs (of cores where a trial has no GPU): asked for, used, wasted, waited for.

Counts every try. A job's own clock says when it began and ended; where the cluster keeps accounts, theirs is taken
instead, because a job also holds its GPUs before our first and after our last line.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.cluster.base import Cluster
from pipeline.config import Config, ResourcesConfig
from pipeline.store.archive import Archive, Attempt, Try


@dataclass(frozen=True)
class Account:
    """Hours of devices."""

    device: str
    """`GPU` or `core`."""
    requested_h: float
    """Time limits of all jobs submitted, times their devices."""
    used_h: float
    """Time the jobs held their devices."""
    wasted_h: Mapping[str, float]
    """Part of `used_h` that trained nothing: by the kind of failure, `start_up` and `evaluate`."""
    waited_h: float
    """Hours in the queue, not times devices; no part of `used_h`, and held against no limit."""

    def text(self) -> str:
        """One line for a person."""
        words = f"{self.device} hours: {self.used_h:.2f} used of {self.requested_h:.2f} asked for"
        if self.wasted_h:
            parts = ", ".join(f"{kind} {hours:.2f}" for kind, hours in sorted(self.wasted_h.items()))
            words += f"; {sum(self.wasted_h.values()):.2f} without training ({parts})"
        return f"{words}; waited {self.waited_h:.2f} h in the queue"


def devices(needs: ResourcesConfig) -> tuple[str, int]:
    """What a job is counted in, and how many of it one job holds."""
    if needs.gpus_per_node:
        return "GPU", needs.nodes * needs.gpus_per_node
    return "core", needs.nodes * needs.cpus_per_task


def account(config: Config, tries: Iterable[Try], seconds: Mapping[str, float], now: float) -> Account:
    """Add up some tries. `seconds` is what the cluster accounts to job ids; jobs it does not know go by their own clock,
    and those still running up to `now`, seconds since 1970."""
    device, count = devices(config.train.resources)
    requested = used = waited = 0.0
    wasted: defaultdict[str, float] = defaultdict(float)
    for one in tries:
        requested += 60 * config.train.resources.time_min * count
        held = seconds.get(one.job.job_id or "", one.held_s(now)) * count
        used += held
        waited += _waited(one, now)
        if one.result is None:
            continue
        if one.failure is not None:
            wasted[one.failure.kind.value] += held
        else:
            wasted["start_up"] += one.result.seconds.start_up * count
            wasted["evaluate"] += one.result.seconds.evaluate * count
    hours = {kind: spent / 3600 for kind, spent in wasted.items() if spent}
    return Account(device, requested / 3600, used / 3600, hours, waited / 3600)


@dataclass(frozen=True)
class Statement:
    """The account of a run and of its parts (account.json), as of a moment."""

    at: float
    """Seconds since 1970."""
    run: Account
    """All tries."""
    baseline: Account
    """The unmodified code's."""
    generations: Mapping[str, Account]
    """By name of the folder."""
    candidates: Mapping[str, Account]
    """By id."""


def statement(config: Config, archive: Archive, cluster: Cluster | None, now: float) -> Statement:
    """Account for every incarnation of every job, by one question to the cluster where there is one to ask."""
    everything = tries_of(archive.holders())
    known = [one.job.job_id for one in everything if one.job.job_id is not None]
    seconds = cluster.usage(known) if cluster is not None else {}

    def part(holders: Iterable[Attempt]) -> Account:
        return account(config, tries_of(holders), seconds, now)

    return Statement(
        now,
        account(config, everything, seconds, now),
        part([archive.baseline]),
        {
            generation.paths.folder.name: part(a for one in generation.candidates for a in one.attempts)
            for generation in archive.generations
        },
        {candidate.id: part(candidate.attempts) for candidate in archive.candidates},
    )


def tries_of(holders: Iterable[Attempt]) -> list[Try]:
    """All tries of some holders of trials."""
    return [one for holder in holders for trial in holder.all_trials() for one in trial.tries]


def committed_h(config: Config, archive: Archive, now: float) -> float:
    """GPU hours that are spent, or may yet be spent by what is in flight: each job up to its time limit."""
    if not config.train.resources.gpus_per_node:
        return 0.0
    _, count = devices(config.train.resources)
    settled_s = sum(generation.held_s for generation in archive.generations if generation.settled)
    others = tries_of(archive.unsettled_holders())
    open_h = sum(one.held_s(now) * count / 3600 if one.result else trial_h(config) for one in others)
    return settled_s * count / 3600 + open_h


def trial_h(config: Config) -> float:
    """Device hours that one trial can cost at most."""
    return config.train.resources.time_min * devices(config.train.resources)[1] / 60


def _waited(one: Try, now: float) -> float:
    """Seconds a job was in the queue; a job that never started and is over waited for nothing."""
    if one.job.submitted_at is None or (one.claim is None and one.result is not None):
        return 0.0
    return max(0.0, (one.claim.at if one.claim else now) - one.job.submitted_at)
