"""Fill the compiler caches that all trials share, on a node like theirs, before the first trial, so that all variants start
under equal conditions. Only the unmodified code fills them, in the sandbox of trials; each trial gets a copy."""

import argparse
import tempfile
from pathlib import Path

from pipeline.commands.child import run_isolated
from pipeline.commands.terminal import add_overrides, call, config_of, parser
from pipeline.sandbox.base import Access, Command, RunLimits, make_sandbox
from pipeline.sandbox.command_lines import compiled_caches, fill, scratch_folder, variant_environment
from pipeline.setup.build import data_hash, data_path
from pipeline.store import files


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
    """Run the command on the unmodified code, as a trial would, but with the caches that all trials are given copies of."""
    config = config_of(arguments)
    data = data_path(config)
    data_hash(config)
    baseline, train = config.baseline, config.train
    name = "build" if baseline.commands.build else "smoke"
    given = config.cluster.scratch
    with tempfile.TemporaryDirectory(prefix="build-") as work, scratch_folder(given) as scratch:
        own, size = Path(scratch["TMPDIR"]), Path(work) / "size.json"
        size.write_bytes(files.to_json(config.size))
        (own / "output").mkdir()
        places = {"train_data": data / "train", "output": own / "output", "seed": config.seed, "size": size}
        filled = compiled_caches(given)  # not the copies that trials get
        for cache in filled.values():
            Path(cache).mkdir(mode=0o700, parents=True, exist_ok=True)
        run_isolated(
            baseline,
            name,
            Command(
                fill(baseline, baseline.commands.build or baseline.commands.smoke, places),
                Path(baseline.folder).resolve(),
                variant_environment(baseline, train.resources.cpus_per_task, {**scratch, **filled}),
                Path(work) / "log",
            ),
            Access(
                read=(Path(baseline.folder).resolve(), data / "train", size),
                write=(own, *map(Path, filled.values())),
                network=train.network,
                devices=True,
            ),
            RunLimits(60 * train.limit_min, train.resources.mem_gb),
            make_sandbox(train.sandbox),
            arguments.verbose,
        )
    print(f"built for {baseline.name} at scale {config.scale}")
    return 0
