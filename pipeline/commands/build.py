"""Fill the compiler caches that all trials share, on a node like theirs, before the first trial, so that all variants start
under equal conditions."""

import argparse
import tempfile
from pathlib import Path

from pipeline.commands.child import run_shown
from pipeline.commands.terminal import add_overrides, call, config_of, parser
from pipeline.sandbox.command_lines import compiled_caches, fill, scratch_folder, variant_environment
from pipeline.setup.build import data_path
from pipeline.store import files
from pipeline.store.data import check_data


def main() -> None:
    """Entry point."""
    made = parser(
        "build",
        "Run the baseline's `build` command, or its smoke test if it has none, on this machine with its GPUs, to fill the "
        "compiler caches. They are in cluster.scratch, which all nodes of the trials should share.",
        "examples:\n  sbatch --gres=gpu:1 slurm/build.sbatch baseline=grpo scale=small cluster.scratch=/shared/scratch\n"
        "  python -m pipeline build baseline=grpo scale=tiny",
    )
    add_overrides(made)
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Run one training step of the unmodified code, as a trial would."""
    config = config_of(arguments)
    check_data(data_path(config), config.baseline.name, config.scale)
    commands = config.baseline.commands
    with tempfile.TemporaryDirectory(prefix="build-") as work, scratch_folder(config.cluster.scratch) as scratch:
        size = Path(work) / "size.json"
        size.write_bytes(files.to_json(config.size))
        (Path(work) / "output").mkdir()
        places = {
            "train_data": data_path(config) / "train",
            "output": Path(work) / "output",
            "seed": config.seed,
            "size": size,
        }
        name = "build" if commands.build else "smoke"
        argv = fill(config.baseline, commands.build or commands.smoke, places)
        filled = {**scratch, **compiled_caches(config.cluster.scratch)}  # not the copies that trials get
        environment = variant_environment(config.baseline, config.train.resources.cpus_per_task, filled)
        run_shown(config.baseline, name, argv, environment, arguments.verbose)
    print(f"built for {config.baseline.name} at scale {config.scale}")
    return 0
