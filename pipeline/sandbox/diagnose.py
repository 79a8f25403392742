"""Diagnosis of a command's outcome: from outcome and log to a Failure."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

from pipeline.records import Failure, FailureKind, Stage
from pipeline.sandbox.base import End, Outcome, RunLimits

_LOG_LINES = 12
_PROBE_BYTES = 1 << 20
_ON_A_NETWORK = frozenset({"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cephfs", "fuse.glusterfs", "cifs"})

# The first pattern that matches one of the last lines of a log decides. Machine faults come first: the traceback at the end
# of a log often names the symptom in the variant's own words.
_SIGNATURES: tuple[tuple[FailureKind, re.Pattern[str]], ...] = (
    (
        FailureKind.FILE_SYSTEM,
        re.compile(r"no space left on device|disk quota exceeded|stale (nfs )?file handle", re.I),
    ),
    (
        FailureKind.DEVICE,
        re.compile(
            r"cuda driver|no cuda-capable device|uncorrectable ecc|\bxid\b|nccl (error|watchdog)|unhandled (system|cuda) "
            r"error|cuda error: (unknown|device-side|all cuda-capable)|nvml",
            re.I,
        ),
    ),
    (FailureKind.OUT_OF_MEMORY, re.compile(r"out of memory|outofmemory|MemoryError|can't allocate memory", re.I)),
    (FailureKind.NAN, re.compile(r"(?<![A-Za-z])(nan|non-?finite)(?![A-Za-z])", re.I)),
)


def failure_of(
    stage: Stage, outcome: Outcome, limits: RunLimits, log: str, over: FailureKind = FailureKind.TIMEOUT
) -> Failure | None:
    """None if the command ended with exit code 0; else the Failure. `log` is the end of its output, `over` the kind of
    failure for a command that exceeded its time limit."""
    if outcome.good:
        return None
    kind, reason = _kind(outcome, limits, log, over)
    return Failure(stage, kind, with_log(reason, log))


def believed(failure: Failure | None, folder: Path, devices: bool) -> Failure | None:
    """The failure. A machine fault that only the variant's log reports, and that is not visible on the machine, becomes an
    exception of the variant. Otherwise a variant could get another try by printing `no space left on device`.

    `folder` is where the variant writes. `devices` says whether it uses GPUs or the network between nodes, whose faults
    cannot be checked."""
    if failure is None:
        return None
    faults = {FailureKind.FILE_SYSTEM: _disk_is_bad(folder), FailureKind.DEVICE: devices}
    return failure if faults.get(failure.kind, True) else replace(failure, kind=FailureKind.EXCEPTION)


def _disk_is_bad(folder: Path) -> bool:
    """Whether a folder cannot be written to, or is on a network file system, whose faults may have passed."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
    except OSError:
        return True
    places = sorted(psutil.disk_partitions(all=True), key=lambda one: -len(one.mountpoint))
    return next((one.fstype in _ON_A_NETWORK for one in places if folder.is_relative_to(one.mountpoint)), False)


def with_log(reason: str, log: str) -> str:
    """The reason in one line, followed by the last lines of the log."""
    lines = [line for line in log.splitlines() if line.strip()][-_LOG_LINES:]
    return "\n".join([reason, *lines])


def _kind(outcome: Outcome, limits: RunLimits, log: str, over: FailureKind) -> tuple[FailureKind, str]:
    match outcome.ended:
        case End.TIMEOUT:
            return over, f"still running after {limits.seconds:.0f} s, its limit"
        case End.MEMORY:
            return (
                FailureKind.OUT_OF_MEMORY,
                f"used {outcome.peak_gb:.1f} GB of memory, its limit is {limits.mem_gb:g} GB",
            )
        case End.DISK:
            return FailureKind.OVER_LIMIT, f"wrote more than {limits.disk_gb:.1f} GB"
        case End.PROCESSES:
            return FailureKind.OVER_LIMIT, f"started more than {limits.processes} processes at once"
        case End.STOPPED:
            return FailureKind.CANCELLED, "the command was stopped"
        case End.NOT_STARTED:
            return FailureKind.EXCEPTION, f"did not start: {outcome.reason}"
        case End.EXIT:
            pass
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "it printed nothing")
    recent = "\n".join(log.splitlines()[-3:])
    kind = next((kind for kind, pattern in _SIGNATURES if pattern.search(recent)), FailureKind.EXCEPTION)
    code = outcome.exit_code or 0
    if code < 0:
        return kind, f"killed by signal {-code}; last line: {last}"
    return kind, f"exit code {code}: {last}"
