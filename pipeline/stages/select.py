"""Stage 5: select. Decides after each generation who is built upon, and at the end of a run who was best."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.config import Search as Method
from pipeline.errors import CannotGoOn
from pipeline.metric import Estimate, difference, estimate
from pipeline.records import Report, Score, Selection, Standing, TimeToTarget
from pipeline.stages.account import statement
from pipeline.stages.base import Search
from pipeline.stages.decide import (
    broke,
    elites,
    finishing,
    ready,
    stop_reason,
    undecided,
    wanted_baselines,
    wanted_trials,
    wave,
)
from pipeline.stages.looks import time_to_target
from pipeline.store import files
from pipeline.store.archive import Archive, Generation, State

BASELINE = "baseline"


def step(search: Search) -> None:
    """Close the newest generation when enough of it is known, and the run when all of it is."""
    archive = search.archive()
    _check_baseline(search, archive)
    newest = archive.newest
    if newest is not None and newest.selection is None and _decidable(search, archive, newest):
        selection = select(search, archive)
        files.create(newest.paths.selection, selection)
        search.run.event("selected", newest.paths.folder, f"{len(selection.parents)} parents")
        _write_account(search, archive)
        archive = search.archive()
    if finishing(search, archive):
        complete = not any(wanted_trials(search, archive))
        if archive.report is None and (complete or broke(search, archive, final=True)):
            if not archive.baseline.scores:
                raise CannotGoOn("budget.gpu_hours is used up before the baseline has a score; raise it and go on")
            _write_account(search, archive)
            files.create(archive.paths.report, report(search, archive))
            search.run.event("finished")
    elif archive.report is not None:
        files.set_aside(archive.paths.report, archive.paths.old_report)  # asked to go on with other stop rules


def _write_account(search: Search, archive: Archive) -> None:
    files.replace(archive.paths.account, statement(search.config, archive, search.cluster, search.clock()))


def select(search: Search, archive: Archive) -> Selection:
    """Standings of all that is scored, and the parents among them.

    In evolution a parent beats the baseline by `select.margin` standard errors of the difference (the paper takes
    whatever scored higher). Standings go by the first trial of each candidate, which is all that the search has seen.
    Whoever a person pinned is a parent first of all, and whoever is banned is none.
    """
    baseline = baseline_estimate(archive)
    standings = [
        _standing(search, candidate.id, [candidate.score], baseline)
        for candidate in archive.candidates
        if candidate.score is not None
    ]
    standings.sort(key=lambda standing: (-search.metric.goodness(standing.value), standing.candidate))
    margin = search.config.select.margin
    banned = {one.id: one.mark.reason for one in archive.candidates if one.mark is not None and one.banned}
    pinned = {one.id for one in archive.candidates if one.pinned}
    parents = [one.candidate for one in standings if one.candidate in pinned]
    better = [one.candidate for one in standings if one.gain > 0 and one.gain >= margin * one.gain_error]
    room = max(0, search.config.select.parents - len(parents))
    parents += [name for name in better if name not in pinned and name not in banned][:room]
    evolution = search.config.select.method is Method.evolution
    return Selection(
        seen=tuple(candidate.id for candidate in archive.candidates if candidate.closed),
        baseline=Standing(BASELINE, baseline.mean, baseline.standard_error, baseline.n),
        seed_sd=baseline.seed_sd,
        parents=tuple(parents) if evolution else (),
        standings=tuple(standings),
        banned=banned,
    )


def baseline_estimate(archive: Archive) -> Estimate:
    """Mean and noise of the baseline's trials so far; there must be one."""
    scores = archive.baseline.scores
    return estimate([score.value for score in scores], [score.standard_error for score in scores])


def report(search: Search, archive: Archive) -> Report:
    """The end of a run. An elite's numbers leave out the trial it was chosen by."""
    baseline = baseline_estimate(archive)
    tests = archive.baseline.test_scores
    test = estimate([s.value for s in tests], [s.standard_error for s in tests]) if tests else None
    standings, test_standings = [], []
    for elite in elites(search, archive):
        assert elite.attempt is not None
        scores = [trial.score for trial in elite.attempt.trials[1:] if trial.score is not None]
        standings.append(_standing(search, elite.id, scores or elite.attempt.scores, baseline))
        if test is not None and elite.attempt.test_scores:
            test_standings.append(_standing(search, elite.id, elite.attempt.test_scores, test))
    standings.sort(key=lambda standing: -search.metric.goodness(standing.value))
    order = [standing.candidate for standing in standings]
    test_standings.sort(key=lambda standing: order.index(standing.candidate))
    failures = [candidate.failure for candidate in archive.candidates if candidate.failure is not None]
    return Report(
        stopped=stop_reason(search, archive) or "",
        candidates=len(archive.candidates),
        failures=dict(sorted(Counter(f"{failure.stage}/{failure.kind}" for failure in failures).items())),
        baseline=Standing(BASELINE, baseline.mean, baseline.standard_error, baseline.n),
        elites=tuple(standings),
        baseline_test=Standing(BASELINE, test.mean, test.standard_error, test.n) if test else None,
        elites_test=tuple(test_standings),
        seed_sd=baseline.seed_sd,
        times=tuple(_times(search, archive)),
    )


def _times(search: Search, archive: Archive) -> Iterator[TimeToTarget]:
    if search.config.select.method is Method.time_to_target:
        yield time_to_target(search, BASELINE, archive.baseline)
        for elite in elites(search, archive):
            if elite.attempt is not None:
                yield time_to_target(search, elite.id, elite.attempt)


def _standing(search: Search, name: str, scores: Sequence[Score], baseline: Estimate) -> Standing:
    values, errors = [score.value for score in scores], [score.standard_error for score in scores]
    ours = estimate(values, errors, baseline.seed_sd)
    gain, error = difference(search.metric, ours, baseline)
    return Standing(name, ours.mean, ours.standard_error, ours.n, gain, error)


def _decidable(search: Search, archive: Archive, generation: Generation) -> bool:
    if len(generation.candidates) < wave(search, generation) or not _baseline_done(search, archive):
        return False
    if len(archive.generations) >= search.config.stop.generations:  # nothing is left to hurry for
        return archive.all_closed
    count, quorum = len(generation.candidates), search.config.select.quorum
    closed = sum(candidate.closed for candidate in generation.candidates)
    if quorum < 1 and closed and search.cluster.slots() < count:
        # With more slots than candidates some are always idle, and nothing would ever be learned from.
        waiting = any(ready(search, wanted) for wanted in wanted_trials(search, archive))
        unmade = any(one.state is State.PROPOSED for one in generation.candidates)
        if not waiting and not unmade and undecided(search, archive) < search.cluster.slots():
            return True
    return closed >= quorum * count


def _baseline_done(search: Search, archive: Archive) -> bool:
    trials = archive.baseline.trials
    return len(trials) >= wanted_baselines(search, archive) and all(trial.closed for trial in trials)


def _check_baseline(search: Search, archive: Archive) -> None:
    for trial in archive.baseline.trials[: search.config.select.baseline_seeds]:  # later ones raise an alarm
        if trial.failure is not None:
            raise CannotGoOn(
                f"the unmodified baseline failed ({trial.failure.stage}/{trial.failure.kind}): "
                f"{trial.failure.reason.splitlines()[0]}; read {trial.paths.folder}, mend it, and start a new run"
            )
