"""Savings and losses of stopping candidates early, computed from a run without stops, in which each candidate has its
rung and its whole training.

    python -m pipeline.run +experiment=best_of_n_pretrain scale=tiny cluster=local search.rungs=[0.25] search.keep=1 \\
        stop.generations=1 ideate.candidates=16 ideate.patch_share=1 select.elites=0 run=early-nanogpt
    python -m tests.benchmarks early runs/early-nanogpt

The first command can be interrupted and resumed. A stop is false if the whole training would have been better than the
mean of the baseline's trials. Seconds are those of training; scoring is not counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config import Config
from pipeline.job.early_stop import Curve, curve_of, is_hopeless, position_of
from pipeline.metric import Metric
from pipeline.policy.rungs import passes
from pipeline.records import Purpose
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths
from pipeline.store.run import open_run
from pipeline.store.views import Try


@dataclass(frozen=True)
class Trained:
    """A candidate with its rung and its whole training."""

    rung: float
    """Score of the rung."""
    gain: float
    """By how much its score is better than the baseline's mean."""
    curve: Curve
    """Curve of the whole training, including the rung."""
    rung_s: float
    """Seconds of the rung."""
    rest_s: float
    """Seconds of the rest of the training."""


def report(folder: Path) -> Iterator[str]:
    """Table rows for one finished run."""
    run = open_run(RunPaths(folder))
    config, archive = run.config, run.reader.read()
    metric = config.baseline.metric.metric
    if archive.report is None:
        raise SystemExit(f"{folder} has not finished; resume it with its own command")
    found = list(_trained(config, metric, archive))
    baselines = [_curve(config, one.newest) for one in archive.baseline.of(Purpose.BASELINE) if one.score is not None]
    name, better = config.baseline.name, sum(one.gain > 0 for one in found)
    yield f"{name}: {len(found)} candidates, {better} better than the baseline's mean of {len(baselines)} trials"
    rungs = sorted(one.rung for one in found)
    for keep in (0.75, 0.5, 0.25):
        rule = f"search.rungs={config.search.rungs}, search.keep={keep}"
        halving = replace(config, search=replace(config.search, keep=keep))
        out = [one for one in found if not passes(halving, metric, one.rung, rungs)]
        yield _row(rule, found, out, sum(one.rest_s for one in out))
    for share in (0.25, 0.5, 0.75):
        stops = [(one, at) for one in found if (at := _stopped_at(config, one, baselines, share)) is not None]
        saved_s = sum((1 - at) * (one.rung_s + one.rest_s) for one, at in stops)
        yield _row(f"train.early_stop={share}", found, [one for one, _ in stops], saved_s)


def _row(rule: str, found: list[Trained], out: list[Trained], saved_s: float) -> str:
    whole_s = sum(one.rung_s + one.rest_s for one in found)
    best = max(found, key=lambda one: one.gain)
    false = sum(one.gain > 0 for one in out)
    lost = "lost" if best in out else "kept"
    return f"| {rule} | {len(out)} | {saved_s / whole_s:.0%} of {whole_s:.0f} s | {false} | {lost} |"


def _trained(config: Config, metric: Metric, archive: Archive) -> Iterator[Trained]:
    scores = [one.score.value for one in archive.baseline.of(Purpose.BASELINE) if one.score is not None]
    mean = sum(scores) / len(scores)
    for candidate in archive.candidates:
        attempt = candidate.attempt
        if candidate.score is None or attempt is None or attempt.search is None:
            continue
        (rung,) = attempt.of(Purpose.RUNG)
        whole = attempt.search.newest
        assert rung.score is not None and rung.newest.result is not None and whole.result is not None
        yield Trained(
            rung.score.value,
            metric.gain(candidate.score.value, mean),
            _curve(config, whole),
            rung.newest.result.seconds.train,
            whole.result.seconds.train,
        )


def _curve(config: Config, one: Try) -> Curve:
    lines = one.paths.metrics.read_text().splitlines()
    return list(curve_of(lines, config.baseline.curve.name, position_of(config)))


def _stopped_at(config: Config, one: Trained, baselines: list[Curve], share: float) -> float | None:
    """The share of the training after which the rule stops it, checked after every point; none if it does not."""
    whole = one.curve[-1][0]
    for number, (at, _) in enumerate(one.curve, 1):
        if at >= share * whole and is_hopeless(one.curve[:number], baselines, config.baseline.curve.direction):
            return at / whole
    return None
