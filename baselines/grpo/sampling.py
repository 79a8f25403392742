"""Sampling completions: vLLM if it is installed and there is a GPU, else transformers' `generate`. Protected."""

import copy
import importlib.util
import os
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models import Tokenizer, compute_dtype, weights_of


def make_sampler(model: PreTrainedModel, folder: Path, tokenizer: Tokenizer, size: dict) -> "Generate | Vllm":
    """folder: config.json and tokenizer of the model."""
    if model.device.type == "cuda" and importlib.util.find_spec("vllm"):
        return Vllm(model, folder, size)
    return Generate(model, tokenizer, size)


def pad_left(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids of several lengths as two tensors (B, P): ids, and 1 where a token is."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    attention = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(attention, device=device)


def is_finished(completion: list[int], tokenizer: Tokenizer, size: dict) -> bool:
    """Whether the completion ended by itself, not at the token limit."""
    return len(completion) < size["new_tokens"] or completion[-1] == tokenizer.eos


class Generate:
    """Samples with `generate`; on a GPU from a copy of the weights in the compute type."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, size: dict) -> None:
        self.tokenizer = tokenizer
        self.size = size
        dtype = compute_dtype(size, model.device)
        self.model = model if dtype == model.dtype else copy.deepcopy(model).to(dtype)
        self.model.generation_config.eos_token_id = tokenizer.eos
        self.model.generation_config.pad_token_id = tokenizer.pad

    @torch.no_grad()
    def update(self, model: PreTrainedModel) -> None:
        """Takes over the weights of the model."""
        if self.model is not model:
            self.model.load_state_dict(model.state_dict())

    @torch.no_grad()
    def complete(self, prompts: list[list[int]], temperature: float) -> list[list[int]]:
        """One completion for each prompt, ids in and out; a finished one ends with the end token or closing tag."""
        self.model.eval()
        completions: list[list[int]] = []
        for start in range(0, len(prompts), self.size["sample_batch"]):
            completions += self._complete(prompts[start : start + self.size["sample_batch"]], temperature)
        return completions

    def _complete(self, prompts: list[list[int]], temperature: float) -> list[list[int]]:
        ids, attention = pad_left(prompts, self.tokenizer.pad, self.model.device)  # (B, P)
        closing = self.size["answer_tags"][1]
        sampled = self.model.generate(  # (B, P + C)
            ids,
            attention_mask=attention,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.size["new_tokens"],
            stopping_criteria=[_Closed(self.tokenizer, closing, ids.shape[1])] if closing else None,
        )
        texts = sampled[:, ids.shape[1] :].tolist()
        return [self._cut(completion, closing) for completion in texts]

    def _cut(self, completion: list[int], closing: str) -> list[int]:
        """Without the padding after its end, which is the end token or the closing tag."""
        if self.tokenizer.eos in completion:
            completion = completion[: completion.index(self.tokenizer.eos) + 1]
        if closing and closing in self.tokenizer.decode([completion])[0]:
            while completion[-1] in (self.tokenizer.pad, self.tokenizer.eos):  # not sampled: sampling stopped before
                completion = completion[:-1]
        return completion


class _Closed:
    """Stopping criterion: the closing tag is in the last few tokens of the completion (prompts may contain it)."""

    def __init__(self, tokenizer: Tokenizer, closing: str, prompt: int) -> None:
        """prompt: number of tokens before the completion."""
        self.tokenizer = tokenizer
        self.closing = closing
        self.prompt = prompt

    def __call__(self, ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        start = max(self.prompt, ids.shape[1] - 2 * len(self.closing))
        tails = self.tokenizer.decode(ids[:, start:].tolist())
        return torch.tensor([self.closing in tail for tail in tails], device=ids.device)


class Vllm:
    """Samples with vLLM in this process, on the GPU that trains; weights are passed without a copy on disk."""

    def __init__(self, model: PreTrainedModel, folder: Path, size: dict) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine must run in this process to receive weights
        from vllm import LLM

        self.size = size
        self.llm = LLM(
            model=str(folder),
            load_format="dummy",
            dtype=size["dtype"],
            gpu_memory_utilization=size["vllm_memory"],
            max_model_len=size["prompt_tokens"] + size["new_tokens"],
        )
        self.update(model)

    @torch.no_grad()
    def update(self, model: PreTrainedModel) -> None:
        """Takes over the weights of the model."""
        weights = list(weights_of(model).items())
        self.llm.apply_model(lambda inner: inner.load_weights(weights) and None)
        self.llm.reset_prefix_cache()

    def complete(self, prompts: list[list[int]], temperature: float) -> list[list[int]]:
        """One completion for each prompt, ids in and out; a finished one ends with the end token or closing tag."""
        from vllm import SamplingParams

        closing = self.size["answer_tags"][1]
        seeds = torch.randint(2**31, (len(prompts),)).tolist()
        params = [
            SamplingParams(
                temperature=temperature,
                max_tokens=self.size["new_tokens"],
                seed=seed,
                stop=[closing] if closing else None,
                include_stop_str_in_output=True,
            )
            for seed in seeds
        ]
        outputs = self.llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in outputs]
