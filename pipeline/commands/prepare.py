"""Fetch and convert the data of a baseline, once, on a machine with network access."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.commands.child import run_shown
from pipeline.commands.terminal import add_overrides, call, config_of, parser
from pipeline.config import Config
from pipeline.errors import BadInput, CannotContinue
from pipeline.makers.bank import load_bank
from pipeline.makers.policy_ideator import bank_words
from pipeline.patching import Refusal
from pipeline.patching.trees import read_tree
from pipeline.sandbox.command_lines import compiled_caches, fill
from pipeline.setup.build import data_path, learns
from pipeline.setup.folders import REPOSITORY
from pipeline.stages.learn import prepared_policy
from pipeline.store import files
from pipeline.store.data import Manifest, write_manifest
from pipeline.store.splits import check_apart
from pipeline.text import counted


def main() -> None:
    """Entry point."""
    made = parser(
        "prepare",
        "Fetch and convert the data of a baseline at a scale into data/BASELINE/SCALE/. Resumes after an interruption.",
        "example:\n  python -m pipeline prepare baseline=grpo scale=tiny",
    )
    add_overrides(made)
    call(entry, made.parse_intermixed_args())


def entry(arguments: argparse.Namespace) -> int:
    """Run the baseline's `prepare`, check its output, and close the folder with a manifest."""
    config = config_of(arguments)
    folder = data_path(config)
    if not config.baseline.commands.prepare:
        raise BadInput(
            f"baseline {config.baseline.name} has no baseline.commands.prepare, which writes {folder}; add one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        size = Path(scratch) / "size.json"
        size.write_bytes(files.to_json(config.size))
        argv = fill(config.baseline, config.baseline.commands.prepare, {"data": folder, "size": size})
        # The command gets the whole environment, since a download may need the user's token.
        environment = {**os.environ, **compiled_caches(config.cluster.scratch)}
        run_shown(config.baseline, "prepare", argv, environment, arguments.verbose)
    check_apart(folder)
    manifest = write_manifest(folder)
    print(f"{folder}: {counted(manifest.files, 'file')}, {manifest.bytes / 1e6:.1f} MB, hash {manifest.hash[:12]}")
    print(_left_out(manifest))
    if learns(config) and not config.rl.model:
        _make_policy(config, prepared_policy(folder))
    return 0


def _make_policy(config: Config, folder: Path) -> None:
    """Train the tiny policy to write ideas of the bank, unless it exists. This takes about a minute on one core."""
    if folder.is_dir():
        return
    code = Path(config.baseline.folder)
    bank, tree = load_bank(code / config.baseline.ideas, config, patches=True), read_tree(code)
    if isinstance(tree, Refusal):
        raise CannotContinue(tree.reason)
    with files.new_folder(folder) as part, tempfile.TemporaryDirectory() as scratch:
        words = Path(scratch) / "words.json"
        words.write_bytes(files.to_json(bank_words(bank, bank.settings(tree))))
        argv = [sys.executable, "-m", "pipeline.rl.tiny", str(words), str(part)]  # the commands import no torch
        if subprocess.run(argv, cwd=REPOSITORY, check=False).returncode != 0:
            raise CannotContinue(
                "the tiny policy cannot be made; its packages are in the extra rl: pip install -e '.[rl]'"
            )


def _left_out(manifest: Manifest) -> str:
    """A line with the number of training texts that `prepare` removed because they repeat held-out ones."""
    counts = [
        f"{part} {found.get('exact', 0)} exact, {found.get('near', 0)} near" for part, found in manifest.repeats.items()
    ]
    if not counts:
        return "`prepare` recorded no search for training data that repeats held-out data (evaluator/duplicates.json)"
    return f"left out because they repeat held-out data: {'; '.join(counts)}"
