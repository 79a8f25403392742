"""Slurm's printed text to frozen records, and nothing else: no process is started here, no clock is read.

Tables are read by their header line, so the order of columns is free, and lines that a site prints before the header
are passed over. The name comes last in our own formats, because it alone may hold the separator.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from submitit.slurm.slurm import SlurmParseException, _parse_node_list

from pipeline.cluster.slurm_states import BadSlurmText, SlurmState, explain_reason, read_state
from pipeline.records import FailureKind

SACCT_FIELDS = "JobID,State,ExitCode,NodeList,ElapsedRaw,JobName"
"""What to ask of `sacct --duplicates --parsable2 --format=…`; every version has these fields."""
SQUEUE_FORMAT = "%i|%T|%r|%N|%j"
"""What to ask of `squeue --array --states=all --format=…`; these letters exist in every version."""
ASSOC_FIELDS = "Account,User,QOS,DefaultQOS,MaxSubmit,GrpSubmit"
"""What to ask of `sacctmgr --parsable2 show assoc format=…`."""
QOS_FIELDS = "Name,MaxSubmitPU,MaxSubmitPA,GrpSubmit"
"""What to ask of `sacctmgr --parsable2 show qos format=…`."""


@dataclass(frozen=True)
class JobRow:
    """One line of `sacct`: one incarnation of a job, of an array task or tasks, or of a step."""

    job_ids: tuple[str, ...]
    """The jobs of this line: `7`, `7_3`, or for `7_[1-2]` both."""
    step: str
    """`batch`, `extern`, `0`, …; empty for the job itself."""
    state: SlurmState
    """How it ended, or that it has not."""
    cancelled_by: int | None
    """User id of who cancelled it, where Slurm says so."""
    exit_code: int
    """Exit code of the batch script."""
    signal: int
    """Signal that ended it; 0 for none."""
    nodes: tuple[str, ...]
    """Where it runs or ran."""
    elapsed_s: int
    """Run time of this incarnation without waiting, seconds."""
    name: str
    """Job name."""


@dataclass(frozen=True)
class QueueRow:
    """One line of `squeue`: one job or array task, in its present incarnation."""

    job_ids: tuple[str, ...]
    """One id; more where `squeue` was not asked to print one task a line."""
    state: SlurmState
    """Whether it waits, runs or has ended, and how."""
    reason: str
    """Why it waits or how it ended; `None` while it runs."""
    nodes: tuple[str, ...]
    """Where it runs or ran."""
    name: str
    """Job name."""


def parse_sacct(text: str) -> tuple[JobRow, ...]:
    """Lines of `sacct --duplicates --parsable2 --format=SACCT_FIELDS`, steps included, oldest incarnation first."""
    return tuple(_job_row(fields) for fields in _table(text, "JobID"))


def _job_row(fields: Mapping[str, str]) -> JobRow:
    job, _, step = fields["JobID"].partition(".")
    exit_code, signal = parse_exit_code(fields["ExitCode"])
    state = fields["State"]
    by = re.search(r"\bby (\d+)$", state)
    elapsed = fields["ElapsedRaw"]
    if not elapsed.isdigit():
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


def parse_squeue(text: str) -> tuple[QueueRow, ...]:
    """Lines of `squeue --array --states=all --format=SQUEUE_FORMAT`."""
    return tuple(
        QueueRow(
            expand_job_id(fields["JOBID"]),
            read_state(fields["STATE"]),
            fields["REASON"],
            expand_nodes(fields["NODELIST"]),
            fields["NAME"],
        )
        for fields in _table(text, "JOBID")
    )


def _table(text: str, first: str) -> Iterator[Mapping[str, str]]:
    """Lines behind the header that begins with the column `first`. Text without a header is no empty answer."""
    names: list[str] = []
    for line in text.splitlines():
        if not names:
            names = line.split("|") if line.split("|")[0] == first else []
        elif line.strip():
            values = line.split("|", len(names) - 1)
            if len(values) < len(names):
                raise BadSlurmText(f"Slurm printed {line!r} where the columns {'|'.join(names)} were requested")
            yield dict(zip(names, (value.strip() for value in values), strict=True))
    if not names:
        raise BadSlurmText(f"Slurm printed no table that begins with {first}: {text[:200]!r}")


def expand_job_id(text: str) -> tuple[str, ...]:
    """`7` or `7_3` as they are; `7_[1-2,5%4]` as `7_1`, `7_2`, `7_5`. Slurm cuts long lists off with `...`: the tasks
    behind it are missing."""
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
    """`n[1-2,7]` as its names; none for a job without nodes."""
    if text in ("", "None assigned", "(null)", "N/A"):
        return ()
    try:
        return tuple(_parse_node_list(text))
    except (SlurmParseException, ValueError):
        raise BadSlurmText(f"Slurm printed the node list {text!r}") from None


def parse_exit_code(text: str) -> tuple[int, int]:
    """`3:0` as exit code 3 without a signal; nothing as 0, 0."""
    if not text:
        return 0, 0
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        raise BadSlurmText(f"Slurm printed the exit code {text!r}")
    return int(match[1]), int(match[2])


# ---- limits


@dataclass(frozen=True)
class ClusterLimits:
    """How much the cluster accepts at once."""

    max_array_size: int
    """Tasks in one array (indices are below it)."""
    max_submit_jobs: int | None
    """Jobs that this user may have waiting or running, every array task is one; none for no limit, or none known."""
    version: tuple[int, ...] = ()
    """Of Slurm, e.g. (22, 5, 8)."""


def parse_limits(config: str, assoc: str = "", qos: str = "", *, account: str = "", job_qos: str = "") -> ClusterLimits:
    """What stands in `scontrol show config` and, where there is slurmdbd, in `sacctmgr show assoc` (of this user, with
    ASSOC_FIELDS) and `sacctmgr show qos` (with QOS_FIELDS). `account` and `job_qos` are those of the jobs; empty for
    the user's defaults."""
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", config, flags=re.MULTILINE))
    try:
        array = int(values["MaxArraySize"])
    except (KeyError, ValueError):
        raise BadSlurmText(f"`scontrol show config` prints no MaxArraySize: {config[:200]!r}") from None
    submit: list[int] = []
    in_use = {job_qos} if job_qos else set()
    for row in _table(assoc, "Account") if assoc.strip() else ():
        if not account or row["Account"] == account:
            submit += _numbers_in(row, "MaxSubmit", "GrpSubmit")
            in_use |= {row["Def QOS"] or "normal"} if not job_qos else set()
    for row in _table(qos, "Name") if qos.strip() else ():
        if row["Name"] in in_use:
            submit += _numbers_in(row, "MaxSubmitPU", "MaxSubmitPA", "GrpSubmit")
    version = tuple(int(number) for number in re.findall(r"\d+", values.get("SLURM_VERSION", "")))
    return ClusterLimits(array, min(submit, default=None), version)


def _numbers_in(row: Mapping[str, str], *columns: str) -> list[int]:
    return [int(row[column]) for column in columns if row[column].isdigit()]


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
    """Why a job ended, by what `slurmstepd` and `srun` wrote into its log; none where they are silent."""
    lines = [line for line in text.splitlines() if line.startswith(("slurmstepd", "srun:"))]
    for kind, pattern in _LOGGED:
        if any(re.search(pattern, line, re.IGNORECASE) for line in lines):
            return kind
    return None


# ---- refusals


class SubmitError(StrEnum):
    """What an error of a Slurm command means for us."""

    LIMIT = "limit"
    """A limit is reached; the same jobs may be accepted later, fewer of them now."""
    NO_ANSWER = "no answer"
    """Slurm did not answer in time. It may have done what was requested."""
    WRONG = "wrong"
    """The request itself: it will never be accepted."""


_REFUSALS = (
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
    """What the error output of `sbatch`, `squeue` or `sacct` means."""
    codes = re.findall(r"error: (\w+)$", errors, flags=re.MULTILINE)
    if any(explain_reason(code).never_starts for code in codes):  # a limit, but of one job: waiting changes nothing
        return SubmitError.WRONG
    for refusal, pattern in _REFUSALS:
        if re.search(pattern, errors, flags=re.IGNORECASE):
            return refusal
    return SubmitError.WRONG
