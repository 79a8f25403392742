"""One submission and its folder. `sbatch` runs before submitit names its pickles, and the submitter may be killed in
between. So a wave has a folder and a unique name, both created first, by which an interrupted submission is completed."""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from pipeline.cluster.base import Request
from pipeline.cluster.slurm_text import full_id


@dataclass(frozen=True)
class Wave:
    """One submission. Its folder contains the list of requests, and submitit's script, pickles and logs."""

    folder: Path
    """The folder, which has the name of the job array."""
    requests: tuple[str, ...]
    """Names of the requests; array task k is the k-th."""
    tries: tuple[str, ...]
    """Folders of the tries, relative to `folder`: a run folder contains no absolute paths and may be moved."""
    cluster: str = ""
    """The cluster it is submitted to, if the settings name one."""

    @classmethod
    def create(cls, parent: Path, requests: Sequence[Request], cluster: str = "") -> "Wave":
        """Create the folder of a new wave."""
        # The beginning of the first name is for people who read `squeue`; the rest makes it unique among all runs.
        name = f"{requests[0].name[:40]}.{uuid.uuid4().hex[:12]}"
        folder = parent / name
        tries = [os.path.relpath(request.folder, folder) for request in requests]
        wave = cls(folder, tuple(request.name for request in requests), tuple(tries), cluster)
        folder.mkdir(parents=True)
        half_written = folder / "wave.json.new"
        half_written.write_text(json.dumps({"requests": wave.requests, "tries": wave.tries, "cluster": cluster}))
        half_written.replace(folder / "wave.json")
        return wave

    @classmethod
    def all_in(cls, parent: Path) -> Iterator["Wave"]:
        """All waves below a folder."""
        for path in sorted(parent.glob("*/wave.json")):
            read = json.loads(path.read_text())
            yield cls(path.parent, tuple(read["requests"]), tuple(read["tries"]), read.get("cluster", ""))

    @property
    def name(self) -> str:
        """Name of its job array."""
        return self.folder.name

    @property
    def created(self) -> float:
        """Time of creation, seconds since 1970."""
        return (self.folder / "wave.json").stat().st_mtime

    @property
    def unconfirmed(self) -> Path:
        """Exists while it is unknown whether Slurm accepted the wave."""
        return self.folder / "unconfirmed"

    def job_ids(self, job: str) -> dict[str, str]:
        """Job id by request name, given the number of the array."""
        return {name: full_id(plain, self.cluster) for name, plain in self._plain_ids(job).items()}

    def _plain_ids(self, job: str) -> dict[str, str]:
        if len(self.requests) == 1:
            return {self.requests[0]: job}
        return {name: f"{job}_{number}" for number, name in enumerate(self.requests)}

    def complete(self, job: str) -> None:
        """Give submitit's pickles the names that the tasks of the array `job` expect; they wait up to a minute."""
        ids = tuple(self._plain_ids(job).values())
        for pickle in self.folder.glob("*.pkl"):
            if pickle.stem.isalnum():  # a bare uuid: not yet named
                try_folder = os.path.relpath(DelayedSubmission.load(pickle).args[0], self.folder)
                pickle.rename(self.folder / f"{ids[self.tries.index(try_folder)]}_submitted.pkl")
