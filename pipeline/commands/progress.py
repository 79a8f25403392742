"""The progress of a run, in numbers and in one line. Pure functions of an archive."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

from pipeline.config import Mode
from pipeline.methods.base import Terms
from pipeline.metric import Metric
from pipeline.policy.accounting import tries_of
from pipeline.policy.agenda import agenda, elites, trials_left
from pipeline.policy.notices import confirmed_best
from pipeline.policy.race import race
from pipeline.policy.stopping import finishing
from pipeline.records import Purpose, Standing
from pipeline.report.isolation import kinds
from pipeline.report.posterior import ranked
from pipeline.report.standings import baseline_estimate, knowledge, standing
from pipeline.store.archive import Archive
from pipeline.store.paths import short
from pipeline.store.views import State
from pipeline.text import counted, plain_line

_RECENT = 50
"""Number of newest tries from which the remaining time is estimated."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run, for a status line and for `--json`."""

    run: str
    phase: str
    """The current phase in words: the baseline, a generation, the final training of the best, finished."""
    generation: int
    """Number of the newest generation; -1 before the first."""
    generations: int
    """Planned number of generations."""
    states: dict[str, int]
    """Number of candidates by state, over all generations."""
    unwritten: int
    """Candidates whose code is still to be written or smoke-tested."""
    trials: dict[str, int]
    """Number of trials by state, including those of the baseline and of the test split."""
    trainings: int
    """Closed trials, excluding those that only score on the test split."""
    trainings_left: int
    """Trainings still to come, as far as they can be predicted."""
    best: str
    """Id of the best candidate, among the confirmed ones if there are any; or empty."""
    best_value: float | None
    best_seeds: int
    """Trials with other seeds that confirm it; 0 if it has only the trial that selection saw."""
    baseline: float | None
    """Mean of the baseline's trials so far."""
    elapsed_s: float | None
    """Seconds since the controller that holds the run started; none if the run is not locked."""
    left_min: float | None
    """Estimated minutes to the end; none before the first try has ended."""
    finished: bool
    paused: str
    """Why nothing new is started, or empty."""
    sandbox: str
    """Kinds of sandbox in which the scored candidates were trained; empty if the scores do not record it."""


def progress(terms: Terms, archive: Archive, slots: int, started: float | None = None) -> Progress:
    """The progress of an archive. `slots` trials run at once; the controller `started` then, in seconds since 1970."""
    metric, left = terms.metric, trials_left(terms, archive)
    reference = baseline_estimate(archive)
    recent = [*tries_of([archive.baseline]), *(one for one, _ in archive.ended(archive.index.recent[-_RECENT:]))]
    spans = [one.result.ended_at - one.result.started_at for one in recent if one.result and one.result.ended_at]
    left_min = sum(spans) / len(spans) * left / max(1, slots) / 60 if spans else None
    trials = Counter(trial.state for trial in archive.baseline.trials) + archive.index.trial_states
    newest = archive.newest
    tests_done, tests_left = _tests(terms, archive)
    best = confirmed_best(terms, archive) or single_best(metric, archive)
    return Progress(
        run=archive.paths.folder.name,
        phase=phase(terms, archive),
        generation=newest.number if newest else -1,
        generations=terms.config.stop.generations,
        states={state.value: count for state, count in archive.index.states.items() if count},
        unwritten=archive.index.states[State.PROPOSED],
        trials={state.value: count for state, count in trials.items() if count},
        trainings=trials[State.SCORED] + trials[State.FAILED] - tests_done,
        trainings_left=left - tests_left,
        best=best.candidate if best is not None else "",
        best_value=best.value if best is not None else None,
        best_seeds=_confirmations(archive, best.candidate) if best is not None else 0,
        baseline=reference.mean if reference is not None else None,
        elapsed_s=terms.clock() - started if started is not None else None,
        left_min=left_min,
        finished=archive.report is not None,
        paused=_halted(archive),
        sandbox=kinds(+archive.index.sandboxes),
    )


def phase(terms: Terms, archive: Archive) -> str:
    """The current phase of a run, in words."""
    config = terms.config
    if archive.report is not None:
        return "finished"
    if not archive.generations:
        return "starting"
    if finishing(terms, archive):
        if race(terms, archive).pending:
            return "race for the elites"
        purposes = {wanted.purpose for wanted in agenda(terms, archive)}
        for purpose, words in (
            (Purpose.CONFIRM, "final training of the best"),
            (Purpose.LOOK, "measuring the time to the target"),
            (Purpose.TEST, "scoring on the test split"),
        ):
            if purpose in purposes:
                return words
        return "finishing"
    if config.search.mode is Mode.steady:
        limit = config.stop.generations * config.ideate.candidates
        limit = min(limit, config.stop.candidates) if config.stop.candidates else limit
        return f"candidate {archive.count} of {limit}"
    words = f"generation {len(archive.generations)} of {config.stop.generations}"
    states = archive.index.states
    if not states[State.SCORED] + states[State.FAILED] and not archive.index.trial_states.total():
        if any(not trial.closed for trial in archive.baseline.trials):
            return f"{words}, baseline"
    return words


def single_best(metric: Metric, archive: Archive) -> Standing | None:
    """The best candidate by posterior mean, with its search score; banned candidates are excluded."""
    ranking = (one for one, _ in ranked(archive, metric, knowledge(archive)) if not archive.is_banned(one.id))
    candidate, reference = next(ranking, None), baseline_estimate(archive)
    if candidate is None or candidate.score is None:
        return None
    if reference is None:
        score = candidate.score
        return Standing(candidate.id, score.value, score.standard_error, 1)
    return standing(metric, candidate.id, [candidate.score], reference)


def best_lines(terms: Terms, archive: Archive) -> Iterator[tuple[str, str]]:
    """Name and text of lines about the best candidate and whether other seeds confirm it. An unconfirmed candidate that
    ranks higher gets a line of its own."""
    confirmed, single = confirmed_best(terms, archive), single_best(terms.metric, archive)
    if confirmed is not None:
        seeds = f"confirmed by {counted(_confirmations(archive, confirmed.candidate), 'seed')}"
        yield "best", _best_text(terms.metric, archive, confirmed, seeds)
        if finishing(terms, archive):
            return
    if single is not None and (confirmed is None or single.candidate != confirmed.candidate):
        name = "best" if confirmed is None else "candidate"
        yield name, _best_text(terms.metric, archive, single, "not confirmed")


def _best_text(metric: Metric, archive: Archive, row: Standing, basis: str) -> str:
    gain = ""
    if baseline_estimate(archive) is not None:
        gain = f" ({metric.text_gain(row.gain, row.gain_error)})"
    value = metric.text_error(row.value, row.standard_error)
    title = plain_line(archive.candidate(row.candidate).idea.title)
    return f"{short(row.candidate)} {value}{gain}, {basis}: {title}"


def summary_line(now: Progress, metric: Metric) -> str:
    """The progress in one line, for a log and for a list of runs."""
    states = (
        ", ".join(f"{now.states[state]} {state}" for state in State if state.value in now.states) or "no candidates"
    )
    running = sum(now.trials.get(state, 0) for state in ("queued", "running"))
    parts = [now.phase, states, f"{counted(running, 'trial')} in flight"]
    if now.baseline is not None:
        parts.append(f"baseline {metric.text(now.baseline)}")
    if now.best_value is not None:
        basis = f"confirmed by {counted(now.best_seeds, 'seed')}" if now.best_seeds else "one trial"
        parts.append(f"best {metric.text(now.best_value)} ({short(now.best)}, {basis})")
    if now.paused:
        parts.append(f"PAUSED: {now.paused}")
    if not now.finished and now.left_min is not None:
        parts.append(left_text(now.left_min))
    return " · ".join(parts)


def left_text(minutes: float) -> str:
    """The estimated remaining time in words."""
    return f"about {span(60 * minutes)} left" if minutes >= 1 else "less than a minute left"


def span(seconds: float) -> str:
    """A duration in its largest units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def _confirmations(archive: Archive, candidate: str) -> int:
    attempt = archive.candidate(candidate).attempt
    return len(attempt.scores(Purpose.CONFIRM)) if attempt is not None else 0


def _tests(terms: Terms, archive: Archive) -> tuple[int, int]:
    """Numbers of scorings on the test split: finished, and still to come."""
    holders = [archive.baseline, *(elite.attempt for elite in elites(terms, archive) if elite.attempt is not None)]
    done = sum(trial.closed for holder in holders for trial in holder.of(Purpose.TEST))
    left = sum(one.purpose is Purpose.TEST for one in agenda(terms, archive)) if finishing(terms, archive) else 0
    return done, left


def _halted(archive: Archive) -> str:
    if archive.pause is not None:
        return archive.pause.reason
    if archive.alarm is not None:
        alarm = archive.alarm.alarm
        trial = f"the baseline's trial with seed {alarm.seed}"
        return f"candidates fail alike ({alarm.signature}); {trial} shows whether a machine is at fault"
    return ""
