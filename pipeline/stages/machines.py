"""Faults of machines that no single job can tell: a node where everything fails, another model of GPU, and unrelated
ideas that fail alike. What is told here never scores an idea."""

import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from pipeline.records import Alarm, Failure, Kind, Pause, Verdict
from pipeline.stages.account import tries_of
from pipeline.stages.base import Search
from pipeline.stages.decide import wanted_baselines
from pipeline.store import files
from pipeline.store.archive import Archive, Candidate, Try, by_node, ended_at

_UNRELATED = 3
"""So many unrelated candidates in a row that fail alike raise an alarm."""
_NODE_FAULTS = frozenset({Kind.NODE_FAIL, Kind.DEVICE, Kind.FILE_SYSTEM, Kind.VANISHED})
_SHUN_S = 6 * 3600.0
"""How long a node is left alone after its last fault: by then somebody may have mended it."""
_MOST_SHUNNED = 8
"""More nodes than these do not break one by one: then it is something that they share."""
_UNTOLD = frozenset({Kind.CANCELLED, Kind.INTERRUPTED, Kind.PREEMPTED, Kind.NODE_FAIL, Kind.VANISHED, Kind.OTHER_GPU})
"""Faults that are retried one by one, and say nothing about other jobs."""


def shunned(archive: Archive, now: float) -> tuple[str, ...]:
    """Nodes to submit no job to: their last two tries were spoiled there, or they have another model of GPU."""
    newest = chain.from_iterable(generation.last_on.values() for generation in archive.generations)
    last_on = by_node(chain(tries_of([archive.baseline]), *newest))
    found = []
    for node, tries in last_on.items():
        kinds = [one.failure.kind if one.failure is not None else None for one in tries]
        recent = now - ended_at(tries[0]) < _SHUN_S
        if kinds[0] is Kind.OTHER_GPU or (recent and len(kinds) > 1 and set(kinds) <= _NODE_FAULTS):
            found.append(node)
    return tuple(found[:_MOST_SHUNNED])


def reference_gpu(archive: Archive) -> str | None:
    """The GPU model that a run is measured on: that of the baseline's first trial; none while that is not known."""
    for trial in archive.baseline.trials[:1]:
        for one in trial.tries:
            if one.result is not None and one.result.score is not None:
                return one.result.gpu
    return None


def signature(failure: Failure) -> str:
    """What failures of the same cause share: the first line, without numbers and places."""
    words = re.sub(r"\S*/\S*", "PATH", failure.reason.splitlines()[0] if failure.reason else "")
    return f"{failure.stage}/{failure.kind}: {re.sub(r'(0x)?[0-9][0-9a-f.]*', 'N', words)[:200]}"


def step(search: Search) -> None:
    """Raise an alarm where there is cause, and give the open one its verdict."""
    archive = search.archive()
    raised = archive.alarm
    if raised is None:
        alarm = _cause(search, archive)
        if alarm is not None:
            paths = search.run.paths.alarm(len(archive.alarms))
            paths.folder.mkdir(parents=True, exist_ok=True)
            files.create(paths.alarm, alarm)
            search.run.event("alarm", paths.folder, alarm.signature)
        return
    deciding = [one for one in archive.baseline.trials if one.paths.folder.name == raised.alarm.trial and one.closed]
    if not deciding:
        return
    failure = deciding[0].failure
    reopened: list[str] = []
    if failure is not None:
        for candidate in archive.candidates:
            if _take_back(search, candidate, raised.alarm):
                reopened.append(candidate.id)
        reason = (
            f"the unmodified baseline fails, too ({failure.reason.splitlines()[0]}); see "
            f"baseline/{raised.alarm.trial}, mend the machine, then: python -m pipeline.resume {search.run.paths.folder}"
        )
        files.create(search.run.paths.pause, Pause("groundwork", reason, search.clock()))
        search.run.event("paused", raised.paths.folder, reason)
    files.create(raised.paths.verdict, Verdict(failure is not None, tuple(reopened), search.clock()))
    search.run.event("verdict", raised.paths.folder, "the machine" if failure is not None else "the ideas themselves")


def _cause(search: Search, archive: Archive) -> Alarm | None:
    """A failed trial of the baseline that came after good ones, or unrelated candidates that fail alike, one after the
    other and with no score in between."""
    told = {raised.alarm.trial for raised in archive.alarms}
    for trial in archive.baseline.trials[search.config.select.baseline_seeds :]:
        if trial.failure is not None and trial.paths.folder.name not in told and trial.newest is not None:
            since = trial.newest.result.started_at if trial.newest.result is not None else 0.0
            return Alarm(signature(trial.failure), (), trial.paths.folder.name, since)
    known = {candidate for raised in archive.alarms for candidate in raised.alarm.candidates}
    words, ids, since = "", list[str](), 0.0
    for one, candidate in _ended(archive):
        if one.failure is not None and one.failure.kind in _UNTOLD:
            continue
        if one.failure is None or candidate is None or candidate.id in known:
            break
        if ids and signature(one.failure) != words:
            break
        if all(not _lineage(archive, candidate.id) & _lineage(archive, other) for other in ids):
            words, since = signature(one.failure), ended_at(one)
            ids.append(candidate.id)
    if len(ids) < _UNRELATED:
        return None
    number = max(len(archive.baseline.trials), wanted_baselines(search, archive))
    return Alarm(words, tuple(ids), f"trial_{number}", since)


def _ended(archive: Archive) -> Iterator[tuple[Try, Candidate | None]]:
    """The tries that are over, last first, and whose they are; none for the baseline's."""
    baselines = sorted(
        (one for one in tries_of([archive.baseline]) if one.result is not None), key=ended_at, reverse=True
    )
    ours: list[Iterable[tuple[Try, Candidate | None]]] = [generation.ended for generation in archive.generations]
    return heapq.merge([(one, None) for one in baselines], *ours, key=lambda pair: -ended_at(pair[0]))


def _lineage(archive: Archive, candidate: str) -> set[str]:
    """A candidate and all that it builds on."""
    found: set[str] = set()
    left = [candidate]
    while left:
        found.add(left[-1])
        left.extend(archive.candidate(left.pop()).idea.parents)
    return found


def _take_back(search: Search, candidate: Candidate, alarm: Alarm) -> bool:
    """Open a candidate again whose failure the alarm was about. May be cut off anywhere and called again."""
    attempt = candidate.attempt
    if attempt is None or not attempt.trials:
        return False
    trial = attempt.trials[0]
    newest = trial.newest
    if newest is None or newest.result is None or newest.result.failure is None:
        return False
    failure, late = newest.result.failure, newest.result.ended_at >= alarm.since
    if not late or signature(failure) != alarm.signature:
        return False
    words = f"an unmodified baseline failed alike; it was: {failure.reason}"
    files.create(newest.paths.spoiled, Failure(failure.stage, Kind.SPOILED, words, failure.try_))
    for paths in (candidate.paths, attempt.paths, trial.paths):
        if paths.failure.exists():
            files.set_aside(paths.failure, paths.old_failure)
    search.run.reader.forget(candidate.paths.folder)
    return True
