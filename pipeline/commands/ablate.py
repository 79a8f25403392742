"""Measure the contribution of each change in a candidate's lineage by removing it."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.commands.rerun import text, typed
from pipeline.commands.run import drive
from pipeline.commands.terminal import INTERRUPTED, add_overrides, call, make_console, parser, say
from pipeline.errors import CannotContinue
from pipeline.makers.lineage import Removal, lineage, without
from pipeline.metric import Metric
from pipeline.patching.syntax import hash_of_changes
from pipeline.patching.trees import Tree, diff
from pipeline.records import Change, Derived, Idea, Purpose, Score
from pipeline.report.isolation import kinds, warnings
from pipeline.report.statistics import Comparison, compare
from pipeline.setup.build import code_reader
from pipeline.setup.derive import Source, changed_settings, check_source, derived_config, source_at
from pipeline.store.archive import Archive
from pipeline.store.paths import short

_EXAMPLES = """examples:
  python -m pipeline ablate g2/c1
  python -m pipeline ablate runs/NAME/generation_002/candidate_001 --seeds 5

The candidate is trained as a whole and without each change in turn, with the same seeds and, if any are given, under
other settings. The same command resumes it."""
ABLATION = "ablation"
"""Origin of the ideas of an ablation."""


def main() -> None:
    """Entry point."""
    made = parser("ablate", "Measure what each change of a candidate's lineage contributes.", _EXAMPLES)
    made.add_argument("candidate", type=Path, help="a candidate's folder, or its short name in the newest run")
    add_overrides(made)
    made.add_argument("--seeds", type=int, default=3, help="trainings of each code (default: 3)")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    call(entry, made.parse_intermixed_args())


@dataclass(frozen=True)
class Contribution:
    """The contribution of one change."""

    change: str
    """Id of the candidate that introduced the change."""
    title: str
    """Title of that candidate's idea."""
    seeds: int
    """Trainings without the change; 0 if it could not be measured."""
    without: float | None
    """Mean value of these trainings."""
    gain: Comparison | None
    """How much better the candidate is with the change."""
    note: str
    """Why it could not be measured, or what the candidate is compared with."""


@dataclass(frozen=True)
class Ablation:
    """The result."""

    candidate: str
    """Run and candidate."""
    title: str
    """Title of the candidate's idea."""
    run: str
    """Folder of the ablation's run."""
    changed: Sequence[str]
    """The changed settings, as `key: old -> new`."""
    checked: dict[str, str]
    """Hashes that were checked against the record, by name."""
    split: str
    """Split on which all values were measured."""
    value: float
    """Mean value of the whole candidate."""
    seeds: int
    """Trainings of the whole candidate."""
    contributions: Sequence[Contribution]
    """Earliest change first."""
    sandbox: str
    """Kinds of sandbox in which all these trials ran; empty if the scores do not record it."""


@dataclass(frozen=True)
class Plan:
    """The codes to train, as ideas."""

    whole: Idea
    """The whole candidate."""
    removals: Sequence[tuple[Removal, Idea | None]]
    """Each change of its lineage, and the code without it as an idea; none if there is nothing to train."""

    @property
    def ideas(self) -> list[Idea]:
        """Each code once; titles are unique."""
        named = {idea.title: idea for _, idea in self.removals if idea is not None}
        return [self.whole, *(idea for title, idea in named.items() if title != self.whole.title)]


def entry(arguments: argparse.Namespace) -> int:
    """Compute the codes, train them in a run, compare."""
    source = source_at(arguments.candidate)
    plan = plan_of(source)
    config = derived_config(
        source, "ablate", arguments.overrides, arguments.config_dir, seeds=arguments.seeds, codes=len(plan.ideas)
    )
    checked, changed = check_source(source, config), tuple(changed_settings(source, config))
    console = Console(stderr=True) if arguments.json else make_console()
    derived = Derived(ABLATION, source.run.name, source.candidate.id, changed)
    again = typed("ablate", arguments, source)
    context = drive(console, config, again, derived=derived, given=plan.ideas)
    if context is None:
        return INTERRUPTED
    archive = context.run.reader.read()
    found = _result(source, plan, archive, context.metric, changed, checked)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
        return 0
    for line in (*lines(context.metric, found), *warnings(archive.index.sandboxes)):
        say(console, line)
    return 0


def plan_of(source: Source) -> Plan:
    """The codes of an ablation. Codes that differ only in comments and layout share one idea. Code equal to the baseline
    gets no idea, since the baseline is trained anyway."""
    code = code_reader(source.run.paths)
    baseline, made = code(None), dict[str, Idea]()

    def idea_of(tree: Tree, title: str) -> Idea:
        change = Change(text=diff(baseline, tree), exact=True)
        idea = Idea(title, f"Of {source.name}.", ABLATION, source=source.name, change=change)
        return made.setdefault(hash_of_changes(baseline, tree), idea)

    whole = idea_of(code(source.candidate), f"{source.candidate.idea.title}, whole")
    nothing = hash_of_changes(baseline, baseline)
    removals: list[tuple[Removal, Idea | None]] = []
    for ancestor in lineage(source.archive, source.candidate):
        removal, idea = without(code, source.archive, source.candidate, ancestor), None
        if removal.code is not None and hash_of_changes(baseline, removal.code) != nothing:
            idea = idea_of(removal.code, f"without {short(ancestor.id)}: {ancestor.idea.title}")
        removals.append((removal, idea))
    return Plan(whole, removals)


def _result(
    source: Source, plan: Plan, archive: Archive, metric: Metric, changed: Sequence[str], checked: dict[str, str]
) -> Ablation:
    scores = {idea.title: _scores(archive, idea) for idea in plan.ideas}
    whole = scores[plan.whole.title]
    if not isinstance(whole, list):
        raise CannotContinue(f"{source.name} has no score in {archive.paths.folder}: {whole}")
    baseline = list(archive.baseline.scores(Purpose.BASELINE))
    everything = [baseline, *(found for found in scores.values() if isinstance(found, list))]
    contributions = []
    for removal, idea in plan.removals:
        note = "without it the code is the baseline's" if idea is None else ""
        if idea == plan.whole:
            note = "without it the code does the same"
        found, note = _without(removal, baseline if idea is None else scores[idea.title], note)
        others = [one for one in everything if one is not whole and one is not found]
        contributions.append(
            Contribution(
                removal.ancestor.id,
                removal.ancestor.idea.title,
                len(found),
                sum(score.value for score in found) / len(found) if found else None,
                compare(metric, whole, found, others) if found else None,
                note,
            )
        )
    return Ablation(
        source.name,
        source.candidate.idea.title,
        str(archive.paths.folder),
        changed,
        checked,
        whole[0].split,
        sum(score.value for score in whole) / len(whole),
        len(whole),
        contributions,
        kinds(score.sandbox for scores in everything for score in scores),
    )


def _scores(archive: Archive, idea: Idea) -> list[Score] | str:
    """The scores of an idea's trials, or the reason why there are none."""
    candidate = next(one for one in archive.candidates if one.idea == idea)
    found = candidate.attempt.scores(Purpose.SEARCH, Purpose.CONFIRM) if candidate.attempt is not None else ()
    if candidate.failure is not None and not found:
        return f"{candidate.failure.stage}/{candidate.failure.kind}: {candidate.failure.reason.splitlines()[0]}"
    return list(found) or "it was not trained"


def _without(removal: Removal, scores: list[Score] | str, note: str) -> tuple[list[Score], str]:
    """The scores without a change, and a note: the given one, or why there are no scores."""
    match removal.why:
        case "conflict":
            return [], f"it cannot be removed cleanly: {removal.reason}"
        case "no change":
            return [], "it changed nothing itself: it joins its parents"
        case "overwritten":
            return [], "nothing of it is left in the candidate"
        case _:
            if isinstance(scores, str):
                return [], f"without it the code gets no score: {scores}"
            return scores, note


def lines(metric: Metric, found: Ablation) -> Iterator[str]:
    """The result as text."""
    yield f"\nablation of {found.candidate} ({found.title}) in {found.run}"
    yield "checked against the record: " + ", ".join(f"{name} {digest[:12]}" for name, digest in found.checked.items())
    for change in found.changed:
        yield f"changed: {change}"
    yield f"{'whole':8} {found.split} {metric.text(found.value)}, {found.seeds} seeds"
    for one in found.contributions:
        head = f"{short(one.change):8} {one.title}: "
        if one.gain is None or one.without is None:
            yield f"{head}{one.note}"
            continue
        note = f"; {one.note}" if one.note else ""
        yield f"{head}contributes {text(metric, one.gain)}; without it {metric.text(one.without)}{note}"
    yield "Each interval holds on its own; contributions need not add up, since changes interact."
