"""The nanoGPT baseline: its data, its training on one rank and on several, its bank. The evaluator has its own
tests."""

import contextlib
import functools
import importlib
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline.config import Clock
from pipeline.makers.history import metrics_summary

ROOT = Path(__file__).resolve().parents[2]
NANOGPT = ROOT / "baselines" / "nanogpt"
STANDS_ALONE = ("evaluate", "serve")  # programs with tests of their own
pytestmark = pytest.mark.filterwarnings("ignore:::deepspeed", "ignore:::pydantic", "ignore::DeprecationWarning")


@contextlib.contextmanager
def code(folder: Path) -> Iterator[SimpleNamespace]:
    """The modules of a folder, imported anew; none of them remains in `sys.modules`."""
    names = [path.stem for path in folder.glob("*.py")]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        wanted = [name for name in names if name not in STANDS_ALONE]
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in wanted})
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


@pytest.fixture(scope="module")
def nanogpt() -> Iterator[SimpleNamespace]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with code(NANOGPT) as modules:
        yield modules
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(nanogpt: SimpleNamespace) -> Iterator[object]:
    """The only rank. DeepSpeed has one process group per process, so the tests share it."""
    before = dict(os.environ)
    with nanogpt.ranks.join(on_cpu=True) as rank:
        yield rank
    os.environ.clear()
    os.environ.update(before)


def size_of(scale: str) -> dict:
    """The size file as the pipeline writes it."""
    return yaml.safe_load((ROOT / "conf" / "size" / f"nanogpt_{scale}.yaml").read_text())["size"]


@pytest.fixture(scope="module")
def size() -> dict:
    """The tiny size, made much smaller."""
    size = size_of("tiny") | {"context": 32, "layers": 2, "width": 32, "heads": 2, "resume_every_s": 1e9}
    size["prepare"] |= {"train_tokens": 200_000, "validation": 8193, "test": 8193}
    size["settings"] = {"batch": 8, "microbatch": 4, "warmup_steps": 2}
    return size


@pytest.fixture(scope="module")
def data(nanogpt: SimpleNamespace, size: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nanogpt") / "data"
    nanogpt.prepare.prepare(folder, size)
    return folder


@pytest.fixture
def train(nanogpt: SimpleNamespace, alone: object, data: Path, size: dict, tmp_path: Path):
    """Trains in this process; returns the output folder."""

    def run(
        name: str = "output", budget: str = "steps=2", seed: int = 1, modules: SimpleNamespace = nanogpt, **changes
    ) -> Path:
        output = tmp_path / name
        output.mkdir(exist_ok=True)
        modules.train.train(data / "train", output, seed, size | changes, budget, alone)
        return output

    return run


def start(
    folder: Path, data: Path, output: Path, size: dict, *words: str, seed: int = 1, budget: str = "steps=2", **variables
) -> subprocess.Popen:
    """Training as a program of its own, whose stderr can be read."""
    output.mkdir(parents=True, exist_ok=True)
    size_file = output / "size.json"
    size_file.write_text(json.dumps(size))
    command = [sys.executable, "train.py", "--data", data / "train", "--output", output, "--seed", str(seed)]
    return subprocess.Popen(
        [*command, "--size", size_file, "--budget", budget, *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | variables,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics(output: Path) -> list[dict]:
    """The metrics without times, which differ between runs."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 and row.pop("tokens_per_s") > 0 for row in rows)
    assert all(row.pop("mfu") is None for row in rows)  # the peak of a CPU is unknown
    return rows


def weights(output: Path) -> bytes:
    return (output / "checkpoint" / "model.safetensors").read_bytes()


def variant(tmp_path: Path, **changes: tuple[str, str]) -> Path:
    """A copy of the baseline with a text replaced in some files."""
    folder = tmp_path / "variant"
    shutil.copytree(NANOGPT, folder, ignore=shutil.ignore_patterns("ideas", "__pycache__"))
    for name, (old, new) in changes.items():
        text = (folder / f"{name}.py").read_text()
        assert text.count(old) == 1
        (folder / f"{name}.py").write_text(text.replace(old, new))
    return folder


# --- shards and prepare ---------------------------------------------------------------------------------------------


def test_a_shard_survives_a_round_trip(nanogpt: SimpleNamespace, tmp_path: Path) -> None:
    tokens = np.array([0, 50256, 7], dtype=np.uint16)
    nanogpt.shards.write_shard(tmp_path / "a.bin", tokens, 50257)
    assert nanogpt.shards.read_shard(tmp_path / "a.bin", 50304).tolist() == tokens.tolist()
    with pytest.raises(SystemExit, match="token 50256 is outside of the vocabulary of 256"):
        nanogpt.shards.write_shard(tmp_path / "b.bin", tokens, 256)
    assert not (tmp_path / "b.bin").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: raw[:100], "100 bytes hold no header"),
        (lambda raw: b"\0" + raw[1:], r"its header begins with \d+, 1"),
        (lambda raw: raw[:4] + b"\2" + raw[5:], "its header begins with 20240520, 2"),
        (lambda raw: raw[:-2], "is truncated: 200000 tokens announced, 199999 there"),
        (
            lambda raw: raw[:12] + (300).to_bytes(4, "little") + raw[16:],
            "a vocabulary of 300, the model's table has 256",
        ),
        (lambda raw: None, "holds no train_"),
    ],
)
def test_training_refuses_a_bad_shard(train, data: Path, size: dict, tmp_path: Path, nanogpt, spoil, said: str) -> None:
    raw = spoil((data / "train" / "train_000.bin").read_bytes())
    if raw is not None:
        (tmp_path / "train_000.bin").write_bytes(raw)
    with pytest.raises(SystemExit, match=said) as ended:
        nanogpt.data.Sequences(tmp_path, size["context"], size["vocabulary"], 1)
    assert "\n" not in str(ended.value)


def test_held_out_text_is_not_in_training(data: Path, nanogpt: SimpleNamespace, size: dict) -> None:
    shards = [data / "train/train_000.bin", data / "evaluator/validation.bin", data / "evaluator/test.bin"]
    seen, validation, test = (nanogpt.shards.read_shard(path, 256).astype(np.uint8).tobytes() for path in shards)
    assert json.loads((data / "evaluator/held_out.json").read_text()) == size["prepare"]["held_out"]
    assert validation[100:600] not in seen and test[100:600] not in seen and test[100:600] not in validation
    names = [name for name, _ in nanogpt.prepare.package_files(size["prepare"]["held_out"])]
    assert len(names) > 100 and all(name.startswith(("networkx/algorithms/", "sympy/physics/")) for name in names)


def test_training_imports_no_held_out_package(size: dict) -> None:
    command = "import train, deepspeed, sys; print(*sorted(sys.modules))"
    environment = os.environ | {"DS_ACCELERATOR": "cpu"}
    printed = subprocess.run(
        [sys.executable, "-c", command], cwd=NANOGPT, env=environment, capture_output=True, text=True, check=True
    )
    loaded = printed.stdout.split()
    assert "data" in loaded
    packages = {folder.partition("/")[0] for folder in size["prepare"]["held_out"]}
    assert not packages & {name.partition(".")[0] for name in loaded}


def test_prepare_resumes_and_reports_existing_parts(
    nanogpt: SimpleNamespace, data: Path, size: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (data / "train/train_000.bin").read_bytes()
    (data / "train/train_000.bin").unlink()
    nanogpt.prepare.prepare(data, size)
    assert (data / "train/train_000.bin").read_bytes() == before
    printed = capsys.readouterr().out
    assert "evaluator/test.bin: there already" in printed and "train/train_000.bin: there already" not in printed
    with pytest.raises(SystemExit, match="another size"):
        nanogpt.prepare.prepare(data, size | {"vocabulary": 300})


def test_documents_become_shards_in_parts(nanogpt: SimpleNamespace, tmp_path: Path, size: dict) -> None:
    """From a local folder instead of the hub: fetch, then process, separately."""
    import pyarrow
    from pyarrow import parquet
    from tokenizers import ByteLevelBPETokenizer

    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefgh ", k=190 + number % 7)) for number in range(600)]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "hub").mkdir()
    repeats = [texts[0], texts[1] + " and more", texts[0][60:]]  # of held-out documents
    for number, part in enumerate((texts[:300], [*texts[300:], *repeats])):
        parquet.write_table(pyarrow.table({"text": part, "url": part}), tmp_path / f"hub/{number}.parquet")
    spec = {"source": "documents", "dataset": str(tmp_path / "hub"), "files": ["0.parquet", "1.parquet"]}
    spec |= {"tokenizer": str(tmp_path / "tokenizer.json"), "validation": 500, "test": 497}
    whole, output = size | {"vocabulary": 304, "prepare": spec}, tmp_path / "data"

    with pytest.raises(SystemExit, match="run the part `fetch` first"):
        nanogpt.prepare.prepare(output, whole, "process")
    nanogpt.prepare.prepare(output, whole, "fetch")
    assert sorted(path.name for path in (output / "raw").iterdir()) == [
        "documents_000.parquet",
        "documents_001.parquet",
        "tokenizer.json",
    ]
    nanogpt.prepare.prepare(output, whole, "process")
    assert not (output / "raw").exists()
    nanogpt.prepare.prepare(output, whole)  # everything exists: nothing is fetched again
    assert not (output / "raw").exists()

    read = functools.partial(nanogpt.shards.read_shard, vocabulary=304)
    first, second = (read(output / "train" / name).tolist() for name in ("train_000.bin", "train_001.bin"))
    encoded = [[tokenizer.token_to_id("<|endoftext|>"), *tokenizer.encode(text).ids] for text in texts]
    assert second == [token for document in encoded[300:] for token in document]
    held_out = [token for document in encoded[:300] for token in document]
    validation, test = (read(output / "evaluator" / f"{split}.bin").tolist() for split in ("validation", "test"))
    assert validation == held_out[:500] and len(test) == 497
    assert json.loads((output / "evaluator/duplicates.json").read_text()) == {
        **{part: {"exact": 0, "near": 0} for part in ("test", "train_000.bin")},
        "train_001.bin": {"exact": 1, "near": 2},
    }
    # whole documents: the rest of the last held-out one is in no split
    assert first == held_out[-len(first) :] and len(first) + 997 < len(held_out)


def test_the_order_of_the_sequences(nanogpt: SimpleNamespace, data: Path) -> None:
    def order(seed: int, first: int, count: int) -> list[bytes]:
        sequences = nanogpt.data.Sequences(data / "train", 1000, 256, seed)
        return [sequences.window(position).tobytes() for position in range(first, first + count)]

    once = order(1, 0, 199)
    assert len(set(once)) == 199  # each window of 200,000 bytes occurs once before any is repeated
    assert set(order(1, 199, 199)) == set(once) and order(1, 199, 199) != once
    assert order(1, 50, 10) == once[50:60]
    assert order(2, 0, 199) != once
    tokens, targets = nanogpt.data.Sequences(data / "train", 1000, 256, 1).rows(range(3, 5), torch.device("cpu"))
    assert tokens.shape == (2, 1000) and torch.equal(tokens[:, 1:], targets[:, :-1])


# --- model and schedule ---------------------------------------------------------------------------------------------


def test_a_checkpoint_is_scored_with_the_weights_that_were_trained(nanogpt: SimpleNamespace, train, size: dict) -> None:
    output = train(budget="steps=1")
    assert sorted(path.name for path in (output / "checkpoint").iterdir()) == ["config.json", "model.safetensors"]
    logits_of = nanogpt.model.load_for_scoring(output / "checkpoint", size, torch.device("cpu"))
    tokens = torch.randint(256, (3, size["context"]))
    logits = logits_of(tokens)
    assert logits.shape == (3, size["context"], 256)
    later = tokens.clone()
    later[:, 20:] = 0
    torch.testing.assert_close(logits_of(later)[:, :20], logits[:, :20])
    torch.testing.assert_close(logits_of(tokens[:1, :7]), logits[:1, :7])
    model = nanogpt.model.GPT(json.loads((output / "checkpoint/config.json").read_text()))
    model.load_state_dict(load_file(output / "checkpoint/model.safetensors"))
    torch.testing.assert_close(
        model(tokens, tokens),
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()),
    )


@pytest.mark.parametrize(("scale", "millions"), [("tiny", 0.64), ("small", 45.2), ("paper", 124.4)])
def test_the_number_of_weights(nanogpt: SimpleNamespace, scale: str, millions: float) -> None:
    size = size_of(scale)
    with torch.device("meta"):
        model = nanogpt.model.GPT(nanogpt.model.model_config(size, nanogpt.settings.SCALES[scale]()))
    count = sum(weight.numel() for weight in model.parameters())
    assert count == pytest.approx(1e6 * millions, rel=0.01)
    assert count < size["max_parameters"] and 4 * count < size["max_bytes"]


def test_the_learning_rate_by_hand(nanogpt: SimpleNamespace) -> None:
    settings = SimpleNamespace(learning_rate=2.0, warmup_steps=4, final_rate=0.1)
    rate = functools.partial(nanogpt.optimizer.learning_rate, settings=settings)
    assert [rate(step, 0.0) for step in (0, 1, 3, 9)] == [0.5, 1.0, 2.0, 2.0]
    assert rate(9, 0.5) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert rate(9, 1.0) == pytest.approx(0.2)


def test_model_flops_by_hand(nanogpt: SimpleNamespace) -> None:
    assert nanogpt.throughput.flops_per_token(100, layers=2, width=3, context=5) == 600 + 12 * 2 * 3 * 5
    assert nanogpt.throughput.peak_flops(torch.device("cpu")) is None


# --- training on one rank -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_training(train) -> None:
    one, again, other = train("one"), train("again"), train("other", seed=2)
    assert metrics(one) == metrics(again) and weights(one) == weights(again)
    assert metrics(one)[0]["loss"] != metrics(other)[0]["loss"]
    assert [row["step"] for row in metrics(one)] == [1, 2]
    assert metrics(one)[0]["loss"] == pytest.approx(math.log(256), rel=0.02)


def test_microbatches_change_no_result(train, size: dict) -> None:
    whole, parts = (
        metrics(train(str(micro), settings=size["settings"] | {"microbatch": micro}))[-1] for micro in (8, 2)
    )
    assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-5)
    assert whole["grad_norm"] == pytest.approx(parts["grad_norm"], rel=1e-4)


def test_sharding_changes_no_result_and_bfloat16_little(
    nanogpt: SimpleNamespace, train, size: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = []
    for stage in (0, 1, 2):
        changes = size["settings"] | {"zero_stage": stage}
        first = train(str(stage), settings=changes, resume_every_s=0, budget="steps=1") / "checkpoint"
        first.rename(first.with_name("of_the_first_step"))  # so that the next call resumes from what was saved
        last.append(metrics(train(str(stage), settings=changes))[-1])
    for row in last[1:]:
        assert row["loss"] == pytest.approx(last[0]["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(last[0]["grad_norm"], rel=1e-4)
    whole = metrics(train("whole"))[-1]
    known = nanogpt.settings.deepspeed_config
    monkeypatch.setattr(nanogpt.train, "deepspeed_config", lambda settings, dtype: known(settings, "bfloat16"))
    rounded = metrics(train("rounded"))[-1]
    assert rounded["loss"] != whole["loss"] and rounded["loss"] == pytest.approx(whole["loss"], rel=1e-2)


def test_the_gradient_is_clipped_by_deepspeed(nanogpt: SimpleNamespace, alone, train, size: dict, monkeypatch) -> None:
    """AdamW is invariant to the size of a gradient, so this checks what the optimizer receives."""
    seen = []

    class Watching(torch.optim.AdamW):
        def step(self, closure=None):
            held = [weight.grad for group in self.param_groups for weight in group["params"]]
            seen.append(torch.nn.utils.get_total_norm(held).item())
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Watching)
    row = metrics(train(budget="steps=1", settings=size["settings"] | {"max_grad_norm": 0.01}))[0]
    assert row["grad_norm"] > 0.1 and seen == [pytest.approx(0.01, rel=1e-3)]


def test_preempted_and_resumed_training_equals_the_unbroken_one(train, data: Path, size: dict, tmp_path: Path) -> None:
    unbroken = train("unbroken", budget="steps=60")
    broken = tmp_path / "broken"
    child = start(NANOGPT, data, broken, size | {"resume_every_s": 0}, budget="steps=60")
    state = broken / "resume" / "state.json"
    deadline = time.monotonic() + 200
    while not state.exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    done = json.loads(state.read_text())["step"]
    assert 1 <= done < 60
    with (broken / "metrics.jsonl").open("a") as file:  # a step that was not saved, and a truncated line
        file.write(json.dumps({"step": 61, "seconds": 1e3, "loss": -7}) + "\n" + '{"step": 62, "los')

    train("broken", budget="steps=60")
    assert metrics(broken) == metrics(unbroken)
    assert weights(broken) == weights(unbroken)
    last = json.loads((broken / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["seconds"] > 1e3  # the time of lost steps counts, too


def test_a_folder_of_another_architecture_is_not_resumed(train) -> None:
    train(budget="steps=1", resume_every_s=0)
    shutil.rmtree(train(budget="steps=1") / "checkpoint")
    with pytest.raises(SystemExit, match=r"resume is of another architecture: blocks.*remove the folder") as ended:
        train(budget="steps=2", layers=3)
    assert "\n" not in str(ended.value)


def test_numbers_that_are_not_finite_end_the_training(train, size: dict) -> None:
    with pytest.raises(SystemExit, match=r"step \d+: \w+ is (nan|inf), training cannot go on"):
        train(budget="steps=9", settings=size["settings"] | {"learning_rate": 1e30, "warmup_steps": 0})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": 8, "microbatch": 3}, "8 sequences does not divide into microbatches of 3 on 1 ranks"),
        ({"zero_stage": 7}, "DeepSpeed refuses its configuration: .*stage Input should be 0, 1, 2, 3"),
        ({"zero_stage": 3}, "ZeRO stage 3 shards the weights, .*use stage 0, 1 or 2"),
        ({"compile": True}, "torch.compile needs a C\\+\\+ compiler and there is none on PATH"),
    ],
)
def test_an_invalid_setting(train, monkeypatch: pytest.MonkeyPatch, settings: dict, said: str) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SystemExit, match=said) as ended:
        train(settings=settings)
    assert "\n" not in str(ended.value)


def test_an_unknown_key_of_deepspeed(nanogpt: SimpleNamespace, train, monkeypatch: pytest.MonkeyPatch) -> None:
    known = nanogpt.settings.deepspeed_config
    monkeypatch.setattr(
        nanogpt.train, "deepspeed_config", lambda settings, dtype: known(settings, dtype) | {"gradient_cliping": 1.0}
    )
    with pytest.raises(SystemExit, match=r"DeepSpeed knows no key gradient_cliping; it knows .*gradient_clipping"):
        train()


def test_a_failed_program_gives_the_reason_in_its_last_line(data: Path, size: dict, tmp_path: Path) -> None:
    child = start(NANOGPT, data, tmp_path, size, GPUS_PER_NODE="2", CUDA_VISIBLE_DEVICES="")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 1
    assert said.splitlines()[-1] == "GPUS_PER_NODE=2: 2 ranks asked for, but this node shows 0 GPUs"


def test_the_wall_clock_leaves_room_for_one_more_step_and_forgets_the_first_ones(
    nanogpt: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(nanogpt.clock, "seconds_since_start", lambda: now)
    budget = nanogpt.clock.Budget("seconds=600", seconds_before=10.0, reserve=5.0)
    step = 0
    while not budget.over(step):
        now += 100.0 if step == 0 else 10.0  # the first step compiles
        step += 1
    # 10 s before, 100 s, then steps of 10 s that are allowed 11; the checkpoint is allowed 5
    assert now == 580.0
    assert nanogpt.clock.Budget("steps=4").progress(3) == 0.875


def test_the_smoke_command(data: Path, size: dict, tmp_path: Path) -> None:
    child = start(NANOGPT, data, tmp_path, size, "--smoke", GPUS_PER_NODE="8")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    assert len(metrics(tmp_path)) == 1


def test_prompts_contain_the_loss_but_not_the_machine(train) -> None:
    lines = (train(budget="steps=1") / "metrics.jsonl").read_text().splitlines()
    told = metrics_summary(lines, Clock.steps)
    assert {part.split()[0] for part in told.split("; ")} == {"step", "loss", "learning_rate", "grad_norm"}


# --- many ranks -----------------------------------------------------------------------------------------------------


def test_two_ranks_train_as_one(train, data: Path, size: dict, tmp_path: Path) -> None:
    two = tmp_path / "two"
    child = start(NANOGPT, data, two, size, "--ranks", "2", budget="steps=4")
    one = train("one", budget="steps=4")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    for here, there in zip(metrics(one), metrics(two), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-5)
        assert here["grad_norm"] == pytest.approx(there["grad_norm"], rel=1e-4)
    ours, theirs = (load_file(output / "checkpoint/model.safetensors") for output in (one, two))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


DIES = "            torch.manual_seed(seed * 1_000_003 + step)\n"


@pytest.mark.parametrize(
    ("death", "said"),
    [
        ('raise RuntimeError("a bad idea")', "rank 1: RuntimeError: a bad idea"),
        ("os.kill(os.getpid(), 9)", "rank 1: killed by signal 9"),
    ],
)
def test_a_rank_that_dies_ends_the_training_with_its_error_on_every_node(
    data: Path, size: dict, tmp_path: Path, death: str, said: str
) -> None:
    folder = variant(
        tmp_path, train=(DIES, DIES + f"            if step == 2 and rank.number == 1:\n                {death}\n")
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    job = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = [
        start(folder, data, tmp_path / "output", size, budget="steps=100000", NODE_RANK=str(number), **job)
        for number in range(2)
    ]
    metrics_file = tmp_path / "output" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (metrics_file.exists() and metrics_file.read_text().count("\n") == 2):
        time.sleep(0.05)
    last = [node.communicate(timeout=100)[1].splitlines()[-1] for node in nodes]
    assert last == [said, said]
    assert [node.returncode for node in nodes] == [1, 1]
    assert not (tmp_path / "output" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ("print('done')", 0, "done\n"),
        ("raise SystemExit()", 0, ""),
        ("raise SystemExit('step 3: loss is nan')", 1, "step 3: loss is nan\n"),
        ("raise RuntimeError('a bad idea')", 1, "RuntimeError: a bad idea\n"),
    ],
)
def test_a_rank_ends_before_its_threads_can_abort_it(last: str, code: int, said: str) -> None:
    """As gloo's threads sometimes do while Python is torn down; here, a thread always does."""
    program = "import os\nfrom ranks import leaving\n"
    program += "class Aborts:\n    def __del__(self, abort=os.abort): abort()\naborts = Aborts()\n"
    program += f"with leaving():\n    {last}\n"
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=NANOGPT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert (child.returncode, child.stdout[-len(said) :]) == (code, said)


# --- the idea bank --------------------------------------------------------------------------------------------------

IDEAS = sorted(path.stem for path in (NANOGPT / "ideas").glob("*.diff"))
RANGES = yaml.safe_load((NANOGPT / "ideas" / "settings.yaml").read_text())["ranges"]
BASELINE = yaml.safe_load((ROOT / "conf" / "baseline" / "nanogpt.yaml").read_text())


@pytest.mark.parametrize("name", IDEAS)
def test_an_idea_applies_touches_evolvable_files_only_and_changes_the_training(
    nanogpt: SimpleNamespace, train, tmp_path: Path, size: dict, name: str
) -> None:
    folder = tmp_path / "changed"
    nanogpt.measure.make_variant(name, folder, "Tiny")
    changed = {file.name for file in NANOGPT.glob("*.py") if file.read_bytes() != (folder / file.name).read_bytes()}
    assert changed and changed <= set(BASELINE["evolvable"])

    plain = train("plain", budget="steps=3")
    with code(folder) as modules:
        output = train("idea", budget="steps=3", modules=modules, resume_every_s=0)
        rows, checkpoint = metrics(output), weights(output)
        shutil.rmtree(output / "checkpoint")
        train("idea", budget="steps=4", modules=modules)  # resumes after the third step
        assert [row["step"] for row in metrics(output)] == [1, 2, 3, 4]
        logits_of = modules.model.load_for_scoring(output / "checkpoint", size, torch.device("cpu"))
    assert rows != metrics(plain) or checkpoint != weights(plain)
    assert all(math.isfinite(number) for row in rows for number in row.values())
    tokens = torch.randint(256, (2, size["context"]))
    later = tokens.clone()
    later[:, 20:] = 0
    assert logits_of(tokens).shape == (2, size["context"], 256)
    torch.testing.assert_close(logits_of(later)[:, :20], logits_of(tokens)[:, :20])


@pytest.mark.parametrize("name", ["baseline", *IDEAS])
def test_microbatches_change_no_gradient_of_an_idea(
    nanogpt: SimpleNamespace, train, tmp_path: Path, size: dict, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`microbatch` limits memory and does not affect results, whatever the idea: 1 and 4 microbatches give the same
    gradient."""
    nanogpt.measure.make_variant(name, tmp_path / "changed", "Tiny")
    norm_of = torch.nn.utils.get_total_norm

    def gradients(micro: int) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []

        def watching(held: list[torch.Tensor]) -> torch.Tensor:
            found.append(torch.cat([gradient.flatten() for gradient in held]).clone())
            return norm_of(held)

        with code(tmp_path / "changed") as modules, monkeypatch.context() as patch:
            patch.setattr(torch.nn.utils, "get_total_norm", watching)
            settings = size["settings"] | {"microbatch": micro}
            train(str(micro), budget="steps=5", modules=modules, settings=settings)
        return found

    micro = 4 if name == "batch_warmup" else 8  # it starts with half a batch, which is then the only microbatch
    whole, parts = gradients(micro), gradients(micro // 4)
    assert len(whole) == len(parts) == 5
    for one, other in zip(whole, parts, strict=True):
        assert one.norm() > 0
        assert torch.cosine_similarity(one, other, dim=0) > 0.999
        assert one.norm().item() == pytest.approx(other.norm().item(), rel=1e-3)


def test_the_bank_is_described() -> None:
    words = {name: yaml.safe_load((NANOGPT / "ideas" / f"{name}.yaml").read_text()) for name in IDEAS}
    assert len(words) >= 12
    assert all(set(one) == {"title", "text", "why", "source"} and all(one.values()) for one in words.values())
    assert len({one["title"] for one in words.values()}) == len(words)
    assert {path.stem for path in (NANOGPT / "ideas").glob("*.yaml")} == {*IDEAS, "settings"}


def test_an_idea_changes_all_scales_equally(nanogpt: SimpleNamespace, tmp_path: Path) -> None:
    for name in IDEAS:
        nanogpt.measure.make_variant(name, tmp_path / name, "Tiny")
        with code(tmp_path / name) as modules:
            names = [set(vars(one())) for one in modules.settings.SCALES.values()]
        assert names[0] == names[1] == names[2], name


@pytest.mark.parametrize("setting", sorted(RANGES))
def test_every_change_of_a_setting_changes_the_training(
    nanogpt: SimpleNamespace, train, size: dict, setting: str
) -> None:
    now = vars(nanogpt.settings.Tiny())[setting]
    change = RANGES[setting]
    ends = change["choices"] if "choices" in change else [type(now)(now * factor) for factor in change["factor"]]
    values = [now, *(value for value in ends if value != now)]
    assert len(values) > 1
    assert_directions_are_explained(change, now, values[1:])
    plain = {name: value for name, value in size["settings"].items() if name != setting}
    tried = [weights(train(str(value), settings=plain | {setting: value}, budget="steps=3")) for value in values]
    assert len(set(tried)) == len(tried)


def assert_directions_are_explained(change: dict, now: float, values: list) -> None:
    """Every value that can be drawn has a text for its direction; one text for both directions cannot be right."""
    assert "why" not in change
    assert all(change["higher" if value > now else "lower"] for value in values)
    assert change["higher"] != change["lower"]


def test_most_pairs_of_ideas_merge(nanogpt: SimpleNamespace, tmp_path: Path) -> None:
    clean, pairs = nanogpt.measure.pairs_that_merge(tmp_path)
    assert pairs == len(IDEAS) * (len(IDEAS) - 1) / 2
    assert clean >= 0.8 * pairs
