"""Add an idea of your own to the next generation of a run."""

import argparse
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.config import Mode
from pipeline.errors import BadInput
from pipeline.makers.people import HUMAN, propose, read_idea, read_text
from pipeline.patching import Rules
from pipeline.records import Change, Idea
from pipeline.setup.build import view
from pipeline.setup.parts import class_of
from pipeline.setup.places import candidate_at, run_at
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths

_EXAMPLES = """examples:
  python -m pipeline propose runs/NAME --idea idea.md                        the implementer writes the code
  python -m pipeline propose runs/NAME --idea idea.md --patch my.diff        with your own code
  python -m pipeline propose runs/NAME --idea idea.md --parent runs/NAME/generation_000/candidate_003

The first line of the idea is its title. A patch is a diff, search and replace blocks, or whole files. It applies to the
code of the first parent, or of the baseline if there is none."""


def main() -> None:
    """Entry point."""
    made = parser("propose", "Add an idea of your own to the next generation of a run.", _EXAMPLES)
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--idea", type=Path, required=True, metavar="FILE", help="the idea as text")
    made.add_argument("--patch", type=Path, metavar="FILE", help="its code")
    made.add_argument(
        "--parent", type=Path, nargs="+", action="extend", default=[], metavar="CANDIDATE", help="its parents"
    )
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Write the proposal. The controller includes it when it opens the next generation."""
    paths = run_at(arguments.run)
    run, terms = view(paths)
    archive = run.reader.read()
    title, text = read_idea(arguments.idea)
    parents = tuple(_parent(paths, archive, folder) for folder in arguments.parent)
    change = Change(text=read_text(arguments.patch)) if arguments.patch is not None else None
    maker = class_of(terms.config.implement.maker, "implement.maker")
    if change is None and not maker.reads_text:
        raise BadInput(
            f"the implementer of {run.name}, {maker.__name__}, cannot write code; add the code with --patch FILE"
        )
    rules = Rules(terms.config.baseline.evolvable, terms.config.baseline.protected)
    number = _next_generation(archive)
    if not propose(archive, rules, Idea(title, text, HUMAN, parents, change=change)):
        print(f"{title!r} was proposed already")
        return 0
    print(f"{title!r} is proposed for generation {number}")
    config = terms.config
    opened = archive.count // max(1, config.ideate.candidates) if config.search.mode is Mode.steady else number
    if config.ideate.candidates and opened >= config.stop.generations:
        print(f"the run ends before it; resume with stop.generations={opened + 1} or more")
    return 0


def _next_generation(archive: Archive) -> int:
    """The generation that will include a proposal: the next, or the newest if it is empty because the bank is used up."""
    newest = archive.newest
    if newest is None:
        return 0
    empty = not newest.complete and not newest.candidates and not newest.parents.proposals
    return newest.number if empty else newest.number + 1


def _parent(paths: RunPaths, archive: Archive, folder: Path) -> str:
    of_run, candidate = candidate_at(folder)
    if of_run.folder != paths.folder:
        raise BadInput(
            f"--parent {folder} belongs to another run; train it in this one first, with ideate.seeds=[{folder}]"
        )
    if archive.candidate(candidate).score is None:
        raise BadInput(
            f"--parent {folder} has no score; choose a scored candidate, see: python -m pipeline status {paths.folder}"
        )
    return candidate
