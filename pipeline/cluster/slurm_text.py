"""Pure parsers from Slurm's output to frozen records.

Tables are read by their header line, so that the order of columns does not matter, and lines that a site prints before the
header are skipped. The name comes last in our formats, because only it may contain the separator.

A user's queue also contains jobs of other programs, in forms that need not be parsed. So a line is first matched by the
number or the name of the job, and only our own lines are parsed. If one of ours cannot be parsed, it is returned as text:
the state of that job is unknown, which is neither an error nor the end of the job.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from submitit.slurm.slurm import SlurmParseException, _parse_node_list

from pipeline.cluster.slurm_states import MEANING, BadSlurmText, SlurmState, explain_reason, read_state
from pipeline.records import FailureKind

SACCT_FIELDS = "JobID,State,ExitCode,NodeList,ElapsedRaw,JobName"
"""Fields for `sacct --duplicates --parsable2 --format=…`; every version has them."""
SQUEUE_FORMAT = "%i|%T|%r|%N|%j"
"""Format for `squeue --array --states=all --format=…`; these letters exist in every version."""
ASSOC_FIELDS = "Account,User,QOS,DefaultQOS,MaxSubmit,GrpSubmit"
"""Fields for `sacctmgr --parsable2 show assoc format=…`."""
QOS_FIELDS = "Name,MaxSubmitPU,MaxSubmitPA,GrpSubmit"
"""Fields for `sacctmgr --parsable2 show qos format=…`."""


@dataclass(frozen=True)
class JobRow:
    """One line of `sacct`: one incarnation of a job, of an array task or tasks, or of a step."""

    job_ids: tuple[str, ...]
    """Jobs of this line: `7`, `7_3`, or for `7_[1-2]` both."""
    step: str
    """`batch`, `extern`, `0`, …; empty for the job itself."""
    state: SlurmState
    """State of the job, which says how it ended if it has."""
    cancelled_by: int | None
    """Id of the user who cancelled it, if Slurm says so."""
    exit_code: int
    """Exit code of the batch script."""
    signal: int
    """Signal that ended it; 0 for none."""
    nodes: tuple[str, ...]
    """Nodes on which it runs or ran."""
    elapsed_s: int
    """Run time of this incarnation in seconds, excluding waiting time."""
    name: str
    """Job name."""


@dataclass(frozen=True)
class QueueRow:
    """One line of `squeue`: one job or array task in its current incarnation."""

    job_ids: tuple[str, ...]
    """One id; several if `squeue` prints several tasks per line."""
    state: SlurmState
    """Whether it waits, runs or has ended, and how."""
    reason: str
    """Why it waits or how it ended; `None` while it runs."""
    nodes: tuple[str, ...]
    """Nodes on which it runs or ran."""
    name: str
    """Job name."""


Row = TypeVar("Row", JobRow, QueueRow)


@dataclass(frozen=True)
class Ours:
    """Which lines of a table are about our jobs."""

    numbers: Collection[str] = ()
    """Numbers of jobs and arrays, e.g. `1000` for the task `1000_3`."""
    names: Collection[str] = ()
    """Job names."""

    @classmethod
    def jobs(cls, job_ids: Collection[str], names: Collection[str] = ()) -> "Ours":
        """Matches these jobs, the other tasks of their arrays, and jobs with these names."""
        return cls(frozenset(job_id.partition("_")[0] for job_id in job_ids), frozenset(names))

    def match(self, job: str, name: str) -> bool:
        """Whether a line with this id and name is about one of our jobs."""
        number = re.match(r"\d+", job)
        return (number is not None and number[0] in self.numbers) or name in self.names


@dataclass(frozen=True)
class Answer(Generic[Row]):
    """The contents of a table about our jobs."""

    rows: tuple[Row, ...]
    """Our lines, in order."""
    unreadable: Mapping[str, str]
    """Lines of ours that cannot be parsed, by job id; the id is empty if it cannot be parsed either."""
    others: int
    """Number of lines about other jobs that are not known to have ended."""

    def row(self, job_id: str) -> Row | None:
        """The last line about a job, which is its last incarnation. An array that is cancelled before any task starts has
        one line for all tasks: `7` for `7_0` and `7_1`."""
        return self._last.get(job_id) or self._last.get(job_id.partition("_")[0])

    @functools.cached_property
    def _last(self) -> Mapping[str, Row]:
        return {job_id: row for row in self.rows for job_id in row.job_ids}

    def unclear(self, job_id: str) -> str:
        """An unparsed line that is or may be about this job; empty if there is none, or if another line was parsed."""
        if self.row(job_id) is not None:
            return ""
        names = (job_id, job_id.partition("_")[0], "")
        return next((self.unreadable[name] for name in names if name in self.unreadable), "")


def parse_sacct(text: str, ours: Ours) -> Answer[JobRow]:
    """Lines of `sacct --duplicates --parsable2 --format=SACCT_FIELDS`, including steps, oldest incarnation first."""
    return _answer(text, ("JobID", "State", "JobName"), ours, _job_row)


def parse_squeue(text: str, ours: Ours) -> Answer[QueueRow]:
    """Lines of `squeue --array --states=all --format=SQUEUE_FORMAT`."""
    return _answer(text, ("JOBID", "STATE", "NAME"), ours, _queue_row)


def _answer(
    text: str, columns: tuple[str, str, str], ours: Ours, read: Callable[[Mapping[str, str]], Row]
) -> Answer[Row]:
    """Our lines of a table; `columns` are the names of the columns with id, state and name."""
    rows: list[Row] = []
    unreadable: dict[str, str] = {}
    others = 0
    for line, fields in _table(text, columns[0]):
        job, state, name = (fields.get(column, "") for column in columns)
        if not ours.match(job, name):
            others += bool(state) and not _is_over(state)
            continue
        try:
            rows.append(read(fields))
        except (BadSlurmText, KeyError):  # an unknown format of a field, or an incomplete line
            unreadable |= dict.fromkeys(_readable_ids(job), line)
    return Answer(tuple(rows), unreadable, others)


def _is_over(state: str) -> bool:
    """Whether a job in this state never runs again; false for unknown states."""
    try:
        return MEANING[read_state(state)].over
    except BadSlurmText:
        return False


def _readable_ids(job: str) -> tuple[str, ...]:
    """The job ids in a text; a single empty id if it cannot be parsed."""
    try:
        return expand_job_id(job.partition(".")[0])
    except BadSlurmText:
        return ("",)


def _job_row(fields: Mapping[str, str]) -> JobRow:
    job, _, step = fields["JobID"].partition(".")
    exit_code, signal = parse_exit_code(fields["ExitCode"])
    state = fields["State"]
    by = re.search(r"\bby (\d+)$", state)
    elapsed = fields["ElapsedRaw"]
    if not re.fullmatch("[0-9]+", elapsed):
        raise BadSlurmText(f"sacct reports an ElapsedRaw of {elapsed!r} for job {fields['JobID']}")
    return JobRow(
        job_ids=expand_job_id(job),
        step=step,
        state=read_state(state),
        cancelled_by=int(by[1]) if by else None,
        exit_code=exit_code,
        signal=signal,
        nodes=expand_nodes(fields["NodeList"]),
        elapsed_s=int(elapsed),
        name=fields["JobName"],
    )


def _queue_row(fields: Mapping[str, str]) -> QueueRow:
    return QueueRow(
        expand_job_id(fields["JOBID"]),
        read_state(fields["STATE"]),
        fields["REASON"],
        expand_nodes(fields["NODELIST"]),
        fields["NAME"],
    )


def _table(text: str, first: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The lines after the header that begins with the column `first`, each as text and by column; a shorter line lacks the
    last columns. Raises `BadSlurmText` if there is no header, since that is not an empty answer."""
    names: list[str] = []
    for line in text.splitlines():
        if not names:
            names = line.split("|") if line.split("|")[0] == first else []
        elif line.strip():
            values = line.split("|", len(names) - 1)
            yield line, dict(zip(names, (value.strip() for value in values), strict=False))
    if not names:
        raise BadSlurmText(f"Slurm printed no table that begins with {first}: {text[:200]!r}")


def full_id(job: str, cluster: str) -> str:
    """The id of a job in the rest of the program: `1000_3`, or `1000_3@c2` on a cluster named in the settings. Slurm's ids
    are unique only within a cluster."""
    return f"{job}@{cluster}" if cluster else job


def job_of(job_id: str) -> str:
    """Slurm's own id of a plain job id: `1000_3` for `1000_3.2`, the third trial of a pack."""
    return job_id.partition(".")[0]


def by_cluster(job_ids: Collection[str]) -> Mapping[str, list[str]]:
    """Plain ids of these jobs by cluster; the cluster is empty if the settings name none."""
    found: dict[str, list[str]] = {}
    for job_id in job_ids:
        job, _, cluster = job_id.partition("@")
        found.setdefault(cluster, []).append(job)
    return found


def expand_job_id(text: str) -> tuple[str, ...]:
    """`7` or `7_3` unchanged; `7_[1-2,5%4]` as `7_1`, `7_2`, `7_5`. Slurm truncates long lists with `...`; the tasks after
    that are missing."""
    match = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\[([^]%]+)(?:%\d+)?\]))?", text)
    if match is None:
        raise BadSlurmText(f"Slurm printed the job id {text!r}")
    job, task, tasks = match.groups()
    if task is not None:
        return (f"{job}_{int(task)}",)
    if tasks is None:
        return (job,)
    return tuple(f"{job}_{number}" for number in _numbers(tasks, text))


def _numbers(tasks: str, whole: str) -> Iterator[int]:
    for part in tasks.split(","):
        if part in ("...", ""):
            continue
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?(\.\.\.)?", part)
        if match is None:
            raise BadSlurmText(f"Slurm printed the job id {whole!r}")
        low, high, step, cut = match.groups()
        if not cut:  # a number before the dots may have lost its last digits
            yield from range(int(low), int(high or low) + 1, int(step or 1))


def expand_nodes(text: str) -> tuple[str, ...]:
    """`n[1-2,7]` as `n1`, `n2`, `n7`; empty for a job without nodes."""
    if text in ("", "None assigned", "(null)", "N/A"):
        return ()
    try:
        return tuple(_parse_node_list(text))
    except (SlurmParseException, ValueError):
        raise BadSlurmText(f"Slurm printed the node list {text!r}") from None


def parse_exit_code(text: str) -> tuple[int, int]:
    """Exit code and signal: `3:0` as 3 and 0; an empty text as 0 and 0."""
    if not text:
        return 0, 0
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        raise BadSlurmText(f"Slurm printed the exit code {text!r}")
    return int(match[1]), int(match[2])


# ---- limits


@dataclass(frozen=True)
class ClusterLimits:
    """How many jobs the cluster accepts at once."""

    max_array_size: int
    """Tasks in one array (indices are below it); 1 if arrays are disabled."""
    max_submit_jobs: int | None
    """Jobs that this user may have waiting or running, counting each array task; none if unlimited or unknown."""
    version: tuple[int, ...] = ()
    """Version of Slurm, e.g. (22, 5, 8)."""


def parse_limits(config: str, assoc: str = "", qos: str = "", *, account: str = "", job_qos: str = "") -> ClusterLimits:
    """The limits in `scontrol show config` and, with slurmdbd, in `sacctmgr show assoc` (of this user, with ASSOC_FIELDS)
    and `sacctmgr show qos` (with QOS_FIELDS). `account` and `job_qos` are those of the jobs; empty for the defaults."""
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", config, flags=re.MULTILINE))
    try:
        array = int(values["MaxArraySize"])
    except (KeyError, ValueError):
        raise BadSlurmText(f"`scontrol show config` prints no MaxArraySize: {config[:200]!r}") from None
    submit: list[int] = []
    in_use = {job_qos} if job_qos else set()
    for row in _rows(assoc, "Account"):
        if not account or row["Account"] == account:
            submit += _numbers_in(row, "MaxSubmit", "GrpSubmit")
            in_use |= {row.get("Def QOS") or "normal"} if not job_qos else set()
    for row in _rows(qos, "Name"):
        if row["Name"] in in_use:
            submit += _numbers_in(row, "MaxSubmitPU", "MaxSubmitPA", "GrpSubmit")
    version = tuple(int(number) for number in re.findall(r"\d+", values.get("SLURM_VERSION", "")))
    # MaxArraySize = 0 disables arrays.
    return ClusterLimits(max(1, array), min(submit, default=None), version)


def _rows(text: str, first: str) -> Iterator[Mapping[str, str]]:
    """Rows of a table of limits; empty if there is no such table, so that no limit is known."""
    with contextlib.suppress(BadSlurmText):
        yield from (fields for _, fields in _table(text, first))


def _numbers_in(row: Mapping[str, str], *columns: str) -> list[int]:
    return [int(row[column]) for column in columns if row.get(column, "").isdecimal()]


# ---- logs

_LOGGED = (
    (
        FailureKind.OUT_OF_MEMORY,
        r"oom[-_ ]kill|exceeded (job )?memory limit|some of the step tasks have been OOM Killed",
    ),
    (FailureKind.TIMEOUT, r"DUE TO TIME LIMIT"),
    (FailureKind.PREEMPTED, r"DUE TO PREEMPTION"),
    (FailureKind.NODE_FAIL, r"DUE TO NODE FAILURE|node failure on"),
)


def read_log(text: str) -> FailureKind | None:
    """Why a job ended according to messages of `slurmstepd` and `srun` in its log; none if there are none."""
    lines = [line for line in text.splitlines() if line.startswith(("slurmstepd", "srun:"))]
    for kind, pattern in _LOGGED:
        if any(re.search(pattern, line, re.IGNORECASE) for line in lines):
            return kind
    return None


# ---- refusals


class SubmitError(StrEnum):
    """The meaning of an error of a Slurm command."""

    LIMIT = "limit"
    """A limit is reached; the same jobs may be accepted later, or fewer of them now."""
    NO_ANSWER = "no answer"
    """Slurm did not answer in time. It may have executed the request."""
    NO_ARRAYS = "no arrays"
    """This cluster accepts no job arrays of that size, or none at all."""
    WRONG = "wrong"
    """The request is invalid and will never be accepted."""


_REFUSALS = (
    (SubmitError.NO_ARRAYS, r"Invalid job array specification"),
    (
        SubmitError.LIMIT,
        r"violates accounting/QOS policy|SubmitJob|unable to accept job|Resource temporarily unavailable"
        r"|Too many|maximum number of jobs|JobLimit",
    ),
    (
        SubmitError.NO_ANSWER,
        r"Unable to contact|timed out|Zero Bytes were transmitted|Connection (refused|reset|failure)|Connect failure"
        r"|not connected|Communication connection failure|standby mode|Insane message|Unexpected message"
        r"|Protocol authentication|Munge|persist|slurmdbd",
    ),
)


def read_refusal(errors: str) -> SubmitError:
    """The meaning of the error output of `sbatch`, `squeue` or `sacct`."""
    codes = re.findall(r"error: (\w+)$", errors, flags=re.MULTILINE)
    if any(explain_reason(code).never_starts for code in codes):  # a limit on a single job: waiting does not help
        return SubmitError.WRONG
    for refusal, pattern in _REFUSALS:
        if re.search(pattern, errors, flags=re.IGNORECASE):
            return refusal
    return SubmitError.WRONG
