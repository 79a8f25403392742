"""Free disk space: remove files that a run no longer needs."""

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.config import Keep
from pipeline.job.outputs import walk
from pipeline.policy.retention import left_over, removable_folders, would_be_elites
from pipeline.sandbox.removal import remove_tree
from pipeline.setup.build import view
from pipeline.setup.places import run_at
from pipeline.store.run import locked


def main() -> None:
    """Entry point."""
    made = parser(
        "clean",
        "Remove checkpoints and variants of all candidates but the best, and leftover resume state of closed trials. "
        "Scores, logs, patches and metrics are kept, so the run can be resumed.",
        "examples:\n  python -m pipeline clean runs/NAME --dry-run\n  python -m pipeline clean runs/NAME --keep none",
    )
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument(
        "--keep", choices=[Keep.elites.value, Keep.none.value], default=Keep.elites.value, help="default: %(default)s"
    )
    made.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Lock the run, so that no controller uses the files, then remove them. A dry run only reads, without the lock."""
    run, terms = view(run_at(arguments.run))
    keep = replace(terms.config.keep, checkpoints=Keep(arguments.keep), variants=Keep(arguments.keep))
    terms = replace(terms, config=replace(terms.config, keep=keep))
    with contextlib.nullcontext() if arguments.dry_run else locked(run.paths):
        archive = run.reader.read()
        total = 0
        removable = removable_folders(terms, archive, archive.candidates, would_be_elites(terms, archive))
        for folder in (*removable, *left_over(terms, archive)):
            size = sum(entry.size for entry in walk(folder) if entry.regular)
            total += size
            print(f"{size / 1e6:10.1f} MB  {folder.relative_to(run.paths.folder)}")
            if not arguments.dry_run:
                remove_tree(folder)
    print(f"{total / 1e6:10.1f} MB  {'could be removed' if arguments.dry_run else 'removed'} from {run.paths.folder}")
    return 0
