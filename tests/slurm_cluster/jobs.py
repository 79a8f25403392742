"""Jobs of the cluster tests. A module of its own, since jobs import it by name."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from pipeline.cluster.jobs import current_job_id


def report(folder: str) -> None:
    """Record the identity and place of this job, and count the starts."""
    place = Path(folder)
    with (place / "starts").open("a") as starts:
        starts.write(f"{current_job_id()}\n")
    seen = {"job": current_job_id(), "environment": dict(os.environ), "path": sys.path, "folder": folder}
    (place / "seen.new").write_text(json.dumps(seen))
    (place / "seen.new").replace(place / "seen.json")


def stay(folder: str) -> None:
    """Report, then run until told to end."""

    def end(number: int, frame: FrameType | None) -> None:
        (Path(folder) / "told").touch()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    report(folder)
    while True:
        time.sleep(0.1)


def linger(folder: str) -> None:
    """Report, then keep running although told to end."""
    signal.signal(signal.SIGTERM, lambda number, frame: (Path(folder) / "told").touch())
    report(folder)
    while True:
        time.sleep(0.1)


def fail(folder: str) -> None:
    """Report, then fail."""
    report(folder)
    raise RuntimeError("this job fails")


def fail_or_stay(folder: str) -> None:
    """Fail in a folder named `bad`, stay in others."""
    (fail if Path(folder).name == "bad" else stay)(folder)


def submit_from_inside(folder: str) -> None:
    """As a controller that is itself a job: submit one `report` and record its id."""
    from pipeline.cluster.base import Request, Work
    from pipeline.cluster.slurm import SlurmCluster
    from pipeline.config import ClusterConfig, SlurmConfig
    from pipeline.records import Resources

    place = Path(folder)
    (place / "inner").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    work = Work(report, Path(sys.path[0]), place / "jobs", Resources(mem_gb=0.2, time_min=5), environment)
    slurm = SlurmConfig(setup=["export MARKER='from the set-up'"], partition="urgent")
    taken = SlurmCluster(work, ClusterConfig(max_parallel=1, slurm=slurm)).submit(
        [Request("gw-inner", place / "inner")]
    )
    (place / "inner.id").write_text(taken["gw-inner"])


if __name__ == "__main__":  # python -m tests.slurm_cluster.jobs FUNCTION FOLDER
    globals()[sys.argv[1]](sys.argv[2])
