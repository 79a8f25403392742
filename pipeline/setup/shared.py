"""Baseline trials that several runs share: trained in one of them, copied into the others."""

import shutil
import sys
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import Damaged
from pipeline.records import Purpose
from pipeline.setup.compose import differences
from pipeline.store import files
from pipeline.store.paths import RunPaths
from pipeline.store.reader import read_attempt
from pipeline.store.run import Run, open_run
from pipeline.store.views import Trial

_DECIDES = ("baseline", "size", "seed", "train", "evaluate", "scale")
"""Fixed settings on which the score of a baseline's trial depends."""


def baseline_done(paths: RunPaths, seeds: int) -> bool:
    """Whether so many trials of a run's baseline have a score, or the run has ended."""
    try:
        scored = [trial for trial in read_attempt(paths.baseline).of(Purpose.BASELINE) if trial.score is not None]
    except (Damaged, FileNotFoundError):
        return False
    return len(scored) >= seeds or paths.report.exists()


def take_baseline(run: Run, config: Config) -> None:
    """Copy the scored trials of the baseline of the run that `baseline_of` names, with their scorings on the test split,
    into a run that has none yet. Checkpoints come along where such a scoring is still to be done. A run whose baseline would
    be another trains its own, and says why. Raises `BadInput` if there is no such run."""
    if run.paths.baseline.folder.exists():
        return
    source = open_run(RunPaths(Path(config.runs).resolve() / config.baseline_of))
    theirs, ours = ({key: one.facts.config[key] for key in _DECIDES} for one in (source, run))
    apart = differences(theirs, ours)
    apart += [name for name in ("code", "data") if getattr(source.facts, name) != getattr(run.facts, name)]
    if apart:
        why = f"not shared with {source.name}, and trained here: other {', '.join(apart)}"
        run.event("baseline", detail=why)
        print(f"baseline: {why}", file=sys.stderr)
        return
    trials = read_attempt(source.paths.baseline).trials
    tested = {one.tries[0].job.of for one in trials if one.purpose is Purpose.TEST and one.score is not None}
    with files.new_folder(run.paths.baseline.folder) as part:
        for trial in trials:
            if trial.score is not None and trial.purpose in (Purpose.BASELINE, Purpose.TEST):
                _copy(trial, part, with_checkpoint=trial.paths.folder.name not in tested)
    run.event("baseline", run.paths.baseline.folder, f"taken over from {source.name}")


def _copy(trial: Trial, into: Path, with_checkpoint: bool) -> None:
    left_out = {one.paths.resume.name for one in trial.tries}
    if not with_checkpoint:
        left_out |= {one.paths.checkpoint.name for one in trial.tries}
    shutil.copytree(trial.paths.folder, into / trial.paths.folder.name, ignore=shutil.ignore_patterns(*left_out))
