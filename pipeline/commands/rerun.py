"""Train a candidate again from its patch in a new run, and test whether the result agrees."""

import argparse
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from pipeline.commands.run import drive
from pipeline.commands.terminal import INTERRUPTED, add_overrides, call, make_console, parser, say, typed_program
from pipeline.errors import CannotContinue
from pipeline.makers.people import as_seed
from pipeline.makers.variants import variant_tree
from pipeline.metric import Metric
from pipeline.policy.race import final_seeds
from pipeline.records import Derived, Purpose
from pipeline.report.isolation import kinds, warnings
from pipeline.report.reruns import Side, on_search_split, on_test_split, repeated, side
from pipeline.report.statistics import Comparison, compare
from pipeline.setup.derive import Source, changed_settings, check_source, derived_config, left_behind, source_at
from pipeline.stages.context import Context
from pipeline.store.views import Attempt, Candidate

_EXAMPLES = """examples:
  python -m pipeline rerun g1/c3                                  with the seeds of the run
  python -m pipeline rerun g1/c3 --seed 7                         with other seeds
  python -m pipeline rerun g1/c3 train.budget_min=240             a transfer: four times the budget
  python -m pipeline rerun runs/NAME/generation_001/candidate_003 scale=small

With settings, candidate and baseline are both trained under them. The same command resumes the rerun."""


def main() -> None:
    """Entry point."""
    made = parser("rerun", "Train a candidate again, and test whether the result agrees.", _EXAMPLES)
    made.add_argument("candidate", type=Path, help="a candidate's folder, or its short name in the newest run")
    add_overrides(made)
    made.add_argument("--seed", type=int, help="another `seed` of the search, from which all seeds are derived")
    made.add_argument("--seeds", type=int, help="trainings of candidate and baseline (default: those of the candidate)")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    call(entry, made.parse_intermixed_args())


@dataclass(frozen=True)
class Rerun:
    """The result of a rerun."""

    candidate: str
    """Run and candidate."""
    title: str
    """Title of the candidate's idea."""
    kind: Literal["rerun", "transfer"]
    """`transfer` if settings were changed, so that the scores need not agree."""
    changed: Sequence[str]
    """The changed settings, as `key: old -> new`."""
    left_behind: Sequence[str]
    """Settings that the candidate changed for the scale of its run and that have no effect at this one."""
    run: str
    """Folder of the new run."""
    checked: dict[str, str]
    """Hashes that were checked against the record, by name."""
    original: Side
    """Results in the candidate's own run."""
    now: Side
    """Results in the new run."""
    difference: Comparison | None
    """How much better the new scores of the candidate are; null for a transfer."""
    agrees: bool | None
    """Whether the difference may be chance; null for a transfer."""
    repeated: tuple[int, int]
    """Of the trainings with a seed of the original: how many gave exactly its value, and their total number."""
    sandbox: str
    """Kinds of sandbox in which the compared trials ran; empty if the scores do not record it."""


def entry(arguments: argparse.Namespace) -> int:
    """Check the hashes, train, and compare."""
    source = source_at(arguments.candidate)
    seeds = arguments.seeds if arguments.seeds is not None else max(2, _trainings(source.candidate))
    config = derived_config(
        source, "rerun", arguments.overrides, arguments.config_dir, seed=arguments.seed, seeds=seeds, codes=1
    )
    checked = check_source(source, config)
    console = Console(stderr=True) if arguments.json else make_console()
    idea = as_seed(source.archive, source.candidate)
    changed = tuple(changed_settings(source, config))
    derived = Derived("rerun", source.run.name, source.candidate.id, changed)
    context = drive(console, config, typed("rerun", arguments, source), derived=derived, given=[idea])
    if context is None:
        return INTERRUPTED
    found = _result(source, context, changed, checked)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
        return 0
    sandboxes = context.run.reader.read().index.sandboxes + source.archive.index.sandboxes
    for line in (*lines(context.metric, found), *warnings(sandboxes)):
        say(console, line)
    return 0


def typed(command: str, arguments: argparse.Namespace, source: Source) -> str:
    """The typed command, which resumes the run. The candidate is given by its folder: a short name refers to the newest
    run, which may change."""
    folder = os.path.relpath(source.candidate.paths.folder)
    words = [folder if word == str(arguments.candidate) else word for word in sys.argv[1:]]
    return shlex.join([*typed_program(command), *words])


def _trainings(candidate: Candidate) -> int:
    return len(candidate.attempt.scores(Purpose.SEARCH, Purpose.CONFIRM)) if candidate.attempt is not None else 0


def _result(source: Source, context: Context, changed: Sequence[str], checked: dict[str, str]) -> Rerun:
    archive, before = context.run.reader.read(), source.candidate.attempt
    (candidate,) = archive.candidates
    now = candidate.attempt
    if now is None or now.search is None or now.search.score is None:
        reason = candidate.failure.reason.splitlines()[0] if candidate.failure is not None else "it has no score"
        raise CannotContinue(f"{source.name} has no score in {context.run.paths.folder}: {reason}")
    if variant_tree(context.run.paths, candidate) != variant_tree(source.run.paths, source.candidate):
        raise CannotContinue(f"{now.paths.patch} is not the code of {source.name}")
    assert before is not None
    return compare_runs(source, context, (before, source.archive.baseline), (now, archive.baseline), changed, checked)


def compare_runs(
    source: Source,
    context: Context,
    before: tuple[Attempt, Attempt],
    now: tuple[Attempt, Attempt],
    changed: Sequence[str],
    checked: dict[str, str],
) -> Rerun:
    """Compare two pairs of candidate and baseline, on the test split if both pairs have scores there."""
    old, new = on_test_split(*before), on_test_split(*now)
    if not (old.complete and new.complete):
        old, new = on_search_split(*before, final_seeds(source.terms.config)), on_search_split(*now)
    if not old.complete:
        raise CannotContinue(f"{source.name} or the baseline of its run has no score to compare with")
    metric = context.metric
    apart = None
    if not changed:
        others = [old.baseline, new.baseline]
        apart = compare(metric, new.candidate, old.candidate, others, same_code=True)
    return Rerun(
        source.name,
        source.candidate.idea.title,
        "transfer" if changed else "rerun",
        changed,
        left_behind(source, context.config),
        str(context.run.paths.folder),
        checked,
        side(metric, old),
        side(metric, new),
        apart,
        apart.agrees if apart is not None else None,
        (0, 0) if changed else repeated(on_search_split(*before).candidate, on_search_split(*now).candidate),
        kinds(score.sandbox for pair in (old, new) for score in (*pair.candidate, *pair.baseline)),
    )


def lines(metric: Metric, found: Rerun) -> Iterator[str]:
    """The result as text."""
    yield f"\n{found.kind} of {found.candidate} ({found.title}) in {found.run}"
    yield "checked against the record: " + ", ".join(f"{name} {digest[:12]}" for name, digest in found.checked.items())
    for change in found.changed:
        yield f"changed: {change}"
    if found.left_behind:
        yield f"no effect here, since the candidate changed them for the scale of its run: {', '.join(found.left_behind)}"
    for name, one in (("original", found.original), (found.kind, found.now)):
        yield (
            f"{name:9} {one.split}: baseline {_mean(metric, one.baseline.value, one.baseline.seeds)}, candidate "
            f"{_mean(metric, one.candidate.value, one.candidate.seeds)}, gain {text(metric, one.gain)}"
        )
    if found.original.chose:
        yield "the original has only the trial that chose the candidate, so its score is partly luck"
    if found.difference is not None:
        same, common = found.repeated
        if common:
            yield f"with the seeds of the original, {same} of {common} trainings gave exactly its score"
        verdict = "agrees" if found.agrees else "DISAGREES"
        yield f"{verdict}: the rerun differs by {text(metric, found.difference)}, p = {found.difference.p_value:.2g}"


def text(metric: Metric, found: Comparison) -> str:
    """A gain with its interval."""
    return f"{metric.text_gain(found.gain)} (95 %: {metric.text_gain(found.low)} to {metric.text_gain(found.high)})"


def _mean(metric: Metric, value: float, seeds: int) -> str:
    return f"{metric.text(value)} ({seeds} seed{'s' if seeds != 1 else ''})"
