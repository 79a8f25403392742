"""The scorer of pre-training: its results, what it detects, and what it accepts. Every case of the corpus in `leaks/`
runs with real servers and the whole evaluator."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.job.score import score_checkpoint
from pipeline.records import Failure, FailureKind, Score, Stage
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.store.paths import TryPaths
from tests.baselines.leaks.model import HONEST, LEAKS, load_for_scoring
from tests.toy import ROOT, baseline, program

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
    """The scorer's modules by name; none of them remains in `sys.modules`."""
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
    """Real text with a vocabulary of 64."""
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
        self,
        case: str,
        size: dict[str, Any] = SIZE,
        serve: str = "serve.py",
        servers: int = 2,
        split: str = "validation",
    ) -> dict[str, Any]:
        """The answer of evaluate.py; each server is forked for it and ends afterwards."""
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
                self.folder, exchange, self.checkpoint(case), split, size
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
def test_a_leak_is_detected(case: str, bench: Bench) -> None:
    kind, reason = bench.failure(case)
    assert kind == "leak", reason
    assert re.search(r"at position \d+ differs by [+-]\d+\.\d{4} nats", reason)


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_model_passes(case: str, bench: Bench) -> None:
    found = bench.evaluate(case)
    assert "failure" not in found, found["failure"]["reason"]
    assert found["n"] == 64 and 1 < found["value"] < 20 and found["standard_error"] > 0


def test_the_loss_is_that_of_double_precision(bench: Bench) -> None:
    held_out = bench.nanogpt.shards.read_shard(bench.folder / "validation.bin", 64)[: 64 * 32 + 1].astype(np.int64)
    tokens, targets = (torch.from_numpy(part.reshape(64, 32)) for part in (held_out[:-1], held_out[1:]))
    for case in ("pairs_only", "causal_attention"):
        found = bench.evaluate(case)
        model = load_for_scoring(bench.checkpoint(case), SIZE, torch.device("cpu"))
        with torch.inference_mode():
            logits = model(tokens).double()
        plain = (logits.exp().sum(dim=-1).log() - logits.gather(2, targets[..., None])[..., 0]).mean(dim=1)  # (rows,)
        assert found["value"] == pytest.approx(plain.mean().item(), abs=1e-6)
        assert found["standard_error"] == pytest.approx(plain.std().item() / 8, abs=1e-6)
        assert bench.evaluate(case)["value"] == found["value"]  # other probes give the same score, to the bit


def test_more_than_one_server_can_be_probed(bench: Bench) -> None:
    assert "failure" not in bench.evaluate("recurrent", servers=4)
    assert bench.failure("prefix_memoriser", servers=4)[0] == "leak"
    with pytest.raises(SystemExit, match="1 exchanges; one server is scored, and at least one is probed"):
        bench.evaluate("recurrent", servers=1)


CAUSES = {
    "off_by_one_mask": "later tokens",
    "changes_after_some_calls": "later tokens",
    "batch_statistics": "other rows of the batch",
    "counts_what_it_has_seen": "earlier calls, or chance",
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_reason_states_what_the_answer_depends_on(case: str, bench: Bench) -> None:
    assert bench.failure(case)[1].endswith(f"it depends on {CAUSES[case]}")


def test_the_size_of_a_leak_is_reported(bench: Bench) -> None:
    """One position of 32 gains; the whole leak is at that position."""
    reason = bench.failure("one_position")[1]
    assert "at position 17 differs by +" in reason
    mean = float(re.search(r"mean ([+-][\d.]+)", reason)[1])  # type: ignore[index]
    assert mean == pytest.approx(5 / 32, rel=0.3)


# ---- misbehaving servers ----

SERVER = """
import json, os, pickle, struct, sys, time
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--exchange") + 1])
while not (folder / "layout.json").exists():
    time.sleep(0.01)
layout = json.loads((folder / "layout.json").read_text())
logits_at = 8 * layout["batch"] * (layout["context"] + layout["positions"])
logits_bytes = 4 * layout["batch"] * layout["positions"] * layout["vocabulary"]
buffer = os.open(folder / "buffer", os.O_RDWR)
answer, ask = os.open(folder / "answer", os.O_WRONLY), os.open(folder / "ask", os.O_RDONLY)
number = struct.Struct("<Q").pack
ready = lambda: os.write(answer, number(0))
"""
FOREVER = "\ntime.sleep(10_000)"
ASKED = "ready()\nos.read(ask, 8)\n"
MISBEHAVING = {
    "a pickle": (ASKED + "os.write(answer, pickle.dumps({'loss': 0.0}))", "exception", "answered to call 1 with "),
    "garbage in the buffer": (
        ASKED + "os.pwrite(buffer, b'\\xff' * logits_bytes, logits_at)\nos.write(answer, number(1))",
        "nan",
        "logits are not finite, first in row 0, position 0",
    ),
    "noise in the buffer": (
        "ready()\nfor call in range(1, 10**6):\n    os.read(ask, 8)\n"
        "    os.pwrite(buffer, bytes(byte & 0xBF for byte in os.urandom(logits_bytes)), logits_at)\n"
        "    os.write(answer, number(call))",
        "leak",
        "it depends on earlier calls, or chance",
    ),
    "too late": (
        ASKED + "time.sleep(3)\nos.write(answer, number(1))",
        "timeout",
        "took more than 1 s to answer call 1",
    ),
    "not at all": (ASKED, "timeout", "took more than 1 s to answer call 1"),
    "never ready": ("", "timeout", "took more than 2 s to load its model"),
    "too much": (ASKED + "os.write(answer, number(1) + number(2))", "exception", "with 16 bytes"),
    "a flood": (ASKED + "os.write(answer, bytes(60_000))", "exception", "with 4096 bytes"),
    "unasked": ("ready()\nready()", "exception", "answered "),
    "another number": (ASKED + "os.write(answer, number(7))", "exception", "answered to call 1 with 8 bytes"),
    "a torn answer": (ASKED + "os.write(answer, number(1)[:5])", "exception", "answered to call 1 with 5 bytes"),
    "a buffer cut short": (
        ASKED + "os.ftruncate(buffer, 100)\nos.write(answer, number(1))",
        "exception",
        "cut the buffer short in call 1",
    ),
}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_a_misbehaving_server_is_a_failure(name: str, bench: Bench) -> None:
    code, kind, words = MISBEHAVING[name]
    script = f"serve_{name.replace(' ', '_')}.py"
    (bench.variant / script).write_text(SERVER + code + FOREVER)
    size = {**SIZE, "evaluate": {**SIZE["evaluate"], "start_limit_s": 2, "call_limit_s": 1}}
    assert bench.failure("pairs_only", size=size, serve=script) == (kind, Contains(words))


class Contains(str):
    """Equal to every text that contains it."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in other


def test_an_early_end_is_explained_by_the_log(bench: Bench) -> None:
    (bench.variant / "serve_ends.py").write_text(SERVER + ASKED + "raise SystemExit('no more')")
    with pytest.raises(bench.nanogpt.exchange.ServerGone, match="server 0 ended after 1 calls"):
        bench.evaluate("pairs_only", serve="serve_ends.py")


def test_an_answer_cannot_be_changed_later(nanogpt: SimpleNamespace, tmp_path: Path) -> None:
    exchange = nanogpt.exchange.Exchange(tmp_path, nanogpt.exchange.Layout(2, 3, 1, 4))

    def serve() -> None:
        with nanogpt.exchange.opened(tmp_path) as calls:
            for call in calls:
                call.logits[:] = call.tokens.sum() + call.positions[:, :, None]

    server = threading.Thread(target=serve)
    server.start()
    exchange.wait_until_ready(10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout.json"]  # no file would remain after a kill
    for first in (0, 10):
        exchange.ask(first + np.arange(6).reshape(2, 3), np.array([[5], [7]]))
        answer = exchange.answer(10)
        os.pwrite(exchange.buffer, b"\xff" * exchange.layout.bytes, 0)
        assert answer.tolist() == [[[6 * first + 20.0] * 4], [[6 * first + 22.0] * 4]]
    exchange.close()
    server.join(10)
    assert not server.is_alive()


def test_an_exchange_that_is_not_new_is_refused(nanogpt: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "0").mkdir()
    (tmp_path / "0/buffer").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(nanogpt.exchange.BadServer, match="server 0 wrote into its exchange before it was open"):
        nanogpt.exchange.Exchange(tmp_path / "0", nanogpt.exchange.Layout(2, 3, 1, 4))
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


# ---- number and choice of probes ----

POWER = {  # leak, gain, tolerance, probes
    "at paper scale": (0.005, 3.3, 0.25, 3038),
    "at tiny scale": (0.02, 2.5, 0.05, 574),
    "noise decides": (0.005, 0.6, 0.5, 2165),
}


@pytest.mark.parametrize("name", POWER)
def test_the_number_of_probes_is_sufficient(name: str, nanogpt: SimpleNamespace) -> None:
    """Random leaks, from rare and large to faint and everywhere, through the comparison itself."""
    leak, gain, tolerance, expected = POWER[name]
    count = nanogpt.probes.probes_needed(leak, gain, tolerance)
    assert count == expected
    random = np.random.default_rng(0)
    rare = [
        power_of(nanogpt, leak, g, tolerance, count, random) for g in (gain, (gain + tolerance) / 2, 1.01 * tolerance)
    ]
    faint = [power_of(nanogpt, leak, g, tolerance, count, random) for g in (tolerance, tolerance / 3, 1.01 * leak)]
    assert min(rare + faint) > 0.99 - 0.01  # two and a half standard errors of 600 draws
    fewer = [power_of(nanogpt, leak, g, tolerance, count // 4, random) for g in (gain, tolerance)]
    assert min(fewer) < 0.93
    noise = leak / 2 * math.sqrt(count) / 4  # the mean of honest noise stays four standard errors below the threshold
    assert power_of(nanogpt, 0.0, gain, tolerance, count, random, noise=min(noise, tolerance / 6)) == 0


def power_of(
    nanogpt: SimpleNamespace,
    leak: float,
    g: float,
    tolerance: float,
    count: int,
    random: np.random.Generator,
    noise: float = 0,
) -> float:
    """Share of 600 evaluations that detect a leak of `g` nats at a share leak / g of all positions."""
    limits = {"leak_nats": leak or 0.005, "tolerance_nats": tolerance, "tolerance_logits": 1.0}
    found = 0
    for _ in range(600):
        said = np.zeros((count, 2, 2), np.float32)
        said[:, 0, 0] = g * (random.random(count) < leak / g) + noise * random.standard_normal(count)
        found += nanogpt.probes.find_leak(said, np.zeros_like(said), np.zeros((count, 2), int), limits) is not None
    return found / 600


@pytest.mark.parametrize("given", [(0.0, 1.0, 0.1), (0.5, 0.4, 0.1), (0.1, 1.0, 0.0)])
def test_invalid_numbers_for_probes_are_refused(given: tuple[float, float, float], nanogpt: SimpleNamespace) -> None:
    with pytest.raises(SystemExit, match="cannot plan probes for a leak of"):
        nanogpt.probes.probes_needed(*given)


def test_a_difference_that_is_not_a_number_is_a_leak(nanogpt: SimpleNamespace) -> None:
    said = np.full((3, 2, 2), np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        assert nanogpt.probes.find_leak(said, said, np.zeros((3, 2), int), SIZE["evaluate"]) is not None


@pytest.mark.parametrize(("n", "context", "count"), [(64, 32, 64), (10, 16, 100), (50, 8, 60), (300, 16, 20)])
def test_properties_of_probes(n: int, context: int, count: int, nanogpt: SimpleNamespace) -> None:
    text = letters("baselines/grpo")
    windows = text[: n * context].reshape(n, context)
    windows = np.concatenate([windows, text[context : (n + 1) * context : context, None]], axis=1)  # (n, T + 1)
    donors = text[6000:7000]
    probes = nanogpt.probes.plan_probes(windows, donors, count, np.random.default_rng(1))
    cuts = probes.compared[:, 0] + 1
    assert len(probes.row) == count and (count < context or set(cuts) == set(range(1, context + 1)))
    real = {tuple(donors[at : at + context]) for at in range(len(donors) - context)}
    asked: dict[int, int] = {}
    for row, cut, tokens in zip(probes.row, cuts, probes.tokens, strict=True):
        assert asked.get(row, 0) < cut  # no earlier probe reveals what this one tests
        asked[row] = cut
        assert tokens[:cut].tolist() == windows[row, :cut].tolist()
        if cut < context:
            assert tokens[cut] != windows[row, cut]
            assert any(tuple(tokens[cut:]) == words[: context - cut] for words in real)
    assert (probes.compared[:, 1] < cuts).all() and probes.positions.max() < context
    assert (np.take_along_axis(probes.positions, probes.place, axis=1) == probes.compared).all()


def test_too_many_probes_for_the_rows_are_refused(nanogpt: SimpleNamespace) -> None:
    with pytest.raises(SystemExit, match="100 probes are too many for 3 windows of 8 tokens; score more rows"):
        nanogpt.probes.plan_probes(np.zeros((3, 9), int), np.arange(50), 100, np.random.default_rng(0))


def test_too_little_text_is_one_line(bench: Bench) -> None:
    size = {**SIZE, "evaluate": {**SIZE["evaluate"], "rows": 200}}
    with pytest.raises(SystemExit, match="has 5000 tokens; 200 rows and 64 donors need 8449"):
        bench.evaluate("pairs_only", size=size)


# ---- checkpoints ----


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str = "F32", shape: object = (2, 2), begin: int = 0, end: int = 16) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BAD_CHECKPOINTS: dict[str, tuple[bytes, str]] = {
    "a pickle": (pickle.dumps({"table": [0.0] * 16}), "has no header"),
    "nothing": (b"", "has no header"),
    "an endless header": (safetensors({}, length=2**40), "has no header: it announces 1099511627776 bytes"),
    "no JSON": (struct.pack("<Q", 5) + b"hello", "cannot be read"),
    "a list": (safetensors([1]), "cannot be read"),
    "no offsets": (safetensors({"x": {"dtype": "F32", "shape": [1]}}), "cannot be read"),
    "nested deeply": (struct.pack("<Q", 20_000) + b"[" * 20_000, "cannot be read"),
    "double precision": (safetensors({"x": tensor("F64", end=32)}, bytes(32)), "type F64, expected one of F32"),
    "a shape that lies": (safetensors({"x": tensor(shape=[3, 3])}, bytes(16)), "without gaps"),
    "a negative shape": (safetensors({"x": tensor(shape=[-2, -2])}, bytes(16)), "has shape [-2, -2]"),
    "a gap": (safetensors({"x": tensor(begin=8, end=24)}, bytes(24)), "without gaps"),
    "two in one place": (safetensors({"x": tensor(), "y": tensor()}, bytes(16)), "without gaps"),
    "more than it tells": (safetensors({"x": tensor()}, bytes(99)), "its header tells"),
    "less than it tells": (safetensors({"x": tensor()}, bytes(9)), "its header tells"),
    "too many parameters": (
        safetensors({"x": tensor("F16", [8000], 0, 16000)}, bytes(16000)),
        "8000 parameters, allowed 5000",
    ),
    "too many bytes": (safetensors({"x": tensor(shape=[9000], end=36000)}, bytes(36000)), "(allowed 32768)"),
}


@pytest.mark.parametrize("name", BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_reported(name: str, nanogpt: SimpleNamespace, tmp_path: Path) -> None:
    data, words = BAD_CHECKPOINTS[name]
    (tmp_path / "model.safetensors").write_bytes(data)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(nanogpt.limits.BadCheckpoint, match=re.escape(words)) as caught:
        nanogpt.limits.check_checkpoint(tmp_path, SIZE)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_two_regular_files(nanogpt: SimpleNamespace, bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    with pytest.raises(nanogpt.limits.BadCheckpoint, match="found nothing"):
        nanogpt.limits.check_checkpoint(folder, SIZE)
    shutil.copytree(bench.checkpoint("pairs_only"), folder)
    assert nanogpt.limits.check_checkpoint(folder, SIZE) == 64 * 64
    (folder / "more.bin").write_bytes(bytes(100_000))
    with pytest.raises(nanogpt.limits.BadCheckpoint, match=r"found config.json, .*, more.bin"):
        nanogpt.limits.check_checkpoint(folder, SIZE)
    (folder / "more.bin").unlink()
    (folder / "config.json").write_text(" " * 70_000)
    with pytest.raises(nanogpt.limits.BadCheckpoint, match=r"config.json has 70000 bytes \(allowed 65536\)"):
        nanogpt.limits.check_checkpoint(folder, SIZE)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/hostname")
    with pytest.raises(nanogpt.limits.BadCheckpoint, match="is not a regular file"):
        nanogpt.limits.check_checkpoint(folder, SIZE)


def test_the_test_split_has_a_score_for_each_row(bench: Bench) -> None:
    shutil.copy(bench.folder / "validation.bin", bench.folder / "test.bin")
    found, on_test = bench.evaluate("rotary"), bench.evaluate("rotary", split="test")
    items = np.array(on_test["items"])
    assert "items" not in found and on_test["value"] == found["value"] == pytest.approx(items.mean())
    assert on_test["standard_error"] == pytest.approx(items.std(ddof=1) / len(items) ** 0.5)


def test_a_bad_checkpoint_is_a_failure_before_anything_is_served(bench: Bench) -> None:
    kind, reason = bench.failure("pairs_only", size={**SIZE, "max_parameters": 4095})
    assert (kind, reason) == ("bad_checkpoint", "4096 parameters, allowed 4095")


# ---- the whole path of a job ----


@pytest.fixture(scope="module")
def job(bench: Bench) -> Callable[[str], Score | Failure]:
    """Scores a case with the commands of the contract, without forking."""
    place = bench.folder / "job"
    place.mkdir()
    conf = baseline(
        place, {path.name: path.read_text() for path in NANOGPT.glob("*.py") if path.stem in (*MODULES, "serve")}
    )
    commands = {
        "prepare": ["{python}", "-S", "prepare.py", "--output", "{data}", "--size", "{size}"],
        **{name: ["true"] for name in ("smoke", "train")},  # not used here
        "evaluate": [
            *("{python}", "evaluate.py", "--data", "{evaluator_data}"),
            *words("exchange", "checkpoint", "split", "seed", "size", "result"),
        ],
        "serve": ["{python}", "serve.py", *words("exchange", "checkpoint", "size")],
        "servers": 2,
    }
    toy = conf / "baseline/toy.yaml"
    head, _, tail = toy.read_text().partition("commands:\n")
    toy.write_text(f"{head}commands: {json.dumps(commands)}\nmetric{tail.partition('metric')[2]}")
    given = ["baseline=toy", "scale=tiny", f"data={place}/data", f"runs={place}/runs", "run=x"]
    program("prepare", "--config-dir", str(conf), *given).ok()
    run, _ = open_or_create(compose_config([*given, "evaluate.limit_min=1", *sizes()], conf))
    (place / "evaluator").mkdir()
    shutil.copy(bench.folder / "validation.bin", place / "evaluator")

    def score(case: str) -> Score | Failure:
        paths = TryPaths(place / case)
        paths.folder.mkdir()
        return score_checkpoint(run, bench.variant, bench.checkpoint(case), place, "validation", 0, paths)

    return score


def words(*names: str) -> list[str]:
    """`--name {name}` for each name."""
    return [word for name in names for word in (f"--{name}", f"{{{name}}}")]


def sizes() -> list[str]:
    """SIZE as overrides."""
    flat = {**SIZE, **{f"evaluate.{key}": value for key, value in SIZE["evaluate"].items()}}
    return [f"+size.{key}={value}" for key, value in flat.items() if key != "evaluate"]


def test_an_honest_model_is_scored_by_a_job(job: Callable[[str], Score | Failure], bench: Bench) -> None:
    score = job("rotary")
    assert isinstance(score, Score), score
    assert score.value == bench.evaluate("rotary")["value"] and score.secondary["parameters"] == 4096


@pytest.mark.parametrize(
    ("case", "kind", "words"),
    [
        (
            "prefix_memoriser",
            FailureKind.LEAK,
            "nats between the scored text and the same beginning with another future",
        ),
        ("not_a_number", FailureKind.NAN, "logits are not finite, first in row 0, position 9"),
        ("without_the_last_position", FailureKind.EXCEPTION, "logits of shape (32, 31, 64), expected (32, 32, 64)"),
        ("raises_in_the_third_call", FailureKind.EXCEPTION, "KeyError: 'no such expert'"),
        ("does_not_load", FailureKind.EXCEPTION, "ValueError: the checkpoint is of another architecture"),
    ],
)
def test_a_bad_model_is_a_failure_of_a_job(
    case: str, kind: FailureKind, words: str, job: Callable[[str], Score | Failure]
) -> None:
    failure = job(case)
    assert isinstance(failure, Failure) and (failure.stage, failure.kind) == (Stage.EVALUATE, kind), failure
    assert words in failure.reason
