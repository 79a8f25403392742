"""What a run may cost of devices and of disk, before it is begun and before each wave."""

from dataclasses import dataclass

from pipeline.config import ClusterKind, Config, Keep
from pipeline.config import Search as Method
from pipeline.stages.account import devices, trial_h
from pipeline.stages.decide import asked

_FILES_PER_TRY = 60
"""Records, logs, submitit's files, and what a baseline may write beside its checkpoint."""


@dataclass(frozen=True)
class Forecast:
    """The most that a run can cost."""

    trainings: int
    """Trials, none of them tried again."""
    scorings: int
    """Jobs that only score a checkpoint on the test split."""
    device: str
    """`GPU` or `core`."""
    device_h: float
    """Hours of devices, every job up to its time limit."""
    disk_gb: float
    """What stays on disk together with what is in flight, GB."""
    files: int
    """Number of files and folders."""

    def lines(self, config: Config) -> list[str]:
        """For a person."""
        train, budget = config.train, config.budget
        said = [
            f"jobs: {self.trainings} trainings, {self.scorings} scorings on the test split; each at most "
            f"{train.resources.time_min} min on {devices(train.resources)[1]} {self.device}(s); tried again at most "
            f"{train.retries} times where a machine spoils one",
            f"the whole run: at most {self.device_h:.1f} {self.device} hours without retries",
            f"the whole run: at most {self.disk_gb:.1f} GB and {self.files} files in {config.runs}",
        ]
        if budget.gpu_hours and self.device == "GPU":
            said.append(
                f"budget.gpu_hours={budget.gpu_hours:g} stops it before, {budget.reserve:.0%} kept for the elites"
            )
        return said


def forecast(config: Config, slots: int) -> Forecast:
    """The most that a run can cost with `slots` jobs at once."""
    select, stop, keep = config.select, config.stop, config.keep.checkpoints
    candidates = stop.generations * asked(config)
    if stop.candidates:
        candidates = min(candidates, stop.candidates)
    candidates *= 1 + config.implement.crash_repairs  # each crash may be mended and trained again
    canaries = stop.generations - 1 if select.canary and config.cluster.kind is ClusterKind.slurm else 0
    baselines = select.baseline_seeds + canaries
    confirmations = select.elites * select.elite_seeds
    trainings, scorings = baselines + candidates + confirmations, baselines + confirmations
    if select.method is Method.time_to_target:
        codes = 1 + len(config.ideate.seeds)  # a run as a seed brings its elites, and is counted as one
        trainings, scorings = select.baseline_seeds + codes - 1 + codes * select.looks, 0
    kept = {
        Keep.all: trainings,
        Keep.elites: baselines + select.elites * (1 + select.elite_seeds),
        Keep.none: baselines,
    }
    disk_gb = (kept[keep] + min(slots, trainings)) * config.train.disk_gb
    jobs = trainings + scorings
    device, _ = devices(config.train.resources)
    return Forecast(trainings, scorings, device, jobs * trial_h(config), disk_gb, jobs * _FILES_PER_TRY)


def wave_needs(config: Config, jobs: int) -> tuple[float, int]:
    """GB and files that a wave of jobs may write."""
    return jobs * config.train.disk_gb, jobs * _FILES_PER_TRY
