"""A policy on disk and in memory: a causal language model of transformers with its tokenizer, complete or as a peft adapter.

Used only inside jobs. A checkpoint is a folder with weights as safetensors and `policy.json`, which names its step.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.records import PolicyFacts
from pipeline.store import files

FACTS = "policy.json"
SHARDED = 3
"""The stage of ZeRO that also shards the weights."""
_ADAPTER = "adapter_config.json"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Policy:
    """A model with its tokenizer."""

    model: Any
    """A transformers model, or a peft model around one."""
    tokenizer: PreTrainedTokenizerBase
    step: int
    """Step for which it was made."""

    @property
    def eos(self) -> int:
        """Id of the token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        """Id of the token that pads rows; always masked."""
        pad = self.tokenizer.pad_token_id
        return int(self.eos if pad is None else pad)

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model can write."""
        return int(self.model.get_output_embeddings().out_features)


def load_policy(folder: Path | None, step: int, rl: RlConfig, base: str = "", train: bool = False) -> Policy:
    """Load the checkpoint of a step; without a folder, `base`, which is also the base model of an adapter. Raises `BadInput`
    for a checkpoint of another step, and for a tokenizer with more tokens than the model."""
    if folder is not None:
        _check_step(folder, step)
    adapter = folder is not None and (folder / _ADAPTER).is_file()
    place = base if adapter or folder is None else str(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype_of(rl), device_map=_place(train, rl))
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(folder), is_trainable=train)
    elif rl.lora_rank:
        model = _with_adapter(model, rl)
    policy = Policy(model, AutoTokenizer.from_pretrained(place if folder is None else str(folder)), step)
    if len(policy.tokenizer) > policy.vocabulary:
        raise BadInput(
            f"the tokenizer in {folder or base} has {len(policy.tokenizer)} tokens and the model {policy.vocabulary}; "
            "they do not match"
        )
    if train and rl.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train(False)  # a policy gradient needs the probabilities that were sampled from, so no dropout
    return policy


def _check_step(folder: Path, step: int) -> None:
    facts = files.read_if_there(folder / FACTS, PolicyFacts)
    if facts is None:
        raise BadInput(f"{folder} contains no policy ({FACTS} is missing); run `python -m pipeline prepare` again")
    if facts.step != step:
        raise BadInput(f"{folder} is the policy of step {facts.step}, not of step {step}; restore the right one")


def save_policy(policy: Policy, folder: Path, step: int, weights: dict[str, Tensor] | None = None) -> None:
    """Write a checkpoint, `policy.json` last. An adapter is written without its base model. `weights` replace those of the
    model."""
    policy.model.save_pretrained(str(folder), state_dict=weights)
    policy.tokenizer.save_pretrained(str(folder))
    files.create(folder / FACTS, PolicyFacts(step))


def dtype_of(rl: RlConfig) -> torch.dtype:
    """The torch type of `rl.dtype`. Raises `BadInput` for an unknown type."""
    if rl.dtype not in _DTYPES:
        raise BadInput(f"rl.dtype={rl.dtype} is unknown; use one of: {', '.join(_DTYPES)}")
    return _DTYPES[rl.dtype]


def _place(train: bool, rl: RlConfig) -> Any:
    """The `device_map`: this rank's GPU for training, all GPUs for sampling; none if DeepSpeed places the weights."""
    if not torch.cuda.is_available() or (train and rl.zero_stage == SHARDED):
        return None
    return {"": torch.cuda.current_device()} if train else "auto"


def _with_adapter(model: Any, rl: RlConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rl.lora_rank,
        lora_alpha=2 * rl.lora_rank,
        lora_dropout=0.0,
        target_modules=rl.lora_layers,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(0)  # all ranks and tries start with the same adapter
    return get_peft_model(model, config)


# ---- sharded weights


def deepspeed_config(rl: RlConfig) -> dict[str, Any]:
    """DeepSpeed's configuration (deepspeed.ai/docs/config-json). The caller counts microbatches. In bfloat16 it keeps the
    weights of the optimizer in float32; float16, whose overflows skip steps silently, is refused by `setup/compose.py`."""
    return {
        "train_micro_batch_size_per_gpu": rl.microbatch,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": rl.max_grad_norm,
        "bf16": {"enabled": rl.dtype == "bfloat16"},
        "zero_optimization": {"stage": rl.zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW
    }


@contextlib.contextmanager
def sharded_loading(rl: RlConfig) -> Iterator[None]:
    """Inside the block, models are sharded over the ranks while they are loaded, if ZeRO shards weights."""
    if rl.zero_stage != SHARDED:
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

    ranks = torch.distributed.get_world_size()
    config = deepspeed_config(rl) | {"train_batch_size": rl.microbatch * ranks}
    asked = HfDeepSpeedConfig(config)  # type: ignore[no-untyped-call]
    yield
    del asked  # transformers checks whether it still exists


# ---- probabilities


@dataclass(frozen=True)
class Rows:
    """A batch of prompts and answers, in which all answers begin in the same column."""

    ids: Tensor  # (B, P + T)
    attention: Tensor  # (B, P + T), 1 for tokens, 0 for padding
    answer: Tensor  # (B, T), 1 for tokens of the answer


def side_by_side(prompts: list[list[int]], answers: list[list[int]], pad: int, device: torch.device) -> Rows:
    """A batch with prompts padded on the left and answers on the right."""
    before, after = max(map(len, prompts)), max(map(len, answers))
    ids, attention, answer = [], [], []
    for prompt, tokens in zip(prompts, answers, strict=True):
        left, right = before - len(prompt), after - len(tokens)
        ids.append([pad] * left + prompt + tokens + [pad] * right)
        attention.append([0] * left + [1] * (len(prompt) + len(tokens)) + [0] * right)
        answer.append([1] * len(tokens) + [0] * right)
    return Rows(*(torch.tensor(part, device=device) for part in (ids, attention, answer)))


def token_logprobs(model: Any, rows: Rows, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each token of the answers, and entropy of the distribution at its position: (B, T) each, nats.
    Values at padding are meaningless."""
    width = rows.answer.shape[1]
    positions = (rows.attention.cumsum(1) - 1).clamp(min=0)  # (B, P + T)
    logits = model(
        input_ids=rows.ids,
        attention_mask=rows.attention,
        position_ids=positions,
        logits_to_keep=width + 1,
        use_cache=False,
    ).logits[:, -width - 1 : -1]  # (B, T, V)
    logprobs = (logits.float() / temperature).log_softmax(-1)  # (B, T, V)
    chosen = logprobs.gather(-1, rows.ids[:, -width:].unsqueeze(-1)).squeeze(-1)  # (B, T)
    return chosen, -(logprobs.exp() * logprobs).sum(-1).detach()
