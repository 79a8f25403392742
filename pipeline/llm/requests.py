"""What is sent to litellm: one prompt under the settings of one model, as keyword arguments."""

import hashlib
import json
from typing import Any

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.records import Prompt

_OWN = ("model", "messages", "api_key", "api_base", "base_url", "stream", "n", "timeout", "num_retries", "max_retries")
"""Parameters that are this program's to set."""
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_ANY_KEY = ("openai", "litellm_proxy", "hosted_vllm", "lm_studio", "llamafile")
"""Providers of whose client a key is required that the server may not require."""


def check_parameters(config: LlmConfig, place: str = "llm") -> None:
    """Raises `BadInput` for a parameter that is not the user's to set."""
    for name in config.parameters:
        if name in _OWN:
            own = f"{place}.{name}" if hasattr(config, name) else f"a setting of {place}"
            raise BadInput(f"{place}.parameters.{name} cannot be set; this program sets {name} itself: use {own}")


def provider_of(model: str) -> str:
    """The provider in litellm's notation of a model, PROVIDER/MODEL; empty where none is named."""
    return model.partition("/")[0] if "/" in model else ""


def answer_tokens(config: LlmConfig) -> int:
    """How long an answer may be, tokens, whatever the parameter is called."""
    given = [config.parameters[name] for name in _LENGTHS if isinstance(config.parameters.get(name), int)]
    return max(given, default=config.max_tokens)


def parameters(config: LlmConfig) -> dict[str, Any]:
    """What a request says beside its text: the settings, with `llm.parameters` over them. A value of null removes one, and
    `max_completion_tokens` is sent in place of `max_tokens`."""
    given: dict[str, Any] = {"max_tokens": config.max_tokens}
    if config.temperature is not None:
        given["temperature"] = config.temperature
    if any(config.parameters.get(name) is not None for name in _LENGTHS[1:]):
        del given["max_tokens"]
    given |= config.parameters
    return {name: value for name, value in given.items() if value is not None}


def shown_parameters(config: LlmConfig) -> str:
    """The parameters of requests, for a person."""
    given = parameters(config)
    extras = [] if config.system_role else ["no system message"]
    extras += ["structured answers"] if config.structured else []
    return ", ".join([*(f"{name}={_short(value)}" for name, value in given.items()), *extras])


def settings_key(config: LlmConfig) -> str:
    """A name for the settings that decide whether a prompt gets an answer, of which what came in its place is kept."""
    deciding = [config.model, config.context, config.system_role, config.structured, parameters(config)]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:8]


def arguments(
    config: LlmConfig, key: str | None, prompt: Prompt, response_format: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Of `litellm.completion`."""
    given: dict[str, Any] = {
        "model": config.model,
        "messages": _messages(config, prompt),
        "timeout": config.timeout_s,
        # The retries are ours: litellm's do not wait for as long as the provider asks.
        "num_retries": 0,
        "max_retries": 0,
    }
    if key is not None or provider_of(config.model) in _ANY_KEY:
        given["api_key"] = key or "none"  # else litellm finds the credentials of the environment
    if config.api_base:
        given["api_base"] = config.api_base
    if response_format is not None:
        given["response_format"] = response_format
    return given | parameters(config)


def _messages(config: LlmConfig, prompt: Prompt) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": message.role, "content": message.text} for message in prompt.messages]
    parts: list[str] = []
    if not config.system_role:
        while messages and messages[0]["role"] == "system":
            parts.append(messages.pop(0)["content"])
    if parts and messages and messages[0]["role"] == "user":
        parts.append(messages.pop(0)["content"])
    if parts and not config.cache_marks:
        messages.insert(0, {"role": "user", "content": "\n\n".join(parts)})
    elif parts:
        first, *others = parts
        texts = [_marked(first), *({"type": "text", "text": text} for text in others)]
        messages.insert(0, {"role": "user", "content": texts})
    elif config.cache_marks and messages:
        messages[0]["content"] = [_marked(messages[0]["content"])]
    return messages


def _marked(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


def _short(value: object) -> str:
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
