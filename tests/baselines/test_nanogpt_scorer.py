"""The scorer of pre-training: what it computes, what it finds, what it lets pass. Every case of the corpus in `leaks/` runs
through real servers and the whole of the evaluator."""

import contextlib
import importlib
import json
import math
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.baselines.leaks.model import BROKEN, HONEST, LEAKS
from tests.toy import ROOT

NANOGPT = ROOT / "baselines/nanogpt"
LEAKS_FOLDER = ROOT / "tests/baselines/leaks"
MODULES = ("exchange", "limits", "probes", "scoring", "shards", "evaluate")
SIZE: dict[str, Any] = {
    "vocabulary": 64,
    "context": 32,
    "max_parameters": 5000,
    "max_bytes": 32768,
    "evaluate": {
        "rows": 64,
        "donors": 64,
        "batch": 32,
        "leak_nats": 0.0075,
        "gain_nats": 2.5,
        "tolerance_nats": 0.05,
        "tolerance_logits": 0.01,
        "start_limit_s": 30,
        "call_limit_s": 10,
    },
}


@contextlib.contextmanager
def scorer_code() -> Iterator[SimpleNamespace]:
    """The scorer's modules by name; nothing of them stays behind."""
    hidden = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(NANOGPT))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(NANOGPT))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


@pytest.fixture(scope="module")
def nanogpt() -> Iterator[SimpleNamespace]:
    torch.set_num_threads(1)
    with scorer_code() as modules:
        yield modules


def letters(folder: str) -> np.ndarray:
    """Real text in a vocabulary of 64."""
    text = b"".join(path.read_bytes() for path in sorted((ROOT / folder).rglob("*.py")))
    return np.frombuffer(text, dtype=np.uint8).astype(np.int64) % 64


@dataclass
class Bench:
    """A variant's folder, held-out data, a trained table, and a process that forks servers."""

    folder: Path
    starter: "subprocess.Popen[str]"
    nanogpt: SimpleNamespace
    number: int = 0

    @property
    def variant(self) -> Path:
        return self.folder / "variant"

    def checkpoint(self, case: str) -> Path:
        checkpoint = self.folder / f"checkpoint_{case}"
        if not checkpoint.exists():
            checkpoint.mkdir()
            shutil.copy(self.folder / "model.safetensors", checkpoint)
            (checkpoint / "config.json").write_text(json.dumps({"case": case}))
        return checkpoint

    def evaluate(
        self, case: str, size: dict[str, Any] = SIZE, serve: str = "serve.py", servers: int = 2
    ) -> dict[str, Any]:
        """The answer of evaluate.py, with each server forked and gone afterwards."""
        self.number += 1
        exchange = self.folder / f"exchange_{self.number}"
        (self.folder / "size.json").write_text(json.dumps(size))
        children = []
        for number in range(servers):
            (exchange / str(number)).mkdir(parents=True)
            argv = [serve, "--exchange", str(exchange / str(number)), "--checkpoint", str(self.checkpoint(case))]
            spec = {"argv": [*argv, "--size", str(self.folder / "size.json")], "cwd": str(self.variant)}
            print(json.dumps({**spec, "log": f"{exchange}_{number}.log"}), file=self.starter.stdin, flush=True)
            assert self.starter.stdout is not None
            children.append(int(self.starter.stdout.readline()))
        try:
            found: dict[str, Any] = self.nanogpt.evaluate.evaluate(
                self.folder, exchange, self.checkpoint(case), "validation", size
            )
            return found
        finally:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def failure(self, case: str, **given: Any) -> tuple[str, str]:
        found = self.evaluate(case, **given)["failure"]
        return found["kind"], found["reason"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, nanogpt: SimpleNamespace) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("scorer")
    (folder / "variant").mkdir()
    for source in (NANOGPT / "serve.py", NANOGPT / "exchange.py", LEAKS_FOLDER / "model.py"):
        shutil.copy(source, folder / "variant")
    train, held_out = letters("pipeline"), letters("baselines/grpo")
    nanogpt.shards.write_shard(folder / "validation.bin", held_out[:5000], 64)
    counts = torch.full((64, 64), 0.1)
    counts.index_put_((torch.from_numpy(train[:-1]), torch.from_numpy(train[1:])), torch.ones(()), accumulate=True)
    save_file({"table": (counts / counts.sum(dim=1, keepdim=True)).log()}, folder / "model.safetensors")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, str(LEAKS_FOLDER / "starter.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as starter:
        yield Bench(folder, starter, nanogpt)
        starter.kill()


# ---- the corpus ----


@pytest.mark.parametrize("case", LEAKS)
def test_a_leak_is_caught(case: str, bench: Bench) -> None:
    kind, reason = bench.failure(case)
    assert kind == "leak", reason
    assert re.search(r"at position \d+ differs by [+-]\d+\.\d{4} nats", reason)


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_model_passes(case: str, bench: Bench) -> None:
    found = bench.evaluate(case)
    assert "failure" not in found, found["failure"]["reason"]
    assert found["n"] == 64 and 1 < found["value"] < 20 and found["standard_error"] > 0
