"""Variants of GRPO and nanoGPT that cheat, trained for one step and scored on little data. They take minutes, so they
run only on request: `REAL_BASELINES=1 pytest tests/attacks/test_real_baselines.py`."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.job.trial import perform
from pipeline.records import FailureKind, Job, Result, Score
from pipeline.sandbox.auto import strongest
from pipeline.setup.build import data_path
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.store import files
from pipeline.store.paths import TryPaths
from pipeline.store.run import Run
from tests.attacks.real_table import COMMON, GRPO, NANOGPT, SERVED
from tests.toy import ROOT, program

pytestmark = [
    pytest.mark.skipif(os.environ.get("REAL_BASELINES") != "1", reason="minutes of torch: set REAL_BASELINES=1"),
    pytest.mark.timeout(1800),
]

LITTLE = {
    "grpo": ("train=64", "validation=64", "test=64", "warm_start.until=0.0"),
    "nanogpt": ("train_tokens=200000",),
}
FASTER = {
    "grpo": [f"+size.settings.{name}" for name in ("rollouts=32", "minibatch=16", "microbatch=16")],
    "nanogpt": [],
}
LAST = {
    "grpo": '    save_model(model, output / "checkpoint", dtype)\n',
    "nanogpt": '        save_checkpoint(dict(model.named_parameters()), model.config, output / "checkpoint")\n',
}
IN_TRAINING = {"grpo": GRPO, "nanogpt": NANOGPT}
HEAD = """
import json, os, sys, time
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
OUT = Path(output)
checkpoint = OUT / "checkpoint"
weights = {name: one.clone() for name, one in load_file(checkpoint / "model.safetensors").items()}
def save(given):
    save_file(given, checkpoint / "model.safetensors")
def loot(text):
    (OUT / "loot").write_text(str(text)[:200])
"""


@dataclass(frozen=True)
class World:
    """A run of one real baseline, with another candidate that is already trained."""

    name: str
    run: Run
    data: Path
    facts: str
    honest: Score

    def attack(self, *attacks: str) -> tuple[Result, TryPaths]:
        """Lines at the end of training; their errors are printed and do not end it."""
        lines = [HEAD, self.facts]
        lines += [f"try:\n    exec({one!r})\nexcept Exception as error:\n    print(repr(error))" for one in attacks]
        last = LAST[self.name]
        margin = last[: len(last) - len(last.lstrip())]
        code = "\n".join(lines)
        return self.train({"train.py": (last, f"{last}{margin}exec({code!r}, {{'output': output}})\n")})

    def train(self, edits: dict[str, tuple[str, str]]) -> tuple[Result, TryPaths]:
        """A candidate with these edits: file to old and new text."""
        return train(self.name, self.run, self.data, edits)


def train(name: str, run: Run, data: Path, edits: dict[str, tuple[str, str]]) -> tuple[Result, TryPaths]:
    attempt = run.paths.generation(0).candidate(len(list(run.paths.generation(0).folder.iterdir()))).attempt(0)
    shutil.copytree(ROOT / "baselines" / name, attempt.variant, ignore=shutil.ignore_patterns("ideas", "__pycache__"))
    for path, (old, new) in edits.items():
        text = (attempt.variant / path).read_text()
        assert text.count(old) == 1
        (attempt.variant / path).write_text(text.replace(old, new))
    paths = attempt.trial(0).try_(0)
    paths.folder.mkdir(parents=True)
    job = Job("attack", 0, "validation")
    files.create(paths.job, job)
    return perform(run, paths, job, data), paths


@pytest.fixture(scope="module", params=LITTLE)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    given = [f"baseline={name}", "scale=tiny", f"data={folder / 'data'}", f"runs={folder / 'runs'}", "run=real"]
    given += [f"size.prepare.{one}" for one in LITTLE[name]] + FASTER[name]
    program("prepare", *given, timeout=1200).ok()
    config = compose_config([*given, "train.budget_steps=1", f"train.sandbox={strongest().kind}"])
    run, _ = open_or_create(config)
    run.paths.generation(0).folder.mkdir()
    result, other = train(name, run, data_path(config), {})
    assert result.score is not None, result.failure
    places = {"DATA": data_path(config), "OTHER": other.checkpoint / "model.safetensors", "HOME": Path.home()}
    facts = "\n".join(f"{place} = Path({str(path)!r})" for place, path in places.items())
    yield World(name, run, data_path(config), facts, result.score)


def test_attacks_without_effect(world: World) -> None:
    """All in one training."""
    attacks = [code for code, kind in (COMMON | IN_TRAINING[world.name]).values() if kind is None]
    result, paths = world.attack(*attacks)
    assert not (paths.output / "loot").exists()
    assert result.score is not None, result.failure
    assert (result.score.value, result.score.secondary) == (world.honest.value, world.honest.secondary)
    assert result.score.sandbox != "none"


@pytest.mark.parametrize("attack", [name for name, (_, kind) in (COMMON | GRPO | NANOGPT).items() if kind is not None])
def test_attacks_that_fail(world: World, attack: str) -> None:
    attacks = COMMON | IN_TRAINING[world.name]
    if attack not in attacks:
        pytest.skip("of the other baseline")
    code, kind = attacks[attack]
    ends = {kind}
    if world.name == "nanogpt":  # the variant's server may fail to load the checkpoint before the evaluator checks it
        ends.add(FailureKind.EXCEPTION)
    result, _ = world.attack(code)
    assert result.failure is not None and result.failure.kind in ends, result.failure


@pytest.mark.parametrize("attack", SERVED)
def test_attacks_in_the_server(world: World, attack: str) -> None:
    if world.name != "nanogpt":
        pytest.skip("only nanogpt is served")
    code, kind = SERVED[attack]
    inner = "".join(f"            {line}\n" for line in code.splitlines())
    facts = "".join(f"            {line}\n" for line in world.facts.splitlines())
    result, _ = world.train(
        {"model.py": ("            return model(tokens)\n", f"{facts}{inner}            return out\n")}
    )
    assert result.failure is not None and result.failure.kind is kind, result.failure
