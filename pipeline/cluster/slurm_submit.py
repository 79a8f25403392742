"""Submission of requests as job arrays, one per wave. Submitit writes the script and runs `sbatch`; errors of `sbatch` are
interpreted here."""

import contextlib
import io
import math
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError

from pipeline.cluster.base import Request, Work
from pipeline.cluster.jobs import CLUSTER_VARIABLE
from pipeline.cluster.packs import Pack, needs_of_pack, packed
from pipeline.cluster.slurm_commands import (
    cancel_name,
    expected_start,
    limits_of_user,
    outside_any_job,
    require_slurm,
)
from pipeline.cluster.slurm_text import ClusterLimits, SubmitError, expand_nodes, read_refusal
from pipeline.cluster.slurm_watch import find_waves
from pipeline.cluster.slurm_waves import Wave
from pipeline.config import ClusterConfig, GpuFlag, Memory, SlurmConfig
from pipeline.errors import BadInput, ClusterRefused
from pipeline.records import Resources

_SUBMIT_PAUSE_S = 60.0
"""Seconds without submission after a limit was reached."""
_OWN_MEM_GB = 0.5
"""GB for this program's own processes, requested in addition: Slurm must not kill a job whose variant is within its limit.
A variant that exceeds its limit is ended by this program, which can tell that from a machine fault."""

_KEPT = (
    "SLURM*", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "TMPDIR",
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LMOD*", "__LMOD*", "_LMFILES_", "LOADEDMODULES", "MODULE*",
)  # fmt: skip
"""Variables of a job that are kept: Slurm's own, those of a site's module system, and basic ones."""
_ADVICE = (
    (
        r"memory|--mem\b|mem-per",
        "; how memory is requested is a setting: cluster.slurm.memory=per_node, per_cpu, per_gpu or none, and the amount is "
        "train.resources.mem_gb",
    ),
    (r"cluster '|--cluster", "; check cluster.slurm.clusters"),
)
"""Patterns in a refusal, each with the settings to change."""
_SETTINGS = " (see cluster.slurm.* and train.resources)"


class SlurmSubmitter:
    """Submits the jobs of one run, at most `slots` trials of an array at once. `clock` counts seconds."""

    def __init__(self, work: Work, config: ClusterConfig, slots: int, clock: Callable[[], float]) -> None:
        self._work = work
        self._settings = config.slurm
        self._pack = config.pack
        self._needs = needs_of_pack(work.resources, config.pack, _OWN_MEM_GB)
        check_settings(config.slurm, self._needs)
        self._slots = slots
        self._clock = clock
        self._limits: ClusterLimits | None = None
        self._submit_again = 0.0
        self._refusal = ""

    def submit(self, requests: Sequence[Request], avoid: Sequence[str], queued: int) -> dict[str, str]:
        """Submit as many requests as Slurm accepts; returns job id by name. `queued` is the number of this user's jobs that
        already wait or run. Raises `ClusterRefused` if Slurm accepts none."""
        if not requests:
            return {}
        if self._clock() < self._submit_again:
            raise ClusterRefused(self._refusal)
        self._cancel_unconfirmed()
        size = self._wave_size(queued)
        taken: dict[str, str] = {}
        waiting = packed(requests, lambda request: request.kind, self._pack)
        while waiting:
            try:
                taken |= self._submit_wave(waiting[:size], avoid)
            except _NoArrays as refused:
                if size == 1:
                    raise BadInput(f"Slurm refuses these jobs: {refused}{_SETTINGS}") from None
                self._limits, size = replace(self.limits(), max_array_size=1), 1
                continue
            except _LimitReached as reached:
                size = min(size, len(waiting)) // 2  # other users' jobs may count as well, so try fewer
                if size:
                    continue
                self._refusal = f"Slurm takes no more jobs for now: {reached}"
                self._submit_again = self._clock() + _SUBMIT_PAUSE_S
                break
            except ClusterRefused:
                if taken:
                    break
                raise
            del waiting[:size]
        if not taken:
            raise ClusterRefused(self._refusal)
        return taken

    def limits(self) -> ClusterLimits:
        """The cluster's limits, read once."""
        if self._limits is None:
            settings = self._settings
            self._limits = limits_of_user(settings.account, settings.qos, settings.clusters)
        return self._limits

    def _wave_size(self, queued: int) -> int:
        limits = self.limits()
        if limits.max_submit_jobs is None:
            return limits.max_array_size
        return min(limits.max_array_size, max(1, limits.max_submit_jobs - queued))

    def _submit_wave(self, packs: Sequence[Sequence[Request]], avoid: Sequence[str]) -> dict[str, str]:
        wave = Wave.create(self._work.folder, packs, self._pack, self._settings.clusters)
        executor, function = self._executor(wave, avoid), self._work.function
        if self._pack > 1:
            function = Pack(function, self._work.resources, self._pack)
        try:
            # Submitit prints the error of sbatch, which is also in the exception.
            with outside_any_job(), contextlib.redirect_stderr(io.StringIO()), executor.batch():
                jobs = [executor.submit(function, *(str(request.folder) for request in pack)) for pack in packs]
        except FailedJobError as error:
            return _after_error(wave, str(error))
        return wave.job_ids(jobs[0].job_id.partition("_")[0])

    def _cancel_unconfirmed(self) -> None:
        """Cancel waves whose submission was never confirmed: their tries are submitted again."""
        for wave in Wave.all_in(self._work.folder):
            if wave.unconfirmed.exists():
                cancel_name(wave.name, wave.cluster)
                wave.unconfirmed.unlink()

    def would_start(self) -> str:
        """When Slurm would start such a job, in Slurm's wording. Raises `BadInput` if it would reject it."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(self.script(1))
            script.flush()
            try:
                return expected_start(Path(script.name))
            except ClusterRefused as refused:
                raise BadInput(f"{refused}{_SETTINGS}{advice_for(str(refused))}") from None

    def script(self, count: int) -> str:
        """The sbatch script of a wave of `count` trials."""
        executor = self._executor(Wave(self._work.folder / "WAVE", (), ()))
        if (tasks := -(-count // self._pack)) > 1:
            executor.parameters["map_count"] = tasks
        text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
        return text

    def _executor(self, wave: Wave, avoid: Sequence[str] = ()) -> submitit.SlurmExecutor:
        require_slurm()
        needs, settings = self._needs, self._settings
        exclude = [settings.exclude, *sorted(set(avoid) - set(expand_nodes(settings.nodelist)))]
        executor = submitit.SlurmExecutor(folder=wave.folder)
        gpus = ":".join(filter(None, [settings.gpu_type, str(needs.gpus_per_node)]))
        options: dict[str, object] = {
            "job_name": wave.name,
            "partition": settings.partition or None,
            "account": settings.account or None,
            "qos": settings.qos or None,
            "constraint": settings.constraint or None,
            "exclude": ",".join(filter(None, exclude)) or None,
            "nodelist": settings.nodelist or None,
            "exclusive": settings.exclusive or None,
            "time": needs.time_min,
            "nodes": needs.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": needs.cpus_per_task,
            **memory_option(settings.memory, needs),
            "stderr_to_stdout": True,
            "array_parallelism": -(-self._slots // self._pack),
            "setup": self._setup(),
            # Since 22.05 srun no longer takes the cores from sbatch: without this, training has one.
            "srun_args": [f"--cpus-per-task={needs.cpus_per_task}", *settings.srun_args],
        }
        if needs.gpus_per_node and settings.gpu_flag is GpuFlag.gres:
            options["gres"] = f"gpu:{gpus}"
        elif needs.gpus_per_node:
            options["gpus_per_node"] = gpus
        additional: dict[str, object] = {
            "chdir": str(wave.folder),
            # No variable of our environment goes into the job or into Slurm's records. Before 23.02 this means a list of
            # one variable, which does not exist, with the same effect.
            "export": "NIL",
            # A job starts only once: this program decides about retries, each in a new folder.
            "no-requeue": True,
            # Submitit's own handler of USR2 would requeue the job, or raise during training. Slurm sends the signal on
            # preemption and before the time limit, up to half a minute early.
            "signal": f"TERM@{60 if needs.time_min >= 10 else 1}",
        }
        if settings.reservation:
            additional["reservation"] = settings.reservation
        if settings.clusters:
            additional["clusters"] = settings.clusters
        executor.update_parameters(
            additional_parameters={**additional, **{name: value or True for name, value in settings.extra.items()}},
            wckey=None,  # submitit's default is unknown at sites that check these keys
            **{name: value for name, value in options.items() if value is not None},
        )
        return executor

    def _setup(self) -> list[str]:
        """Lines that set up the job's environment: variables of a login profile or the site are unset, ours are set."""
        environment = {
            **self._work.environment,
            "PYTHONPATH": str(self._work.code),
            # Else `python -m` would put the working directory before `code`.
            "PYTHONSAFEPATH": "1",
            # Else srun would apply sbatch's --export=NIL, and the task would not find its own job.
            "SLURM_EXPORT_ENV": "ALL",
            **({CLUSTER_VARIABLE: self._settings.clusters} if self._settings.clusters else {}),
        }
        # Module systems are shell functions defined in the login profile. Its other exports are unset below.
        profile = ["[ -r /etc/profile ] && . /etc/profile"] if self._settings.setup else []
        return [
            "trap : TERM  # the shell outlives the training, which ends by itself",
            *profile,
            'for name in $(compgen -e); do case "$name" in',
            f'  {"|".join(_KEPT)}) ;; *) unset "$name" ;;',
            "esac; done",
            *(f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())),
            *self._settings.setup,
        ]


def check_settings(settings: SlurmConfig, needs: Resources) -> None:
    """Raise `BadInput` for contradicting settings, naming the one to change."""
    if re.search(r"[,\s]", settings.clusters) or settings.clusters.lower() == "all":
        raise BadInput(
            f"cluster.slurm.clusters={settings.clusters} must name one cluster: job ids are unique only within a cluster"
        )
    for name in settings.extra:
        option = name.lstrip("-").replace("_", "-")
        if option in ("clusters", "cluster", "M"):
            raise BadInput(
                f"cluster.slurm.extra sets {name}, which every Slurm command needs; set cluster.slurm.clusters="
                f"{settings.extra[name] or 'NAME'}"
            )
        if option in ("mem", "mem-per-cpu", "mem-per-gpu") and settings.memory is not Memory.none:
            raise BadInput(
                f"cluster.slurm.extra sets {name}, which cluster.slurm.memory={settings.memory.value} also sets; use "
                "cluster.slurm.memory=per_node, per_cpu or per_gpu instead, or cluster.slurm.memory=none to keep yours"
            )
    memory_option(settings.memory, needs)


_MEMORY_OPTIONS = {Memory.per_node: "mem", Memory.per_cpu: "mem_per_cpu", Memory.per_gpu: "mem_per_gpu"}


def memory_option(memory: Memory, needs: Resources) -> dict[str, str]:
    """The memory option of a job: value by submitit's option name; empty if memory is not requested. Raises `BadInput` for
    memory per GPU without a GPU."""
    if memory is Memory.none:
        return {}
    parts = {Memory.per_node: 1, Memory.per_cpu: needs.cpus_per_task, Memory.per_gpu: needs.gpus_per_node}[memory]
    if not parts:
        raise BadInput(
            "cluster.slurm.memory=per_gpu requires GPUs, and a trial requests none (train.resources.gpus_per_node=0); set "
            "cluster.slurm.memory=per_node, per_cpu or none"
        )
    whole = round(1024 * (needs.mem_gb + _OWN_MEM_GB))
    return {_MEMORY_OPTIONS[memory]: f"{math.ceil(whole / parts)}M"}


def advice_for(message: str) -> str:
    """The settings to change after an error of Slurm, as the end of a message; empty if unknown."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, message, re.IGNORECASE)), "")


class _LimitReached(Exception):
    """A limit of the cluster is reached."""


class _NoArrays(Exception):
    """The cluster accepts no job arrays."""


def _after_error(wave: Wave, error: str) -> dict[str, str]:
    """Job ids of a wave after an error of sbatch: if Slurm did not answer, the wave may be in the queue nevertheless."""
    refusal = read_refusal(error)
    lines = [line.removeprefix("sbatch: error: ") for line in error.splitlines() if line.startswith("sbatch:")]
    message = "; ".join(lines) or error[-500:]
    if refusal is SubmitError.LIMIT:
        raise _LimitReached(message)
    if refusal is SubmitError.NO_ARRAYS:
        raise _NoArrays(message)
    if refusal is SubmitError.WRONG:
        raise BadInput(f"Slurm refuses these jobs: {message}{_SETTINGS}{advice_for(message)}")
    try:
        found = find_waves([wave])
    except ClusterRefused:
        found = {}
        wave.unconfirmed.touch()
    if not found:
        raise ClusterRefused(f"Slurm did not take the jobs: {message}")
    return found
