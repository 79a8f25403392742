"""Stopping a training that does worse than the unmodified baseline did at the same place.

A training is stopped if the mean of its values over the last quarter of its way is worse than that of each of the baseline's
trainings over the same steps or seconds. It resembles the median stopping rule of Vizier (Golovin et al., "Google Vizier: A
Service for Black-Box Optimization", KDD 2017, section 3.2.1), which compares the best value so far with means of all values
so far: on a loss that falls from the start it never stops anything.

A variant writes its own metrics. One that logs nothing, or logs too good values, is not stopped, which is no more than it
has without the rule; its score does not come from there.
"""

import contextlib
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import Clock, Config
from pipeline.metric import Direction
from pipeline.records import Purpose, Score
from pipeline.store import files
from pipeline.store.run import Run

_LOOKS = 200
"""How often a training is looked at until its time limit, but at least every half minute."""
_LONGEST_LOOK_S = 30.0
_MOST_BYTES = 1 << 20
"""So much of the metrics is read at a look."""
_RECENT = 0.25
"""Share of the way so far, at its end, over which means are taken."""

Curve = Sequence[tuple[float, float]]
"""Position, in steps or seconds, and value there, in order of the position."""


def is_hopeless(own: Curve, baselines: Sequence[Curve], direction: Direction) -> str:
    """Why a training is to be stopped; empty if it is not. Compared at the position that it has reached."""
    reached = own[-1][0] if own else 0.0
    recent = _recent(own, reached)
    means = [statistics.fmean(seen) for curve in baselines if (seen := _recent(curve, reached))]
    if not recent or not means:
        return ""
    mean = statistics.fmean(recent)
    worst = (min if direction is Direction.maximize else max)(means)
    worse = mean < worst if direction is Direction.maximize else mean > worst
    about = f"from {(1 - _RECENT) * reached:g} to {reached:g}"
    return (
        f"had a mean of {mean:.4g} {about}, where the worst training of the baseline had {worst:.4g}" if worse else ""
    )


def _recent(curve: Curve, reached: float) -> list[float]:
    """The values at the end of the way to a position."""
    return [value for at, value in curve if (1 - _RECENT) * reached <= at <= reached]


def curve_of(lines: Iterable[str], value: str, position: str) -> Iterator[tuple[float, float]]:
    """The points in lines of metrics.jsonl; lines without both numbers are left out."""
    names = {value, position}
    for line in lines:
        with contextlib.suppress(ValueError, OverflowError, RecursionError):
            row = json.loads(line)
            found = [row[name] for name in (position, value)] if isinstance(row, dict) and row.keys() >= names else []
            if found and all(isinstance(one, int | float) and math.isfinite(one) for one in found):
                yield float(found[0]), float(found[1])


def position_of(config: Config) -> str:
    """What positions are counted in: the name of a column of metrics.jsonl."""
    return "step" if config.train.clock is Clock.steps else "seconds"


@dataclass
class EarlyStop:
    """Follows the metrics of one training."""

    metrics: Path
    """Where the training writes them."""
    baselines: Callable[[], Sequence[Curve]]
    """The trainings of the unmodified code that have a score by now."""
    config: Config
    reason: str = ""
    """Why the training is to be stopped; empty while it is not."""
    _own: list[tuple[float, float]] = field(default_factory=list)
    _offset: int = 0
    _looked: float = 0.0

    def hopeless(self) -> bool:
        """Whether to stop the training now."""
        train, now = self.config.train, time.monotonic()
        if not self.reason and now - self._looked >= min(_LONGEST_LOOK_S, 60 * train.limit_min / _LOOKS):
            self._looked = now
            self._read()
            least = train.early_stop * train.budget * (60 if train.clock is Clock.wall else 1)
            if self._own and self._own[-1][0] >= least:
                self.reason = is_hopeless(self._own, self.baselines(), self.config.baseline.curve.direction)
        return bool(self.reason)

    def _read(self) -> None:
        """Add the lines that were finished since."""
        with contextlib.suppress(OSError), files.open_regular(self.metrics) as file:
            if file.seek(0, os.SEEK_END) < self._offset:  # a resumed training drops the steps that it repeats
                self._offset, self._own = 0, []
            file.seek(self._offset)
            whole, end, _ = file.read(_MOST_BYTES).rpartition(b"\n")
            self._offset += len(whole) + len(end)
            lines = whole.decode(errors="replace").splitlines()
            self._own += curve_of(lines, self.config.baseline.curve.name, position_of(self.config))


def early_stop(run: Run, purpose: Purpose, metrics: Path) -> EarlyStop | None:
    """What stops a training of this purpose early; none if nothing may."""
    if not run.config.train.early_stop or purpose not in (Purpose.SEARCH, Purpose.RUNG):
        return None
    return EarlyStop(metrics, _Baselines(run), run.config)


class _Baselines:
    """The curves of the baseline's trainings with the whole budget. They may come to their scores while a candidate trains;
    each is read once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._read: dict[int, Curve] = {}

    def __call__(self) -> Sequence[Curve]:
        for number in itertools.count():
            trial = self._run.paths.baseline.trial(number)
            if not trial.folder.is_dir():
                break
            score = files.read_if_there(trial.score, Score) if number not in self._read else None
            if score is not None:
                whole = score.purpose in (Purpose.BASELINE, Purpose.CANARY)
                self._read[number] = self._curve(trial.named(score.try_).metrics) if whole else ()
        return [curve for curve in self._read.values() if curve]

    def _curve(self, metrics: Path) -> Curve:
        with contextlib.suppress(OSError), files.open_regular(metrics) as file:
            lines = file.read().decode(errors="replace").splitlines()
            return list(curve_of(lines, self._run.config.baseline.curve.name, position_of(self._run.config)))
        return ()
