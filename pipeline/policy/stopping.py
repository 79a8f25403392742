"""Stop rules of the search."""

import datetime

from pipeline.config import Config, Mode
from pipeline.errors import BadInput
from pipeline.methods.base import Terms
from pipeline.metric import Direction
from pipeline.policy.budget import out_of_budget
from pipeline.store.archive import Archive


def most_ideas(config: Config) -> int:
    """Maximum number of ideas that the generations of a run request, without proposals and seeds."""
    ideas = config.stop.generations * config.ideate.candidates
    return min(ideas, config.stop.candidates) if config.stop.candidates else ideas


def stop_reason(terms: Terms, archive: Archive) -> str | None:
    """The first stop rule that holds, in words; none while the search may continue. Raises `BadInput` for a bad date."""
    config, stop, metric = terms.config, terms.config.stop, terms.metric
    if not config.ideate.candidates:
        if archive.decided and not archive.waiting:
            return "every proposal has been tried (ideate.candidates=0)"
    elif config.search.mode is Mode.steady:
        if archive.count >= stop.generations * config.ideate.candidates:
            return f"stop.generations={stop.generations} reached"
    elif archive.decided >= stop.generations:
        return f"stop.generations={stop.generations} reached"
    if stop.candidates and archive.count >= stop.candidates:
        return f"stop.candidates={stop.candidates} reached"
    if stop.date and terms.clock() >= parse_date(stop.date):
        return f"stop.date={stop.date} has passed"
    if stop.target is not None:
        best = next(archive.ranked(metric.direction is Direction.maximize), None)
        if best is not None and best.score is not None:
            if metric.goodness(best.score.value) >= metric.goodness(stop.target):
                return f"stop.target={stop.target:g} reached"
    if out_of_budget(terms, archive, final=False):
        return f"budget.gpu_hours={config.budget.gpu_hours:g} leaves no room for another trial"
    if stop.patience and _is_stale(terms, archive):
        return f"no better candidate in stop.patience={stop.patience} generations"
    return terms.method.stop(archive)


def finishing(terms: Terms, archive: Archive) -> bool:
    """Whether the search is over and only the confirmation of the elites is left."""
    if not archive.generations or stop_reason(terms, archive) is None:
        return False
    decided = archive.decided == len(archive.generations) and archive.all_closed
    return decided or out_of_budget(terms, archive, final=False)


def parse_date(date: str) -> float:
    """A date in the format of `stop.date` as seconds since 1970. Raises `BadInput`."""
    try:
        return datetime.datetime.fromisoformat(date).astimezone().timestamp()
    except ValueError:
        raise BadInput(f"stop.date={date} is not a date; write it as 2026-12-31T18:00") from None


def _is_stale(terms: Terms, archive: Archive) -> bool:
    best = []
    for generation in archive.generations:
        values = [one.score.value for one in generation.candidates if one.score is not None]
        if generation.selection is not None and values:
            best.append(max(map(terms.metric.goodness, values)))
    patience = terms.config.stop.patience
    return len(best) > patience and max(best[-patience:]) <= max(best[:-patience])
