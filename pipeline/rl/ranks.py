"""An update on several ranks, which torchrun starts on each node and which end together.

Nodes communicate as in a trial (`job/nodes.py`). `python -m pipeline.rl.ranks TRY` is one rank.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from pipeline.cluster.jobs import Node
from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.job.nodes import Peers
from pipeline.records import Failure, FailureKind, PolicyTask, Stage
from pipeline.store import files
from pipeline.store.paths import TaskPaths, TryPaths, run_of
from pipeline.store.run import open_run

_LOOK_S = 0.5
_GRACE_S = 40.0
"""Longer than the 30 seconds that torchrun itself waits before it kills a rank."""
_JOB = "GROUNDWORK_JOB_PROCESS"
"""Variable that passes the id of the job's process to its ranks, which torchrun starts in separate sessions."""


def run_ranks(paths: TryPaths, rl: RlConfig, node: Node) -> Failure | None:
    """Run the ranks of this node to their end. Returns why the update failed, on node 0 for any node; none if it did not."""
    peers = Peers(paths, node, rl.update.nodes)
    meeting = peers.meet()
    if meeting is None:
        return _ended_elsewhere(paths)
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += [f"--nnodes={rl.update.nodes}", f"--node-rank={node.number}", f"--nproc-per-node={ranks_per_node(rl)}"]
    command += [f"--master-addr={meeting.address}", f"--master-port={meeting.port}"]
    threads = max(1, rl.update.cpus_per_task // ranks_per_node(rl))
    environment = os.environ | {_JOB: str(os.getpid()), "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen([*command, "-m", "pipeline.rl.ranks", str(paths.folder)], env=environment)
    try:
        while process.poll() is None and not peers.failed():
            time.sleep(_LOOK_S)
        failure = _ended_elsewhere(paths) if process.returncode is None else _failure(paths, process.returncode)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        process.kill()
        process.wait()
    return peers.agree(failure)


def ranks_per_node(rl: RlConfig) -> int:
    """One rank for each GPU of a node; one without GPUs."""
    return max(1, rl.update.gpus_per_node)


def _ended_elsewhere(paths: TryPaths) -> Failure:
    return Failure(Stage.IDEATE, FailureKind.CANCELLED, "another node ended it", paths.folder.name)


def _failure(paths: TryPaths, code: int) -> Failure | None:
    """The failure that the ranks reported first; a machine fault if none reported one but the exit code is not 0."""
    if code == 0:
        return None
    said = sorted(paths.output.glob("failure_*.json"), key=lambda path: path.stat().st_mtime)
    if said:
        return files.read(said[0], Failure)
    return Failure(Stage.IDEATE, FailureKind.NODE_FAIL, f"the ranks ended with exit code {code}", paths.folder.name)


def failure_of(error: Exception, paths: TryPaths) -> Failure:
    """The failure of a task for one of its known errors."""
    from pipeline.rl.update import NotFinite

    kind = FailureKind.EXCEPTION
    if isinstance(error, NotFinite):
        kind = FailureKind.NAN
    elif isinstance(error, OSError) and error.errno:
        kind = FailureKind.FILE_SYSTEM
    return Failure(Stage.IDEATE, kind, " ".join(str(error).split()), paths.folder.name)


# ---- one rank


def main(folder: Path) -> None:
    """Learn as one rank; rank 0 writes the measures."""
    threading.Thread(target=_end_with, args=(int(os.environ[_JOB]),), daemon=True).start()
    from pipeline.rl.learn import learn
    from pipeline.rl.zero import Zero, joined_ranks

    paths, rank = TryPaths(folder), int(os.environ["RANK"])
    run_paths = run_of(folder)
    assert run_paths is not None, "the job has found its run"
    rl, task = open_run(run_paths).config.rl, files.read(TaskPaths(folder.parent).task, PolicyTask)
    try:
        with joined_ranks(rl.update.gpus_per_node):
            measures = learn(run_paths, paths, task, rl, Zero)
            if rank == 0:
                files.create(paths.update_measures, measures)
    except (BadInput, ValueError, OSError) as error:
        files.replace(paths.rank_failure(rank), failure_of(error, paths))
        sys.exit(str(error))
    sys.stderr.flush()
    # DeepSpeed keeps gloo's threads, which can abort the process while Python shuts down (pytorch issue 190489).
    os._exit(0)


def _end_with(job: int) -> None:
    """End this process once the job's process is gone."""
    while True:
        try:
            os.kill(job, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
