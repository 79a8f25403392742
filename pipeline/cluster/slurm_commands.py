"""Calls of Slurm's commands. Every command is called here, except the submission itself, which submitit runs inside
`outside_any_job`.

Each function raises `ClusterRefused` with Slurm's error if the command fails, and `BadInput` if it is not installed.
`cluster` is the cluster to query (`cluster.slurm.clusters`); empty for that of this machine.
"""

import contextlib
import getpass
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from submitit.helpers import clean_env

from pipeline.cluster.slurm_text import (
    ASSOC_FIELDS,
    QOS_FIELDS,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    Answer,
    ClusterLimits,
    JobRow,
    Ours,
    QueueRow,
    parse_limits,
    parse_sacct,
    parse_squeue,
)
from pipeline.errors import BadInput, ClusterRefused

_COMMAND_LIMIT_S = 60.0
"""Time limit of a Slurm command, seconds; a busy slurmctld answers late."""
_IDS_AT_ONCE = 500
"""Most job ids in one command, since the length of a command line is limited."""


def require_slurm() -> None:
    """Raise `BadInput` if Slurm is not installed."""
    if shutil.which("srun") is None:
        raise _missing("srun")


def queue_of_user(ours: Ours, cluster: str = "") -> Answer[QueueRow]:
    """This user's jobs, including those that ended recently."""
    return _squeue(cluster, f"--user={os.getuid()}", ours)


def queue_by_name(names: Collection[str], cluster: str = "") -> Answer[QueueRow]:
    """Jobs with these names, including those that ended recently."""
    return _squeue(cluster, f"--name={','.join(names)}", Ours(names=names))


def accounts_of(job_ids: Collection[str], cluster: str = "") -> Answer[JobRow]:
    """Accounting records of these jobs and of the other tasks of their arrays. The ids are plain."""
    ours = Ours.jobs(job_ids)
    return _sacct(cluster, ours, f"--jobs={','.join(sorted(ours.numbers))}")


def accounts_by_name(names: Collection[str], since: str, cluster: str = "") -> Answer[JobRow]:
    """Accounting records of jobs with these names. `since` is local time, ISO 8601."""
    return _sacct(cluster, Ours(names=names), f"--name={','.join(names)}", f"--starttime={since}")


def limits_of_user(account: str, qos: str, cluster: str = "") -> ClusterLimits:
    """Limits of the cluster for this user; empty `account` and `qos` mean the user's defaults."""
    config = _output("scontrol", *_on(cluster), "show", "config")
    associations = qos_table = ""
    with contextlib.suppress(ClusterRefused):  # without slurmdbd there are no such limits
        show = ("sacctmgr", "--parsable2", "show")  # it queries slurmdbd, which all clusters share
        who = (f"user={getpass.getuser()}", *([f"cluster={cluster}"] if cluster else []))
        associations = _output(*show, "assoc", "where", *who, f"format={ASSOC_FIELDS}")
        qos_table = _output(*show, "qos", f"format={QOS_FIELDS}")
    return parse_limits(config, associations, qos_table, account=account, job_qos=qos)


def expected_start(script: Path) -> str:
    """When Slurm would start this script, in Slurm's wording, one line. Raises `ClusterRefused` if Slurm would reject it."""
    done = _run("sbatch", "--test-only", str(script))
    _check(done)
    return _one_line(done.stdout + done.stderr)


def cancel_jobs(by_cluster: Mapping[str, Sequence[str]]) -> None:
    """Cancel these jobs, given as plain ids by cluster; unknown ids are ignored."""
    for cluster, job_ids in by_cluster.items():
        for start in range(0, len(job_ids), _IDS_AT_ONCE):
            _scancel(cluster, *job_ids[start : start + _IDS_AT_ONCE])


def cancel_name(name: str, cluster: str = "") -> None:
    """Cancel the jobs with this name, if any."""
    _scancel(cluster, f"--name={name}")


@contextlib.contextmanager
def outside_any_job() -> Iterator[None]:
    """Remove the variables of the job in which this process may run from `os.environ`, except SLURM_CONF."""
    conf = os.environ.get("SLURM_CONF")
    with clean_env():
        if conf is not None:
            os.environ["SLURM_CONF"] = conf
        try:
            yield
        finally:
            os.environ.pop("SLURM_CONF", None)


def _on(cluster: str) -> list[str]:
    """The option that names the cluster, which is the same for all Slurm commands."""
    return [f"--clusters={cluster}"] if cluster else []


def _squeue(cluster: str, selection: str, ours: Ours) -> Answer[QueueRow]:
    command = ("squeue", *_on(cluster), "--array", "--states=all", f"--format={SQUEUE_FORMAT}")
    return parse_squeue(_output(*command, selection), ours)


def _sacct(cluster: str, ours: Ours, *selection: str) -> Answer[JobRow]:
    command = ("sacct", *_on(cluster), "--duplicates", "--allocations", "--parsable2", f"--format={SACCT_FIELDS}")
    return parse_sacct(_output(*command, *selection), ours)


def _scancel(cluster: str, *selection: str) -> None:
    done = _run("scancel", *_on(cluster), *selection)
    if "Invalid job id" not in done.stderr:
        _check(done)


def _output(*command: str) -> str:
    done = _run(*command)
    _check(done)
    return done.stdout


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            env=_query_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",  # names of other users' jobs may be in any encoding
            check=False,
            timeout=_COMMAND_LIMIT_S,
        )
    except FileNotFoundError:
        raise _missing(command[0]) from None
    except subprocess.TimeoutExpired:
        raise ClusterRefused(f"{command[0]} did not answer within {_COMMAND_LIMIT_S:.0f} s") from None


def _check(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode:
        raise ClusterRefused(f"{done.args[0]} failed: {_one_line(done.stderr) or done.returncode}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _missing(program: str) -> BadInput:
    return BadInput(f"{program} is not on PATH: start this on a login node, or use cluster=local")


def _query_environment() -> dict[str, str]:
    """The environment without variables that change the output of Slurm's commands, which would break the parsers."""
    shaping = ("SQUEUE_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SLURM_TIME_FORMAT", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(shaping)}
    return {**kept, "LC_ALL": "C"}
