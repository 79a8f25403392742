"""Upper bounds on the device hours and disk space of a run, before it starts and before each wave."""

import itertools
from dataclasses import dataclass

from pipeline.config import Codes, Config, Keep
from pipeline.policy.accounting import trial_h
from pipeline.policy.race import confirmations
from pipeline.policy.rungs import expected_trainings
from pipeline.policy.stopping import most_ideas

_FILES_PER_TRY = 60
"""Records, logs, submitit's files, and files that a baseline may write besides its checkpoint."""


@dataclass(frozen=True)
class Forecast:
    """Upper bounds on the cost of a run."""

    trainings: int
    """Trials, without retries."""
    scorings: int
    """Jobs that only score a checkpoint on the test split."""
    device: str
    """`GPU` or `core`."""
    device_h: float
    """Device hours with every job up to its time limit."""
    disk_gb: float
    """GB of kept checkpoints and of trials in flight."""
    files: int
    """Number of files and folders."""

    def lines(self, config: Config) -> list[str]:
        """The bounds as text."""
        train, budget = config.train, config.budget
        lines = [
            f"jobs: {self.trainings} trainings, {self.scorings} scorings on the test split; each at most "
            f"{train.resources.time_min} min on {train.resources.devices} {self.device}(s); retried at most "
            f"{train.retries} times after machine faults",
            f"the whole run: at most {self.device_h:.1f} {self.device} hours without retries",
            f"the whole run: at most {self.disk_gb:.1f} GB and {self.files} files in {config.runs}",
        ]
        if config.search.rungs:
            lines.append(
                f"these numbers hold if {config.search.keep:.0%} of the candidates pass each rung (search.keep) and a rung "
                "takes its share of a job's time limit (search.rungs)"
            )
        if (pack := config.cluster.pack) > 1:
            lines.append(
                f"up to {pack} trials share a job (cluster.pack), which holds {pack * train.resources.devices} "
                f"{self.device}s until its last trial ends; the hours above are those of full packs"
            )
        if budget.gpu_hours and self.device == "GPU":
            lines.append(
                f"budget.gpu_hours={budget.gpu_hours:g} stops it earlier, with {budget.reserve:.0%} kept for the elites"
            )
        return lines


def forecast(config: Config, slots: int) -> Forecast:
    """Upper bounds on the cost of a run with `slots` jobs at once."""
    select, stop, keep = config.select, config.stop, config.keep.checkpoints
    candidates = most_ideas(config)
    candidates += len(config.ideate.seeds)  # a run given as a seed adds several elites but is counted as one
    candidates *= 1 + config.implement.crash_repairs  # each crash may be repaired and trained again
    canaries = stop.generations - 1 if select.canary and config.cluster.unattended else 0
    baselines = select.baseline_seeds + canaries
    tested = select.elites * select.elite_seeds
    search = expected_trainings(config, candidates)
    rungs, trained = sum(count for count, _ in search[:-1]), search[-1][0]
    trainings, scorings = baselines + trained + confirmations(config, candidates), baselines + tested
    if config.measure.codes is not Codes.none:
        codes = select.elites if config.measure.codes is Codes.elites else candidates
        trainings += (1 + codes) * config.measure.trainings
        scorings = scorings if select.elites else 0
    kept = {
        Keep.all: trainings + rungs,
        Keep.elites: baselines + _most_kept(config),
        Keep.none: baselines,
    }
    disk_gb = (kept[keep] + min(slots, trainings)) * config.train.disk_gb
    whole = trainings - trained + scorings + sum(count * share for count, share in search)
    device, jobs = config.train.resources.device, trainings + rungs + scorings
    return Forecast(trainings + rungs, scorings, device, whole * trial_h(config), disk_gb, jobs * _FILES_PER_TRY)


def _most_kept(config: Config) -> int:
    """The most candidate trials whose checkpoints are kept at the same time with `keep.checkpoints=elites`."""
    rounds = [*config.select.confirm, [config.select.elites, config.select.elite_seeds]]
    seeds = itertools.accumulate(seeds for _, seeds in rounds)
    return max(candidates * (1 + trained) for (candidates, _), trained in zip(rounds, seeds, strict=True))


def wave_needs(config: Config, jobs: int) -> tuple[float, int]:
    """GB and files that a wave of jobs may write."""
    return jobs * config.train.disk_gb, jobs * _FILES_PER_TRY
