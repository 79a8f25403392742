"""Keyword arguments for litellm, from a prompt and the settings of a model."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.records import Prompt

_OWN = (
    "model",
    "messages",
    "input",
    "api_key",
    "api_base",
    "base_url",
    "stream",
    "n",
    "timeout",
    "num_retries",
    "max_retries",
)
"""Parameters that only this program sets."""
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_ANY_KEY = ("openai", "litellm_proxy", "hosted_vllm", "lm_studio", "llamafile")
"""Providers whose client requires a key even if the server does not."""


def check_parameters(config: LlmConfig, place: str = "llm") -> None:
    """Raise `BadInput` for a parameter that the user cannot set."""
    for name in config.parameters:
        if name in _OWN:
            own = f"{place}.{name}" if hasattr(config, name) else f"a setting of {place}"
            raise BadInput(f"{place}.parameters.{name} cannot be set; this program sets {name} itself: use {own}")


def provider_of(model: str) -> str:
    """The provider in litellm's notation of a model, PROVIDER/MODEL; empty if there is none."""
    return model.partition("/")[0] if "/" in model else ""


def answer_tokens(config: LlmConfig) -> int:
    """Maximum length of an answer in tokens, whatever the parameter is called."""
    given = [config.parameters[name] for name in _LENGTHS if isinstance(config.parameters.get(name), int)]
    return max(given, default=config.max_tokens)


def parameters(config: LlmConfig) -> dict[str, Any]:
    """Parameters of a request: from the settings, overridden by `llm.parameters`. A value of null removes a parameter,
    and `max_completion_tokens` replaces `max_tokens`."""
    given: dict[str, Any] = {"max_tokens": config.max_tokens}
    if config.temperature is not None:
        given["temperature"] = config.temperature
    if any(config.parameters.get(name) is not None for name in _LENGTHS[1:]):
        del given["max_tokens"]
    given |= config.parameters
    return {name: value for name, value in given.items() if value is not None}


def shown_parameters(config: LlmConfig) -> str:
    """The parameters of requests, for display."""
    given = parameters(config)
    extras = [] if config.system_role else ["no system message"]
    extras += ["structured answers"] if config.structured else []
    return ", ".join([*(f"{name}={_short(value)}" for name, value in given.items()), *extras])


def settings_key(config: LlmConfig) -> str:
    """A hash of the settings that decide whether a prompt gets a usable answer; unusable answers are stored under
    it."""
    deciding = [config.model, config.context, config.system_role, config.structured, parameters(config)]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:8]


def arguments(
    config: LlmConfig, key: str | None, prompt: Prompt, response_format: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Keyword arguments of `litellm.completion`."""
    given = _connection(config, key) | {"messages": _messages(config, prompt)}
    if response_format is not None:
        given["response_format"] = response_format
    return given | parameters(config)


def embedding_arguments(config: LlmConfig, key: str | None, texts: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of `litellm.embedding`."""
    own = {name: value for name, value in config.parameters.items() if value is not None}
    return _connection(config, key) | {"input": list(texts)} | own


def _connection(config: LlmConfig, key: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": config.model,
        "timeout": config.timeout_s,
        # Retries are handled here: litellm's do not wait as long as the provider requests.
        "num_retries": 0,
        "max_retries": 0,
    }
    if key is not None or provider_of(config.model) in _ANY_KEY:
        given["api_key"] = key or "none"  # else litellm would use credentials from the environment
    if config.api_base:
        given["api_base"] = config.api_base
    return given


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
