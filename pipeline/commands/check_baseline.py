"""Check that a baseline fulfils its contract before a search depends on it."""

import argparse
import datetime
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.commands.checks import Check, Finding, check
from pipeline.commands.continuation import mark, new_steps, repetition
from pipeline.commands.terminal import add_overrides, call, make_console, parser, say, usable_config
from pipeline.config import Clock, Config
from pipeline.errors import BadInput
from pipeline.job.trial import perform
from pipeline.makers.variants import pristine_tree
from pipeline.metric import Metric, estimate
from pipeline.patching import Rules
from pipeline.patching.trees import Entry, Tree, write_tree
from pipeline.policy.rungs import rung_budgets
from pipeline.records import Job, Purpose, Result, Score
from pipeline.sandbox.base import Access, Command, Outcome, RunLimits, make_sandbox
from pipeline.sandbox.command_lines import train_command, variant_environment
from pipeline.setup.build import data_path
from pipeline.setup.create import open_or_create, run_paths_of
from pipeline.stages.implement import run_smoke
from pipeline.stages.train import VALIDATION
from pipeline.store import files
from pipeline.store.paths import TryPaths
from pipeline.store.run import Run, locked
from pipeline.text import counted

_COLOURS = {Finding.OK: "green", Finding.FAILED: "red", Finding.NOT_CHECKED: "yellow"}
_INTERVAL, _SHORT_S = "resume_every_s", 0.001
"""Key of a size file for the seconds between two saves of the resume state, and its value in the check."""
_CONTINUED = 2000
"""Number of the trial that is continued."""
_FAR = 4.0
"""With clock=wall: standard deviations between seeds by which a continued training may differ from the mean."""
_SAME = "the same value as an uninterrupted training, to the bit"
_POISON = 'raise RuntimeError("check_baseline: this file was replaced")\n'


def main() -> None:
    """Entry point."""
    made = parser(
        "check_baseline",
        "Train, score, resume and continue the unmodified code of a baseline, check that a broken file is detected, and "
        "measure the noise between seeds. Runs on this machine.",
        "examples:\n  python -m pipeline check_baseline grpo scale=tiny\n"
        "  python -m pipeline check_baseline ~/mine/conf/baseline/mine.yaml scale=tiny",
    )
    made.add_argument("baseline", help="name of a baseline, or its YAML file CONF/baseline/NAME.yaml")
    add_overrides(made)
    made.add_argument("--seeds", type=int, default=3, help="how many seeds to train (default: 3)")
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Print each check as it completes. Returns 1 if one fails."""
    config = _config(arguments)
    with locked(run_paths_of(config)):
        run, _ = open_or_create(config)
    console = make_console()
    say(console, f"baseline {config.baseline.name} at scale {config.scale}; logs in {run.paths.folder}")
    found: Counter[Finding] = Counter()
    for one in checks(run, config, arguments.seeds):
        found[one.finding] += 1
        console.print(f"[{_COLOURS[one.finding]}]{one.finding:4}[/] {one.name}: ", end="", highlight=False)
        say(console, one.text)
    failed, unknown = found[Finding.FAILED], found[Finding.NOT_CHECKED]
    whole = (
        f"the baseline fulfils its contract{f', as far as it was checked: {unknown} not checked' if unknown else ''}"
    )
    console.print(f"{counted(failed, 'check')} failed" if failed else whole)
    return 1 if failed else 0


def checks(run: Run, config: Config, seeds: int) -> Iterator[Check]:
    """All checks, in order. If the code does not train, the later ones are skipped."""
    smoke, reason = _smoke(run, config, pristine_tree(run.paths))
    yield check("smoke", smoke.good, f"{smoke.seconds:.1f} s" if smoke.good else reason)
    metric, scores = run.config.baseline.metric.metric, []
    started = time.monotonic()
    for seed in range(seeds):
        result = perform(run, *_new_try(run, seed, seed), data_path(config))
        if result.score is None:
            assert result.failure is not None
            yield check(f"train and score, seed {seed}", False, f"{result.failure.kind}: {result.failure.reason}")
            return
        scores.append(result.score)
        spent = f"train {result.seconds.train:.1f} s, evaluate {result.seconds.evaluate:.1f} s"
        said = metric.text_error(result.score.value, result.score.standard_error)
        yield check(f"train and score, seed {seed}", True, f"{metric.name} {said} (n = {result.score.n}), {spent}")
    took_s = (time.monotonic() - started) / seeds
    yield _noise(metric, scores)
    yield _resume(run, config, scores[0], took_s)
    if config.baseline.continues:
        yield _continued(run, config, scores)
    yield from _poisoned(run, config)


def _config(arguments: argparse.Namespace) -> Config:
    name, config_dir = arguments.baseline, arguments.config_dir
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser().resolve()
        if not path.is_file() or path.parent.name != "baseline":
            raise BadInput(f"{name} is not a file CONF/baseline/NAME.yaml; give one, or the name of a baseline")
        name, config_dir = path.stem, path.parent.parent
    config = usable_config([f"baseline={name}", *arguments.overrides], config_dir)
    return replace(config, run=f"check-{name}-{config.scale}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def _new_try(
    run: Run, trial: int, seed: int, resume_from: str | None = None, used_s: float = 0.0, part: float | None = None
) -> tuple[TryPaths, Job]:
    """A new try of a trial; with `part` it trains this much of the budget, as a rung does."""
    number = 0 if resume_from is None else 1
    paths = run.paths.baseline.trial(trial).try_(number)
    paths.folder.mkdir(parents=True)
    purpose = Purpose.SEARCH if part is None else Purpose.RUNG
    job = Job(f"check-{trial}", seed, VALIDATION, None, resume_from, used_s, budget=part, purpose=purpose)
    files.create(paths.job, job)
    return paths, job


def _noise(metric: Metric, scores: list[Score]) -> Check:
    noise = estimate([score.value for score in scores], [score.standard_error for score in scores])
    sd = metric.text_size(noise.seed_sd)
    said = f"mean {metric.text_error(noise.mean, noise.standard_error)}, standard deviation between seeds {sd}"
    same = len(scores) > 1 and len({score.value for score in scores}) == 1
    return check(
        f"noise of {counted(len(scores), 'seed')}",
        not same,
        "every seed gives the same value; is the seed used?" if same else said,
    )


def _resume(run: Run, config: Config, unbroken: Score, took_s: float) -> Check:
    """Stop a training midway and resume it from its saved state. A training that ends before it saves anything is repeated
    with a shorter save interval, if the size file has a key for it."""
    name, number = "stop and resume", 1000
    first = _stopped(run, config, number, unbroken.seed, run.paths.size, took_s)
    shorter = first.checkpoint.is_dir() and not first.resume.is_dir() and _INTERVAL in config.size
    if shorter:
        number += 1
        size = run.paths.baseline.folder / "size_resume.json"
        files.replace(size, {**config.size, _INTERVAL: _SHORT_S})
        first = _stopped(run, config, number, unbroken.seed, size, took_s)
    if not first.resume.is_dir():
        return Check(name, *_nothing_saved(first.checkpoint.is_dir(), shorter))
    before = mark(first.metrics)
    paths, job = _new_try(run, number, unbroken.seed, resume_from="try_0")
    result = perform(run, paths, job, data_path(config))
    if result.score is None:
        return check(name, False, _why(result, paths))
    metric = run.config.baseline.metric.metric
    same = result.score.value == unbroken.value
    said = f"a different value: {metric.text(result.score.value)}, uninterrupted {metric.text(unbroken.value)}"
    repeated = repetition(before, new_steps(paths.metrics), saved_last=False)
    return _concluded(name, same or config.train.clock is Clock.wall, _SAME if same else said, repeated)


def _continued(run: Run, config: Config, unbroken: Sequence[Score]) -> Check:
    """Train with part of the budget, as a rung of successive halving does, and continue with the whole (`continues`)."""
    name, metric, seed = "stop part-way and continue", run.config.baseline.metric.metric, unbroken[0].seed
    budget = _part(config)
    paths, job = _new_try(run, _CONTINUED, seed, part=budget)
    part = perform(run, paths, job, data_path(config))
    if part.score is None:
        return check(name, False, f"with {budget:g} of {config.train.budget:g}: {_why(part, paths)}")
    if not paths.resume.is_dir():
        return check(name, False, f"training stops at {budget:g} of {config.train.budget:g} without output/resume")
    if part.score.value == unbroken[0].value:
        return check(
            name, False, f"{budget:g} of {config.train.budget:g} give the value of the whole: it must stop there"
        )
    before = mark(paths.metrics)
    paths, job = _new_try(run, _CONTINUED, seed, paths.folder.name, part.seconds.train)
    whole = perform(run, paths, job, data_path(config))
    if whole.score is None:
        return check(name, False, f"continued: {_why(whole, paths)}")
    text = f"continued {metric.text(whole.score.value)}, uninterrupted {metric.text(unbroken[0].value)}"
    repeated = repetition(before, new_steps(paths.metrics), saved_last=True)
    if config.train.clock is Clock.steps:
        same = whole.score.value == unbroken[0].value
        return _concluded(name, same, _SAME if same else text, repeated)
    noise = estimate([one.value for one in unbroken], [one.standard_error for one in unbroken])
    far = _FAR * math.hypot(noise.seed_sd, whole.score.standard_error)
    limit = f"at most {metric.text_size(far)} apart"
    return _concluded(name, abs(whole.score.value - noise.mean) <= far, f"{text}; {limit}", repeated)


def _concluded(name: str, good: bool, text: str, repeated: tuple[Finding, str]) -> Check:
    """The check of a training in two parts, from its value (`good`, `text`) and from what the second part repeated."""
    found, why = repeated
    if found is Finding.FAILED or (good and found is Finding.NOT_CHECKED):
        return Check(name, found, why)
    return check(name, good, text)


def _part(config: Config) -> float:
    """The budget of the first rung; half of the whole without rungs."""
    halved = replace(config, search=replace(config.search, rungs=config.search.rungs or [0.5]))
    return rung_budgets(halved)[0]


def _why(result: Result, paths: TryPaths) -> str:
    assert result.failure is not None
    return f"{result.failure.kind}: {result.failure.reason}; read {paths.trial.folder}"


def _stopped(run: Run, config: Config, number: int, seed: int, size: Path, took_s: float) -> TryPaths:
    """Run a training and stop it as soon as it has saved resume state; it may finish earlier."""
    first, _ = _new_try(run, number, seed)
    first.output.mkdir()
    data = data_path(config)
    command = Command(
        train_command(config, size, data, first.output, seed),
        run.paths.pristine,
        variant_environment(config.baseline, config.train.resources.cpus_per_task),
        first.train_log,
    )
    access = Access(read=(run.paths.pristine, size, data / "train"), write=(first.output,), devices=True)
    limits = RunLimits(2 * took_s + 60, config.train.resources.mem_gb)
    make_sandbox(config.train.sandbox).run(command, access, limits, enough=first.resume.is_dir)
    return first


def _nothing_saved(finished: bool, shorter: bool) -> tuple[Finding, str]:
    """The finding for a training that saved no resume state, with `shorter` even at the shortest interval."""
    restarts = "after a machine fault a trial restarts at step 0"
    if not finished:
        return Finding.FAILED, f"training writes no output/resume: {restarts}"
    if shorter:
        return Finding.NOT_CHECKED, f"training writes no output/resume, even with {_INTERVAL}={_SHORT_S:g}: {restarts}"
    hint = (
        f"if training saves at an interval in seconds, name it {_INTERVAL} in the size file, and this check shortens it"
    )
    return Finding.NOT_CHECKED, f"training finished before it wrote output/resume: {restarts}; {hint}"


def _poisoned(run: Run, config: Config) -> Iterator[Check]:
    """Replace each evolvable file by one that raises. If the smoke test still passes, the file is not what it imports."""
    tree, rules = pristine_tree(run.paths), Rules(config.baseline.evolvable, config.baseline.protected)
    for path in tree:
        if not path.endswith(".py") or not rules.allows(path):
            continue
        outcome, _ = _smoke(run, config, {**tree, path: Entry(_POISON.encode())})
        reason = (
            "the smoke test passes although the file is broken: it is never imported, or another copy is imported"
            if outcome.good
            else "the smoke test fails, as it must"
        )
        yield check(f"a broken {path} is detected", not outcome.good, reason)


def _smoke(run: Run, config: Config, tree: Tree) -> tuple[Outcome, str]:
    """Run the smoke test on a code tree in a scratch folder. Returns the outcome and the last lines of its output."""
    with tempfile.TemporaryDirectory(prefix="check-") as scratch:
        variant, log = Path(scratch) / "variant", Path(scratch) / "smoke.log"
        write_tree(tree, variant)
        sandbox = make_sandbox(config.train.sandbox)
        outcome, _ = run_smoke(config, sandbox, run.paths, data_path(config), variant, log)
        return outcome, files.tail(log, 3) or outcome.reason or f"it printed nothing (exit code {outcome.exit_code})"
