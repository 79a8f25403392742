"""What `budget.gpu_hours` still allows."""

import sys

from pipeline.methods.base import Terms
from pipeline.policy.accounting import committed_h, trial_h
from pipeline.policy.trials import to_retry
from pipeline.store.archive import Archive


def affordable(terms: Terms, archive: Archive, final: bool) -> int:
    """How many more trials `budget.gpu_hours` has room for; in the search a reserve is left for the `final` ones."""
    budget, needs = terms.config.budget, terms.config.train.resources
    if not budget.gpu_hours or not needs.gpus_per_node:
        return sys.maxsize
    allowed_h = budget.gpu_hours * (1.0 if final else 1.0 - budget.reserve)
    return max(0, int((allowed_h - committed_h(terms.config, archive, terms.clock())) / trial_h(terms.config)))


def out_of_budget(terms: Terms, archive: Archive, final: bool) -> bool:
    """Whether `budget.gpu_hours` has no room for another trial, and nothing is left to decide on."""
    return not affordable(terms, archive, final) and not undecided(terms, archive)


def undecided(terms: Terms, archive: Archive) -> int:
    """How many trials have a job that waits or runs, or a result that is not decided on yet.

    A candidate's result stays undecided while the baseline has no score to compare it with, so those do not count then."""
    compared = any(trial.score is not None for trial in archive.baseline.trials)
    return sum(
        not to_retry(trial, terms.config.train.retries)
        and (trial.in_flight is not None or compared or holder is archive.baseline)
        for holder, trial in archive.open_trials()
    )
