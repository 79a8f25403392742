"""Fetch and convert the data of a baseline, once, where there is network."""

import argparse
import subprocess
import tempfile
from pathlib import Path

from pipeline.assemble import data_path
from pipeline.cli import add_overrides, call, config_of, parser
from pipeline.errors import CannotGoOn
from pipeline.stages.commands import fill
from pipeline.store import files
from pipeline.store.data import write_manifest


def main() -> None:
    """Entry point."""
    made = parser(
        "prepare",
        "Fetch and convert the data of a baseline at a scale into data/BASELINE/SCALE/. Goes on where it was stopped.",
        "example:\n  python -m pipeline.prepare baseline=grpo scale=tiny",
    )
    add_overrides(made)
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Run the baseline's `prepare` and close the folder with a manifest."""
    config = config_of(arguments)
    folder = data_path(config)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        size = Path(scratch) / "size.json"
        size.write_bytes(files.to_json(config.size))
        words = fill(config.baseline, config.baseline.commands.prepare, {"data": folder, "size": size})
        # Its output is for the person who waits; the environment is whole, since fetching may need a key of theirs.
        code = subprocess.run(words, cwd=config.baseline.folder, check=False).returncode
    if code != 0:
        raise CannotGoOn(f"`{' '.join(words)}` ended with exit code {code}; its message is above")
    manifest = write_manifest(folder)
    print(f"{folder}: {manifest.files} files, {manifest.bytes / 1e6:.1f} MB, hash {manifest.hash[:12]}")
    return 0


if __name__ == "__main__":
    main()
