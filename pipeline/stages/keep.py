"""What of a run may be let go: nobody will ask for it again, and no step is reopened by its absence."""

from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.config import Keep
from pipeline.stages.base import Plan
from pipeline.stages.decide import elites, wanted_trials
from pipeline.store.archive import Archive


def spare(plan: Plan, archive: Archive, among: Collection[str] | None = None) -> Iterator[Path]:
    """Folders that the settings `keep.*` do not keep, and which are there. Scores never change, so who left the best never
    returns; what is still to be scored on the test split is asked for. `among` are ids of candidates; none means all."""
    named = (wanted.checkpoint for wanted in wanted_trials(plan, archive))
    asked = {archive.paths.folder / name for name in named if name is not None}
    best = {candidate.id for candidate in elites(plan, archive)}
    keep = plan.config.keep
    for candidate in archive.candidates if among is None else map(archive.candidate, among):
        if not candidate.closed:
            continue
        for attempt in candidate.attempts:
            for trial in (trial for trial in attempt.all_trials() if trial.closed):
                if _goes(keep.checkpoints, candidate.id in best and trial not in attempt.looks):
                    places = (one.paths.checkpoint for one in trial.tries)
                    yield from (place for place in places if place not in asked and place.is_dir())
            # A failure may be taken back, and then its code is trained again.
            scored = candidate.score is not None and all(trial.closed for trial in attempt.trials)
            if scored and _goes(keep.variants, candidate.id in best) and attempt.paths.variant.is_dir():
                yield attempt.paths.variant


def left_over(archive: Archive) -> Iterator[Path]:
    """Resume state of trials that are closed, which a killed controller did not come to remove."""
    for holder in archive.holders():
        for trial in holder.all_trials():
            yield from (one.paths.resume for one in trial.tries if trial.closed and one.paths.resume.is_dir())


def _goes(keep: Keep, best: bool) -> bool:
    return keep is Keep.none or (keep is Keep.elites and not best)
