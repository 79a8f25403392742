"""The tiny policy: a language model of at most a million parameters that writes ideas of a bank.

It is trained by supervision on ideas drawn at random, so that it starts like a model that knows the form of an answer and
many ideas, and nothing of what they are worth:

    <think> muon cosine </think> {"text":" muon + learning_rate=0.0004 "} <eos>

A word is a token: the name of an idea of the bank, or a setting with one of its values. One to three ideas and up to two
settings make more than 10,000 distinct ideas of either baseline.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipeline.rl.policy import Policy, save_policy, side_by_side

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
_OPEN, _CLOSE = '{"text":"', '"}'
_AND, _THINK, _THOUGHT = "+", "<think>", "</think>"
EXPLORE, IMPROVE = "propose:", "improve:"
"""What prompts begin with; the second is followed by the words of a parent."""


@dataclass(frozen=True)
class Words:
    """What ideas are made of."""

    names: tuple[str, ...]
    """Ideas of the bank."""
    settings: tuple[tuple[str, ...], ...]
    """For each setting, `name=value` for each of its values."""

    @property
    def all(self) -> list[str]:
        """Every word once."""
        return [*self.names, *(word for values in self.settings for word in values)]

    def count(self) -> int:
        """Number of distinct ideas, order aside."""
        n, sizes = len(self.names), [len(values) for values in self.settings]
        patches = n + n * (n - 1) // 2 + n * (n - 1) * (n - 2) // 6
        one = sum(sizes)
        two = (one * one - sum(size * size for size in sizes)) // 2
        return patches * (1 + one + two) + one + two


def draw_idea(words: Words, rng: random.Random) -> list[str]:
    """Words of an idea drawn at random: one to three of the bank's, or settings, or both."""
    names = rng.choices((0, 1, 2, 3), (2, 4, 3, 1))[0] if words.names else 0
    settings = rng.choices((0, 1, 2), (6, 3, 1) if names else (0, 3, 1))[0]
    chosen = rng.sample(words.names, min(names, len(words.names)))
    groups = rng.sample(words.settings, min(settings, len(words.settings)))
    return [*chosen, *(rng.choice(group) for group in groups)]


def answer_text(thoughts: Sequence[str], idea: Sequence[str]) -> str:
    """An answer as the policy writes it, without its end token."""
    return " ".join([_THINK, *thoughts, _THOUGHT, _OPEN, f" {_AND} ".join(idea), _CLOSE])


def parts_of(text: str) -> list[str]:
    """The words of an idea's text, in any order and number."""
    return [word for word in text.split() if word != _AND]


def prompt_text(parent: Sequence[str]) -> str:
    """What the policy is asked; with the words of a parent for an idea on top of it."""
    return f"{IMPROVE} {f' {_AND} '.join(parent)}" if parent else EXPLORE


def make_tokenizer(words: Words) -> PreTrainedTokenizerFast:
    """One token a word; words are what stands between blanks."""
    fixed = [PAD, EOS, UNKNOWN, EXPLORE, IMPROVE, _THINK, _THOUGHT, _OPEN, _AND, _CLOSE]
    vocabulary = {word: number for number, word in enumerate([*fixed, *words.all])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def make_policy(words: Words, seed: int, width: int = 64, layers: int = 2) -> Policy:
    """An untrained policy."""
    tokenizer = make_tokenizer(words)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Policy(LlamaForCausalLM(config), tokenizer, 0)


def supervise(policy: Policy, words: Words, steps: int, seed: int, batch: int = 64, rate: float = 3e-3) -> float:
    """Train it to write random ideas in the form of an answer; the last loss, nats per token."""
    rng, model, tokenizer = random.Random(seed), policy.model, policy.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    loss = torch.tensor(float("nan"))
    for _ in range(steps):
        texts = [_example(words, rng) for _ in range(batch)]
        prompts = [list(tokenizer(prompt)["input_ids"]) for prompt, _ in texts]
        answers = [[*tokenizer(answer)["input_ids"], policy.eos] for _, answer in texts]
        rows = side_by_side(prompts, answers, policy.pad, model.device)
        width = rows.answer.shape[1]
        targets = torch.where(rows.answer == 1, rows.ids[:, -width:], -100)  # (B, T)
        positions = (rows.attention.cumsum(1) - 1).clamp(min=0)
        logits = model(
            input_ids=rows.ids, attention_mask=rows.attention, position_ids=positions, logits_to_keep=width + 1
        ).logits[:, -width - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return float(loss.detach())


def prepare_policy(words: Words, folder: Path, seed: int = 0, steps: int = 600) -> Policy:
    """Make the tiny policy and write it as the checkpoint of step 0."""
    policy = make_policy(words, seed)
    supervise(policy, words, steps, seed)
    save_policy(policy, folder, 0)
    return policy


def _example(words: Words, rng: random.Random) -> tuple[str, str]:
    """A prompt and its answer. Thoughts are some of the words of the idea, and others; an edit has no word of its parent."""
    parent = draw_idea(words, rng) if rng.random() < 0.5 else []
    idea = [word for word in draw_idea(words, rng) if word not in parent] or [rng.choice(words.all)]
    thoughts = [*idea[: rng.randint(0, 2)], *rng.sample(words.all, rng.randint(0, 3))]
    rng.shuffle(thoughts)
    return prompt_text(parent), answer_text(thoughts, idea)


def all_words(names: Sequence[str], values: Sequence[tuple[str, Sequence[object]]]) -> Words:
    """Words of a bank: names of its ideas, and settings with the values that they may take."""
    return Words(tuple(sorted(names)), tuple(tuple(_setting_words(name, found)) for name, found in values))


def _setting_words(name: str, values: Sequence[object]) -> Iterator[str]:
    for value in values:
        yield f"{name}={value}"
