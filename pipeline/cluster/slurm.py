"""Trials as Slurm jobs, through submitit: one job array per wave, one query for all jobs.

Submitit writes the script and runs the job; everything after `sbatch` is ours, because its own watching fits short
interactive use (see `slurm_states.py` for what it takes for done). What shapes this file:

* `squeue` is asked, not `sacct`: slurmctld knows a job the moment it takes it, slurmdbd some time later, and a job
  taken for vanished is trained twice. `sacct` is asked only about jobs that have left the queue.
* `sbatch` runs before submitit names its pickles, and a submitter may die in between. So a wave has a folder and a
  name of its own, written before, by which `find` finishes what was begun.
* A job starts once (`--no-requeue`): the program decides about a retry, in a new folder.
"""

import contextlib
import getpass
import io
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError
from submitit.helpers import clean_env

from pipeline.cluster.base import Phase, Request, Status, Work
from pipeline.cluster.slurm_states import MEANING, explain_reason
from pipeline.cluster.slurm_text import (
    ASSOC_FIELDS,
    QOS_FIELDS,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    JobRow,
    Limits,
    QueueRow,
    Refusal,
    expand_nodes,
    parse_limits,
    parse_sacct,
    parse_squeue,
    read_log,
    read_refusal,
)
from pipeline.config import GpuFlag, SlurmConfig
from pipeline.errors import BadInput, Refused
from pipeline.records import Kind

_COMMAND_LIMIT_S = 60.0
"""How long a Slurm command may take; a busy controller answers late."""
_SLOWEST_QUERY_S = 120.0
"""Where the pause between queries stops growing while Slurm does not answer."""
_SUBMIT_PAUSE_S = 60.0
"""How long nothing is submitted after a limit was reached."""
_ACCOUNTING_GRACE_S = 600.0
"""How long accounting may lag behind the queue before a job counts as vanished."""

_OWN_MEM_GB = 0.5
"""Memory of our own processes, asked for on top: Slurm must not end a job whose variant still has what it may use, and a
variant that takes more is to be ended by us, who tell it from a fault of the machine."""

_KEPT = (
    "SLURM*", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "TMPDIR",
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LMOD*", "__LMOD*", "_LMFILES_", "LOADEDMODULES", "MODULE*",
)  # fmt: skip
"""Variables of a job that stay: Slurm's own, a site's module system, and what no program runs without."""


class SlurmCluster:
    """One run's jobs on the cluster that `sbatch` reaches. `clock` counts seconds."""

    here = False

    def __init__(
        self,
        work: Work,
        max_parallel: int,
        settings: SlurmConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._max_parallel = max_parallel
        self._settings = settings or SlurmConfig()
        self._clock = clock
        self._limits: Limits | None = None
        self._known: dict[str, Status] = {}
        self._next_query = 0.0
        self._pause = self._settings.query_s
        self._queued = 0
        self._submit_again = 0.0
        self._submit_words = ""
        self._left_queue: dict[str, float] = {}

    def slots(self) -> int:
        return self._max_parallel

    # ---- submitting

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        if not requests:
            return {}
        if self._clock() < self._submit_again:
            raise Refused(self._submit_words)
        self._cancel_doubtful()
        size = self._wave_size()
        taken: dict[str, str] = {}
        waiting = list(requests)
        while waiting:
            try:
                taken |= self._submit_wave(waiting[:size], avoid)
            except _Reached as reached:
                size = min(size, len(waiting)) // 2  # others' jobs count, too: room for fewer may be left
                if size:
                    continue
                self._submit_words = f"Slurm takes no more jobs for now: {reached}"
                self._submit_again = self._clock() + _SUBMIT_PAUSE_S
                break
            except Refused:
                if taken:
                    break
                raise
            del waiting[:size]
        if not taken:
            raise Refused(self._submit_words)
        self._queued += len(taken)
        return taken

    def _wave_size(self) -> int:
        limits = self.limits()
        size = limits.max_array_size
        if limits.max_submit_jobs is not None:
            size = min(size, max(1, limits.max_submit_jobs - self._queued))
        return size

    def limits(self) -> Limits:
        """The cluster's limits, read once."""
        if self._limits is None:
            config = self._ask("scontrol", "show", "config")
            assoc = qos = ""
            with contextlib.suppress(Refused):  # no slurmdbd, no such limits
                show = ("sacctmgr", "--parsable2", "show")
                assoc = self._ask(*show, "assoc", "where", f"user={getpass.getuser()}", f"format={ASSOC_FIELDS}")
                qos = self._ask(*show, "qos", f"format={QOS_FIELDS}")
            self._limits = parse_limits(config, assoc, qos, account=self._settings.account, job_qos=self._settings.qos)
        return self._limits

    def _submit_wave(self, requests: Sequence[Request], avoid: Sequence[str]) -> dict[str, str]:
        wave = _Wave.create(self._work.folder, requests)
        executor = self._executor(wave, avoid)
        try:
            # Submitit prints what sbatch said; it stands in the error as well.
            with _clean_environment(), contextlib.redirect_stderr(io.StringIO()), executor.batch():
                jobs = [executor.submit(self._work.function, str(request.folder)) for request in requests]
        except FailedJobError as error:
            return self._not_taken(wave, str(error))
        return dict(zip(wave.requests, [job.job_id for job in jobs], strict=True))

    def _not_taken(self, wave: "_Wave", words: str) -> dict[str, str]:
        """What to make of an error of sbatch. Without an answer the wave may be in the queue all the same."""
        refusal = read_refusal(words)
        lines = [line.removeprefix("sbatch: error: ") for line in words.splitlines() if line.startswith("sbatch:")]
        seen = "; ".join(lines) or words[-500:]
        if refusal is Refusal.LIMIT:
            raise _Reached(seen)
        if refusal is Refusal.WRONG:
            raise BadInput(f"Slurm refuses these jobs: {seen} (see cluster.slurm.* and train.resources)")
        try:
            found = self._find_waves([wave])
        except Refused:
            found = {}
            wave.doubtful.touch()
        if not found:
            raise Refused(f"Slurm did not take the jobs: {seen}")
        return found

    def _cancel_doubtful(self) -> None:
        """End waves of which we never heard whether they were taken: their tries are submitted again."""
        for wave in _Wave.all_in(self._work.folder):
            if wave.doubtful.exists():
                self._ask("scancel", f"--name={wave.name}")
                wave.doubtful.unlink()

    def would_start(self) -> str:
        """Slurm's own word on whether it would take such a job, and when it would start. Raises `BadInput` if never."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(self.script(1))
            script.flush()
            try:
                return self._ask("sbatch", "--test-only", script.name, both=True)
            except Refused as refused:
                raise BadInput(f"{refused} (see cluster.slurm.* and train.resources)") from None

    def script(self, count: int) -> str:
        """The sbatch script of a wave of `count` jobs."""
        executor = self._executor(_Wave(self._work.folder / "WAVE", (), ()))
        if count > 1:
            executor.parameters["map_count"] = count
        text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
        return text

    def _executor(self, wave: "_Wave", avoid: Sequence[str] = ()) -> submitit.SlurmExecutor:
        needs, settings = self._work.resources, self._settings
        exclude = [settings.exclude, *sorted(set(avoid) - set(expand_nodes(settings.nodelist)))]
        if shutil.which("srun") is None:
            raise BadInput("srun is not on PATH: start this on a login node, or use cluster=local")
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
            "mem": f"{round(1024 * (needs.mem_gb + _OWN_MEM_GB))}M",
            "stderr_to_stdout": True,
            "array_parallelism": self.slots(),
            "setup": self._setup(),
            # Since 22.05 srun no longer takes the cores from sbatch: without this, training has one.
            "srun_args": [f"--cpus-per-task={needs.cpus_per_task}", *settings.srun_args],
        }
        if needs.gpus_per_node and settings.gpu_flag is GpuFlag.gres:
            options["gres"] = f"gpu:{gpus}"
        elif needs.gpus_per_node:
            options["gpus_per_node"] = gpus
        more: dict[str, object] = {
            "chdir": str(wave.folder),
            # Nothing of our environment goes into the job or into Slurm's records. Before 23.02 this reads as a list
            # of one variable that nobody has, which is as good.
            "export": "NIL",
            "no-requeue": True,
            # Submitit's own handler of its USR2 would put the job back, or raise in the midst of the training. Slurm
            # sends the signal when it preempts, and before the limit, up to half a minute early.
            "signal": f"TERM@{60 if needs.time_min >= 10 else 1}",
        }
        if settings.reservation:
            more["reservation"] = settings.reservation
        executor.update_parameters(
            additional_parameters={**more, **{name: value or True for name, value in settings.extra.items()}},
            wckey=None,  # submitit's own, which sites that check these keys do not know
            **{name: value for name, value in options.items() if value is not None},
        )
        return executor

    def _setup(self) -> list[str]:
        """Lines that make the job's environment: whatever a login profile or the site exports goes, ours comes."""
        environment = {
            **self._work.environment,
            "PYTHONPATH": str(self._work.code),
            # Without it `python -m` would put the working directory before `code`.
            "PYTHONSAFEPATH": "1",
            # srun would else obey the --export=NIL of sbatch, and the task would not know its own job.
            "SLURM_EXPORT_ENV": "ALL",
        }
        # A module system is a function of the login profile. What else the profile exports is unset below.
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

    # ---- watching

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, Status]:
        now = self._clock()
        if job_ids and now >= self._next_query:
            # Set before asking, so that a query that fails is not repeated at once.
            self._pause = min(2 * self._pause, _SLOWEST_QUERY_S)
            self._next_query = now + self._pause
            self._known = self._look(job_ids)
            self._pause = self._settings.query_s
            self._next_query = now + self._pause
        submitted = Status(Phase.PENDING, "submitted; Slurm is asked about it soon")
        return {job_id: self._known.get(job_id, submitted) for job_id in job_ids}

    def _look(self, job_ids: Sequence[str]) -> dict[str, Status]:
        queue = parse_squeue(self._ask(*_squeue(), f"--user={os.getuid()}"))
        self._queued = sum(not MEANING[row.state].over for row in queue)
        rows = {job_id: row for row in queue for job_id in row.job_ids}
        statuses = {job_id: self._status(job_id, rows[job_id]) for job_id in job_ids if job_id in rows}
        gone = [job_id for job_id in job_ids if job_id not in rows]
        if gone:
            statuses |= self._look_back(gone)
        return statuses

    def _look_back(self, gone: Sequence[str]) -> dict[str, Status]:
        """What accounting says of jobs that have left the queue. They are over; only why may not be known yet."""
        arrays = sorted({job_id.partition("_")[0] for job_id in gone})
        told: dict[str, JobRow] = {}
        lags = False
        try:
            for row in parse_sacct(self._ask(*_sacct(), f"--jobs={','.join(arrays)}")):
                told |= dict.fromkeys(row.job_ids, row)  # the last incarnation counts
        except Refused as refused:
            lags = "disabled" not in str(refused)  # a site without accounting will never say more
        now = self._clock()
        statuses = {}
        for job_id in gone:
            last = told.get(job_id)
            since = now - self._left_queue.setdefault(job_id, now)
            if last is not None and MEANING[last.state].over:
                statuses[job_id] = self._status(job_id, last)
            elif (last is not None or lags) and since < _ACCOUNTING_GRACE_S:
                statuses[job_id] = Status(Phase.RUNNING, "left the queue; accounting does not know yet how it ended")
            else:
                statuses[job_id] = Status(Phase.ENDED, "neither the queue nor accounting knows it", Kind.VANISHED)
        return statuses

    def _status(self, job_id: str, row: QueueRow | JobRow) -> Status:
        """What a row says; where it does not say why a job ended, what Slurm wrote into the job's log."""
        status = _status(row)
        if status.phase is not Phase.ENDED or status.fault is not None:
            return status
        for log in self._work.folder.glob(f"*/{job_id}_*_log.out"):
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - 8192))
                kind = read_log(file.read().decode(errors="replace"))
            if kind is not None:
                return replace(status, fault=kind)
        return status

    def usage(self, job_ids: Sequence[str]) -> Mapping[str, float]:
        if not job_ids:
            return {}
        arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
        spent: dict[str, float] = {}
        try:
            rows = parse_sacct(self._ask(*_sacct(), f"--jobs={','.join(arrays)}"))
        except Refused:
            return {}  # no slurmdbd, or none that answers: the jobs' own clocks will do
        for row in rows:
            for job_id in row.job_ids if not row.step else ():
                spent[job_id] = spent.get(job_id, 0.0) + row.elapsed_s
        return {job_id: spent[job_id] for job_id in job_ids if job_id in spent}

    # ---- finding and ending

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Raises `Refused` when Slurm does not answer: nothing can be concluded then."""
        wanted = set(names)
        waves = [wave for wave in _Wave.all_in(self._work.folder) if wanted & set(wave.requests)]
        found = self._find_waves(waves) if waves else {}
        return {name: job_id for name, job_id in found.items() if name in wanted}

    def _find_waves(self, waves: Sequence["_Wave"]) -> dict[str, str]:
        """Job ids of these waves by their names, newest last; their submission is finished where it was cut off."""
        by_name = {wave.name: wave for wave in waves}
        names = ",".join(by_name)
        rows: list[QueueRow | JobRow] = list(parse_squeue(self._ask(*_squeue(), f"--name={names}")))
        missing = set(by_name) - {row.name for row in rows}
        if missing:
            with contextlib.suppress(Refused):
                began = min(wave.began for wave in waves) - 3600
                since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(began))
                command = (*_sacct(), f"--name={','.join(missing)}", f"--starttime={since}")
                rows += parse_sacct(self._ask(*command))
        found: dict[str, str] = {}
        for row in rows:
            wave = by_name[row.name]
            # A refused submission leaves a failed job behind that never had a node.
            if row.nodes or not MEANING[row.state].over:
                job = row.job_ids[0].partition("_")[0]
                wave.finish(job)
                found |= wave.job_ids(job)
        return found

    def cancel(self, job_ids: Sequence[str]) -> None:
        for start in range(0, len(job_ids), 500):  # a command line has an end
            self._ask("scancel", *job_ids[start : start + 500])

    # ---- Slurm's commands

    def _ask(self, *command: str, both: bool = False) -> str:
        """Output of a Slurm command, `both` with what it says beside it. Raises `Refused` with its words when it failed."""
        try:
            done = subprocess.run(
                command,
                env=_query_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMMAND_LIMIT_S,
            )
        except FileNotFoundError:
            raise BadInput(f"{command[0]} is not on PATH: start this on a login node, or use cluster=local") from None
        except subprocess.TimeoutExpired:
            raise Refused(f"{command[0]} did not answer within {_COMMAND_LIMIT_S:.0f} s") from None
        if done.returncode and not (command[0] == "scancel" and "Invalid job id" in done.stderr):
            raise Refused(f"{command[0]} failed: {' '.join(done.stderr.split()) or done.returncode}")
        return " ".join((done.stdout + done.stderr).split()) if both else done.stdout


class _Reached(Exception):
    """A limit of the cluster is reached."""


@dataclass(frozen=True)
class _Wave:
    """One submission: its folder holds the script, pickles and logs of submitit, and what it was to submit."""

    folder: Path
    """Named as the job array."""
    requests: tuple[str, ...]
    """Names of the requests; array task k is the k-th."""
    tries: tuple[str, ...]
    """Their folders, relative to `folder`: a run folder holds no absolute path, and may be moved."""

    @classmethod
    def create(cls, parent: Path, requests: Sequence[Request]) -> "_Wave":
        # People see the beginning of the first name in `squeue`; the rest makes it unique among all runs.
        name = f"{requests[0].name[:40]}.{uuid.uuid4().hex[:12]}"
        folder = parent / name
        tries = [os.path.relpath(request.folder, folder) for request in requests]
        wave = cls(folder, tuple(request.name for request in requests), tuple(tries))
        folder.mkdir(parents=True)
        half_written = folder / "wave.json.new"
        half_written.write_text(json.dumps({"requests": wave.requests, "tries": wave.tries}))
        half_written.replace(folder / "wave.json")
        return wave

    @classmethod
    def all_in(cls, parent: Path) -> Iterator["_Wave"]:
        for path in sorted(parent.glob("*/wave.json")):
            read = json.loads(path.read_text())
            yield cls(path.parent, tuple(read["requests"]), tuple(read["tries"]))

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def began(self) -> float:
        """Seconds since 1970."""
        return (self.folder / "wave.json").stat().st_mtime

    @property
    def doubtful(self) -> Path:
        """Exists while nobody knows whether Slurm took the wave."""
        return self.folder / "doubtful"

    def job_ids(self, job: str) -> dict[str, str]:
        """Name of each request to its id in the array `job`."""
        if len(self.requests) == 1:
            return {self.requests[0]: job}
        return {name: f"{job}_{number}" for number, name in enumerate(self.requests)}

    def finish(self, job: str) -> None:
        """Give submitit's pickles the names under which their tasks wait for them, for a minute."""
        ids = tuple(self.job_ids(job).values())
        for pickle in self.folder.glob("*.pkl"):
            if pickle.stem.isalnum():  # a bare uuid: it has not got its name
                place = os.path.relpath(DelayedSubmission.load(pickle).args[0], self.folder)
                pickle.rename(self.folder / f"{ids[self.tries.index(place)]}_submitted.pkl")


def _status(row: QueueRow | JobRow) -> Status:
    meaning = MEANING[row.state]
    node = ",".join(row.nodes)
    if meaning.phase is Phase.PENDING:
        advice = explain_reason(row.reason)
        words = f"{row.reason}: {advice.words}" + (f". {advice.remedy}" if advice.remedy else "")
        return Status(Phase.PENDING, words, never_starts=advice.never_starts)
    words = str(row.state)
    if isinstance(row, JobRow):
        words += f" by user {row.cancelled_by}" if row.cancelled_by is not None else ""
        words += f", exit code {row.exit_code}, signal {row.signal}"
    elif meaning.over and row.reason != "None":
        words += f" ({row.reason})"
    return Status(meaning.phase, words, meaning.kind, node=node)


def _squeue() -> tuple[str, ...]:
    return ("squeue", "--array", "--states=all", f"--format={SQUEUE_FORMAT}")


def _sacct() -> tuple[str, ...]:
    return ("sacct", "--duplicates", "--allocations", "--parsable2", f"--format={SACCT_FIELDS}")


def _query_environment() -> dict[str, str]:
    """Ours without what changes the output of Slurm's commands; a person's habits must not break the parsers."""
    shaping = ("SQUEUE_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SLURM_TIME_FORMAT", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(shaping)}
    return {**kept, "LC_ALL": "C"}


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """No trace of the job that we may run in ourselves, except which Slurm it is."""
    conf = os.environ.get("SLURM_CONF")
    with clean_env():
        if conf is not None:
            os.environ["SLURM_CONF"] = conf
        try:
            yield
        finally:
            os.environ.pop("SLURM_CONF", None)
