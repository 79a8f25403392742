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
from pipeline.cluster.slurm_text import full_id, job_of


@dataclass(frozen=True)
class Wave:
    """One submission. Its folder contains the list of requests, and submitit's script, pickles and logs."""

    folder: Path
    """The folder, which has the name of the job array."""
    requests: tuple[str, ...]
    """Names of the requests, in order of the array's tasks."""
    tries: tuple[str, ...]
    """Folders of the tries, relative to `folder`: a run folder contains no absolute paths and may be moved."""
    cluster: str = ""
    """The cluster it is submitted to, if the settings name one."""
    packs: tuple[int, ...] = ()
    """With `cluster.pack`: the number of requests of each task; empty where each has a task of its own."""
    room: int = 1
    """For how many trials each task has requested resources."""

    @classmethod
    def create(cls, parent: Path, packs: Sequence[Sequence[Request]], room: int = 1, cluster: str = "") -> "Wave":
        """Create the folder of a new wave. Each pack becomes a task with resources for `room` trials."""
        requests = [request for pack in packs for request in pack]
        # The beginning of the first name is for people who read `squeue`; the rest makes it unique among all runs.
        name = f"{requests[0].name[:40]}.{uuid.uuid4().hex[:12]}"
        folder = parent / name
        tries = [os.path.relpath(request.folder, folder) for request in requests]
        sizes = tuple(len(pack) for pack in packs) if room > 1 else ()
        wave = cls(folder, tuple(request.name for request in requests), tuple(tries), cluster, sizes, room)
        folder.mkdir(parents=True)
        half_written = folder / "wave.json.new"
        written = {"requests": wave.requests, "tries": wave.tries, "cluster": cluster, "packs": sizes, "room": room}
        half_written.write_text(json.dumps(written))
        half_written.replace(folder / "wave.json")
        return wave

    @classmethod
    def all_in(cls, parent: Path) -> Iterator["Wave"]:
        """All waves below a folder."""
        for path in sorted(parent.glob("*/wave.json")):
            yield cls.read(path.parent)

    @classmethod
    def read(cls, folder: Path) -> "Wave":
        """The wave with this folder."""
        read = json.loads((folder / "wave.json").read_text())
        packs, room = tuple(read.get("packs", ())), read.get("room", 1)
        return cls(folder, tuple(read["requests"]), tuple(read["tries"]), read.get("cluster", ""), packs, room)

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
        if self.packs:
            ids = [
                f"{task}.{k}"
                for task, size in zip(_tasks(job, self.packs), self.packs, strict=True)
                for k in range(size)
            ]
        else:
            ids = _tasks(job, self.requests)
        return dict(zip(self.requests, ids, strict=True))

    def pack(self, job: str) -> list[str]:
        """Plain ids of the members of a task, `1000` or `1000_3`."""
        task = int(job.partition("_")[2] or 0)
        return [f"{job}.{member}" for member in range(self.packs[task])] if self.packs else []

    def complete(self, job: str) -> None:
        """Give submitit's pickles the names that the tasks of the array `job` expect; they wait up to a minute."""
        ids = tuple(self._plain_ids(job).values())
        for pickle in self.folder.glob("*.pkl"):
            if pickle.stem.isalnum():  # a bare uuid: not yet named
                try_folder = os.path.relpath(DelayedSubmission.load(pickle).args[0], self.folder)
                pickle.rename(self.folder / f"{job_of(ids[self.tries.index(try_folder)])}_submitted.pkl")


def _tasks(job: str, each: Sequence[object]) -> list[str]:
    """Ids of the tasks of an array, one for each; that of the job where there is one only."""
    return [job] if len(each) == 1 else [f"{job}_{number}" for number in range(len(each))]


class Waves:
    """The waves of a run by the number of their job; one that was read once is not read again."""

    def __init__(self, folder: Path) -> None:
        """`folder` contains the waves."""
        self._folder = folder
        self._seen: set[str] = set()
        self._by_job: dict[tuple[str, str], Wave] = {}

    def names(self) -> list[str]:
        """Names of all jobs of the run."""
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []

    def of(self, job: str, cluster: str) -> Wave | None:
        """The wave of Slurm's job `1000` or `1000_3` on a cluster that the settings named, empty for none; none where its
        pickles are not named yet."""
        key = (job.partition("_")[0], cluster)
        for name in set(self.names()) - self._seen if key not in self._by_job else ():
            submitted = next((self._folder / name).glob("*_submitted.pkl"), None)
            if submitted is not None:
                self._seen.add(name)
                wave = Wave.read(self._folder / name)
                self._by_job[submitted.name.partition("_")[0], wave.cluster] = wave
        return self._by_job.get(key)
