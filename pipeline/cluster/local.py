"""Trials as child processes on this machine, through submitit's local executor.

Three properties of submitit 1.5 shape this file: children inherit the whole environment and the caller's process group, a
whole batch is started at once, and jobs are tracked only as long as the caller lives. So the environment is replaced while a
child is started, the child is shielded from Ctrl-C, and a job's id contains the start time of its process, by which a later
controller recognises it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence

import psutil
import submitit

from pipeline.cluster.base import JobStatus, Phase, Request, Work, last_line
from pipeline.config import ClusterConfig
from pipeline.errors import BadInput
from pipeline.records import FailureKind

_END_GRACE_S = 15.0
"""Seconds that a job has to end its processes before it is killed."""
_LOG_TAIL_BYTES = 8192
"""Bytes read from the end of a job's log."""


class LocalCluster:
    """Child processes, at most `max_parallel` at once; by default as many as fit on this machine's GPUs or cores."""

    here = True
    pack = 1

    def __init__(self, work: Work, config: ClusterConfig) -> None:
        """Raises `BadInput` if a job requires more GPUs than this machine has."""
        needs, gpus = work.resources, gpu_count()
        if needs.gpus_per_node > gpus:
            raise BadInput(
                f"a trial requires {needs.gpus_per_node} GPU(s) and this machine has {gpus}; "
                "use cluster=slurm on a cluster, or scale=tiny, which requires none"
            )
        cores = (os.cpu_count() or 1) // needs.cpus_per_task
        fits = gpus // needs.gpus_per_node if needs.gpus_per_node else cores
        self._work = work
        self._max_parallel = config.max_parallel or max(1, fits)
        self._children: list[submitit.Job[object]] = []  # kept so that ended ones are reaped

    def slots(self) -> int:
        return self._max_parallel

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        executor = submitit.LocalExecutor(folder=self._work.folder)
        taken: dict[str, str] = {}
        for request in requests:
            resources = self._work.resources
            executor.update_parameters(
                # Our own limits end a trial; submitit's only has to be later than all of them.
                timeout_min=10 * resources.time_min + 60,
                signal_delay_s=0,
                gpus_per_node=resources.gpus_per_node,
                visible_gpus=self._free_gpus() if resources.gpus_per_node else (),
            )
            with _as_environment(self._environment()), _without_interrupt():
                job = executor.submit(self._work.function, str(request.folder))
            self._children.append(job)
            taken[request.name] = job_id_of(psutil.Process(int(job.job_id)))
        return taken

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        self._children = [child for child in self._children if not child.done()]
        return {job_id: self._status(job_id) for job_id in job_ids}

    def _status(self, job_id: str) -> JobStatus:
        if _process(job_id) is not None:
            return JobStatus(Phase.RUNNING, node=os.uname().nodename)
        said = filter(None, (last_line(self._log(job_id, kind)) for kind in ("err", "out")))
        return JobStatus(Phase.ENDED, "the process is gone", FailureKind.VANISHED, last_line=next(said, ""))

    def _log(self, job_id: str, kind: str) -> str:
        """The end of a job's log, which submitit writes."""
        path = self._work.folder / f"{job_id.partition('.')[0]}_0_log.{kind}"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        # A child whose id was not recorded claims its try within seconds, or finds it claimed.
        return {}

    def usage(self, job_ids: Sequence[str]) -> Mapping[str, float]:
        return {}  # there is no accounting

    def cancel(self, job_ids: Sequence[str]) -> None:
        processes = [process for process in map(_process, job_ids) if process is not None]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(processes, timeout=_END_GRACE_S)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in process.children(recursive=True):
                    child.kill()
                process.kill()

    def _environment(self) -> dict[str, str]:
        return {
            **self._work.environment,
            "PYTHONPATH": str(self._work.code),
            # Else `python -m` would put the working directory, which may be the checkout, before `code`.
            "PYTHONSAFEPATH": "1",
        }

    def _free_gpus(self) -> tuple[int, ...]:
        """Indices of the GPUs that no trial on this machine holds, according to the environment of its processes."""
        held: set[str] = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environment = process.environ()
                if environment.get("SUBMITIT_EXECUTOR") == "local":
                    held.update(environment.get("CUDA_VISIBLE_DEVICES", "").split(","))
        return tuple(gpu for gpu in range(gpu_count()) if str(gpu) not in held)


def gpu_count() -> int:
    """Number of GPUs of this machine, by the driver's device files, since the controller does not import torch."""
    return sum(name[6:].isdigit() for name in os.listdir("/dev") if name.startswith("nvidia"))


def job_id_of(process: psutil.Process) -> str:
    """`PID.STARTED`, since process ids are reused."""
    return f"{process.pid}.{round(process.create_time() * 100)}"


def _process(job_id: str) -> psutil.Process | None:
    """The running process of a job id; none if it has ended."""
    pid, _, _ = job_id.partition(".")
    try:
        process = psutil.Process(int(pid))
        if job_id_of(process) == job_id and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (psutil.Error, ValueError):
        return None
    return None


@contextlib.contextmanager
def _as_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Set `os.environ` to exactly `environment` inside the block, because submitit passes all of it to the child."""
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def _without_interrupt() -> Iterator[None]:
    """Block SIGINT inside the block, so that children started there ignore Ctrl-C; for this process it is only delayed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    saved = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, saved)
