"""A STAND-IN for vLLM, which cannot be installed where these tests run: its documented names, arguments and results
(docs.vllm.ai: LLM.generate, SamplingParams, LoRARequest), with tokens sampled by transformers. It tests that our code
fits the documentation, not that vLLM does.
"""

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM


@dataclass
class Logprob:
    logprob: float


@dataclass
class CompletionOutput:
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]]


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


@dataclass
class SamplingParams:
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 16
    logprobs: int | None = None
    seed: int | None = None


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


class LLM:
    def __init__(
        self,
        model: str,
        *,
        tokenizer: str,
        dtype: str,
        seed: int,
        enable_lora: bool = False,
        max_lora_rank: int = 16,
        tensor_parallel_size: int = 1,
        logprobs_mode: str = "raw_logprobs",
    ) -> None:
        assert logprobs_mode == "processed_logprobs", (
            "other log-probabilities are computed before the temperature is applied"
        )
        self._model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self._lora = enable_lora
        torch.manual_seed(seed)

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: SamplingParams, *, lora_request: LoRARequest | None
    ) -> list[RequestOutput]:
        assert self._lora == (lora_request is not None)
        if lora_request is not None:
            from peft import PeftModel

            self._model = PeftModel.from_pretrained(self._model, lora_request.lora_path)
        return [self._answer(one["prompt_token_ids"], sampling_params) for one in prompts]

    @torch.no_grad()
    def _answer(self, prompt: list[int], params: SamplingParams) -> RequestOutput:
        made = self._model.generate(
            input_ids=torch.tensor([prompt]), do_sample=True, temperature=params.temperature, top_k=0,
            max_new_tokens=params.max_tokens, return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        logprobs = (torch.cat(made.logits) / params.temperature).log_softmax(-1)
        tokens = made.sequences[0, len(prompt) :].tolist()
        found = [{token: Logprob(float(line[token]))} for token, line in zip(tokens, logprobs, strict=True)]
        return RequestOutput([CompletionOutput(tokens, found)])


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import vllm` import this module."""
    request = ModuleType("vllm.lora.request")
    request.LoRARequest = LoRARequest  # type: ignore[attr-defined]
    for name, module in (
        ("vllm", sys.modules[__name__]),
        ("vllm.lora", ModuleType("vllm.lora")),
        (request.__name__, request),
    ):
        monkeypatch.setitem(sys.modules, name, module)
