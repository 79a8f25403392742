"""What became of submitted jobs. Submitit's own watching is not used: it fits short interactive use, and takes states
for the end of a job that are not (see `slurm_states.py`).

`squeue` is asked, not `sacct`: slurmctld has a job the moment it accepts it, slurmdbd some time later, and a job that
counts as vanished is trained twice. `sacct` is asked only about jobs that have left the queue.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cluster.base import JobStatus, Phase
from pipeline.cluster.slurm_commands import accounts_by_name, accounts_of, queue_by_name, queue_of_user
from pipeline.cluster.slurm_states import MEANING, explain_reason
from pipeline.cluster.slurm_text import JobRow, QueueRow, read_log
from pipeline.cluster.slurm_waves import Wave
from pipeline.errors import ClusterRefused
from pipeline.records import FailureKind

_LONGEST_PAUSE_S = 120.0
"""Where the pause between queries stops growing while Slurm does not answer."""
_ACCOUNTING_GRACE_S = 600.0
"""How long accounting may lag behind the queue before a job counts as vanished."""
_LOG_TAIL_BYTES = 8192
"""How much of the end of a job's log is searched for Slurm's messages."""


class SlurmWatcher:
    """The jobs of one run, by one query for all of them, at most one in `query_s` seconds. `clock` counts seconds."""

    queued: int
    """Jobs of this user that wait or run, by the last query and what was submitted since."""

    def __init__(self, folder: Path, query_s: float, clock: Callable[[], float]) -> None:
        """`folder` holds the waves."""
        self.queued = 0
        self._folder = folder
        self._query_s = query_s
        self._clock = clock
        self._known: dict[str, JobStatus] = {}
        self._next_query = 0.0
        self._pause = query_s
        self._left_queue: dict[str, float] = {}

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """State of every id, as of the last query. Raises `ClusterRefused` when Slurm does not answer."""
        now = self._clock()
        if job_ids and now >= self._next_query:
            # Set before asking, so that a query that fails is not repeated at once.
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            self._next_query = now + self._pause
            self._known = self._query(job_ids)
            self._pause = self._query_s
            self._next_query = now + self._pause
        submitted = JobStatus(Phase.PENDING, "submitted; Slurm is asked about it soon")
        return {job_id: self._known.get(job_id, submitted) for job_id in job_ids}

    def _query(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        queue = queue_of_user()
        self.queued = sum(not MEANING[row.state].over for row in queue)
        rows = {job_id: row for row in queue for job_id in row.job_ids}
        statuses = {
            job_id: self._with_logged_fault(job_id, _queue_status(rows[job_id])) for job_id in job_ids if job_id in rows
        }
        gone = [job_id for job_id in job_ids if job_id not in rows]
        if gone:
            statuses |= self._look_back(gone)
        return statuses

    def _look_back(self, gone: Sequence[str]) -> dict[str, JobStatus]:
        """Status by accounting of jobs that have left the queue. They are over; the reason may not be known yet."""
        recorded: dict[str, JobRow] = {}
        lags = False
        try:
            for row in accounts_of(gone):
                recorded |= dict.fromkeys(row.job_ids, row)  # the last incarnation counts
        except ClusterRefused as refused:
            lags = "disabled" not in str(refused)  # a site without accounting never has more to say
        now = self._clock()
        statuses = {}
        for job_id in gone:
            last = recorded.get(job_id)
            since = now - self._left_queue.setdefault(job_id, now)
            if last is not None and MEANING[last.state].over:
                statuses[job_id] = self._with_logged_fault(job_id, _ended_status(last))
            elif (last is not None or lags) and since < _ACCOUNTING_GRACE_S:
                reason = "left the queue; accounting has not recorded yet how it ended"
                statuses[job_id] = JobStatus(Phase.RUNNING, reason)
            else:
                reason = "neither the queue nor accounting has it"
                statuses[job_id] = JobStatus(Phase.ENDED, reason, FailureKind.VANISHED)
        return statuses

    def _with_logged_fault(self, job_id: str, status: JobStatus) -> JobStatus:
        """The status; where it does not say why a job ended, with the fault that Slurm wrote into the job's log."""
        if status.phase is not Phase.ENDED or status.fault is not None:
            return status
        for log in self._folder.glob(f"*/{job_id}_*_log.out"):
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
                kind = read_log(file.read().decode(errors="replace"))
            if kind is not None:
                return replace(status, fault=kind)
        return status

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Name to id of submitted requests. Raises `ClusterRefused` when Slurm does not answer."""
        wanted = set(names)
        waves = [wave for wave in Wave.all_in(self._folder) if wanted & set(wave.requests)]
        found = find_waves(waves) if waves else {}
        return {name: job_id for name, job_id in found.items() if name in wanted}


def seconds_used(job_ids: Sequence[str]) -> Mapping[str, float]:
    """Seconds that jobs held their resources, all incarnations together."""
    if not job_ids:
        return {}
    spent: dict[str, float] = {}
    try:
        rows = accounts_of(job_ids)
    except ClusterRefused:
        return {}  # no slurmdbd, or none that answers: the jobs' own clocks will do
    for row in rows:
        for job_id in row.job_ids if not row.step else ():
            spent[job_id] = spent.get(job_id, 0.0) + row.elapsed_s
    return {job_id: spent[job_id] for job_id in job_ids if job_id in spent}


def find_waves(waves: Sequence[Wave]) -> dict[str, str]:
    """Job ids of these waves by the names of their requests, newest last; a submission that was interrupted is completed.
    Raises `ClusterRefused` when the queue cannot be read."""
    by_name = {wave.name: wave for wave in waves}
    rows: list[QueueRow | JobRow] = list(queue_by_name(by_name))
    missing = set(by_name) - {row.name for row in rows}
    if missing:
        with contextlib.suppress(ClusterRefused):
            created = min(wave.created for wave in waves) - 3600
            rows += accounts_by_name(missing, time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(created)))
    found: dict[str, str] = {}
    for row in rows:
        wave = by_name[row.name]
        # A rejected submission leaves a failed job behind that never had a node.
        if row.nodes or not MEANING[row.state].over:
            job = row.job_ids[0].partition("_")[0]
            wave.complete(job)
            found |= wave.job_ids(job)
    return found


def _queue_status(row: QueueRow) -> JobStatus:
    meaning = MEANING[row.state]
    if meaning.phase is Phase.PENDING:
        advice = explain_reason(row.reason)
        reason = f"{row.reason}: {advice.meaning}" + (f". {advice.remedy}" if advice.remedy else "")
        return JobStatus(Phase.PENDING, reason, never_starts=advice.never_starts)
    reason = f"{row.state} ({row.reason})" if meaning.over and row.reason != "None" else str(row.state)
    return JobStatus(meaning.phase, reason, meaning.kind, node=",".join(row.nodes))


def _ended_status(row: JobRow) -> JobStatus:
    by = f" by user {row.cancelled_by}" if row.cancelled_by is not None else ""
    reason = f"{row.state}{by}, exit code {row.exit_code}, signal {row.signal}"
    return JobStatus(Phase.ENDED, reason, MEANING[row.state].kind, node=",".join(row.nodes))
