"""Sampling of the policy's answers with the data that an update needs: token ids and their log-probabilities.

Uses vLLM if it is installed and there is a GPU, else `generate` of transformers. Log-probabilities are those of the sampling
distribution, at `rl.temperature` and without top-k or top-p.
"""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from pipeline.config import RlConfig
from pipeline.records import Sample
from pipeline.rl.policy import Policy, side_by_side
from pipeline.text import split_reasoning

_TOGETHER = 256
"""Batch size of `generate`."""


@torch.no_grad()
def sample(policy: Policy, prompts: Sequence[str], rl: RlConfig, seed: int) -> list[Sample]:
    """Sample one answer to each prompt."""
    torch.manual_seed(seed)
    ids = [encoded(policy.tokenizer, prompt) for prompt in prompts]
    found: list[Sample] = []
    for start in range(0, len(ids), _TOGETHER):
        found += _generate(policy, ids[start : start + _TOGETHER], rl)
    return found


def encoded(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, as a user message if the tokenizer has a chat template."""
    if tokenizer.chat_template is None:
        return list(tokenizer(prompt)["input_ids"])
    message = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False))


def _generate(policy: Policy, prompts: list[list[int]], rl: RlConfig) -> list[Sample]:
    rows = side_by_side(prompts, [[] for _ in prompts], policy.pad, policy.model.device)
    made = policy.model.generate(
        input_ids=rows.ids,
        attention_mask=rows.attention,
        do_sample=True,
        temperature=rl.temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=rl.new_tokens,
        eos_token_id=policy.eos,
        pad_token_id=policy.pad,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logprobs = (torch.stack(made.logits, 1).float() / rl.temperature).log_softmax(-1)  # (B, T, V)
    answers = made.sequences[:, rows.ids.shape[1] :]  # (B, T)
    chosen = logprobs.gather(-1, answers.unsqueeze(-1)).squeeze(-1).tolist()
    entropies = torch.special.entr(logprobs.exp()).sum(-1).tolist()
    lines = zip(prompts, answers.tolist(), chosen, entropies, strict=True)
    return [sample_of(policy.tokenizer, prompt, tokens, ours, entropy) for prompt, tokens, ours, entropy in lines]


def sample_of(
    tokenizer: Any, prompt: list[int], tokens: list[int], logprobs: list[float], entropies: list[float]
) -> Sample:
    """An answer up to and including its end token."""
    eos = tokenizer.eos_token_id
    length = tokens.index(eos) + 1 if eos in tokens else len(tokens)
    tokens, logprobs, entropies = tokens[:length], logprobs[:length], entropies[:length]
    text = str(tokenizer.decode(tokens, skip_special_tokens=True))
    idea = tokenizer(split_reasoning(text).answer, add_special_tokens=False)["input_ids"]
    ended = tokens[-1:] == [eos]
    return Sample(
        tuple(prompt),
        tuple(tokens),
        tuple(logprobs),
        math.fsum(entropies) / length,
        max(0, length - ended - len(idea)),
        text,
    )


def has_vllm() -> bool:
    """Whether answers are sampled with vLLM."""
    return torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


def sample_with_vllm(folder: Path | None, base: str, prompts: Sequence[str], rl: RlConfig, seed: int) -> list[Sample]:
    """Sample one answer to each prompt with vLLM from a checkpoint; without a folder, from `rl.model`. `base` is the base
    model of an adapter. vLLM returns no entropies; the mean of -log p, which equals it in expectation, is used instead."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    place = str(folder or rl.model)
    tokenizer = AutoTokenizer.from_pretrained(place)
    engine = LLM(
        model=base or place,
        tokenizer=place,
        dtype=rl.dtype,
        seed=seed,
        enable_lora=bool(base),
        max_lora_rank=max(8, rl.lora_rank),
        tensor_parallel_size=max(1, torch.cuda.device_count()),
        logprobs_mode="processed_logprobs",
    )
    params = SamplingParams(
        temperature=rl.temperature, top_k=-1, top_p=1.0, max_tokens=rl.new_tokens, logprobs=0, seed=None
    )
    ids = [encoded(tokenizer, prompt) for prompt in prompts]
    adapter = LoRARequest("policy", 1, str(folder)) if base else None
    found: Any = engine.generate([{"prompt_token_ids": prompt} for prompt in ids], params, lora_request=adapter)
    samples = []
    for prompt, made in zip(ids, found, strict=True):
        answer = made.outputs[0]
        tokens = list(answer.token_ids)
        logprobs = [at[token].logprob for at, token in zip(answer.logprobs, tokens, strict=True)]
        samples.append(sample_of(tokenizer, prompt, tokens, logprobs, [-one for one in logprobs]))
    return samples
