"""The tiny policy: a language model of at most a million parameters that writes ideas of a bank, one token per word.

It is trained with supervision on random ideas, so that it starts with the format of answers and many ideas, but without
information on their value. `python -m pipeline.rl.tiny WORDS FOLDER` makes it from a file of words.
"""

import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipeline.rl.policy import Policy, save_policy, side_by_side
from pipeline.rl.words import AND, CLOSE, EXPLORE, IMPROVE, OPEN, THINK, THOUGHT, Words, example
from pipeline.store import files

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def make_tokenizer(words: Words) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word; words are separated by spaces."""
    fixed = [PAD, EOS, UNKNOWN, EXPLORE, IMPROVE, THINK, THOUGHT, OPEN, AND, CLOSE]
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
    """Train the policy to write random ideas in the format of an answer. Returns the last loss, nats per token."""
    rng, model, tokenizer = random.Random(seed), policy.model, policy.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    loss = torch.tensor(float("nan"))
    for _ in range(steps):
        texts = [example(words, rng) for _ in range(batch)]
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


def main(words: Path, folder: Path) -> None:
    """Make the tiny policy and write it as the checkpoint of step 0."""
    torch.set_num_threads(1)  # so small a model gains nothing from more, and waits for them where others use the cores
    known = files.read(words, Words)
    policy = make_policy(known, seed=0)
    size = sum(one.numel() for one in policy.model.parameters())
    loss = supervise(policy, known, steps=600, seed=0)
    save_policy(policy, folder, 0)
    print(f"{folder}: {size:,} parameters, {known.count():,} ideas, loss {loss:.2f} nats per token")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
