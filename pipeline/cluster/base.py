"""What the program asks of a cluster. `local.py` and `slurm.py` keep the same promises, and one suite of tests in
`tests/cluster/` holds both to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pipeline.records import FailureKind, Resources

_LONGEST_LINE = 300
"""Characters of a line of a log that are shown."""


class Phase(StrEnum):
    """Where a job is."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class JobStatus:
    """What the cluster says about one job."""

    phase: Phase
    """Waiting, running or over."""
    reason: str = ""
    """What the cluster says: why the job waits with what to do, or the state it ended in."""
    fault: FailureKind | None = None
    """For an ended job: the fault of the machine that ended it, where the cluster names one."""
    never_starts: bool = False
    """For a waiting job: whether it can never start as it was asked for."""
    node: str = ""
    """Where it runs or ran."""
    last_line: str = ""
    """For an ended job: the last line of its own log that says why, if there is a log."""
    note: str = ""
    """What a person should know about this answer. A cluster says the same thing once."""


@dataclass(frozen=True)
class Request:
    """One job to submit."""

    name: str
    """Unique name, to be found again by."""
    folder: Path
    """The try's folder, absolute: the only argument of the function that runs."""


class Cluster(Protocol):
    """Chosen in YAML by `_target_` (`cluster.backend`), and made with a `Work`, the settings `cluster.*` and the other keys
    of that setting. Runs `function(str(request.folder))` for each request, with nothing of the caller's environment but
    an allow-list, and survives its caller."""

    here: bool
    """Whether jobs are processes of this machine, which Ctrl-C ends too."""

    def slots(self) -> int:
        """How many jobs may be waiting or running at once."""
        ...

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        """Submit one wave; name to job id of all that were taken, which may be fewer when a limit is reached. None of
        them runs on a node of `avoid`, unless the settings name just that node.

        Raises `ClusterRefused` when the cluster took none, with its reason; a later call may succeed.
        """
        ...

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """State of every id, by at most one query. An id the cluster does not know is ENDED with fault VANISHED, once it is
        sure: a cluster that may know it later says RUNNING with a reason until then. So it does of a job about which it
        says something that cannot be understood.

        Raises `ClusterRefused` when the cluster does not answer; nothing can be concluded then.
        """
        ...

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Name to id of jobs that were submitted although their submitter did not live to record the id."""
        ...

    def usage(self, job_ids: Sequence[str]) -> Mapping[str, float]:
        """Seconds that jobs held their resources, by the cluster's accounts; ids it has no account of are left out."""
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End these jobs and all their processes, and return when they have been signalled; unknown ids are ignored."""
        ...


@dataclass(frozen=True)
class Work:
    """What is the same for every job of a run."""

    function: Callable[[str], object]
    """What runs inside the job; imported there from `code`."""
    code: Path
    """Folder put first on the job's import path, absolute."""
    folder: Path
    """Where submitit keeps its scripts, pickles and logs, absolute."""
    resources: Resources
    """What each job needs."""
    environment: Mapping[str, str]
    """The whole environment of the job."""


def last_line(log: str) -> str:
    """The last line of a job's log that says why it ended: of the program rather than of Slurm's own programs, which only
    report its exit code. Empty if there is none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(("slurmstepd", "srun:", "submitit INFO"))]
    return (own or lines or [""])[-1][:_LONGEST_LINE]
