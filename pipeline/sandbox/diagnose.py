"""From how a command ended to a Failure. Pure functions over what was seen."""

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

# The first that matches one of the last lines of a log decides. Faults of machines come first: the traceback that ends
# a log often names the symptom in the variant's own reason.
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
    """None if the command ended well; else the Failure. `log` holds the last lines of what it printed, `over` is the kind
    for a command that ran too long."""
    if outcome.good:
        return None
    kind, reason = _kind(outcome, limits, log, over)
    return Failure(stage, kind, with_log(reason, log))


def believed(failure: Failure | None, folder: Path, devices: bool) -> Failure | None:
    """The failure; a fault of the machine that only the variant's log reports is an exception of the variant, unless the
    machine shows it. Otherwise a variant could earn another try by printing `no space left on device`.

    folder: what it writes to. devices: whether it uses GPUs or the network between nodes, which may break unseen."""
    if failure is None:
        return None
    faults = {FailureKind.FILE_SYSTEM: _disk_is_bad(folder), FailureKind.DEVICE: devices}
    return failure if faults.get(failure.kind, True) else replace(failure, kind=FailureKind.EXCEPTION)


def _disk_is_bad(folder: Path) -> bool:
    """Whether a folder takes no more data, or lies on a network's file system, whose faults pass."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
    except OSError:
        return True
    places = sorted(psutil.disk_partitions(all=True), key=lambda one: -len(one.mountpoint))
    return next((one.fstype in _ON_A_NETWORK for one in places if folder.is_relative_to(one.mountpoint)), False)


def with_log(reason: str, log: str) -> str:
    """A reason: one line, then the last lines of the log."""
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
