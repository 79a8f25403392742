"""Plots of runs for notebooks and print. Each function takes `Tables` and returns a matplotlib figure: display it in a
notebook, or save it with `figure.savefig`. The colours are those of Okabe and Ito, which are safe for colour-blind readers;
lines also differ in their dashes."""

import itertools
import math
import statistics
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.arms import groups, interval, line_of, value_at
from analysis.columns import BASELINE
from analysis.load import Tables
from analysis.readings import (
    STEPS,
    by_order,
    failures,
    funnel,
    lineage,
    narrowing,
    node_jobs,
    of_run,
    slots,
    steps,
    utilisation,
)
from pipeline.errors import BadInput
from pipeline.metric import Direction, Metric
from pipeline.store.paths import short

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito, Color Universal Design, 2008."""
_DASHES = ("-", "--", "-.", ":")
_BAND = 2.0
"""Half width of the baseline's band, in standard deviations between seeds."""
_WORSE_SHOWN = 2.0
"""Extent of the axis on the worse side of the baseline, in distances from the baseline to the best."""


def best_so_far(tables: Tables, run: str | None = None) -> Figure:
    """The best value after each outcome, by one trial (partly luck) and confirmed by other seeds, with the baseline and the
    noise between its seeds. A baseline with fewer than two trials has no band."""
    name = _one(tables, run)
    metric, candidates = tables.metric(name), by_order(of_run(tables, name))
    figure, axes = _figure()
    levels = _draw_baseline(axes, tables, name)
    scored = candidates[candidates["value"].notna()]
    values = [float(value) for value in scored["value"]]
    single, confirmed = steps(candidates, metric), steps(candidates, metric, "confirmed")
    if values:
        axes.scatter(scored["order"], values, s=14, color="0.6", label="candidates, one trial each", zorder=2)
        end = int(candidates["order"].max())
        for found, label, colour, dash in (
            (single, "best so far, one trial each", COLOURS[0], "-"),
            (confirmed, "best so far, confirmed by other seeds", COLOURS[2], "--"),
        ):
            if found:
                at, best = [one.outcome for one in found], [one.value for one in found]
                axes.step(
                    [*at, end], [*best, best[-1]], where="post", color=colour, linestyle=dash, label=label, zorder=3
                )
        hidden = _limit(axes, [*levels, *(one.value for one in (*single, *confirmed))], values, metric)
        if hidden:
            axes.plot([], [], " ", label=f"{hidden} worse {'candidate' if hidden == 1 else 'candidates'} off the scale")
    axes.set(title=name, xlabel="outcomes, failures included")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _value_axis(axes, metric)
    return _with_legend(figure)


def compare(tables: Tables, by: str = "candidates") -> Figure:
    """The best by one trial of several methods, at equal numbers of candidates or, with `by="device_h"`, at equal device
    hours. Runs with the same method and ideator are one line: their mean, with a 95 % interval over runs if there are
    several. Raises `BadInput` if the runs have different metrics."""
    metric = same_metric(tables)
    figure, axes = _figure()
    for number, (label, runs) in enumerate(groups(tables).items()):
        lines = [line_of(of_run(tables, run), metric, by) for run in runs]
        lines = [line for line in lines if line]
        if not lines:
            continue
        end = min(line[-1][0] for line in lines)
        grid = sorted({at for line in lines for at, _ in line if at <= end})
        table = [[value_at(line, at) for line in lines] for at in grid]
        rows = [(at, [one for one in row if one is not None]) for at, row in zip(grid, table, strict=True)]
        rows = [(at, row) for at, row in rows if len(row) == len(lines)]
        colour, dash = COLOURS[number % len(COLOURS)], _DASHES[number % len(_DASHES)]
        means = [statistics.fmean(row) for _, row in rows]
        label = f"{label}, {len(lines)} {'run' if len(lines) == 1 else 'runs'}"
        axes.step([at for at, _ in rows], means, where="post", color=colour, linestyle=dash, label=label)
        if len(lines) > 1:
            half = [interval(row) for _, row in rows]
            low = [mean - width for mean, width in zip(means, half, strict=True)]
            high = [mean + width for mean, width in zip(means, half, strict=True)]
            axes.fill_between([at for at, _ in rows], low, high, step="post", color=colour, alpha=0.18, linewidth=0)
    device = " and ".join(sorted(set(tables.runs["device"])))
    axes.set(xlabel="outcomes, failures included" if by == "candidates" else f"{device} hours of the search")
    _value_axis(axes, metric)
    return _with_legend(figure)


def funnel_plot(tables: Tables, run: str | None = None, by: str = "generation") -> Figure:
    """How many candidates reached each step, by generation or by `maker` (the model that wrote the code)."""
    table = funnel(of_run(tables, _one(tables, run)), by)
    figure, axes = _figure()
    width = 0.8 / max(1, len(table))
    for number, (name, row) in enumerate(table.iterrows()):
        left = [step + number * width - 0.4 + width / 2 for step in range(len(STEPS))]
        label = f"generation {name}" if by == "generation" else str(name)
        bars = axes.bar(left, row.to_list(), width, color=COLOURS[number % len(COLOURS)], label=label)
        if len(table) <= 4:
            axes.bar_label(bars, fontsize="x-small")
    axes.set_xticks(range(len(STEPS)), [step.replace(" ", "\n") for step in STEPS])
    axes.set(ylabel="candidates")
    return _with_legend(figure)


def failure_plot(tables: Tables, run: str | None = None) -> Figure:
    """Failed candidates by kind, and scored and failed jobs by node."""
    name = _one(tables, run)
    found = failures(of_run(tables, name))
    figure = Figure(figsize=(7, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1)
    labels = [f"{kind} ({stage})" for kind, stage in zip(found["kind"], found["stage"], strict=True)]
    top.barh(labels[::-1], found["count"].to_list()[::-1], color=COLOURS[3])
    top.set(xlabel="candidates that failed")
    nodes = node_jobs(tables.jobs[tables.jobs["run"] == name])
    hosts, scored = [one.host for one in nodes], [one.scored for one in nodes]
    bottom.barh(hosts, scored, color=COLOURS[0], label="scored")
    bottom.barh(hosts, [one.failed for one in nodes], left=scored, color=COLOURS[3], label="failed")
    bottom.set(xlabel="jobs")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    bottom.legend(frameon=False, fontsize="small")
    return figure


def lineage_plot(tables: Tables, run: str | None = None) -> Figure:
    """The elites (before the report, the three best by one trial) and their ancestors, by generation and value."""
    name = _one(tables, run)
    metric, candidates = tables.metric(name), of_run(tables, name)
    wanted = candidates["candidate"][candidates["elite"]].to_list()
    wanted = wanted or [one.candidate for one in steps(candidates, metric)[-3:]]
    places = {
        one: (float(generation), float(value))
        for one, generation, value in zip(
            candidates["candidate"], candidates["generation"], candidates["value"], strict=True
        )
        if value is not pd.NA
    }
    if tables.about(name)["value"] is not None:
        places[BASELINE] = (-1.0, float(tables.about(name)["value"]))
    figure, axes = _figure()
    pairs = [pair for pair in lineage(candidates, wanted) if pair[0] in places and pair[1] in places]
    for child, parent in pairs:
        (x, y), (px, py) = places[child], places[parent]
        axes.annotate("", (x, y), (px, py), arrowprops={"arrowstyle": "->", "color": "0.5"})
    for one in dict.fromkeys(itertools.chain(*pairs)):
        colour = COLOURS[2] if one in wanted else COLOURS[0]
        axes.scatter(*places[one], color=colour, zorder=3)
        axes.annotate(short(one), places[one], xytext=(4, 4), textcoords="offset points", fontsize="small")
    axes.set(xlabel="generation (the baseline at -1)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _value_axis(axes, metric)
    return figure


def curve_plot(tables: Tables, candidates: Sequence[str], metric: str | None = None, run: str | None = None) -> Figure:
    """A training quantity by step for some candidates, their first parents and the baseline; by default the first quantity
    that the baseline reports. It describes the training and is never a score."""
    name = _one(tables, run)
    ours = of_run(tables, name)
    of = dict(zip(ours["candidate"], ours["parents"], strict=True))
    parents = [of[one][0] for one in candidates if of[one]]
    wanted = list(dict.fromkeys([BASELINE, *parents, *candidates]))
    curves = tables.curves(name, wanted)
    figure, axes = _figure()
    metric = metric or (str(curves["metric"].iloc[0]) if len(curves) else "")
    for number, one in enumerate(wanted):
        ours = curves[(curves["candidate"] == one) & (curves["metric"] == metric)]
        colour, dash = COLOURS[number % len(COLOURS)], _DASHES[number % len(_DASHES)]
        for turn, (_, part) in enumerate(ours.groupby("folder", sort=False)):
            label = short(one) if turn == 0 else None
            axes.plot(part["step"], part["value"], label=label, color=colour, linestyle=dash, linewidth=1.2)
    axes.set(xlabel="step", ylabel=metric)
    return _with_legend(figure)


def narrowing_plot(tables: Tables, run: str | None = None) -> Figure:
    """The diversity of the ideas of each generation."""
    found = narrowing(of_run(tables, _one(tables, run)))
    figure, axes = _figure()
    at = [one.generation for one in found]
    lines: tuple[tuple[list[float | None], str], ...] = (
        ([one.distinct_code for one in found], "distinct code, share of the implemented"),
        ([one.commonest for one in found], "commonest idea, share of all"),
        ([one.similarity for one in found], "words that two ideas have in common"),
    )
    for number, (values, label) in enumerate(lines):
        shown = [math.nan if value is None else value for value in values]
        axes.plot(at, shown, marker="o", color=COLOURS[number], linestyle=_DASHES[number], label=label)
    axes.set(xlabel="generation", ylim=(0, 1.05))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _with_legend(figure)


def cost_plot(tables: Tables, run: str | None = None) -> Figure:
    """The best by one trial over device hours of the search, with each improvement marked."""
    name = _one(tables, run)
    metric, found = tables.metric(name), steps(of_run(tables, name), tables.metric(name))
    figure, axes = _figure()
    hours = [one.device_h for one in found]
    axes.step(hours, [one.value for one in found], where="post", marker="o", color=COLOURS[0])
    for one in found:
        axes.annotate(short(one.candidate), (one.device_h, one.value), xytext=(4, -10), textcoords="offset points")
    axes.set(xlabel=f"{tables.about(name)['device']} hours of the search")
    _value_axis(axes, metric)
    return figure


def slot_plot(tables: Tables, run: str | None = None, wide: int | None = None) -> Figure:
    """Running jobs over time, and the share of `wide` slots in use; by default `wide` is the maximum of running jobs."""
    name = _one(tables, run)
    jobs = tables.jobs[tables.jobs["run"] == name]
    line = slots(jobs)
    figure, axes = _figure()
    if len(line):
        start = line["at"].iloc[0]
        axes.step((line["at"] - start) / 3600, line["running"], where="post", color=COLOURS[0])
        most = wide or int(line["running"].max())
        share = utilisation(jobs, most)
        axes.axhline(most, color="0.5", linestyle=":", linewidth=1)
        axes.set(title=f"{100 * share:.0f} % of {most} slots in use" if share is not None else "")
    axes.set(xlabel="hours since the first start", ylabel="jobs at work")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def learning_plot(tables: Tables, run: str | None = None) -> Figure:
    """Reinforcement learning by step of the policy: reward, how different the ideas are, entropy and KL, lengths, what the
    update did, hours. Raises `BadInput` for a run without it."""
    name = _one(tables, run)
    found = tables.learning[tables.learning["run"] == name].astype({"step": float})
    if not len(found):
        raise BadInput(f"{name} has no step of reinforcement learning; choose a run with ideate=policy")
    panels: tuple[tuple[str, tuple[tuple[str, pd.Series], ...]], ...] = (
        ("reward", (("mean", found["reward_mean"]), ("best of the step", found["reward_best"]))),
        (
            "share of all ideas",
            (
                ("distinct", found["distinct"] / found["ideas"]),
                ("commonest", found["common_share"]),
                ("failed", found["failed"] / found["ideas"]),
            ),
        ),
        ("nats per token", (("entropy", found["entropy"]), ("KL to the start", found["kl"]))),
        ("tokens", (("thinking", found["thinking"]), ("idea", found["idea_length"]))),
        (
            "share of the update, or steps",
            (
                ("clipped share of tokens", found["clipped"]),
                ("truncated share of ideas", found["truncated"]),
                ("mean age of ideas, steps", found["staleness"]),
            ),
        ),
        (
            f"{tables.about(name)['device']} hours",
            (("executing", found["execute_h"]), ("sampling", found["sample_h"]), ("learning", found["update_h"])),
        ),
    )
    figure = Figure(figsize=(8, 9), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(3, 2).flat, panels, strict=True):
        for number, (what, values) in enumerate(lines):
            shown = values.astype("Float64").to_numpy(float, na_value=math.nan)
            axes.plot(found["step"], shown, marker="o", color=COLOURS[number], linestyle=_DASHES[number], label=what)
        axes.set(xlabel="step of the policy", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize="small")
    return figure


# ---- shared


def same_metric(tables: Tables) -> Metric:
    """The metric that all runs have. Raises `BadInput` if they differ."""
    found = {(tables.metric(run).name, tables.metric(run).direction): run for run in tables.paths}
    if len(found) > 1:
        names = ", ".join(f"{run}: {name} ({direction})" for (name, direction), run in found.items())
        raise BadInput(f"these runs have different metrics ({names}); compare runs of one metric")
    if not found:
        raise BadInput("no run to compare; name one, e.g. runs/NAME")
    return tables.metric(next(iter(found.values())))


def _one(tables: Tables, run: str | None) -> str:
    """The requested run; without a name the only one."""
    if run is None and len(tables.paths) == 1:
        return next(iter(tables.paths))
    if run not in tables.paths:
        raise BadInput(f"run={run!r} was not loaded; choose one of: {', '.join(tables.paths) or 'none'}")
    return run


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _with_legend(figure: Figure) -> Figure:
    if figure.axes[0].get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


def _value_axis(axes: Axes, metric: Metric) -> None:
    better = "higher" if metric.direction is Direction.maximize else "lower"
    axes.set(ylabel=f"{metric.name} ({better} is better)")
    if metric.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def _draw_baseline(axes: Axes, tables: Tables, run: str) -> list[float]:
    """Draw the baseline's mean and, with at least two trials, its band. Returns the drawn levels."""
    row = tables.about(run)
    if row["value"] is None:
        return []
    mean, count = float(row["value"]), int(row["trials"])
    if count == 1:
        axes.axhline(mean, color=COLOURS[1], linestyle="--", label="baseline, one seed", zorder=1)
        return [mean]
    band = _BAND * float(row["seed_sd"])
    axes.axhline(mean, color=COLOURS[1], linestyle="--", label=f"baseline, mean of {count} seeds", zorder=1)
    label = f"± {_BAND:g} standard deviations between seeds"
    axes.axhspan(mean - band, mean + band, color=COLOURS[1], alpha=0.18, linewidth=0, label=label, zorder=0)
    return [mean, mean - band, mean + band]


def _limit(axes: Axes, wanted: list[float], values: list[float], metric: Metric) -> int:
    """Limit the axis so that bad candidates do not compress the rest. Returns how many are off the scale."""
    low, high = min(wanted), max(wanted)
    span = (high - low) or abs(high) or 1.0
    far = _WORSE_SHOWN * span
    shown = (low - far, high) if metric.direction is Direction.maximize else (low, high + far)
    inside = [value for value in values if shown[0] <= value <= shown[1]]
    low, high = min([*wanted, *inside]), max([*wanted, *inside])
    margin = 0.05 * ((high - low) or 1.0)
    axes.set_ylim(low - margin, high + margin)
    return len(values) - len(inside)
