"""The protocol of a cluster. `local.py` and `slurm.py` implement it, and one contract test suite in `tests/cluster/` checks
both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pipeline.records import FailureKind, Resources

_LONGEST_LINE = 300
"""Maximum length of a shown log line, in characters."""


class Phase(StrEnum):
    """Phase of a job."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class JobStatus:
    """State of one job according to the cluster."""

    phase: Phase
    """Waiting, running or ended."""
    reason: str = ""
    """The cluster's reason: why the job waits, with a remedy, or the state in which it ended."""
    fault: FailureKind | None = None
    """For an ended job: what ended it, if the cluster says so."""
    never_starts: bool = False
    """For a waiting job: whether it can never start with the requested resources."""
    node: str = ""
    """The node, or nodes, on which it runs or ran."""
    last_line: str = ""
    """For an ended job: the last line of its own log that says why, if there is a log."""
    note: str = ""
    """A note for the user about this answer. Each note is given only once."""


@dataclass(frozen=True)
class Request:
    """One job to submit."""

    name: str
    """Unique name, by which the job can be found again."""
    folder: Path
    """The try's folder, absolute: the only argument of the function that runs."""
    kind: str = ""
    """Requests of the same kind take about equally long, and may share a job (`Cluster.pack`)."""


class Cluster(Protocol):
    """Chosen in YAML by `_target_` (`cluster.backend`), and constructed with a `Work`, the settings `cluster.*` and the
    other keys of that setting. Runs `function(str(request.folder))` for each request, with only allow-listed variables of
    the caller's environment. Jobs survive their caller."""

    here: bool
    """Whether jobs are processes of this machine, which Ctrl-C also ends."""
    pack: int
    """Number of requests of the same kind that share one job, each with its own id; 1: each has its own job."""

    def slots(self) -> int:
        """Maximum number of requests waiting or running at the same time."""
        ...

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        """Submit one wave. Returns job id by name of all accepted requests, which may be fewer if a limit is reached. No job
        runs on a node of `avoid`, unless the settings name that node.

        Raises `ClusterRefused` with the reason if the cluster accepts none; a later call may succeed.
        """
        ...

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """State of every job, with at most one query. An unknown id is ENDED with fault VANISHED once this is certain; until
        then, or if the cluster's answer about a job cannot be parsed, it is RUNNING with a reason.

        Raises `ClusterRefused` if the cluster does not answer; nothing can be concluded then.
        """
        ...

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Job id by name of jobs whose submitter was killed before it recorded the id."""
        ...

    def usage(self, job_ids: Sequence[str]) -> Mapping[str, float]:
        """Seconds for which jobs held their resources, by the cluster's accounting; unknown ids are left out."""
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End these jobs with all their processes; returns once they have been signalled. Unknown ids are ignored."""
        ...


@dataclass(frozen=True)
class Work:
    """Properties shared by all jobs of a run."""

    function: Callable[[str], object]
    """Function that runs inside the job; imported there from `code`."""
    code: Path
    """Folder that comes first on the job's import path, absolute."""
    folder: Path
    """Folder for submitit's scripts, pickles and logs, absolute."""
    resources: Resources
    """Resources of each job."""
    environment: Mapping[str, str]
    """The complete environment of the job."""


def last_line(log: str) -> str:
    """The last line of a job's log, preferably of the program rather than of Slurm's own programs, which only report its
    exit code. Empty if there is none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(("slurmstepd", "srun:", "submitit INFO"))]
    return (own or lines or [""])[-1][:_LONGEST_LINE]
