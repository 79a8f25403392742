"""Start, repair and stop the dev cluster. Read `DevCluster.up` first: it starts the daemons in the order that Slurm
requires."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.debian import NotInstalled, install

PACKAGES = ("munge", "mariadb-server", "slurmdbd", "slurm-wlm", "shellcheck")
"""The last is for the wrappers, whose tests must be skipped as rarely as those of the cluster."""
PROGRAMS = (
    "munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct", "shellcheck",
)  # fmt: skip
NODES = ("n1", "n2", "n3", "n4")
GPUS_PER_NODE = 8
CPUS_PER_NODE = 32
MEM_MB_PER_NODE = 256_000
MAX_ARRAY_SIZE = 65
"""Small on purpose, so that a test's wave must be split."""
NARROW_QOS = "narrow"
"""A QOS for tests of limits: `NARROW_MAX_SUBMIT` jobs in the queue (an array task counts as one), two GPUs in use."""
NARROW_MAX_SUBMIT = 4

SACCTMGR = ("sacctmgr", "--immediate", "--quiet")

NULL_DEVICE = os.makedev(1, 3)
"""Device type of /dev/null; the simulated GPUs have the same."""

MARK = "GROUNDWORK_SLURM_DIR"
"""Every daemon is started with this variable; a process without it is not ours, whatever a pid file says."""


class DevClusterError(RuntimeError):
    """The cluster cannot be brought to the requested state; the message says where to look."""


def default_folder() -> Path:
    return Path(os.environ.get("DEV_CLUSTER_DIR") or "/tmp/groundwork-slurm")


# ------------------------------------------------------------------------------------------
# Contents of the configuration files. Pure functions: settings in, text out.


@dataclass(frozen=True)
class Settings:
    """Decided once per state folder, at the first `up`."""

    folder: Path
    """Contains everything: configuration, keys, database, spool, logs, pid files."""
    host: str
    """Short host name of this machine; slurmctld refuses to start under another one."""
    first_port: int
    """First port of the cluster; two state folders use two ranges."""
    password: str
    """Password of the database user; the database listens on loopback only."""

    @property
    def database_port(self) -> int:
        return self.first_port + 1

    @property
    def slurmdbd_port(self) -> int:
        return self.first_port + 2

    @property
    def slurmctld_port(self) -> int:
        return self.first_port + 3

    @property
    def slurmd_ports(self) -> tuple[int, ...]:
        return tuple(range(self.first_port + 11, self.first_port + 11 + len(NODES)))


def slurm_conf(s: Settings) -> str:
    """Text of slurm.conf. Every line is necessary or tested; surprising ones have their reason beside them."""
    first, last = s.slurmd_ports[0], s.slurmd_ports[-1]
    return f"""\
# Written by tests/slurm_cluster; changes are lost at the next `up`.
ClusterName=groundwork
SlurmctldHost={s.host}(127.0.0.1)
SlurmctldPort={s.slurmctld_port}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={s.folder}/state
SlurmdSpoolDir={s.folder}/spool/%n
SlurmctldPidFile={s.folder}/run/slurmctld.pid
SlurmdPidFile={s.folder}/run/%n.pid
SlurmctldLogFile={s.folder}/log/slurmctld.log
SlurmdLogFile={s.folder}/log/%n.log
# Our own munged. cred_expire also sets how long a requeued job waits: the default is two minutes.
AuthType=auth/munge
AuthInfo=socket={s.folder}/run/munge.socket,cred_expire=10
CommunicationParameters=NoAddrCache,NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
# A dead node is noticed within these seconds (default 300), so that a test can wait for NODE_FAIL.
SlurmdTimeout=10
# How long a command tries to reach a slurmctld that is away (default 10).
MessageTimeout=5
KillWait=5
UnkillableStepTimeout=60
InactiveLimit=0
MinJobAge=300
JobRequeue=1
MaxArraySize={MAX_ARRAY_SIZE}
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
# Without cgroups this is what ends a job over its memory.
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
# For this connection Slurm takes the munge socket from here and not from AuthInfo.
AccountingStoragePass={s.folder}/run/munge.socket
AccountingStoragePort={s.slurmdbd_port}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
# Nodes may claim more CPUs and memory than the machine has.
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName={NODES[0][0]}[1-{len(NODES)}] NodeHostname={s.host} NodeAddr=127.0.0.1 Port=[{first}-{last}] \
CPUs={CPUS_PER_NODE} RealMemory={MEM_MB_PER_NODE} Gres=gpu:h100:{GPUS_PER_NODE}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=1-00:00:00 DefaultTime=10 DefMemPerCPU=1000 \
PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=1-00:00:00 DefaultTime=10 DefMemPerCPU=1000 \
PriorityTier=10 PreemptMode=OFF
"""


def gres_conf(s: Settings) -> str:
    """Text of gres.conf. A bare Count=8 drains the nodes ("gres/gpu count reported lower than configured")."""
    return f"NodeName=n[1-{len(NODES)}] Name=gpu Type=h100 File={s.folder}/gpu/[0-{GPUS_PER_NODE - 1}]\n"


def slurmdbd_conf(s: Settings) -> str:
    return f"""\
DbdHost={s.host}
DbdAddr=127.0.0.1
DbdPort={s.slurmdbd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo={s.folder}/run/munge.socket
CommunicationParameters=NoInAddrAny
PidFile={s.folder}/run/slurmdbd.pid
LogFile={s.folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={s.database_port}
StorageUser=slurm
StoragePass={s.password}
StorageLoc=slurm_acct
"""


# ------------------------------------------------------------------------------------------
# The cluster.


class DevCluster:
    """A whole Slurm below one folder. Every method may be called at any time, also repeatedly."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).resolve()

    # ---- what users call

    def up(self) -> None:
        """Start everything, or repair what is down. Each daemon starts only when the one it needs answers: slurmctld
        exits when slurmdbd does not answer, slurmdbd when the database does not."""
        require_root()
        install_packages()
        with self._lock():
            settings = self._settings()
            self._write_configuration(settings)
            self._start_munged()
            self._start_database(settings)
            self._start_slurmdbd()
            self._start_slurmctld()
            self._add_narrow_qos()
            for node in NODES:
                self._start_slurmd(node)
            self._resume_nodes()

    def down(self) -> None:
        """Stop everything that `up` started, and every process that a job left."""
        with self._lock():
            self._stop(*NODES)
            self._kill_steps(None)
            for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
                self._stop(name)

    def stop_node(self, node: str) -> None:
        """Simulate the death of `node`: its slurmd and all its jobs end. Slurm notices after SlurmdTimeout
        (NODE_FAIL)."""
        require_node(node)
        with self._lock():
            self._stop(node, how=signal.SIGKILL)
            self._kill_steps(node)

    def start_node(self, node: str) -> None:
        require_node(node)
        with self._lock():
            self._start_slurmd(node)
            self._resume_nodes((node,))

    def stop_controller(self) -> None:
        """Stop slurmctld; jobs keep running."""
        with self._lock():
            self._stop("slurmctld")

    def start_controller(self) -> None:
        with self._lock():
            self._start_slurmctld()

    def is_up(self) -> bool:
        return all(self.daemons().values()) and not self._run(["scontrol", "ping"], check=False).returncode

    def daemons(self) -> dict[str, bool]:
        """Every daemon, and whether it runs."""
        return {
            name: self._process(name) is not None for name in ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)
        }

    def environment(self) -> dict[str, str]:
        """The caller's environment, set up for this cluster only."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SACCT_", "SQUEUE_"))}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        """Output of a Slurm command on this cluster. Raises DevClusterError if it fails."""
        return self._run(list(command)).stdout

    # ---- one daemon each, in the order of `up`

    def _start_munged(self) -> None:
        """A munged of our own: the machine's, if it exists, has its own key and socket."""
        if self._process("munged"):
            return
        socket_path = self.folder / "run" / "munge.socket"
        self._daemon(
            "munged",
            f"--key-file={self.folder}/munge/munge.key",
            f"--socket={socket_path}",
            f"--pid-file={self._pid_file('munged')}",
            f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/munge/munge.seed",
        )
        self._wait("munged", lambda: self._answers(["munge", f"--socket={socket_path}", "--no-input"]))

    def _start_database(self, settings: Settings) -> None:
        data = self.folder / "mariadb"
        if not data.exists():
            # Built beside its place: a database left incomplete by Ctrl-C would never start again.
            half_made = self.folder / "mariadb.new"
            shutil.rmtree(half_made, ignore_errors=True)
            install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={half_made}"]
            self._run([*install, "--skip-test-db", "--auth-root-authentication-method=socket"])
            half_made.rename(data)
        admin = ["mariadb", "--no-defaults", f"--socket={self.folder}/run/mariadb.socket"]
        if not self._process("mariadbd"):
            self._daemon(
                "setsid", "--fork", "mariadbd", "--no-defaults", "--user=root",
                f"--datadir={data}", f"--socket={self.folder}/run/mariadb.socket",
                f"--pid-file={self._pid_file('mariadbd')}", f"--log-error={self.folder}/log/mariadbd.log",
                "--bind-address=127.0.0.1", f"--port={settings.database_port}",
                "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=OFF",
            )  # fmt: skip
            self._wait("mariadbd", lambda: self._answers([*admin, "--execute=select 1"]))
        user = f"'slurm'@'127.0.0.1' identified by '{settings.password}'"
        sql = f"create user if not exists {user}; alter user {user}; create database if not exists slurm_acct;"
        self._run([*admin, f"--execute={sql} grant all on slurm_acct.* to 'slurm'@'127.0.0.1';"])

    def _start_slurmdbd(self) -> None:
        if not self._process("slurmdbd"):
            self._daemon("slurmdbd")
        self._wait("slurmdbd", lambda: self._answers(["sacctmgr", "--noheader", "show", "cluster"]))
        if "groundwork" not in self.run("sacctmgr", "--noheader", "show", "cluster"):
            self._run([*SACCTMGR, "add", "cluster", "groundwork"])

    def _start_slurmctld(self) -> None:
        if not self._process("slurmctld"):
            self._daemon("slurmctld")
        self._wait("slurmctld", lambda: self._answers(["scontrol", "ping"]))

    def _add_narrow_qos(self) -> None:
        """After slurmctld, which registers gres/gpu with slurmdbd."""
        if NARROW_QOS not in self.run("sacctmgr", "--noheader", "show", "qos", "format=name"):
            limits = [f"MaxSubmitJobsPerUser={NARROW_MAX_SUBMIT}", "MaxTRESPerUser=gres/gpu=2"]
            self._run([*SACCTMGR, "add", "qos", NARROW_QOS, *limits])
        self._run([*SACCTMGR, "modify", "user", "root", "set", f"qos+={NARROW_QOS}"], check=False)

    def _start_slurmd(self, node: str) -> None:
        if not self._process(node):
            self._daemon("slurmd", "-N", node)

    def _resume_nodes(self, nodes: tuple[str, ...] = NODES) -> None:
        """Wait until the nodes accept jobs; resume those that are down or drained."""

        def all_ready() -> bool:
            listing = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=gpu")
            states = dict(line.split() for line in listing.splitlines())
            for node in nodes:
                if states[node].startswith(("down", "drain", "fail")) and not states[node].endswith("*"):
                    self._run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
            return all(states[node] in ("idle", "planned", "mixed", "allocated", "completing") for node in nodes)

        self._wait(" ".join(nodes), all_ready)

    # ---- processes

    def _daemon(self, *command: str) -> None:
        """Start a program that moves itself to the background; its log has further details."""
        self._run(list(command), extra_environment={MARK: str(self.folder)})

    def _pid_file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.pid"

    def _process(self, name: str) -> psutil.Process | None:
        """The running daemon of that name if it is ours. A pid alone proves nothing, since pids are reused."""
        try:
            process = psutil.Process(int(self._pid_file(name).read_text()))
            ours = process.environ().get(MARK) == str(self.folder)
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        return process if ours and _is_alive(process) else None

    def _stop(self, *names: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop these daemons, and return when they are gone."""
        processes = [process for name in names if (process := self._process(name))]
        self._end(processes, how)
        for name in names:
            self._pid_file(name).unlink(missing_ok=True)

    @staticmethod
    def _end(processes: list[psutil.Process], how: signal.Signals = signal.SIGKILL) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(how)
        deadline = time.monotonic() + 20
        # Not psutil.wait_procs: a daemon stays a zombie for seconds if the machine's init reaps slowly.
        while alive := [process for process in processes if _is_alive(process)]:
            if time.monotonic() > deadline:
                for process in alive:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            time.sleep(0.05)

    def _kill_steps(self, node: str | None) -> None:
        """End the jobs of a node (of all nodes if none is given): slurmstepd outlives its slurmd, so a stopped slurmd
        alone would leave the job running on a node reported as dead."""
        spool = str(self.folder / "spool" / (node or "")).rstrip("/") + "/"
        victims: list[psutil.Process] = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess):
                if process.name() == "slurmstepd" and self._listens_below(process, spool):
                    victims += [process, *process.children(recursive=True)]
        self._end(victims)

    @staticmethod
    def _listens_below(process: psutil.Process, folder: str) -> bool:
        """Whose step it is, recognized by its socket, since slurmstepd overwrites its environment with its title."""
        return any(str(c.laddr).startswith(folder) for c in process.net_connections(kind="unix"))

    def _run(
        self, command: list[str], check: bool = True, extra_environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment(), **(extra_environment or {})}
        # Output goes to a file: a daemon keeps an inherited pipe open, and reading it would never end.
        with (self.folder / "log" / "commands.log").open("a") as log:
            daemon = extra_environment is not None
            done = subprocess.run(
                command,
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log if daemon else subprocess.PIPE,
                stderr=log if daemon else subprocess.PIPE,
                text=True,
                cwd="/",
                timeout=60,
            )
        if check and done.returncode:
            raise DevClusterError(
                f"`{' '.join(command)}` exited {done.returncode}: {(done.stderr or '').strip()[-2000:]}"
                f" (logs: {self.folder}/log)"
            )
        return done

    def _answers(self, command: list[str]) -> bool:
        return self._run(command, check=False).returncode == 0

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise DevClusterError(f"{what}: no answer within {seconds:.0f} s; see {self.folder}/log")
            time.sleep(0.2)

    # ---- the state folder

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One `up` or `down` at a time, since two test runs may start together."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in ("run", "log", "state", "gpu", "munge", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _settings(self) -> Settings:
        """Those of the first `up`, or new ones, also if the machine was renamed."""
        path = self.folder / "settings.json"
        host = socket.gethostname().split(".")[0]
        if path.exists():
            known = json.loads(path.read_text())
            if known["host"] == host:
                return Settings(self.folder, host, known["first_port"], known["password"])
        settings = Settings(self.folder, host, free_ports(), secrets.token_hex(16))
        path.touch(mode=0o600)
        values = {"host": host, "first_port": settings.first_port, "password": settings.password}
        path.write_text(json.dumps(values))
        return settings

    def _write_configuration(self, settings: Settings) -> None:
        self._make_gpus()
        key = self.folder / "munge" / "munge.key"
        if not key.exists():
            key.touch(mode=0o400)
            key.write_bytes(secrets.token_bytes(128))
        wanted = {
            "slurm.conf": slurm_conf(settings),
            "gres.conf": gres_conf(settings),
            "slurmdbd.conf": slurmdbd_conf(settings),
        }
        paths = {self.folder / name: text for name, text in wanted.items()}
        changed = [path for path, text in paths.items() if not path.exists() or path.read_text() != text]
        if changed:
            self._stop(*NODES, "slurmctld", "slurmdbd")  # they read their files only at start
        for path in changed:
            path.touch(mode=0o600)
            path.write_text(paths[path])

    def _make_gpus(self) -> None:
        """Device files that are never opened. With plain files Slurm counts the GPUs but sets no
        CUDA_VISIBLE_DEVICES."""
        for number in range(GPUS_PER_NODE):
            path = self.folder / "gpu" / str(number)
            if path.exists():
                continue
            try:
                os.mknod(path, 0o600 | stat.S_IFCHR, NULL_DEVICE)
            except PermissionError:
                raise DevClusterError(f"mknod {path} is not permitted: this container lacks CAP_MKNOD") from None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_ports() -> int:
    """First of 20 consecutive free ports."""
    for first in range(17_000, 19_000, 20):
        if all(_is_free(port) for port in range(first, first + 20)):
            return first
    raise DevClusterError("No 20 free ports in a row between 17000 and 19000 on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def require_root() -> None:
    if os.geteuid():
        raise DevClusterError("The dev cluster runs as root: munge and slurmd start no job of another user otherwise")


def require_node(node: str) -> None:
    if node not in NODES:
        raise DevClusterError(f"No node {node!r}; the nodes are {', '.join(NODES)}")


def install_packages() -> None:
    """Install the Debian packages of missing programs, without starting their services."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if not missing:
        return
    # invoke-rc.d calls this program before it starts a service; 101 forbids the start. An existing one is restored.
    policy = Path("/usr/sbin/policy-rc.d")
    before = (policy.read_bytes(), policy.stat().st_mode) if policy.exists() else None
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        install(*PACKAGES)
    except NotInstalled as error:
        raise DevClusterError(str(error)) from error
    finally:
        policy.unlink()
        if before:
            policy.write_bytes(before[0])
            policy.chmod(before[1] & 0o7777)
