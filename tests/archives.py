"""Archives made in memory for tests of decisions: no file is read or written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config import BudgetConfig, Config, IdeateConfig, MetricConfig, SearchConfig, SelectConfig, StopConfig
from pipeline.methods.base import SearchMethod, Terms
from pipeline.methods.truncation import Truncation
from pipeline.metric import Direction, Metric
from pipeline.records import (
    Alarm,
    Claim,
    Ended,
    Failure,
    FailureKind,
    Idea,
    Implementation,
    Job,
    Knowledge,
    Mark,
    Parents,
    Purpose,
    Result,
    Score,
    Selection,
    Smoke,
    Stage,
)
from pipeline.store.archive import Archive, Index
from pipeline.store.paths import AttemptPaths, RunPaths
from pipeline.store.views import Attempt, Candidate, Generation, RaisedAlarm, Trial, Try

RUN = RunPaths(Path("/runs/r"))
ERROR = 0.01
"""Standard error of every score."""


@dataclass(frozen=True)
class Made:
    """A candidate to make: scored if it has a value, failed if it has a kind, open otherwise."""

    value: float | None = None
    kind: FailureKind | None = None
    parents: tuple[int, ...] = ()
    """Numbers of candidates in their order."""
    ready: bool = True
    """Whether it passed its smoke test."""
    tries: Sequence[FailureKind | None] = ()
    """Its tries so far, by the fault that ended each; none if it is in flight."""
    confirmed: Sequence[float] = ()
    """Values of its trials with other seeds."""
    tested: Sequence[float] = ()
    """Values on the test split, one for each of these."""
    rungs: Mapping[float, float] = field(default_factory=dict)
    """Value of each of its rungs, by budget."""
    ended_at: float = 1000.0
    reason: str = "exit code 1: it broke"
    sandbox: str = ""
    """Kind of sandbox of its search trial."""


def config_of(direction: Direction = Direction.maximize, **groups: object) -> Config:
    """Settings of the toy's kind; groups of `Config` given by name replace the defaults."""
    config = Config(
        scale="tiny",
        ideate=IdeateConfig(candidates=4),
        select=SelectConfig(baseline_seeds=2, elites=2, elite_seeds=2),
        stop=StopConfig(generations=3),
        budget=BudgetConfig(),
        search=SearchConfig(),
    )
    config.baseline.metric = MetricConfig(name="quality", direction=direction)
    return replace(config, **groups)  # type: ignore[arg-type]


def terms_of(
    config: Config, method: Callable[[Config, Metric], SearchMethod] = Truncation, now: float = 2000.0
) -> Terms:
    """The same with the metric and the method of a configuration."""
    metric = config.baseline.metric.metric
    return Terms(config, metric, method(config, metric), lambda: now)


def archive_of(
    candidates: Sequence[Made] = (),
    baseline: Sequence[float] = (0.5, 0.52),
    per_generation: int = 4,
    marks: Mapping[int, bool] | None = None,
    selected: bool = True,
    alarms: Sequence[Alarm] = (),
    baseline_purpose: Purpose = Purpose.BASELINE,
    baseline_tested: Sequence[float] = (),
) -> Archive:
    """Candidates in generations of `per_generation`, with outcomes in their order. `marks`: number to pinned (else
    banned)."""
    index, order, made = Index(), 0, list[Candidate]()
    for number, spec in enumerate(candidates):
        if spec.value is not None or spec.kind is not None:
            order += 1
        candidate = _candidate(number, spec, order, per_generation)
        made.append(candidate)
        index.put(candidate)
    generations = []
    for start in range(0, len(made), per_generation):
        part, number = tuple(made[start : start + per_generation]), start // per_generation
        over = selected and all(one.closed for one in part)
        generations.append(
            Generation(
                number,
                RUN.generation(number),
                Parents(ideas=len(part)),
                part,
                Selection((), Knowledge(start + len(part))) if over else None,
            )
        )
    names = {number: one.id for number, one in enumerate(made)}
    return Archive(
        RUN,
        _baseline(baseline, baseline_purpose, baseline_tested),
        tuple(generations),
        index,
        sum(one.selection is not None for one in generations),
        len(generations),
        marks={names[number]: Mark(pinned, "because", "me", 0.0) for number, pinned in (marks or {}).items()},
        alarms=tuple(RaisedAlarm(RUN.alarm(number), alarm, None) for number, alarm in enumerate(alarms)),
    )


def name(number: int, per_generation: int = 4) -> str:
    """Id of the candidate with this number."""
    return f"generation_{number // per_generation:03d}/candidate_{number % per_generation:03d}"


@dataclass
class _Trials:
    paths: AttemptPaths
    ended_at: float = 1000.0
    made: list[Trial] = field(default_factory=list)

    def add(
        self,
        purpose: Purpose,
        seed: int,
        value: float | None,
        tries: Sequence[FailureKind | None] = (),
        budget: float | None = None,
    ) -> None:
        paths = self.paths.trial(len(self.made))
        split = "test" if purpose is Purpose.TEST else "validation"
        score = Score("quality", value, ERROR, 100, split, seed, purpose=purpose) if value is not None else None
        ended = [_try(paths.try_(k), purpose, seed, kind, None, self.ended_at) for k, kind in enumerate(tries)]
        if score is not None:
            ended.append(_try(paths.try_(len(ended)), purpose, seed, None, score, self.ended_at))
        ended = [replace(one, job=replace(one.job, budget=budget)) for one in ended]
        self.made.append(Trial(paths, tuple(ended), score, None))


def _try(
    paths: object, purpose: Purpose, seed: int, kind: FailureKind | None, score: Score | None, ended_at: float
) -> Try:
    job = Job("job", seed, "validation", purpose=purpose, job_id="1", submitted_at=100.0)
    if score is not None:
        result: Result | None = Result(Ended.SCORED, score, started_at=400.0, ended_at=ended_at)
    elif kind is not None:
        failure = Failure(Stage.TRAIN, kind, "exit code 1: it broke", "try_0")
        result = Result(Ended.FAILED, failure=failure, started_at=400.0, ended_at=ended_at)
    else:
        result = None
    return Try(paths, job, Claim("1", "n1", 1, 400.0), result)  # type: ignore[arg-type]


def _baseline(values: Sequence[float], purpose: Purpose, tested: Sequence[float] = ()) -> Attempt:
    trials = _Trials(RUN.baseline)
    for seed, value in enumerate(values):
        trials.add(purpose, seed, value)
    for seed, value in enumerate(tested):
        trials.add(Purpose.TEST, seed, value)
    return Attempt(RUN.baseline, None, None, None, tuple(trials.made))


def _candidate(number: int, spec: Made, order: int, per_generation: int) -> Candidate:
    paths = RUN.candidate(name(number, per_generation))
    idea = Idea(f"idea {number}", "Do it.", "explore", tuple(name(one, per_generation) for one in spec.parents))
    trials, failure = _Trials(paths.attempt(0), spec.ended_at), None
    if spec.kind is not None:
        failure = Failure(Stage.TRAIN, spec.kind, spec.reason, "try_0", "attempt_0", order=order)
        trials.add(Purpose.SEARCH, 0, None, [spec.kind])
    elif spec.value is not None:
        trials.add(Purpose.SEARCH, 0, spec.value, spec.tries)
    elif spec.tries:
        trials.add(Purpose.SEARCH, 0, None, spec.tries)
    for seed, value in enumerate(spec.confirmed, 1):
        trials.add(Purpose.CONFIRM, seed, value)
    for seed, value in enumerate(spec.tested, 1):
        trials.add(Purpose.TEST, seed, value)
    for budget, value in spec.rungs.items():
        trials.add(Purpose.RUNG, 0, value, budget=budget)
    made = tuple(trials.made)
    if spec.value is not None:
        first = made[0]
        assert first.score is not None
        made = (replace(first, score=replace(first.score, order=order, sandbox=spec.sandbox)), *made[1:])
    attempt = Attempt(
        paths.attempt(0),
        Implementation("test", ("a.py",), f"code {number}"),
        Smoke(1.0) if spec.ready else None,
        failure,
        made,
    )
    return Candidate(name(number, per_generation), paths, idea, (attempt,), failure)
