"""Free disk: remove what a run no longer needs."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from pipeline.assemble import view
from pipeline.cli import call, parser, run_paths
from pipeline.config import Keep
from pipeline.stages.keep import left_over, spare
from pipeline.store.run import held


def main() -> None:
    """Entry point."""
    made = parser(
        "clean",
        "Remove checkpoints and variants of all but the baseline and the best, and what is left of closed trials to "
        "resume from. Scores, logs, patches and metrics stay, and so the run can go on.",
        "examples:\n  python -m pipeline.clean runs/NAME --dry-run\n  python -m pipeline.clean runs/NAME --keep none",
    )
    made.add_argument("run", type=Path, help="a run folder")
    made.add_argument(
        "--keep", choices=[Keep.elites.value, Keep.none.value], default=Keep.elites.value, help="default: %(default)s"
    )
    made.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Hold the run, so that no controller looks for what goes."""
    run, plan = view(run_paths(arguments.run))
    keep = replace(plan.config.keep, checkpoints=Keep(arguments.keep), variants=Keep(arguments.keep))
    plan = replace(plan, config=replace(plan.config, keep=keep))
    with held(run.paths):
        archive = run.reader.read()
        total = 0
        for folder in (*spare(plan, archive), *left_over(archive)):
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            total += size
            print(f"{size / 1e6:10.1f} MB  {folder.relative_to(run.paths.folder)}")
            if not arguments.dry_run:
                shutil.rmtree(folder)
    print(f"{total / 1e6:10.1f} MB  {'could be removed' if arguments.dry_run else 'removed'} from {run.paths.folder}")
    return 0


if __name__ == "__main__":
    main()
