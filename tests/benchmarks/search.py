"""The benchmark of search: the product's own methods on simulated spaces of ideas, `python -m tests.benchmarks search FILE`.

Methods, archive, posterior and the choice of the elite are the program's; ideas, training and noise are simulated. FILE
stores the results, so that a call continues where the last one ended. The tables are printed at the end. All methods of
a seed search the same instance of a space. The results that the documentation shows are in `search_results.jsonl.gz`
beside this file; if a method changes, remove its rows and call this again with that file."""

import gzip
import itertools
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from scipy.stats import t

from pipeline.config import IdeateConfig, StopConfig
from pipeline.methods.base import Room, Terms
from pipeline.methods.independent import Independent
from pipeline.methods.islands import Islands
from pipeline.methods.map_elites import MapElites
from pipeline.methods.paper import Paper
from pipeline.methods.power_law import PowerLaw
from pipeline.methods.puct import Puct
from pipeline.methods.thompson import Thompson
from pipeline.methods.truncation import Truncation
from pipeline.policy.race import by_search
from pipeline.records import (
    Failure,
    FailureKind,
    Idea,
    Implementation,
    Job,
    Knowledge,
    Parents,
    Purpose,
    Score,
    Selection,
    Stage,
)
from pipeline.store.archive import Archive, Index
from pipeline.store.views import Attempt, Candidate, Generation, Trial, Try
from tests.archives import RUN, config_of, terms_of
from tests.benchmarks.peers import OpenEvolve, ShinkaEvolve
from tests.benchmarks.spaces import SPACES, Code, Space
from tests.benchmarks.tuners import RandomTuner, Tpe, Tuner

METHODS: dict[str, type] = {
    "independent": Independent,
    "tune": Independent,
    "tpe": Independent,
    "paper": Paper,
    "truncation": Truncation,
    "power_law": PowerLaw,
    "puct": Puct,
    "map_elites": MapElites,
    "islands": Islands,
    "thompson": Thompson,
    "OpenEvolve, our reading": OpenEvolve,
    "ShinkaEvolve, our reading": ShinkaEvolve,
}
TUNERS: dict[str, Callable[[Space, random.Random], Tuner]] = {"tune": RandomTuner, "tpe": Tpe}
"""Methods that do not draw ideas but settings."""
DEFAULT = "thompson"
"""The method that a run uses unless another is chosen."""
RESULTS = Path(__file__).with_name("search_results.jsonl.gz")
"""The results that the documentation shows."""
SIZE = 20
"""Candidates per generation; in steady mode, slots."""
NOISE = 0.02
"""Standard error of one score, in the unit of the metric: 2 points."""
SHOWN = (100, 500, 1000, 2000)
"""Numbers of executions after which a search is evaluated."""
_BASE = 0.5
_FILES = 5
_JOIN, _REDRAWS = 0.25, 20
_GENES, _WEIGHTS = (1, 2, 3), (5, 3, 2)


@dataclass(frozen=True)
class Setting:
    """One condition of the benchmark."""

    space: str
    noise: float = 1.0
    """Noise, in units of `NOISE`."""
    failures: float = 0.15
    """Share of candidates that fail."""
    steady: bool = False
    executions: int = 500


CONDITIONS = (
    Setting("", executions=2000),
    Setting("", noise=2.0),
    Setting("", failures=0.5),
    Setting("", steady=True),
)
"""Each is run on every space."""


class Search:
    """One search. Its archive is made in memory, equal to one read from a run folder."""

    def __init__(self, method: str, setting: Setting, seed: int) -> None:
        self._setting = setting
        self._rng = random.Random(f"{setting}/{seed}")
        self.space: Space = SPACES[setting.space](random.Random(seed))
        self._tuner = TUNERS[method](self.space, self._rng) if method in TUNERS else None
        config = config_of(seed=seed, ideate=IdeateConfig(candidates=SIZE), stop=StopConfig(generations=1000))
        self._terms: Terms = terms_of(config, METHODS[method])
        self._codes: dict[str, Code] = {}
        self._tried: set[Code] = {self.space.baseline}
        self._generations: list[Generation] = []
        self._undecided: list[int] = []
        self._index = Index()
        self._under_way: list[Candidate] = []
        scores = [self._score(self.space.baseline, number, Purpose.BASELINE) for number in range(3)]
        self._baseline = Attempt(
            RUN.baseline,
            None,
            None,
            None,
            tuple(_trial(RUN.baseline, one, number) for number, one in enumerate(scores)),
        )

    @property
    def archive(self) -> Archive:
        count = len(self._generations)
        return Archive(RUN, self._baseline, tuple(self._generations), self._index, count, count)

    def run(self) -> Iterator[tuple[int, float]]:
        """Executions so far and the true gain of the candidate that would be chosen, points; after each SIZE
        executions."""
        method, selection = self._terms.method, None
        while (done := self._index.outcomes) < self._setting.executions:
            archive = self.archive
            if self._setting.steady:
                free = SIZE - len(self._under_way)
                self._open(method.plan(archive, Room(free, self._index.outcomes // SIZE, None)))
                self._end(self._under_way.pop(self._rng.randrange(len(self._under_way))))
            else:
                self._open(method.plan(archive, Room(SIZE, len(self._generations), selection)))
                while self._under_way:
                    self._end(self._under_way.pop())
                selection = method.select(self.archive)
            self._close()
            if self._index.outcomes // SIZE > done // SIZE:
                best = by_search(self._terms, self.archive, 1)
                yield self._index.outcomes, self.space.gain(self._codes[best[0].id]) if best else 0.0

    def _open(self, parents: Parents) -> None:
        number = len(self._generations)
        paths = RUN.generation(number)
        made = []
        for place in range(parents.ideas):
            draw = parents.draws[place] if place < len(parents.draws) else None
            code = self._idea(draw, parents)
            idea = Idea(f"idea {place}", "", "exploit" if draw else "explore", (draw,) if draw else ())
            candidate = Candidate(f"{paths.folder.name}/candidate_{place:03d}", paths.candidate(place), idea, (), None)
            self._codes[candidate.id] = code
            self._index.put(candidate)
            made.append(candidate)
        self._under_way += made
        self._generations.append(Generation(number, paths, parents, tuple(made), None))
        self._undecided.append(number)

    def _close(self) -> None:
        """Mark generations without open candidates as decided, as the program does: later estimates depend on the
        outcomes that those decisions used."""
        open_paths = {one.paths.folder.parent for one in self._under_way}
        for number in [one for one in self._undecided if self._generations[one].paths.folder not in open_paths]:
            self._undecided.remove(number)
            decided = Selection((), Knowledge(self._index.outcomes))
            self._generations[number] = replace(self._generations[number], selection=decided)

    def _idea(self, parent: str | None, parents: Parents) -> Code:
        """A code that was not tried before, if a few attempts find one."""
        code = self.space.baseline
        for _ in range(_REDRAWS):
            code = self._draw(parent, parents)
            if code not in self._tried or (self._tuner is not None and self._tuner.repeats):
                break
        self._tried.add(code)
        return code

    def _draw(self, parent: str | None, parents: Parents) -> Code:
        rng = self._rng
        if self._tuner is not None:
            return self._tuner.ask()
        if parent is None:
            return self.space.changed(self.space.baseline, rng.choices(_GENES, _WEIGHTS)[0], rng)
        code = self._codes[parent]
        others = [name for name in parents.candidates if name != parent]
        if others and rng.random() < _JOIN:
            other = self._codes[rng.choice(others)]
            return tuple(own or theirs for own, theirs in zip(code, other, strict=True))
        return self.space.changed(code, 1, rng)

    def _end(self, candidate: Candidate) -> None:
        order, code = self._index.outcomes + 1, self._codes[candidate.id]
        paths = tuple(sorted({f"{gene % _FILES}.py" for gene, level in enumerate(code) if level}))
        attempt = Attempt(candidate.paths.attempt(0), Implementation("simulated", paths, str(code)), None, None, ())
        score = None
        if self._rng.random() < self._setting.failures:
            failure = Failure(Stage.TRAIN, FailureKind.EXCEPTION, "simulated", order=order)
            self._index.put(replace(candidate, attempts=(attempt,), failure=failure))
        else:
            score = self._score(code, 0, Purpose.SEARCH, order)
            trial = _trial(attempt.paths, score, 0)
            self._index.put(replace(candidate, attempts=(replace(attempt, trials=(trial,)),)))
        if self._tuner is not None:
            self._tuner.tell(code, score.value if score is not None else None)

    def _score(self, code: Code, seed: int, purpose: Purpose, order: int = 0) -> Score:
        error = self._setting.noise * NOISE
        value = _BASE + self.space.gain(code) / 100 + self._rng.gauss(0, error)
        return Score("quality", value, error, 100, "validation", seed, purpose=purpose, order=order)


def _trial(holder: object, score: Score, number: int) -> Trial:
    paths = holder.trial(number)  # type: ignore[attr-defined]
    job = Job("job", score.seed, "validation", purpose=score.purpose)
    return Trial(paths, (Try(paths.try_(0), job, None, None),), score, None)


# ---- all of them

SEEDS = range(100, 130)
"""Instances of each space. The two numbers of `thompson` were chosen on other instances."""


@dataclass(frozen=True)
class Row:
    """The result of one search: a line of the file."""

    setting: Setting
    method: str
    seed: int
    curve: dict[int, float]
    """Number of executions to the true gain of the candidate that would be chosen, points."""


def run_all(file: Path) -> None:
    """Run what is missing in the file, on all cores. All methods of a seed run before the next seed, the shortest
    searches first, so that an incomplete file compares all methods on the same instances."""
    done = {(row.setting, row.method, row.seed) for row in rows_of(file)}
    shortest_first = sorted(CONDITIONS, key=lambda one: (one.executions, one.steady))
    missing = [
        (method, setting, seed)
        for condition, seed, space in itertools.product(shortest_first, SEEDS, SPACES)
        for setting in (replace(condition, space=space),)
        for method in methods_for(setting)
        if (setting, method, seed) not in done
    ]
    with ProcessPoolExecutor() as pool, _opened(file, "at") as out:
        for row in pool.map(_searched, *zip(*missing, strict=True)) if missing else ():
            out.write(json.dumps(asdict(row)) + "\n")
            out.flush()


def _searched(method: str, setting: Setting, seed: int) -> Row:
    curve = {at: round(gain, 2) for at, gain in Search(method, setting, seed).run()}
    return Row(setting, method, seed, curve)


def methods_for(setting: Setting) -> list[str]:
    """Methods that suit a setting. Tuning requires settings; what TPE costs grows with the square of the executions."""
    unsuited = set() if setting.space == "measured" else set(TUNERS)
    if setting.executions > 500:
        unsuited.add("tpe")
    return [method for method in METHODS if method not in unsuited]


def rows_of(file: Path) -> list[Row]:
    """The rows of a file."""
    if not file.exists():
        return []
    with _opened(file, "rt") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(found: dict[str, Any]) -> Row:
    curve = {int(executions): gain for executions, gain in found["curve"].items()}
    return Row(Setting(**found["setting"]), found["method"], found["seed"], curve)


def _opened(file: Path, mode: Literal["rt", "at"]) -> IO[str]:
    return gzip.open(file, mode) if file.suffix == ".gz" else file.open(mode)  # type: ignore[return-value]


Searches = dict[str, dict[int, Row]]
"""The rows of one setting by method and seed."""


def tables(file: Path) -> Iterator[str]:
    """A table for each condition, with a column for each space: the mean true gain of the chosen candidate after some
    numbers of executions, the last with its 95 % interval, and in brackets the number of executions that find what
    best-of-N finds with all. Then the differences to the default method."""
    by_setting: defaultdict[Setting, Searches] = defaultdict(lambda: defaultdict(dict))
    for row in rows_of(file):
        by_setting[row.setting][row.method][row.seed] = row
    compared: list[str] = []
    for condition in CONDITIONS:
        spaces = {}
        for space in SPACES:
            found = by_setting.get(replace(condition, space=space), {})
            seeds = set(SEEDS).intersection(*map(set, found.values())) if found else set()
            if len(seeds) > 1:
                spaces[space] = {method: {seed: rows[seed] for seed in seeds} for method, rows in found.items()}
        if not spaces:
            continue
        shown = [executions for executions in SHOWN if executions <= condition.executions]
        mode = "steady" if condition.steady else "generational"
        heading = f"Noise × {condition.noise:g}, {condition.failures:.0%} failures, {mode}"
        yield f"\n{heading}; after {_listed(shown)} executions:\n"
        yield from _table(spaces, shown)
        compared += (_rivals(heading, spaces, executions) for executions in shown)
    yield f"\nThe strongest other method, and its difference to `{DEFAULT}` on the same instances:\n"
    yield f"| condition | executions | {' | '.join(SPACES)} |"
    yield "|---|---|" + "---|" * len(SPACES)
    yield from compared


def _table(spaces: dict[str, Searches], shown: Sequence[int]) -> Iterator[str]:
    columns = {space: {method: _means(rows) for method, rows in found.items()} for space, found in spaces.items()}
    seeds = {space: len(next(iter(found.values()))) for space, found in spaces.items()}
    yield "| method | " + " | ".join(f"{space}, {count} seeds" for space, count in seeds.items()) + " |"
    yield "|---|" + "---|" * len(columns)
    ran = [method for method in METHODS if any(method in means for means in columns.values())]
    for method in sorted(ran, key=lambda one: -_total(columns, one, shown[-1])):
        cells = [_cell(means, method, shown) for means in columns.values()]
        yield f"| {method} | " + " | ".join(cells) + " |"


def _rivals(heading: str, spaces: dict[str, Searches], executions: int) -> str:
    """A row with the method of the largest mean, other than the default, in each space."""
    cells = []
    for space in SPACES:
        gains = {
            method: {seed: row.curve[executions] for seed, row in rows.items()}
            for method, rows in spaces.get(space, {}).items()
        }
        if DEFAULT not in gains:
            cells.append("–")
            continue
        own = gains.pop(DEFAULT)
        best = max(gains, key=lambda method: statistics.fmean(gains[method].values()))
        mean, half = _interval([gains[best][seed] - own[seed] for seed in own])
        cells.append(f"{best}: {mean:+.1f} ± {half:.1f}")
    return f"| {heading} | {executions:,} | {' | '.join(cells)} |"


def _listed(numbers: Sequence[int]) -> str:
    *first, last = (f"{number:,}" for number in numbers)
    return f"{', '.join(first)} and {last}"


Means = dict[str, dict[int, tuple[float, float]]]


def _total(columns: dict[str, Means], method: str, executions: int) -> float:
    """The sort key of tables: the sum over spaces of the gain, relative to the best method there."""
    best = {heading: max(one[executions][0] for one in means.values()) for heading, means in columns.items()}
    return sum(means[method][executions][0] / best[heading] for heading, means in columns.items() if method in means)


def _cell(means: Means, method: str, shown: Sequence[int]) -> str:
    if method not in means:
        return "–"
    goal = means["independent"][shown[-1]][0]
    first = next((f"{at:,}" for at, (mean, _) in means[method].items() if mean >= goal), "never")
    values = [f"{means[method][at][0]:.1f}" for at in shown]
    return f"{' → '.join(values)} ± {means[method][shown[-1]][1]:.1f} ({first})"


def _means(rows: dict[int, Row]) -> dict[int, tuple[float, float]]:
    """Mean and half width of a 95 % interval over seeds, by executions."""
    chosen = [rows[seed].curve for seed in sorted(rows)]
    return {at: _interval([curve[at] for curve in chosen]) for at in chosen[0]}


def _interval(values: Sequence[float]) -> tuple[float, float]:
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values), float(half)
