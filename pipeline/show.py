"""Show one candidate: its idea, where it comes from, its patch, and what became of every try."""

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipeline.assemble import data_path, view
from pipeline.cli import call, candidate_at, make_console, parser, say
from pipeline.config import Config
from pipeline.metric import Metric
from pipeline.patching.trees import diff
from pipeline.stages.commands import train_command
from pipeline.stages.implement import pristine_tree, variant_tree
from pipeline.store import files
from pipeline.store.archive import Archive, Attempt, Candidate, Trial, Try
from pipeline.store.paths import short

_LOG_LINES = 15


def main() -> None:
    """Entry point."""
    made = parser(
        "show",
        "Show a candidate: idea, lineage, patch, every try with its reason and the end of its log, how to run it again.",
        "example:\n  python -m pipeline.show runs/NAME/generation_000/candidate_003",
    )
    made.add_argument("candidate", type=Path, help="a candidate's folder")
    made.add_argument(
        "--on-parent", action="store_true", help="show its change on its first parent, not on the baseline"
    )
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the folder and print it; nothing is written."""
    paths, candidate_id = candidate_at(arguments.candidate)
    run, plan = view(paths)
    archive = run.reader.read()
    candidate = archive.candidate(candidate_id)
    console = make_console()
    for text in describe(archive, candidate, plan.metric):
        say(console, text)
    for attempt in candidate.attempts:
        console.print(f"\n{attempt.paths.folder.relative_to(paths.folder)}", style="bold")
        if attempt.implementation is not None:
            say(console, _patch(archive, candidate, attempt, arguments.on_parent))
        for line in outcome(attempt, plan.metric):
            say(console, line)
        if attempt.implementation is not None:
            say(console, f"\nrun it again:\n  {again(plan.config, archive, attempt)}")
    return 0


def describe(archive: Archive, candidate: Candidate, metric: Metric) -> Iterator[str]:
    """Idea and lineage in lines."""
    idea = candidate.idea
    yield f"{candidate.id}: {idea.title}"
    yield f"state    {candidate.state}"
    yield f"origin   {idea.origin}" + (f", from {idea.source}" if idea.source else "")
    yield f"idea     {idea.text}"
    for depth, ancestor in _lineage(archive, candidate):
        score = ancestor.score
        value = metric.text_error(score.value, score.standard_error) if score else str(ancestor.state)
        yield f"{'parent' if depth == 1 else '':8} {'  ' * (depth - 1)}{short(ancestor.id)} {value}: {ancestor.idea.title}"
    if candidate.failure is not None:
        yield f"failed   {candidate.failure.stage}/{candidate.failure.kind}: {candidate.failure.reason}"


def outcome(attempt: Attempt, metric: Metric) -> Iterator[str]:
    """What became of an attempt: of its smoke test and of each try."""
    if attempt.failure is not None and not attempt.trials:
        yield f"failed in {attempt.failure.stage} ({attempt.failure.kind}): {attempt.failure.reason}"
    for trial in attempt.all_trials():
        name = trial.paths.folder.relative_to(attempt.paths.folder).as_posix()
        if trial.score is not None:
            value = metric.text_error(trial.score.value, trial.score.standard_error)
            yield f"\n{name}, seed {trial.score.seed}: {metric.name} {value} ({trial.score.split}, n = {trial.score.n})"
        else:
            yield f"\n{name}: {trial.state}"
        for one in trial.tries:
            yield from _try(trial, one)


def again(config: Config, archive: Archive, attempt: Attempt) -> str:
    """A command line that trains the variant once more, outside of the run folder."""
    words = train_command(config, archive.paths.size, data_path(config), Path("/tmp/again"), 1000 * config.seed)
    folder = shlex.quote(str(attempt.paths.variant))
    environment = [f"{name}={shlex.quote(value)}" for name, value in config.baseline.environment.items()]
    return f"cd {folder} && mkdir -p /tmp/again && {' '.join([*environment, shlex.join(words)])}"


def _try(trial: Trial, one: Try) -> Iterator[str]:
    if one.result is None:
        yield f"  {one.paths.folder.name}: {trial.state}"
        return
    seconds = one.result.seconds
    spent = f"train {seconds.train:.1f} s, evaluate {seconds.evaluate:.1f} s on {one.result.host or 'no node'}"
    failure = one.result.failure
    if failure is None:
        yield f"  {one.paths.folder.name}: scored, {spent}"
        return
    yield f"  {one.paths.folder.name}: {failure.stage}/{failure.kind}, {spent}: {failure.reason.splitlines()[0]}"
    for line in files.tail(one.paths.train_log, _LOG_LINES).splitlines():
        yield f"    | {line}"


def _patch(archive: Archive, candidate: Candidate, attempt: Attempt, on_parent: bool) -> str:
    if on_parent and candidate.idea.parents:
        parent = variant_tree(archive.paths, archive.candidate(candidate.idea.parents[0]))
        return diff(parent, variant_tree(archive.paths, candidate))
    if on_parent:
        return diff(pristine_tree(archive.paths), variant_tree(archive.paths, candidate))
    return attempt.paths.patch.read_text(errors="replace")


def _lineage(archive: Archive, candidate: Candidate, depth: int = 1) -> Iterator[tuple[int, Candidate]]:
    for parent in candidate.idea.parents:
        ancestor = archive.candidate(parent)
        yield depth, ancestor
        yield from _lineage(archive, ancestor, depth + 1)


if __name__ == "__main__":
    main()
