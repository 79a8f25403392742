"""Which problems are trained on, and the rollouts of one step."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from models import Tokenizer
from problems import Problem, prompt_text
from reward import reward
from sampling import Generate, Vllm, is_finished, pad_left


@dataclass
class Rollouts:
    """B rollouts, those of one problem side by side: prompt of P tokens padded left, completion of C padded right."""

    ids: Tensor  # (B, P + C)
    attention: Tensor  # (B, P + C), 1 where a token is
    mask: Tensor  # (B, C), 1.0 on sampled tokens
    rewards: Tensor  # (B,)
    finished: Tensor  # (B,), 1.0 where the completion ended by itself


def choose_problems(problems: list[Problem], count: int, step: int, seed: int, memory: dict) -> list[Problem]:
    """The problems of a step, drawn at random. memory is kept between steps and over a resume; it may hold plain
    numbers, text and tensors."""
    return random.Random(f"{seed} {step}").sample(problems, count)


def collect(
    sampler: Generate | Vllm,
    tokenizer: Tokenizer,
    problems: list[Problem],
    step: int,
    seed: int,
    memory: dict,
    settings,
    size: dict,
) -> Rollouts:
    """Samples a group of rollouts for each chosen problem, and rewards them."""
    chosen = choose_problems(problems, settings.rollouts // settings.group_size, step, seed, memory)
    asked = [problem for problem in chosen for _ in range(settings.group_size)]
    prompts = tokenizer.encode([prompt_text(problem, size) for problem in asked])
    completions = sampler.complete(prompts, settings.temperature)
    texts = tokenizer.decode(completions)
    rewards = [reward(text, problem, size) for text, problem in zip(texts, asked, strict=True)]
    return pack(prompts, completions, rewards, tokenizer, size)


def pack(
    prompts: list[list[int]], completions: list[list[int]], rewards: list[float], tokenizer: Tokenizer, size: dict
) -> Rollouts:
    """Lists to tensors."""
    width = max(map(len, completions))
    device = torch.device("cpu")
    ids, attention = pad_left(prompts, tokenizer.pad, device)  # (B, P)
    answers = torch.tensor([row + [tokenizer.pad] * (width - len(row)) for row in completions])  # (B, C)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in completions])  # (B, C)
    return Rollouts(
        ids=torch.cat([ids, answers], dim=1),
        attention=torch.cat([attention, mask], dim=1),
        mask=mask.float(),
        rewards=torch.tensor(rewards),
        finished=torch.tensor([float(is_finished(row, tokenizer, size)) for row in completions]),
    )
