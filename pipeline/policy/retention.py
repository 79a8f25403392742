"""Which folders of a run may be removed: nothing needs them again, and their absence reopens no step."""

import itertools
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pipeline.config import Keep
from pipeline.methods.base import Terms
from pipeline.metric import Direction
from pipeline.policy.agenda import agenda
from pipeline.policy.race import race
from pipeline.policy.rungs import may_continue
from pipeline.records import Purpose
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate


def removable_folders(
    terms: Terms, archive: Archive, among: Iterable[Candidate], best: Collection[str]
) -> Iterator[Path]:
    """Existing folders of some candidates that the settings `keep.*` do not keep; `best` are the `would_be_elites`.
    Checkpoints still needed for the test split are kept."""
    needed = {wanted.of.paths for wanted in agenda(terms, archive) if wanted.of is not None}
    keep = terms.config.keep
    for candidate in among:
        if not candidate.closed:
            continue
        for attempt in candidate.attempts:
            for trial in (trial for trial in attempt.trials if trial.closed and trial.paths not in needed):
                if _removable(keep.checkpoints, candidate.id in best and trial.purpose is not Purpose.LOOK):
                    checkpoints = (one.paths.checkpoint for one in trial.tries)
                    yield from (checkpoint for checkpoint in checkpoints if checkpoint.is_dir())
            # A failure may be taken back; then the code is trained again.
            scored = candidate.score is not None and all(trial.closed for trial in attempt.trials)
            if scored and _removable(keep.variants, candidate.id in best) and attempt.paths.variant.is_dir():
                yield attempt.paths.variant


def would_be_elites(terms: Terms, archive: Archive) -> set[str]:
    """Ids of candidates that may become elites: those in the race, and as many with the best scores, since their estimates
    may rise again."""
    racing = race(terms, archive).racing
    best_scores = itertools.islice(archive.ranked(terms.metric.direction is Direction.maximize), len(racing))
    return {candidate.id for candidate in (*racing, *best_scores)}


def left_over(terms: Terms, archive: Archive) -> Iterator[Path]:
    """Resume state of closed trials that a killed controller did not remove."""
    for holder in archive.holders():
        for trial in holder.trials:
            if trial.closed and not may_continue(terms.config, holder, trial):
                yield from (one.paths.resume for one in trial.tries if one.paths.resume.is_dir())


def _removable(keep: Keep, best: bool) -> bool:
    return keep is Keep.none or (keep is Keep.elites and not best)
