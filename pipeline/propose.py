"""Add an idea of your own to the next generation of a run."""

import argparse
from pathlib import Path

from pipeline.assemble import view
from pipeline.cli import call, candidate_at, parser, run_paths
from pipeline.config import ImplementMaker
from pipeline.errors import BadInput
from pipeline.patching import Rules
from pipeline.records import Change, Idea
from pipeline.stages.people import HUMAN, propose, read_idea, read_text
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths

_EXAMPLES = """examples:
  python -m pipeline.propose runs/NAME --idea idea.md                        the implementer writes the code
  python -m pipeline.propose runs/NAME --idea idea.md --patch my.diff        you have written it
  python -m pipeline.propose runs/NAME --idea idea.md --parent runs/NAME/generation_000/candidate_003

The first line of the idea is its title. A patch is a diff, search and replace blocks, or whole files, on the code of the
first parent, or of the baseline without one."""


def main() -> None:
    """Entry point."""
    made = parser("propose", "Add an idea of your own to the next generation of a run.", _EXAMPLES)
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument("--idea", type=Path, required=True, metavar="FILE", help="the idea in words")
    made.add_argument("--patch", type=Path, metavar="FILE", help="its code")
    made.add_argument(
        "--parent", type=Path, nargs="+", action="extend", default=[], metavar="CANDIDATE", help="what it builds on"
    )
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Write the proposal, which the controller takes up when it opens a generation."""
    paths = run_paths(arguments.run)
    run, plan = view(paths)
    archive = run.reader.read()
    title, text = read_idea(arguments.idea)
    parents = tuple(_parent(paths, archive, folder) for folder in arguments.parent)
    change = Change(text=read_text(arguments.patch)) if arguments.patch is not None else None
    if change is None and plan.config.implement.maker is ImplementMaker.bank:
        raise BadInput(f"{run.name} was made with implement=bank, which cannot write code: give it with --patch FILE")
    rules = Rules(plan.config.baseline.evolvable, plan.config.baseline.protected)
    number = archive.newest.number + 1 if archive.newest is not None else 0
    if not propose(archive, rules, Idea(title, text, HUMAN, parents, change=change)):
        print(f"{title!r} was proposed already")
        return 0
    print(f"{title!r} is proposed for generation {number}")
    if number >= plan.config.stop.generations:
        print(f"the run ends before it; go on with stop.generations={number + 1} or more")
    return 0


def _parent(paths: RunPaths, archive: Archive, folder: Path) -> str:
    of_run, candidate = candidate_at(folder)
    if of_run.folder != paths.folder:
        raise BadInput(f"--parent {folder} is of another run; begin a run with it: ideate.seeds=[{folder}]")
    if archive.candidate(candidate).score is None:
        raise BadInput(
            f"--parent {folder} has no score; build on one that has, see: python -m pipeline.status {paths.folder}"
        )
    return candidate


if __name__ == "__main__":
    main()
