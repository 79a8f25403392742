"""What a comparison of methods needs beside its runs: equal budgets, what all arms cost, and the report at its end."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.commands.beside import analysis
from pipeline.commands.display import estimated
from pipeline.commands.report import REPORTS
from pipeline.commands.terminal import say
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.policy.accounting import trial_h
from pipeline.policy.forecast import forecast
from pipeline.policy.stopping import most_ideas
from pipeline.setup.preview import dry_run, would_submit
from pipeline.store.paths import RunPaths


def check_budgets(configs: Sequence[Config]) -> None:
    """Raises `BadInput` if arms would not get the same: candidates, trials, limits of hours and dollars."""
    for what in ("candidates", "baseline", "size", "train", "evaluate", "budget"):
        first, *others = (most_ideas(one) if what == "candidates" else getattr(one, what) for one in configs)
        other = next((config for config, value in zip(configs[1:], others, strict=True) if value != first), None)
        if other is not None:
            raise BadInput(
                f"arms: {other.arm!r} and {configs[0].arm!r} differ in {what}; give both the same, for equal budgets"
            )


def announce_costs(console: Console, configs: Sequence[Config], seeds: int) -> None:
    """What `dry_run` prints: the costs of a run of each arm, and the most that all cost together."""
    total = 0.0
    for config in configs:
        say(console, f"\n{config.arm}: {seeds} runs, each:")
        for line in (*estimated(config, dry_run(config)), *would_submit(config)):
            say(console, f"  {line}")
        total += seeds * forecast(config, 1).device_h
    one, shared = configs[0], configs[0].select.baseline_seeds
    # A shared trial is trained, and scored on the test split, once for each seed.
    total -= (len(configs) - 1) * seeds * 2 * shared * trial_h(one)
    say(
        console, f"\nall arms, baselines shared: at most {total:.1f} {one.train.resources.device} hours without retries"
    )


def conclude(console: Console, group: str, runs: Sequence[RunPaths]) -> None:
    """Write the report and say what it found, once all runs have ended."""
    if not all(paths.report.exists() for paths in runs):
        return
    folders = [paths.folder for paths in runs]
    try:
        lines = analysis("arms").conclusion(analysis("load").load(*folders))
        written: Path = analysis("report").report(*folders, output=REPORTS / f"{group}.html")
    except BadInput as missing:
        say(console, f"no report: {missing}; then: python -m pipeline report {group}")
        return
    for line in ("", *lines, f"report: {written}"):
        say(console, line)
