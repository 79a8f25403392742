"""Prove that a baseline keeps its contract, before a search relies on it."""

import argparse
import datetime
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.assemble import data_path, open_or_create
from pipeline.cli import add_overrides, call, make_console, parser, say
from pipeline.compose import compose_config
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.metric import Metric, estimate
from pipeline.patching import Rules
from pipeline.patching.trees import Entry, Tree, write_tree
from pipeline.records import Job, Score
from pipeline.sandbox.command import Limits, Outcome, run_command
from pipeline.stages.commands import train_command, variant_environment
from pipeline.stages.decide import VALIDATION
from pipeline.stages.implement import pristine_tree, run_smoke
from pipeline.stages.score import metric_of
from pipeline.stages.trial import perform
from pipeline.store import files
from pipeline.store.paths import TryPaths
from pipeline.store.run import Run

_POISON = 'raise RuntimeError("check_baseline: this file was replaced")\n'


@dataclass(frozen=True)
class Check:
    """One promise of the contract and whether it is kept."""

    name: str
    """What was tried."""
    kept: bool
    """Whether it went as it must."""
    words: str
    """What was seen, and for a broken promise what to do."""


def main() -> None:
    """Entry point."""
    made = parser(
        "check_baseline",
        "Train, score and resume the untouched code of a baseline, show that a broken file does break it, and measure "
        "the noise of three seeds. Runs on this machine.",
        "examples:\n  python -m pipeline.check_baseline grpo scale=tiny\n"
        "  python -m pipeline.check_baseline ~/mine/conf/baseline/mine.yaml scale=tiny",
    )
    made.add_argument("baseline", help="name of a baseline, or its YAML file CONF/baseline/NAME.yaml")
    add_overrides(made)
    made.add_argument("--seeds", type=int, default=3, help="how many seeds to train (default: 3)")
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Print each check as it is done; exit code 1 when one fails."""
    config = _config(arguments)
    run, _ = open_or_create(config)
    console = make_console()
    say(console, f"baseline {config.baseline.name} at scale {config.scale}; logs in {run.paths.folder}")
    failed = 0
    for check in checks(run, config, arguments.seeds):
        failed += not check.kept
        mark = "[green]ok[/]  " if check.kept else "[red]FAIL[/]"
        console.print(f"{mark} {check.name}: ", end="", highlight=False)
        say(console, check.words)
    console.print(f"{failed} of the promises are not kept" if failed else "the baseline keeps its contract")
    return 1 if failed else 0


def checks(run: Run, config: Config, seeds: int) -> Iterator[Check]:
    """All checks, one after the other; the later ones are left out when the code does not train at all."""
    smoke, words = _smoke(run, config, pristine_tree(run.paths))
    yield Check("smoke", smoke.good, f"{smoke.seconds:.1f} s" if smoke.good else words)
    metric, scores = metric_of(run), []
    started = time.monotonic()
    for seed in range(seeds):
        result = perform(run, *_new_try(run, seed, seed), data_path(config))
        if result.score is None:
            assert result.failure is not None
            yield Check(f"train and score, seed {seed}", False, f"{result.failure.kind}: {result.failure.reason}")
            return
        scores.append(result.score)
        spent = f"train {result.seconds.train:.1f} s, evaluate {result.seconds.evaluate:.1f} s"
        said = metric.text_error(result.score.value, result.score.standard_error)
        yield Check(f"train and score, seed {seed}", True, f"{metric.name} {said} (n = {result.score.n}), {spent}")
    took_s = (time.monotonic() - started) / seeds
    yield _noise(metric, scores)
    yield _resume(run, config, scores[0], took_s)
    yield from _poisoned(run, config)


def _config(arguments: argparse.Namespace) -> Config:
    name, config_dir = arguments.baseline, arguments.config_dir
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser().resolve()
        if not path.is_file() or path.parent.name != "baseline":
            raise BadInput(f"{name} is not a file CONF/baseline/NAME.yaml; give one, or the name of a baseline")
        name, config_dir = path.stem, path.parent.parent
    config = compose_config([f"baseline={name}", *arguments.overrides], config_dir)
    return replace(config, run=f"check-{name}-{config.scale}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def _new_try(run: Run, trial: int, seed: int, go_on_from: str | None = None) -> tuple[TryPaths, Job]:
    paths = run.paths.baseline.trial(trial).try_(0 if go_on_from is None else 1)
    paths.folder.mkdir(parents=True)
    job = Job(f"check-{trial}", seed, VALIDATION, go_on_from=go_on_from)
    files.create(paths.job, job)
    return paths, job


def _noise(metric: Metric, scores: list[Score]) -> Check:
    noise = estimate([score.value for score in scores], [score.standard_error for score in scores])
    sd = metric.text_gain(noise.seed_sd).lstrip("+")
    said = f"mean {metric.text_error(noise.mean, noise.standard_error)}, standard deviation between seeds {sd}"
    same = len(scores) > 1 and len({score.value for score in scores}) == 1
    return Check(
        f"noise of {len(scores)} seeds",
        not same,
        "every seed gives the same value; is the seed used?" if same else said,
    )


def _resume(run: Run, config: Config, unbroken: Score, took_s: float) -> Check:
    """Stop a training in the middle and go on from what it saved."""
    name = "stop and resume"
    trial = run.paths.baseline.trial(1000)
    first, _ = _new_try(run, 1000, unbroken.seed)
    first.output.mkdir()
    data = data_path(config)
    run_command(
        train_command(config, run.paths.size, data, first.output, unbroken.seed),
        cwd=run.paths.pristine,
        environment=variant_environment(config.baseline, config.train.resources.cpus_per_task),
        log=first.train_log,
        limits=Limits(2 * took_s + 60, config.train.resources.mem_gb),
        enough=first.resume.is_dir,
    )
    if first.checkpoint.is_dir():
        return Check(name, True, "not tried: training was over before it wrote output/resume")
    if not first.resume.is_dir():
        return Check(name, False, "training writes no output/resume, so a preempted trial would start again")
    result = perform(run, *_new_try(run, 1000, unbroken.seed, go_on_from="try_0"), data_path(config))
    if result.score is None:
        assert result.failure is not None
        return Check(name, False, f"{result.failure.kind}: {result.failure.reason}; read {trial.folder}")
    metric = metric_of(run)
    if result.score.value == unbroken.value:
        return Check(name, True, "the same value as the unbroken training, to the bit")
    said = f"{metric.text(result.score.value)}, unbroken {metric.text(unbroken.value)}"
    return Check(name, config.train.clock.value == "wall", f"another value: {said}")


def _poisoned(run: Run, config: Config) -> Iterator[Check]:
    """Replace each evolvable file by one that raises. If training goes on, something else than the variant is imported."""
    tree, rules = pristine_tree(run.paths), Rules(config.baseline.evolvable, config.baseline.protected)
    for path in tree:
        if not path.endswith(".py") or not rules.allows(path):
            continue
        outcome, _ = _smoke(run, config, {**tree, path: Entry(_POISON.encode())})
        words = (
            "the smoke test passes although the file is broken: it is never imported, or another copy of it is"
            if outcome.good
            else "the smoke test fails, as it must"
        )
        yield Check(f"a broken {path} is noticed", not outcome.good, words)


def _smoke(run: Run, config: Config, tree: Tree) -> tuple[Outcome, str]:
    """One step of some code in a scratch folder, and the last lines of what it printed."""
    with tempfile.TemporaryDirectory(prefix="check-") as scratch:
        variant, log = Path(scratch) / "variant", Path(scratch) / "smoke.log"
        write_tree(tree, variant)
        outcome, _ = run_smoke(config, run.paths, data_path(config), variant, log)
        return outcome, files.tail(log, 3)


if __name__ == "__main__":
    main()
