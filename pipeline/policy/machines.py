"""Machine faults that no single job can show: a node on which everything fails, a different GPU model, and unrelated ideas
that fail in the same way. These findings never score an idea."""

import heapq
import re
from collections.abc import Iterator

from pipeline.methods.base import Terms
from pipeline.policy.accounting import tries_of
from pipeline.policy.agenda import reference_seeds
from pipeline.records import Alarm, Failure, FailureKind, Purpose
from pipeline.store.archive import Archive
from pipeline.store.views import Attempt, Candidate, Trial, Try

_UNRELATED = 3
"""Number of consecutive unrelated candidates with the same failure that raises an alarm."""
_NODE_FAULTS = frozenset({FailureKind.NODE_FAIL, FailureKind.DEVICE, FailureKind.FILE_SYSTEM, FailureKind.VANISHED})
_SHUN_S = 6 * 3600.0
"""Seconds for which a node is avoided after its last fault; it may have been repaired by then."""
_MOST_SHUNNED = 8
"""Most nodes to avoid: if more fail, the cause is probably shared."""
_SINGLE = frozenset(
    {
        FailureKind.CANCELLED,
        FailureKind.INTERRUPTED,
        FailureKind.PREEMPTED,
        FailureKind.NODE_FAIL,
        FailureKind.VANISHED,
        FailureKind.OTHER_GPU,
        FailureKind.ALTERED,
        FailureKind.STOPPED_EARLY,
    }
)
"""Ends that say nothing about other jobs: faults that are retried individually, and trainings that were stopped early."""


def shunned(archive: Archive, now: float) -> tuple[str, ...]:
    """Nodes to avoid: the last two tries there failed by node faults, or the node has a different GPU model."""
    last_on = {node: [one for one, _ in archive.ended(entries)] for node, entries in archive.index.last_on.items()}
    for one in tries_of([archive.baseline]):
        if one.result is not None and one.result.host:
            last_on[one.result.host] = [*last_on.get(one.result.host, []), one]
    found = []
    for node, tries in last_on.items():
        last = sorted(tries, key=lambda one: -one.ended_at)[:2]
        kinds = [one.failure.kind if one.failure is not None else None for one in last]
        recent = now - last[0].ended_at < _SHUN_S
        if kinds[0] is FailureKind.OTHER_GPU or (recent and len(kinds) > 1 and set(kinds) <= _NODE_FAULTS):
            found.append(node)
    return tuple(found[:_MOST_SHUNNED])


def reference_gpu(archive: Archive) -> str | None:
    """The GPU model of the run, which is that of the baseline's first trial; none until that trial has a score."""
    for trial in archive.baseline.of(Purpose.BASELINE)[:1]:
        for one in trial.tries:
            if one.result is not None and one.result.score is not None:
                return one.result.gpu
    return None


def signature(failure: Failure) -> str:
    """A text that is equal for failures of the same cause: stage, kind, and the first line without numbers and paths."""
    line = re.sub(r"\S*/\S*", "PATH", failure.reason.splitlines()[0] if failure.reason else "")
    return f"{failure.stage}/{failure.kind}: {re.sub(r'(0x)?[0-9][0-9a-f.]*', 'N', line)[:200]}"


def cause_for_alarm(terms: Terms, archive: Archive) -> Alarm | None:
    """An alarm for a failed canary, or for unrelated candidates that failed consecutively in the same way; else none."""
    known_seeds = {raised.alarm.seed for raised in archive.alarms}
    for trial in archive.baseline.of(Purpose.CANARY):
        if trial.failure is not None and trial.seed not in known_seeds:
            since = trial.newest.result.started_at if trial.newest.result is not None else 0.0
            return Alarm(signature(trial.failure), (), trial.seed, since)
    known = {candidate for raised in archive.alarms for candidate in raised.alarm.candidates}
    shared, ids, since = "", list[str](), 0.0
    for one, candidate in _ended(archive):
        if one.failure is not None and one.failure.kind in _SINGLE:
            continue
        if one.failure is None or candidate is None or candidate.id in known:
            break
        if ids and signature(one.failure) != shared:
            break
        if all(not _lineage(archive, candidate.id) & _lineage(archive, other) for other in ids):
            shared, since = signature(one.failure), one.ended_at
            ids.append(candidate.id)
    if len(ids) < _UNRELATED:
        return None
    seeds = {seed for _, seed in reference_seeds(terms, archive)} | {one.seed for one in archive.baseline.trials}
    return Alarm(shared, tuple(ids), max(seeds) + 1, since)


def deciding_trial(archive: Archive, alarm: Alarm) -> Trial | None:
    """The baseline's trial that decides an alarm, once it is closed."""
    canaries = archive.baseline.of(Purpose.CANARY)
    return next((trial for trial in canaries if trial.seed == alarm.seed and trial.closed), None)


def blamed(candidate: Candidate, alarm: Alarm) -> tuple[Attempt, Trial, Failure] | None:
    """The attempt, trial and failure of a candidate that match an alarm; none if they do not."""
    attempt = candidate.attempt
    trial = attempt.trained if attempt is not None else None
    if attempt is None or trial is None or trial.newest.result is None or trial.newest.result.failure is None:
        return None
    failure, late = trial.newest.result.failure, trial.newest.result.ended_at >= alarm.since
    return (attempt, trial, failure) if late and signature(failure) == alarm.signature else None


def _ended(archive: Archive) -> Iterator[tuple[Try, Candidate | None]]:
    """The most recently ended tries, newest first, each with its candidate, or none for the baseline."""
    baselines = [(one, None) for one in tries_of([archive.baseline]) if one.result is not None]
    baselines.sort(key=lambda pair: -pair[0].ended_at)
    return heapq.merge(baselines, archive.ended(archive.index.recent[::-1]), key=lambda pair: -pair[0].ended_at)


def _lineage(archive: Archive, candidate: str) -> set[str]:
    """Ids of a candidate and all its ancestors."""
    found: set[str] = set()
    left = [candidate]
    while left:
        found.add(left[-1])
        left.extend(archive.candidate(left.pop()).idea.parents)
    return found
