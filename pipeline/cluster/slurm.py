"""Trials as Slurm jobs, through submitit: one job array per wave (`slurm_submit.py`), one query for all jobs
(`slurm_watch.py`)."""

import time
from collections.abc import Callable, Mapping, Sequence

from pipeline.cluster.base import JobStatus, Request, Work
from pipeline.cluster.packs import over_mark, stop_mark
from pipeline.cluster.slurm_commands import cancel_jobs
from pipeline.cluster.slurm_submit import SlurmSubmitter
from pipeline.cluster.slurm_text import ClusterLimits, by_cluster, job_of
from pipeline.cluster.slurm_watch import SlurmWatcher, seconds_used
from pipeline.cluster.slurm_waves import Waves
from pipeline.config import ClusterConfig

_MOST_JOBS = 64
"""Jobs at the same time if `cluster.max_parallel` is not set."""


class SlurmCluster:
    """One run's jobs on the cluster that `sbatch` reaches, or on the one that the settings name. `clock` counts seconds."""

    here = False

    def __init__(self, work: Work, config: ClusterConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `BadInput` for settings that contradict each other."""
        self.pack = config.pack
        self._slots = config.max_parallel or _MOST_JOBS
        self._waves = Waves(work.folder)
        self._submitter = SlurmSubmitter(work, config, self._slots, clock)
        self._watcher = SlurmWatcher(work.folder, self._waves, config.slurm.query_s, clock)

    def slots(self) -> int:
        return self._slots

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        taken = self._submitter.submit(requests, avoid, self._watcher.queued)
        self._watcher.queued += len(set(map(job_of, taken.values())))
        return taken

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        return self._watcher.poll(job_ids)

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Raises `ClusterRefused` if Slurm does not answer; nothing can be concluded then."""
        return self._watcher.find(names)

    def usage(self, job_ids: Sequence[str]) -> Mapping[str, float]:
        return seconds_used(job_ids, self._waves)

    def cancel(self, job_ids: Sequence[str]) -> None:
        cancel_jobs({cluster: self._to_cancel(plain, cluster) for cluster, plain in by_cluster(job_ids).items()})

    def _to_cancel(self, plain: Sequence[str], cluster: str) -> list[str]:
        """The jobs of Slurm to cancel so that these end. Members of a pack are asked to end, which takes a second; when all
        members are over or asked to end, so is their job."""
        found = []
        for one in plain:
            job = job_of(one)
            wave = self._waves.of(job, cluster) if job != one else None
            if wave is None:
                found.append(one)
                continue
            stop_mark(wave.folder, one).touch()
            if all(stop_mark(wave.folder, m).exists() or over_mark(wave.folder, m).exists() for m in wave.pack(job)):
                found.append(job)
        return found

    # ---- for `doctor` and `dry_run`

    def limits(self) -> ClusterLimits:
        """The cluster's limits, read once."""
        return self._submitter.limits()

    def would_start(self) -> str:
        """When Slurm would start such a job, in Slurm's wording. Raises `BadInput` if it would reject it."""
        return self._submitter.would_start()

    def script(self, count: int) -> str:
        """The sbatch script of a wave of `count` trials."""
        return self._submitter.script(count)
