"""The GRPO baseline with real models and MATH, on a CPU: a minimal Qwen2 with a byte-pair tokenizer, from folders.

The commands are those of `conf/baseline/grpo.yaml`; the sizes are those of `conf/size/grpo_small.yaml`, reduced.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = ["2", r"\frac{4}{2}", "1+1", "3"]  # the model sometimes solves the first three
COMPLETIONS = ["It is <answer>2</answer>", "It is <answer>7</answer>"]


def run(command: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run one command of the baseline in its folder, with its environment."""
    baseline = yaml.safe_load((ROOT / "conf" / "baseline" / "grpo.yaml").read_text())
    words = [word.format(python=sys.executable, **values) for word in baseline["commands"][command]]
    home = {"HF_HOME": str(values["home"])}
    environment = os.environ | baseline["environment"] | home
    return subprocess.run(
        words, cwd=ROOT / baseline["folder"], env=environment, capture_output=True, text=True, check=False
    )


def write_tokenizer(folder: Path, texts: list[str]) -> Tokenizer:
    """A byte-level byte-pair tokenizer like Qwen's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": "unused"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def write_model(folder: Path, tokenizer: Tokenizer, texts: list[str]) -> None:
    """A minimal Qwen2 that continues prompts as these texts do, with either completion."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=2,
    )
    model = Qwen2ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows = [torch.tensor([tokenizer.encode(text).ids]) for text in texts]
    for step in range(160):
        ids = rows[5 * step % len(rows)]
        labels = ids.clone()
        labels[:, : -len(tokenizer.encode(COMPLETIONS[0]).ids)] = -100  # no loss on the prompt
        model(ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Model and data set as folders, the size file, and the data that prepare made from them."""
    folder = tmp_path_factory.mktemp("grpo_small")
    source, dataset = folder / "model", folder / "MATH"
    for made in (source, dataset):
        made.mkdir()
    for split, count in (("train", 24), ("test", 16)):
        rows = [
            {
                "problem": f"What is ${split}_{{{number}}}$?",
                "level": "Level 1",
                "type": "Algebra",
                "solution": rf"It is \boxed{{7}} at first, then \boxed{{{ANSWERS[number % 4]}}}.",
            }
            for number in range(count)
        ]
        rows += [
            {"problem": "No box?", "level": "Level 1", "type": "Algebra", "solution": "none"},
            {"problem": "long " * 200, "level": "Level 1", "type": "Algebra", "solution": r"\boxed{1}"},
            rows[0],
        ]
        if split == "train":  # held-out problems, formatted differently
            rows += [rows[0] | {"problem": "What is  $test_3$ ?"}, rows[1] | {"problem": r"what is $\,test_{5}$?"}]
        (dataset / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    size = yaml.safe_load((ROOT / "conf" / "size" / "grpo_small.yaml").read_text())["size"]
    size["prepare"] |= {"dataset": str(dataset), "model": str(source), "validation": 8, "test": 8}
    size |= {"evaluate_samples": 4, "new_tokens": 24, "sample_batch": 12, "reserve_s": 0}
    size["settings"] = {"rollouts": 32, "minibatch": 16, "microbatch": 8}
    asked = [f"What is ${split}_{{{number}}}$?" for number in range(4) for split in ("train", "test")]
    prompts = [size["prompt"].replace("{problem}", problem) for problem in asked]
    texts = [prompt + completion for completion in COMPLETIONS for prompt in prompts]
    write_model(source, write_tokenizer(source, texts), texts)
    (folder / "size.json").write_text(json.dumps(size))
    values = {"data": folder / "data", "size": folder / "size.json", "home": folder / "home", "seed": 1}
    done = run("prepare", **values)
    assert done.returncode == 0, done.stderr
    return values | {"train_data": folder / "data" / "train", "evaluator_data": folder / "data" / "evaluator"}


def test_prepare_reads_folders_in_the_format_of_math(made: dict[str, Any]) -> None:
    files = [made["train_data"] / "problems.jsonl"]
    files += [made["evaluator_data"] / f"{split}.jsonl" for split in ("validation", "test")]
    train, validation, test = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert [len(split) for split in (train, validation, test)] == [24, 8, 8]
    assert json.loads((made["evaluator_data"] / "duplicates.json").read_text()) == {
        "held out": {"exact": 0, "near": 0},
        "train": {"exact": 2, "near": 0},
    }
    assert train[1] == {"problem": "What is $train_{1}$?", "answer": r"\frac{4}{2}"}
    assert {row["problem"] for row in validation + test} == {f"What is $test_{{{number}}}$?" for number in range(16)}


def test_smoke_train_and_evaluate(made: dict[str, Any], tmp_path: Path) -> None:
    smoke = run("smoke", **made, output=tmp_path / "smoke")
    assert smoke.returncode == 0, smoke.stderr

    trained = run("train", **made, output=tmp_path / "out", budget="steps=2")
    assert trained.returncode == 0, trained.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert 0 < rows[0]["reward"] < 1 and rows[0]["grad_norm"] > 0 and rows[0]["update"] > 0
    assert rows[0]["tokens"] < 24  # sampling stops at the closing tag, although the prompt contains it too

    scored = run(
        "evaluate", **made, checkpoint=tmp_path / "out" / "checkpoint", split="validation", result=tmp_path / "result"
    )
    assert scored.returncode == 0, scored.stderr
    result = json.loads((tmp_path / "result").read_text())
    assert result["n"] == 8 and 0 <= result["value"] < 1
    assert 0 < result["secondary"]["tokens"] <= 24


def test_a_wall_clock_ends_in_time(made: dict[str, Any], tmp_path: Path) -> None:
    def trained(name: str, budget: str) -> list[dict[str, float]]:
        output = tmp_path / name
        done = run("train", **made, output=output, budget=budget)
        assert done.returncode == 0, done.stderr
        assert (output / "checkpoint" / "model.safetensors").is_file()
        return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]

    start_up_s = trained("step", "steps=1")[0]["seconds"]  # minutes on a busy machine
    budget_s = round(2 * start_up_s + 5)
    rows = trained("clock", f"seconds={budget_s}")
    assert rows and rows[-1]["seconds"] < budget_s
