"""What the plot shows is what the run found."""

import io
import json
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.load import candidates
from analysis.plots import best_so_far
from tests.analysis.finished_run import copy_of


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    """A run folder to change."""
    return copy_of(toy_run, tmp_path / "mine")


def _labels(figure: Figure) -> list[str]:
    figure.savefig(io.BytesIO())  # draw it, so that an error of the drawing shows
    return figure.axes[0].get_legend_handles_labels()[1]


def _line(figure: Figure, label: str) -> list[float]:
    return [float(y) for line in figure.axes[0].lines if line.get_label() == label for y in line.get_ydata()]


def _maximize(run: Path) -> None:
    """Make it a run that maximizes its metric, in percent."""
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["baseline"]["metric"] |= {"name": "accuracy", "direction": "maximize", "percent": True}
    (run / "run.json").write_text(json.dumps(facts))


def test_minimize(toy_run: Path) -> None:
    figure = best_so_far(toy_run)
    assert _labels(figure) == [
        "baseline, mean of 3 seeds",
        "± 2 standard deviations between seeds",
        "candidates, one trial each",
        "best so far, one trial each",
    ]
    assert figure.axes[0].get_ylabel() == "squared error (lower is better)"
    table = candidates(toy_run)
    first, last = table[table["generation"] == 0]["value"].min(), table["value"].min()
    assert _line(figure, "best so far, one trial each") == [first, last]


def test_maximize(copy: Path) -> None:
    _maximize(copy)
    figure = best_so_far(copy)
    _labels(figure)
    axes = figure.axes[0]
    assert axes.get_ylabel() == "accuracy (higher is better)"
    assert all(label.get_text().endswith(" %") for label in axes.get_yticklabels())
    table = candidates(copy)
    first, last = table[table["generation"] == 0]["value"].max(), table["value"].max()
    assert _line(figure, "best so far, one trial each") == [first, last]


def test_the_band_is_two_standard_deviations_of_the_baselines_seeds(copy: Path) -> None:
    scores = {path: json.loads(path.read_text()) for path in sorted(copy.glob("baseline/trial_*/score.json"))}
    reference = {path: score for path, score in scores.items() if score["purpose"] == "baseline"}
    assert len(scores) > len(reference)  # the others are on the test split
    for (path, score), value in zip(reference.items(), (0.5, 0.6, 0.7), strict=True):
        path.write_text(json.dumps(score | {"value": value}))
    figure = best_so_far(copy)
    assert _line(figure, "baseline, mean of 3 seeds") == pytest.approx([0.6, 0.6])
    (band,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert (band.get_y(), band.get_height()) == pytest.approx((0.4, 0.4))


def test_one_bad_candidate_does_not_flatten_the_rest(copy: Path) -> None:
    path = copy / "generation_000/candidate_000/attempt_0/trial_0/score.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"value": 1e9}))
    figure = best_so_far(copy)
    assert "1 worse candidate off the scale" in _labels(figure)
    assert figure.axes[0].get_ylim()[1] < 5


def test_a_run_without_scores_is_an_empty_plot(copy: Path) -> None:
    (copy / "report.json").unlink()
    for path in copy.glob("generation_*"):
        shutil.rmtree(path)
    for path in copy.glob("baseline/trial_*"):
        if path.name != "trial_0":
            shutil.rmtree(path)
    assert _labels(best_so_far(copy)) == ["baseline, one seed"]
    shutil.rmtree(copy / "baseline")
    assert _labels(best_so_far(copy)) == []
