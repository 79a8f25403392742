"""A measured quantity with a direction, and the comparison of two estimates of it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way is better. The names are lower-case because configuration files use them."""

    maximize = "maximize"
    minimize = "minimize"


@dataclass(frozen=True)
class Metric:
    """A named quantity with a direction."""

    name: str
    """Name of the quantity, e.g. `accuracy`."""
    direction: Direction
    """Which way is better."""
    low: float = -math.inf
    """Smallest plausible value; a lower one is an evaluation error."""
    high: float = math.inf
    """Largest plausible value."""
    percent: bool = False
    """Whether it is displayed in percent."""

    def gain(self, value: float, reference: float) -> float:
        """Gain of `value` over `reference`; positive means better in either direction."""
        return value - reference if self.direction is Direction.maximize else reference - value

    def goodness(self, value: float) -> float:
        """A number that is larger for better values, as a sort key."""
        return value if self.direction is Direction.maximize else -value

    def plausible(self, value: float) -> bool:
        """Whether the value is finite and inside the declared range."""
        return math.isfinite(value) and self.low <= value <= self.high

    def text(self, value: float) -> str:
        """The value for display."""
        return f"{100 * value:.1f} %" if self.percent else _number(value)

    def text_error(self, value: float, error: float) -> str:
        """Value and standard error for display."""
        if self.percent:
            return f"{100 * value:.1f} ± {100 * error:.1f} %"
        return f"{_number(value)} ± {_number(error)}"

    def text_gain(self, gain: float, error: float | None = None) -> str:
        """A signed difference for display, with its standard error if given; in percentage points if the metric is in
        percent."""
        text = f"{100 * gain:+.1f}" if self.percent else _number(gain, "+")
        return text if error is None else f"{text} ± {self.text_size(error)}"

    def text_size(self, size: float) -> str:
        """A difference without its sign for display, in the unit of `text_gain`."""
        return self.text_gain(abs(size)).lstrip("+")


def _number(value: float, sign: str = "") -> str:
    """Four decimals, or three significant digits for the large values of a diverged training."""
    return f"{value:{sign}.4f}" if abs(value) < _LARGE else f"{value:{sign}.3g}"


_LARGE = 1e6


@dataclass(frozen=True)
class Estimate:
    """The mean over the trials of one code, with both parts of its noise."""

    mean: float
    """Mean of the trials' values."""
    standard_error: float
    """sqrt(seed variance / n + mean squared evaluation error). The evaluation part is not divided by n, because all
    trials are scored on the same problems or rows."""
    seed_sd: float
    """Standard deviation between seeds that was used in `standard_error`."""
    n: int
    """Number of trials."""


def estimate(values: Sequence[float], errors: Sequence[float], seed_sd: float | None = None) -> Estimate:
    """Mean of one code's trials and its standard error.

    `values` and `errors` are the values of the trials and the standard errors of their evaluations. With fewer than
    three trials their own spread is a poor estimate, so `seed_sd`, usually the baseline's, is used (0 if unknown); two
    trials without `seed_sd` use their own.
    """
    n = len(values)
    if n >= 3 or (n == 2 and seed_sd is None):
        spread = statistics.stdev(values)
    else:
        spread = seed_sd or 0.0
    evaluation = statistics.fmean(error * error for error in errors)
    return Estimate(statistics.fmean(values), math.sqrt(spread**2 / n + evaluation), spread, n)


def difference(metric: Metric, ours: Estimate, reference: Estimate) -> tuple[float, float]:
    """Gain of `ours` over `reference` and the standard error of that gain (independent errors are assumed)."""
    return metric.gain(ours.mean, reference.mean), math.hypot(ours.standard_error, reference.standard_error)
