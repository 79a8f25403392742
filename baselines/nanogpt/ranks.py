"""Processes that train together: started once on each node, one rank per GPU, ended together. Protected.

NNODES, NODE_RANK, GPUS_PER_NODE, MASTER_ADDR and MASTER_PORT give the number of nodes and their meeting point; without
them there is one node. A single rank runs in the calling process. More are child processes, which this one watches:
when a rank ends with an error, the others are ended too, on every node, and the last line printed is the first error.
"""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from clock import seconds_since_start

POLL_S = 0.1
GRACE_S = 2.0  # a killed rank makes others fail; its error is waited for this long, on all nodes
MEET_S = 300  # longest wait for the other nodes
RAISED = "raised"  # where the first rank that raises leaves its error
BEFORE = "TRAINING_SECONDS_BEFORE"  # tells a rank how long the process that started it had been running


def seconds_before() -> float:
    """Seconds that the training had already been running when this process began."""
    return float(os.environ.get(BEFORE, 0.0))


@dataclass(frozen=True)
class Nodes:
    """The place of this node among those that train together."""

    count: int
    number: int
    address: str
    port: int

    @classmethod
    def from_environment(cls) -> "Nodes":
        """From the job's environment; one node by default."""
        known = os.environ
        return cls(
            int(known.get("NNODES", 1)),
            int(known.get("NODE_RANK", 0)),
            known.get("MASTER_ADDR", "127.0.0.1"),
            int(known.get("MASTER_PORT", 0)),
        )


def ranks_here(asked: int | None) -> int:
    """Ranks on this node: the given number, else one per GPU of the job, else one. Ends the program if there are too
    few GPUs."""
    wanted = int(os.environ.get("GPUS_PER_NODE", 0))
    there = torch.cuda.device_count()
    if wanted > there:
        raise SystemExit(f"GPUS_PER_NODE={wanted}: {wanted} ranks asked for, but this node shows {there} GPUs")
    ranks = asked or wanted or 1
    if wanted and ranks > wanted:
        raise SystemExit(f"--ranks {ranks}: more ranks than the {wanted} GPUs of a node")
    return ranks


# --- one rank -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rank:
    """One of the processes that train together."""

    number: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files."""
        return self.number == 0

    def mean(self, value: torch.Tensor) -> float:
        """The mean of a number over all ranks."""
        total = value.detach().clone()
        dist.all_reduce(total)
        return total.item() / self.count

    def wait(self) -> None:
        """Waits until all ranks are here."""
        dist.barrier()

    def agree(self, *values: float) -> list[float]:
        """The values of the first rank: clocks differ, and all ranks must decide the same."""
        told = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(told, src=0)
        return told.tolist()


@contextlib.contextmanager
def join(on_cpu: bool = False) -> Iterator[Rank]:
    """Joins the other ranks; a process that was not started as a rank is the only one."""
    number, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.setdefault("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available() and not on_cpu
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"  # DeepSpeed reads it when it is imported
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    store: dist.Store = dist.HashStore()
    if count > 1:
        nodes = Nodes.from_environment()
        store = dist.TCPStore(nodes.address, nodes.port)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=dist.PrefixStore("ranks", store), rank=number, world_size=count)
    try:
        yield Rank(number, count, device)
    except (Exception, SystemExit) as error:
        with contextlib.suppress(dist.DistError):  # the first node, which runs the store, is gone
            store.compare_set(RAISED, "", f"rank {number}: {_in_words(error)}")  # before the others can lose this rank
        raise
    finally:
        dist.destroy_process_group()


def _in_words(error: Exception | SystemExit) -> str:
    """An error in one line, as Python would print it."""
    words = str(error) if isinstance(error, SystemExit) else traceback.format_exception_only(error)[-1]
    return next(iter(words.splitlines()), "") or type(error).__name__


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Exits without finalizing Python after this block, as the last action of a rank.

    DeepSpeed keeps the process group, and so gloo's threads, alive. A thread that frees a tensor during finalization
    aborts the process, although everything has succeeded (github.com/pytorch/pytorch/issues/190489).
    """
    code = 1

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # runs after Python has printed its error, if any
    try:
        yield
        code = 0
    except SystemExit as ended:
        code = 1 if ended.code else 0
        raise


# --- DeepSpeed ------------------------------------------------------------------------------------------------------


class _Watched(dict):
    """A configuration that records which keys are read."""

    def __init__(self, content: dict) -> None:
        super().__init__(content)
        self.known = {"optimizer", "scheduler", "activation_checkpointing", "flops_profiler", "autotuning", "zenflow"}

    def get(self, key, default=None):
        self.known.add(key)
        return super().get(key, default)

    def __getitem__(self, key):
        self.known.add(key)
        return super().__getitem__(key)

    def __contains__(self, key) -> bool:
        self.known.add(key)
        return super().__contains__(key)


def start_deepspeed(model, optimizer, config: dict, rank: Rank):
    """DeepSpeed's engine around model and optimizer. Ends the program with one line for a bad configuration.

    DeepSpeed ignores unknown keys, so they are detected here.
    """
    import deepspeed  # picks its accelerator when it is imported
    import deepspeed.ops
    from deepspeed.runtime.config import DeepSpeedConfig

    deepspeed.utils.logger.setLevel("ERROR")
    # gloo serves: the shared-memory operation would be compiled first, for half a minute, and needs ninja and C++
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    batch, micro = config["train_batch_size"], config["train_micro_batch_size_per_gpu"]
    if batch % (micro * rank.count):
        raise SystemExit(
            f"a batch of {batch} sequences does not divide into microbatches of {micro} on {rank.count} ranks; "
            f"it must be a multiple of {micro * rank.count}"
        )
    deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    watched = _Watched(config)
    try:
        DeepSpeedConfig(watched)
    except (ValueError, TypeError, AssertionError) as error:
        words = " ".join(str(error).split()).partition(" For further information")[0]
        raise SystemExit(f"DeepSpeed refuses its configuration: {words}") from error
    if config.get("zero_optimization", {}).get("stage") == 3:
        raise SystemExit(
            "ZeRO stage 3 shards the weights, and checkpoints are written from whole ones; use stage 0, 1 or 2"
        )
    unknown = sorted(set(config) - watched.known)
    if unknown:
        known = ", ".join(sorted(watched.known))
        raise SystemExit(f"DeepSpeed knows no key {', '.join(unknown)}; it knows {known}")
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]


def need_compiler(what: str) -> None:
    """Ends the program if there is no C++ compiler."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")):
        raise SystemExit(f"{what} needs a C++ compiler and there is none on PATH: install g++, or load its module")


# --- all ranks of a node --------------------------------------------------------------------------------------------


class _Child:
    """One rank as a child process. Its output is forwarded to ours, and its last line is kept."""

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self.number = number
        self.last_line = ""
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._forward, daemon=True)
        self.reader.start()

    def _forward(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            if line.strip():
                self.last_line = line.strip()

    @property
    def error(self) -> str:
        """The reason why it ended, in one line."""
        code = self.process.returncode
        self.reader.join(timeout=GRACE_S)
        return f"killed by signal {-code}" if code < 0 else self.last_line or f"exit code {code}"


def run_ranks(here: int, nodes: Nodes) -> None:
    """Starts this program again as `here` ranks, and ends once all of them have ended, on every node.

    Ends the program with the first error of any rank. All nodes have the same number of ranks.
    """
    store = dist.TCPStore(
        nodes.address,
        nodes.port,
        is_master=nodes.number == 0,
        wait_for_workers=False,
        timeout=timedelta(seconds=MEET_S),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # but end the ranks first
    first = nodes.number * here
    common = {
        "WORLD_SIZE": str(nodes.count * here),
        "MASTER_ADDR": nodes.address,
        "MASTER_PORT": str(store.port),
        BEFORE: str(seconds_since_start()),
    }
    children = [
        _Child(first + local, common | {"RANK": str(first + local), "LOCAL_RANK": str(local)}) for local in range(here)
    ]
    try:
        error = _watch(children, store, nodes)
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()
    if error:
        raise SystemExit(error)


def _watch(children: list[_Child], store: dist.TCPStore, nodes: Nodes) -> str:
    """Waits for the ranks of all nodes; returns the first error, or nothing."""
    done = False
    try:
        while not store.check(["error"]):
            if any(child.process.poll() for child in children):
                store.compare_set("error", "", _first_error(children, store))
            elif not done and all(child.process.poll() == 0 for child in children):
                done = True
                store.add("done", 1)
            elif done and store.add("done", 0) == nodes.count:
                break
            else:
                time.sleep(POLL_S)
        error = store.get("error").decode() if store.check(["error"]) else ""
        _leave(store, nodes)
        return error
    except dist.DistError as error:  # the first node, which runs the store, is gone
        return f"node {nodes.number} lost the first node at {nodes.address}: {' '.join(str(error).split())[:200]}"


def _first_error(children: list[_Child], store: dist.TCPStore) -> str:
    """The error of a killed rank, which cannot report it, here or on another node; else of the first rank that
    raised."""
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and not store.check(["error"]):
        if any((child.process.poll() or 0) < 0 for child in children):
            break
        time.sleep(POLL_S)
    first = min((child for child in children if child.process.poll()), key=lambda child: child.process.returncode > 0)
    if first.process.returncode > 0 and store.check([RAISED]):
        return store.get(RAISED).decode()
    return f"rank {first.number}: {first.error}"


def _leave(store: dist.TCPStore, nodes: Nodes) -> None:
    """The first node runs the store, so it exits last, after the others have read the outcome."""
    store.add("left", 1)
    deadline = time.monotonic() + 5 * GRACE_S
    while nodes.number == 0 and store.add("left", 0) < nodes.count and time.monotonic() < deadline:
        time.sleep(POLL_S)
