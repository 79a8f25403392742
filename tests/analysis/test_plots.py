"""The plot agrees with the results of the run."""

import io
import json
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import plots
from analysis.load import candidates, load
from analysis.plots import best_so_far, compare
from pipeline.errors import BadInput
from tests.analysis.finished_run import copy_of


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    """A run folder to modify."""
    return copy_of(toy_run, tmp_path / "mine")


def _labels(figure: Figure) -> list[str]:
    figure.savefig(io.BytesIO())  # drawing it shows errors
    return figure.axes[0].get_legend_handles_labels()[1]


def _line(figure: Figure, label: str) -> list[float]:
    return [float(y) for line in figure.axes[0].lines if line.get_label() == label for y in line.get_ydata()]


def _maximize(run: Path) -> None:
    """Turn it into a run that maximizes its metric, in percent."""
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["baseline"]["metric"] |= {"name": "accuracy", "direction": "maximize", "percent": True}
    (run / "run.json").write_text(json.dumps(facts))


BEST = "best so far, one trial each"


def test_minimize(toy_run: Path) -> None:
    figure = best_so_far(load(toy_run))
    assert set(_labels(figure)) == {
        "baseline, mean of 3 seeds",
        "± 2 standard deviations between seeds",
        "candidates, one trial each",
        BEST,
        "best so far, confirmed by other seeds",
    }
    assert figure.axes[0].get_ylabel() == "squared error (lower is better)"
    table = candidates(toy_run)
    line = _line(figure, BEST)
    assert line == sorted(line, reverse=True) and line[-1] == table["value"].min()


def test_maximize(copy: Path) -> None:
    _maximize(copy)
    figure = best_so_far(load(copy))
    _labels(figure)
    axes = figure.axes[0]
    assert axes.get_ylabel() == "accuracy (higher is better)"
    assert all(label.get_text().endswith(" %") for label in axes.get_yticklabels())
    line = _line(figure, BEST)
    assert line == sorted(line) and line[-1] == candidates(copy)["value"].max()


def test_the_band_is_two_standard_deviations_of_the_baselines_seeds(copy: Path) -> None:
    scores = {path: json.loads(path.read_text()) for path in sorted(copy.glob("baseline/trial_*/score.json"))}
    reference = {path: score for path, score in scores.items() if score["purpose"] == "baseline"}
    assert len(scores) > len(reference)  # the others are on the test split
    for (path, score), value in zip(reference.items(), (0.5, 0.6, 0.7), strict=True):
        path.write_text(json.dumps(score | {"value": value}))
    figure = best_so_far(load(copy))
    assert _line(figure, "baseline, mean of 3 seeds") == pytest.approx([0.6, 0.6])
    (band,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert (band.get_y(), band.get_height()) == pytest.approx((0.4, 0.4))


def test_one_bad_candidate_does_not_flatten_the_rest(copy: Path) -> None:
    path = copy / "generation_000/candidate_001/attempt_0/trial_0/score.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"value": 1e9}))
    figure = best_so_far(load(copy))
    assert "1 worse candidate off the scale" in _labels(figure)
    assert figure.axes[0].get_ylim()[1] < 10


def test_a_run_without_scores_is_an_empty_plot(copy: Path) -> None:
    (copy / "report.json").unlink()
    for path in copy.glob("generation_*"):
        shutil.rmtree(path)
    for path in copy.glob("baseline/trial_*"):
        if path.name != "trial_0":
            shutil.rmtree(path)
    assert _labels(best_so_far(load(copy))) == ["baseline, one seed"]
    shutil.rmtree(copy / "baseline")
    assert _labels(best_so_far(load(copy))) == []
    _draw_all(copy)


def _draw_all(run: Path) -> list[Figure]:
    tables = load(run)
    names = ("compare", "funnel_plot", "failure_plot", "lineage_plot", "narrowing_plot", "cost_plot", "slot_plot")
    figures = [getattr(plots, name)(tables) for name in names]
    figures += [compare(tables, "device_h"), plots.curve_plot(tables, tables.candidates["candidate"].to_list()[:1])]
    for figure in figures:
        figure.savefig(io.BytesIO())
    return figures


def test_every_plot_is_drawn_with_axes_that_say_what_they_show(toy_run: Path) -> None:
    for figure in _draw_all(toy_run):
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel()
            assert axes.has_data()


def test_runs_of_a_method_are_one_line_with_an_interval(toy_run: Path, copy: Path) -> None:
    (label,) = _labels(compare(load(toy_run, copy)))
    assert label.endswith("BankIdeator, 2 runs")


def test_runs_of_other_metrics_are_not_compared(toy_run: Path, copy: Path) -> None:
    _maximize(copy)
    with pytest.raises(BadInput, match="different metrics"):
        compare(load(toy_run, copy))
    with pytest.raises(BadInput, match="was not loaded"):
        best_so_far(load(toy_run), "another")
