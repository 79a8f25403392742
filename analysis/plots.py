"""Plots of a run. Each function returns a matplotlib figure: display it in a notebook, or save it with `figure.savefig`."""

import statistics
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.columns import BASELINE
from analysis.load import candidates, metric_of, trials
from pipeline.metric import Direction, Metric

_BAND = 2.0
"""Half width of the band, in standard deviations."""
_WORSE_SHOWN = 2.0
"""Extent of the axis on the worse side of the baseline, in distances from the baseline to the best."""


def best_so_far(run: Path | str) -> Figure:
    """The best value up to each generation, all scored candidates, and the baseline with its seed noise.

    Candidates are shown with their search trial, so the best one is partly luck; the report has the elites' numbers with
    other seeds. A baseline with fewer than two trials has no band.
    """
    metric = metric_of(run)
    table = candidates(run)
    scored = table[table["value"].notna()]
    generations = [int(generation) for generation in scored["generation"]]
    values = [float(value) for value in scored["value"]]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    levels = _draw_baseline(axes, run)
    best = _best(generations, values, metric)
    if best:
        axes.scatter(generations, values, s=18, color="0.55", label="candidates, one trial each", zorder=4)
        axes.plot(list(best), list(best.values()), "o-", color="C0", label="best so far, one trial each", zorder=3)
        hidden = _limit(axes, [*levels, *best.values()], values, metric)
        if hidden:
            axes.plot([], [], " ", label=f"{hidden} worse {'candidate' if hidden == 1 else 'candidates'} off the scale")
    better = "higher" if metric.direction is Direction.maximize else "lower"
    axes.set(title=Path(run).resolve().name, xlabel="generation", ylabel=f"{metric.name} ({better} is better)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if metric.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


def _draw_baseline(axes: Axes, run: Path | str) -> list[float]:
    """Draw the baseline's mean and, with two trials or more, its band. Returns the levels drawn."""
    table = trials(run)
    ours = table[(table["candidate"] == BASELINE) & (table["split"] == "validation") & table["value"].notna()]
    values = [float(value) for value in ours["value"]]
    if not values:
        return []
    mean = statistics.fmean(values)
    if len(values) == 1:
        axes.axhline(mean, color="C1", linestyle="--", label="baseline, one seed", zorder=1)
        return [mean]
    band = _BAND * statistics.stdev(values)
    axes.axhline(mean, color="C1", linestyle="--", label=f"baseline, mean of {len(values)} seeds", zorder=1)
    label = f"± {_BAND:g} standard deviations between seeds"
    axes.axhspan(mean - band, mean + band, color="C1", alpha=0.18, linewidth=0, label=label, zorder=0)
    return [mean, mean - band, mean + band]


def _best(generations: list[int], values: list[float], metric: Metric) -> dict[int, float]:
    """Generation to the best value up to it, for generations with a score."""
    pick = max if metric.direction is Direction.maximize else min
    tops = {
        generation: pick(value for of, value in zip(generations, values, strict=True) if of == generation)
        for generation in sorted({*generations})
    }
    return dict(zip(tops, accumulate(tops.values(), pick), strict=True))


def _limit(axes: Axes, wanted: list[float], values: list[float], metric: Metric) -> int:
    """Limit the axis so that one bad candidate does not flatten the rest. Returns how many are off the scale."""
    low, high = min(wanted), max(wanted)
    span = (high - low) or abs(high) or 1.0
    far = _WORSE_SHOWN * span
    shown = (low - far, high) if metric.direction is Direction.maximize else (low, high + far)
    inside = [value for value in values if shown[0] <= value <= shown[1]]
    low, high = min([*wanted, *inside]), max([*wanted, *inside])
    margin = 0.06 * (high - low) or 0.06 * span
    axes.set_ylim(low - margin, high + margin)
    return len(values) - len(inside)
