"""Scores a checkpoint: the share of held-out problems that its samples solve. Protected, and run from a pristine copy.

The checkpoint is not trusted: only tensors are read from it (models.load_checkpoint). Model code, config, tokenizer,
temperature, number of tokens and grading are the evaluator's own.
"""

import argparse
import json
import math
import os
from pathlib import Path

import torch

from models import BadCheckpoint, Tokenizer, compute_dtype, load_checkpoint, pick_device
from problems import is_correct, prompt_text, read_problems
from sampling import is_finished, make_sampler


def evaluate(data: Path, checkpoint: Path, split: str, seed: int, size: dict) -> dict:
    """Accuracy of samples from the checkpoint, with its standard error over problems."""
    device = pick_device()
    torch.manual_seed(seed)
    model = load_checkpoint(checkpoint, data / "model", device, compute_dtype(size, device))
    torch.manual_seed(seed)
    tokenizer = Tokenizer(data / "model")
    problems = read_problems(data / f"{split}.jsonl")
    samples = size["evaluate_samples"]
    asked = [problem for problem in problems for _ in range(samples)]
    prompts = tokenizer.encode([prompt_text(problem, size) for problem in asked])
    completions = make_sampler(model, data / "model", tokenizer, size).complete(prompts, size["evaluate_temperature"])
    texts = tokenizer.decode(completions)
    correct = torch.tensor([float(is_correct(t, p, size)) for t, p in zip(texts, asked, strict=True)])
    solved = correct.view(-1, samples).double().mean(dim=1)  # (problems,)
    unfinished = sum(not is_finished(completion, tokenizer, size) for completion in completions)
    result = {
        "value": solved.mean().item(),
        "standard_error": solved.std().item() / math.sqrt(len(solved)),
        "n": len(solved),
        "secondary": {
            "tokens": sum(map(len, completions)) / len(completions),
            "unfinished": unfinished / len(completions),
        },
    }
    if split == "test":  # so that codes are compared problem by problem
        result["items"] = solved.tolist()
    return result


def main() -> None:
    """The command line of the contract."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the evaluator's data, from prepare.py")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with model.safetensors")
    parser.add_argument("--split", choices=("validation", "test"), required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    parser.add_argument("--result", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    size = json.loads(args.size.read_text())
    try:
        result = evaluate(args.data, args.checkpoint, args.split, args.seed, size)
    except BadCheckpoint as error:
        result = {"failure": {"kind": "bad_checkpoint", "reason": str(error)}}
    partial = args.result.with_name(args.result.name + ".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, args.result)


if __name__ == "__main__":
    main()
