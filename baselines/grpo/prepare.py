"""Makes the data folder, once, with network access: problems, models, tokenizers, all plain files.

train/      problems.jsonl, model/ (weights, config.json, tokenizer), smoke/ (the same, minimal): for training
evaluator/  secret.json, validation.jsonl, test.jsonl, model/ (config.json, tokenizer): training never sees it;
            duplicates.json: how many problems were left out because they repeat held-out ones

Which problems are held out follows from a secret that is drawn here and kept with the evaluator. Each part is created
atomically, and is skipped if it exists.
"""

import argparse
import json
import os
import random
import re
import secrets
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from duplicates import HeldOut, note
from models import Tokenizer, save_model
from problems import Problem, prompt_text, read_problems, write_problems

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
NEAR = {"length": 3, "share": 0.8}  # words: a problem that differs in about one place in ten repeats the other
FIXES_THE_DATA = ("prepare", "prompt", "answer_tags", "prompt_tokens")  # keys of the size file


# --- problems -------------------------------------------------------------------------------------------------------


def addition_space(size: dict) -> int:
    """Number of addition problems."""
    (low_a, high_a), (low_b, high_b) = size["prepare"]["operands"]
    return (high_a - low_a + 1) * (high_b - low_b + 1)


def addition(index: int, size: dict) -> Problem:
    """The addition problem with this number, from 0 to addition_space - 1: all have one length."""
    (low_a, _), (low_b, high_b) = size["prepare"]["operands"]
    a, b = divmod(index, high_b - low_b + 1)
    return Problem(f"{low_a + a}+{low_b + b}", str(low_a + a + low_b + b))


def draw_additions(
    count: int, size: dict, seed: int | str, without: set[Problem], removed: Counter | None = None
) -> list[Problem]:
    """That many different addition problems, none of them in `without`; `removed` counts those that were."""
    found = []
    for index in random.Random(seed).sample(range(addition_space(size)), count + len(without)):
        if len(found) == count:
            break
        problem = addition(index, size)
        if problem not in without:
            found.append(problem)
        elif removed is not None:
            removed["exact"] += 1
    return found


def last_boxed(solution: str) -> str | None:
    r"""The content of the last \boxed{...} of a solution."""
    _, found, rest = solution.rpartition(r"\boxed{")
    depth = 1
    for end, letter in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return rest[:end] if found else None
    return None


def math_problems(split: str, size: dict, tokenizer: Tokenizer) -> list[Problem]:
    """A split of a data set in the format of MATH (columns problem, solution), from a local folder or the hub.

    Omitted: problems without a boxed answer or with a prompt that is too long, and repeated ones.
    """
    from datasets import load_dataset  # slow to import, and needed only here

    rows = load_dataset(size["prepare"]["dataset"], split=split)
    found = [(row["problem"].strip(), last_boxed(row["solution"])) for row in rows]
    problems = list(dict.fromkeys(Problem(text, answer) for text, answer in found if answer))
    lengths = map(len, tokenizer.encode([prompt_text(problem, size) for problem in problems]))
    return [problem for problem, length in zip(problems, lengths, strict=True) if length <= size["prompt_tokens"]]


def held_out_count(size: dict) -> int:
    """Problems of both held-out splits."""
    return size["prepare"]["validation"] + size["prepare"]["test"]


def words(problem: Problem) -> np.ndarray:
    """The text as numbers of its words and signs, (N,), without typesetting commands."""
    text = re.sub(r"\\[!,;: ]|[${}]", " ", problem.problem.lower())
    found = re.findall(r"\\?[a-z]+|\d+|[^\s\w]", text)
    return np.array([zlib.crc32(word.encode()) for word in found], dtype=np.uint32)


def held_out_math(size: dict, secret: str, tokenizer: Tokenizer, removed: Counter) -> list[Problem]:
    """Problems for validation, then those for test, from the test split of the data set. None repeats another."""
    problems = math_problems("test", size, tokenizer)
    found, seen = [], HeldOut(**NEAR)
    for problem in random.Random(secret).sample(problems, len(problems)):
        if len(found) == held_out_count(size):
            return found
        kind = seen.repeated_by(words(problem))
        if kind is None:
            seen.add(words(problem))
            found.append(problem)
        else:
            removed[kind] += 1
    if len(found) == held_out_count(size):
        return found
    raise SystemExit(
        f"{held_out_count(size)} held-out problems asked for, but the test split has {len(found)} that do not repeat others"
    )


def train_problems(size: dict, unseen: list[Problem], tokenizer: Tokenizer, removed: Counter) -> list[Problem]:
    """Problems to train on; none repeats a held-out one. Additions are all similar, so only equal ones count as
    repeats."""
    if size["prepare"]["task"] == "addition":
        return draw_additions(size["prepare"]["train"], size, seed=0, without=set(unseen), removed=removed)
    held_out = HeldOut(**NEAR)
    for problem in unseen:
        held_out.add(words(problem))
    kinds = [(problem, held_out.repeated_by(words(problem))) for problem in math_problems("train", size, tokenizer)]
    removed.update(kind for _, kind in kinds if kind is not None)
    return [problem for problem, kind in kinds if kind is None]


# --- model ----------------------------------------------------------------------------------------------------------


def write_character_tokenizer(folder: Path) -> None:
    """A tokenizer with one token per character."""
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<end>", *"0123456789+="])}
    fast = FastTokenizer(models.WordLevel(vocabulary))
    fast.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast.decoder = decoders.Fuse()
    fast.add_special_tokens(["<pad>", "<end>"])
    fast.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def warm_start(size: dict, tokenizer: Tokenizer, without: set[Problem]) -> PreTrainedModel:
    """A small model that knows more than its samples show, from supervised training on answers with errors.

    A share `noise` of the digits of its answers is drawn at random. Training ends when the mean probability of a right
    answer, which is the accuracy of samples at temperature 1, passes `until` on problems it has not seen.
    """
    spec = size["prepare"]
    settings = spec["warm_start"]
    torch.manual_seed(settings["seed"])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**spec["model"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], betas=(0.9, 0.95))
    count = settings["batch"] * settings["max_steps"]
    problems = draw_additions(count, size, f"warm start {settings['seed']}", without)
    prompts = torch.tensor(tokenizer.encode([prompt_text(problem, size) for problem in problems]))  # (N, P)
    right = torch.tensor([[*ids, tokenizer.eos] for ids in tokenizer.encode([p.answer for p in problems])])  # (N, C)
    digits = torch.tensor(tokenizer.encode(["0123456789"])[0])
    wrong = (torch.rand(right.shape) < settings["noise"]) & (right != tokenizer.eos)
    taught = torch.where(wrong, digits[torch.randint(10, right.shape)], right)  # (N, C)
    length = right.shape[1]
    smoothed = 0.0
    for step in range(settings["max_steps"]):
        rows = slice(step * settings["batch"], (step + 1) * settings["batch"])
        for group in optimizer.param_groups:
            group["lr"] = settings["learning_rate"] * min(1.0, (step + 1) / 20)
        ids = torch.cat([prompts[rows], taught[rows]], dim=1)  # (batch, P + C)
        logprobs = model(ids, logits_to_keep=length + 1).logits[:, :-1].log_softmax(dim=-1)  # (batch, C, V)
        (-logprobs.gather(-1, taught[rows, :, None]).mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        accuracy = logprobs.detach().gather(-1, right[rows, :, None]).sum(dim=(1, 2)).exp().mean().item()
        smoothed += 0.1 * (accuracy - smoothed)
        if step % 50 == 0 or smoothed >= settings["until"]:
            print(f"  warm start: step {step}, at most {settings['max_steps']}, accuracy {smoothed:.2f}", flush=True)
        if smoothed >= settings["until"]:
            return model
    raise SystemExit(f"the warm start is below {settings['until']} accuracy after {settings['max_steps']} steps")


def fetch_model(name: str, folder: Path) -> None:
    """A model of the hub, or of a local folder, as one safetensors file with config and tokenizer."""
    source = Path(name)
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        source = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", use_safetensors=True)
    save_model(model, folder, model.dtype)
    for file in TOKENIZER_FILES:
        shutil.copy(source / file, folder / file)


def make_model(size: dict, folder: Path, without: set[Problem]) -> None:
    """The model that training starts from."""
    if size["prepare"]["task"] == "math":
        fetch_model(size["prepare"]["model"], folder)
        return
    folder.mkdir()
    write_character_tokenizer(folder)
    trained = folder / "trained"
    save_model(warm_start(size, Tokenizer(folder), without), trained, torch.float32)
    for file in trained.iterdir():
        os.replace(file, folder / file.name)
    trained.rmdir()


def make_smoke(size: dict, train: Path, folder: Path) -> None:
    """A few problems, and a minimal model with the same tokenizer; at tiny scale the model itself is minimal."""
    folder.mkdir()
    if "model" not in size["smoke"]:
        shutil.copytree(train / "model", folder / "model")
    else:
        config = AutoConfig.from_pretrained(train / "model")
        config.update(size["smoke"]["model"])
        torch.manual_seed(0)
        save_model(AutoModelForCausalLM.from_config(config), folder / "model", torch.float32)
        for file in TOKENIZER_FILES:
            shutil.copy(train / "model" / file, folder / "model" / file)
    write_problems(folder / "problems.jsonl", read_problems(train / "problems.jsonl")[:64])


# --- parts ----------------------------------------------------------------------------------------------------------


def make_part(path: Path, make: Callable[[Path], None], left: int) -> None:
    """Makes one file or folder of the data, unless it exists."""
    if path.exists():
        print(f"{path.parent.name}/{path.name}: there already, parts left: {left}", flush=True)
        return
    start = time.monotonic()
    partial = path.with_name(path.name + ".making")
    if partial.is_dir():
        shutil.rmtree(partial)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(partial)
    os.replace(partial, path)
    print(f"{path.parent.name}/{path.name}: {time.monotonic() - start:.1f} s, parts left: {left}", flush=True)


def write_json(path: Path, content: object) -> None:
    """One JSON file."""
    path.write_text(json.dumps(content))


def make_train(path: Path, size: dict, unseen: list[Problem], tokenizer: Tokenizer, evaluator: Path) -> None:
    """The problems to train on, with a record of the omitted ones."""
    removed = Counter()
    write_problems(path, train_problems(size, unseen, tokenizer, removed))
    note(evaluator, "train", removed)


def copy_trusted(model: Path, folder: Path) -> None:
    """Architecture and tokenizer for the evaluator, without weights."""
    folder.mkdir()
    for file in ("config.json", *TOKENIZER_FILES):
        shutil.copy(model / file, folder / file)


def prepare(output: Path, size: dict) -> None:
    """All parts in order. Held-out additions are drawn before the model is made, since its warm start must not use
    them."""
    train, evaluator = output / "train", output / "evaluator"
    fixed = {key: size[key] for key in FIXES_THE_DATA}
    made_with = evaluator / "size.json"
    if made_with.exists() and json.loads(made_with.read_text()) != fixed:
        raise SystemExit(f"{output} was prepared with another size; remove it, or choose another folder")
    own_task = size["prepare"]["task"] == "addition"

    make_part(made_with, lambda path: write_json(path, fixed), left=7)
    make_part(evaluator / "secret.json", lambda path: write_json(path, secrets.token_hex(16)), left=6)
    secret = json.loads((evaluator / "secret.json").read_text())
    unseen = draw_additions(held_out_count(size), size, secret, without=set()) if own_task else []
    make_part(train / "model", lambda path: make_model(size, path, set(unseen)), left=5)
    tokenizer = Tokenizer(train / "model")
    removed = Counter()
    unseen = unseen or held_out_math(size, secret, tokenizer, removed)
    note(evaluator, "held out", removed)
    first, second = unseen[: size["prepare"]["validation"]], unseen[size["prepare"]["validation"] :]
    make_part(evaluator / "validation.jsonl", lambda path: write_problems(path, first), left=4)
    make_part(evaluator / "test.jsonl", lambda path: write_problems(path, second), left=3)
    make_part(evaluator / "model", lambda path: copy_trusted(train / "model", path), left=2)
    make_part(train / "problems.jsonl", lambda path: make_train(path, size, unseen, tokenizer, evaluator), left=1)
    make_part(train / "smoke", lambda path: make_smoke(size, train, path), left=0)


def main() -> None:
    """The command line of the contract."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="the data folder")
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    args = parser.parse_args()
    prepare(args.output, json.loads(args.size.read_text()))


if __name__ == "__main__":
    main()
