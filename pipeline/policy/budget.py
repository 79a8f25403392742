"""How many trials `budget.gpu_hours` still allows."""

import sys

from pipeline.methods.base import Terms
from pipeline.policy.accounting import committed_h, trial_h
from pipeline.policy.trials import to_retry
from pipeline.store.archive import Archive


def affordable(terms: Terms, archive: Archive, final: bool) -> int:
    """How many more trials fit into `budget.gpu_hours`; during the search a reserve is kept for the `final` trials."""
    budget, needs = terms.config.budget, terms.config.train.resources
    if not budget.gpu_hours or not needs.gpus_per_node:
        return sys.maxsize
    allowed_h = budget.gpu_hours * (1.0 if final else 1.0 - budget.reserve)
    return max(0, int((allowed_h - committed_h(terms.config, archive, terms.clock())) / trial_h(terms.config)))


def out_of_budget(terms: Terms, archive: Archive, final: bool) -> bool:
    """Whether no further trial fits into `budget.gpu_hours` and no trial is undecided."""
    return not affordable(terms, archive, final) and not undecided(terms, archive)


def undecided(terms: Terms, archive: Archive) -> int:
    """Number of trials with a waiting or running job, or with an undecided result.

    While the baseline has no score, results of candidates cannot be decided and do not count."""
    compared = any(trial.score is not None for trial in archive.baseline.trials)
    return sum(
        not to_retry(trial, terms.config.train.retries)
        and (trial.in_flight is not None or compared or holder is archive.baseline)
        for holder, trial in archive.open_trials()
    )
