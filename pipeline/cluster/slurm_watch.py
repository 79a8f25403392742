"""The state of submitted jobs. Submitit's own watcher is not used: it is made for short interactive use, and treats some
states as final that are not (see `slurm_states.py`).

`squeue` is queried first: slurmctld knows a job as soon as it accepts it, slurmdbd some time later, and a job that is
wrongly counted as vanished is trained twice. `sacct` is queried only about jobs that have left the queue.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cluster.base import JobStatus, Phase, last_line
from pipeline.cluster.packs import log_of, over_mark
from pipeline.cluster.slurm_commands import accounts_by_name, accounts_of, queue_by_name, queue_of_user
from pipeline.cluster.slurm_states import MEANING, explain_reason
from pipeline.cluster.slurm_text import Answer, JobRow, Ours, QueueRow, by_cluster, full_id, job_of, read_log
from pipeline.cluster.slurm_waves import Wave, Waves
from pipeline.errors import ClusterRefused
from pipeline.records import FailureKind

_LONGEST_PAUSE_S = 120.0
"""Longest pause between queries while Slurm does not answer, seconds."""
_UNKNOWN_GRACE_S = 60.0
"""Seconds for which a job may be missing in queue and accounting before it counts as vanished."""
_ACCOUNTING_GRACE_S = 600.0
"""Seconds for which accounting may lag behind the queue, or be unreadable, before a job counts as vanished."""
_LOG_TAIL_BYTES = 8192
"""Bytes at the end of a job's log that are searched for Slurm's messages."""


class SlurmWatcher:
    """Watches the jobs of one run with one query for all of them (one for each cluster in use), at most every `query_s`
    seconds. `clock` counts seconds."""

    queued: int
    """Number of this user's waiting and running jobs, by the last query and later submissions."""

    def __init__(self, folder: Path, waves: Waves, query_s: float, clock: Callable[[], float]) -> None:
        """`folder` contains the waves."""
        self.queued = 0
        self._folder = folder
        self._waves = waves
        self._query_s = query_s
        self._clock = clock
        self._known: dict[str, JobStatus] = {}
        self._next_query = 0.0
        self._pause = query_s
        self._left_queue: dict[str, float] = {}
        self._noted: set[str] = set()
        self._asked = False

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """State of every job as of the last query. Raises `ClusterRefused` if Slurm does not answer."""
        now = self._clock()
        if job_ids and now >= self._next_query:
            # Set before the query, so that a failed one is not repeated at once.
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            self._next_query = now + self._pause
            self._known = self._query(job_ids)
            self._pause = self._query_s
            self._next_query = now + self._pause
        submitted = JobStatus(Phase.PENDING, "submitted; not yet in a query of Slurm")
        found = {job_id: self._known.get(job_id, submitted) for job_id in job_ids}
        self._known = {job_id: replace(status, note="") for job_id, status in self._known.items()}
        return found

    def _query(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        names, queued = self._waves.names(), 0
        statuses: dict[str, JobStatus] = {}
        for cluster, plain in by_cluster(job_ids).items():
            jobs = list(dict.fromkeys(map(job_of, plain)))
            queue = queue_of_user(Ours.jobs(jobs, names), cluster)
            queued += queue.others + sum(not MEANING[row.state].over for row in queue.rows) + len(queue.unreadable)
            found = self._on_cluster(jobs, queue, cluster)
            for one in plain:
                statuses[full_id(one, cluster)] = self._of_member(one, found[job_of(one)], cluster)
        self.queued, self._asked = queued, True
        return statuses

    def _of_member(self, job_id: str, status: JobStatus, cluster: str) -> JobStatus:
        """The state of a trial whose job is in a state: of a member of a pack, which may end before its job."""
        wave = self._waves.of(job_of(job_id), cluster) if job_of(job_id) != job_id else None
        if wave is None or status.phase is Phase.PENDING:
            return status
        over = over_mark(wave.folder, job_id)
        if status.phase is Phase.RUNNING and over.exists():
            status = replace(status, phase=Phase.ENDED, reason=over.read_text(), fault=FailureKind.VANISHED)
        log = log_of(wave.folder, job_id)
        if status.phase is Phase.ENDED and log.exists():
            return replace(status, last_line=last_line(_end_of(log)) or status.last_line)
        return status

    def _on_cluster(self, jobs: Sequence[str], queue: Answer[QueueRow], cluster: str) -> dict[str, JobStatus]:
        """State of the jobs on one cluster, given by plain ids."""
        statuses: dict[str, JobStatus] = {}
        gone = []
        for job in jobs:
            row, line = queue.row(job), queue.unclear(job)
            if row is None and not line:
                gone.append(job)
                continue
            self._left_queue.pop(full_id(job, cluster), None)
            statuses[job] = self._with_log(job, _queue_status(row)) if row is not None else self._unclear(line)
        return statuses | (self._look_back(gone, cluster) if gone else {})

    def _unclear(self, line: str) -> JobStatus:
        """The state of a job whose line cannot be parsed."""
        reason = f"Slurm printed a line about it that this version cannot parse: {line!r}"
        note = reason if line not in self._noted else ""
        self._noted.add(line)
        return JobStatus(Phase.RUNNING, reason, note=note)

    def _look_back(self, gone: Sequence[str], cluster: str) -> dict[str, JobStatus]:
        """State by accounting of jobs that are not in the queue: they have ended, or are not known yet."""
        accounts, lags = Answer[JobRow]((), {}, 0), False
        try:
            accounts = accounts_of(gone, cluster)
        except ClusterRefused as refused:
            lags = "disabled" not in str(refused)  # without accounting there will never be an answer
        now = self._clock()
        statuses = {}
        for job in gone:
            last, line = accounts.row(job), accounts.unclear(job)
            if (key := full_id(job, cluster)) not in self._left_queue:
                self._left_queue[key] = now - self._missing_since(job)
            since = now - self._left_queue[key]
            if last is not None and MEANING[last.state].over:
                statuses[job] = self._with_log(job, _ended_status(last))
            elif (last is not None or line or lags) and since < _ACCOUNTING_GRACE_S:
                reason = "not in the queue; accounting has not recorded yet how it ended"
                statuses[job] = self._unclear(line) if line else JobStatus(Phase.RUNNING, reason)
            elif not line and since < _UNKNOWN_GRACE_S:
                reason = "missing in queue and accounting; it counts as vanished if that remains so for a minute"
                statuses[job] = JobStatus(Phase.RUNNING, reason)
            else:
                reason = f"accounting has only {line!r}" if line else "missing in queue and accounting"
                vanished = JobStatus(Phase.ENDED, reason, FailureKind.VANISHED)
                statuses[job] = self._with_log(job, vanished)
        return statuses

    def _missing_since(self, job: str) -> float:
        """Seconds for which a job already counts as missing when it is first found missing. The first query of a process
        gives no grace period to a job submitted long ago, since with cron each query is the first of a process."""
        for pickle in self._folder.glob(f"*/{job}_submitted.pkl") if not self._asked else ():
            if time.time() - pickle.stat().st_mtime > _ACCOUNTING_GRACE_S:
                return _UNKNOWN_GRACE_S
        return 0.0

    def _with_log(self, job: str, status: JobStatus) -> JobStatus:
        """The status, for an ended job completed from the end of its log: the last line, and the fault if Slurm's messages
        name one and the status does not."""
        if status.phase is not Phase.ENDED:
            return status
        for log in self._folder.glob(f"*/{job}_*_log.out"):
            text = _end_of(log)
            kind = read_log(text) if status.fault in (None, FailureKind.VANISHED) else None
            return replace(status, fault=kind or status.fault, last_line=last_line(text))
        return status

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Job id by name of submitted requests. Raises `ClusterRefused` if Slurm does not answer."""
        wanted = set(names)
        waves = [wave for wave in Wave.all_in(self._folder) if wanted & set(wave.requests)]
        found = find_waves(waves) if waves else {}
        return {name: job_id for name, job_id in found.items() if name in wanted}


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def seconds_used(job_ids: Sequence[str], waves: Waves) -> Mapping[str, float]:
    """Seconds that trials held their resources, all incarnations of their jobs together. The members of a pack share what
    their job held, places that were left empty included."""
    spent: dict[str, float] = {}
    for cluster, plain in by_cluster(job_ids).items():
        held: Counter[str] = Counter()
        with contextlib.suppress(ClusterRefused):  # slurmdbd is missing or does not answer: use the jobs' own clocks
            for row in accounts_of(set(map(job_of, plain)), cluster).rows:
                held.update(dict.fromkeys(row.job_ids if not row.step else (), row.elapsed_s))
        for one in plain:
            if (job := job_of(one)) in held:
                wave = waves.of(job, cluster) if job != one else None
                share = wave.room / len(wave.pack(job)) if wave is not None else 1.0
                spent[full_id(one, cluster)] = share * held[job]
    return spent


def find_waves(waves: Sequence[Wave]) -> dict[str, str]:
    """Job ids of these waves by request name, newest last; interrupted submissions are completed. Raises `ClusterRefused` if
    the queue, or its line about a wave, cannot be read."""
    found: dict[str, str] = {}
    for cluster in dict.fromkeys(wave.cluster for wave in waves):
        found |= _find_on(cluster, {wave.name: wave for wave in waves if wave.cluster == cluster})
    return found


def _find_on(cluster: str, by_name: Mapping[str, Wave]) -> dict[str, str]:
    queue = queue_by_name(by_name, cluster)
    for line in queue.unreadable.values():
        raise ClusterRefused(f"squeue printed a line about our jobs that this version cannot parse: {line!r}")
    rows: list[QueueRow | JobRow] = list(queue.rows)
    missing = set(by_name) - {row.name for row in rows}
    if missing:
        with contextlib.suppress(ClusterRefused):
            created = min(wave.created for wave in by_name.values()) - 3600
            since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(created))
            rows += accounts_by_name(missing, since, cluster).rows
    found: dict[str, str] = {}
    for row in rows:
        wave = by_name[row.name]
        # A rejected submission leaves a failed job that never had a node.
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
