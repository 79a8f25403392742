"""Requests to a provider under different settings."""

from typing import Any

import pytest

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.requests import answer_tokens, arguments, check_parameters, parameters, settings_key, shown_parameters
from pipeline.records import Message, Prompt

PROMPT = Prompt("first", (Message("system", "Shared."), Message("user", "What?"), Message("assistant", "No.")))


def config(**settings: Any) -> LlmConfig:
    return LlmConfig(**{"model": "openai/m", "max_tokens": 100, **settings})


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, {"max_tokens": 100}),
        ({"temperature": 0.5}, {"max_tokens": 100, "temperature": 0.5}),
        (
            {"parameters": {"top_p": 0.9, "extra_body": {"a": 1}}},
            {"max_tokens": 100, "top_p": 0.9, "extra_body": {"a": 1}},
        ),
        ({"parameters": {"max_completion_tokens": 300}}, {"max_completion_tokens": 300}),
        ({"parameters": {"max_tokens": 50}}, {"max_tokens": 50}),
        ({"parameters": {"max_tokens": None}}, {}),
        ({"temperature": 0.5, "parameters": {"temperature": None}}, {"max_tokens": 100}),
        ({"temperature": 0.5, "parameters": {"temperature": 1}}, {"max_tokens": 100, "temperature": 1}),
    ],
)
def test_parameters_replace_settings_and_null_removes_one(settings: dict[str, Any], sent: dict[str, Any]) -> None:
    assert parameters(config(**settings)) == sent
    assert sent.items() <= arguments(config(**settings), "key", PROMPT).items()


def test_the_length_limit_of_an_answer_is_recognized_under_any_name() -> None:
    assert answer_tokens(config()) == 100
    assert answer_tokens(config(parameters={"max_completion_tokens": 300})) == 300


@pytest.mark.parametrize("name", ["model", "messages", "api_key", "stream", "n", "num_retries"])
def test_parameters_that_the_program_sets_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=rf"llm\.parameters\.{name} cannot be set"):
        check_parameters(config(parameters={name: 1}))


def roles(**settings: Any) -> list[tuple[str, Any]]:
    return [(one["role"], one["content"]) for one in arguments(config(**settings), None, PROMPT)["messages"]]


def test_a_model_without_system_messages_reads_the_text_with_the_first_question() -> None:
    assert roles() == [("system", "Shared."), ("user", "What?"), ("assistant", "No.")]
    assert roles(system_role=False) == [("user", "Shared.\n\nWhat?"), ("assistant", "No.")]


def test_the_part_to_cache_is_marked_with_and_without_system_messages() -> None:
    mark = {"type": "text", "text": "Shared.", "cache_control": {"type": "ephemeral"}}
    assert roles(cache_marks=True)[0] == ("system", [mark])
    assert roles(cache_marks=True, system_role=False)[0] == ("user", [mark, {"type": "text", "text": "What?"}])


@pytest.mark.parametrize(
    ("model", "key", "sent"),
    [
        ("openai/m", "k", "k"),
        ("openai/m", None, "none"),  # the client requires one, the server may not
        ("litellm_proxy/m", None, "none"),
        ("bedrock/anthropic.claude", None, None),  # credentials from the environment
        ("azure/deployment", None, None),
        ("azure/deployment", "k", "k"),
    ],
)
def test_without_a_key_the_credentials_in_the_environment_are_used(
    model: str, key: str | None, sent: str | None
) -> None:
    assert arguments(config(model=model), key, PROMPT).get("api_key") == sent


def test_settings_that_affect_an_answer_change_its_cache_key() -> None:
    base = settings_key(config())
    assert base == settings_key(config(key_file="x", retries=1, timeout_s=5.0, parallel=2, api_base="http://host"))
    others = [
        {"max_tokens": 200},
        {"model": "openai/n"},
        {"temperature": 1.0},
        {"context": 1000},
        {"system_role": False},
        {"parameters": {"reasoning_effort": "low"}},
    ]
    assert len({base, *(settings_key(config(**other)) for other in others)}) == 1 + len(others)


def test_parameters_are_shown_on_one_line() -> None:
    given = config(
        parameters={"reasoning_effort": "high", "thinking": {"type": "enabled"}}, system_role=False, structured=True
    )
    assert shown_parameters(given) == (
        'max_tokens=100, reasoning_effort=high, thinking={"type": "enabled"}, no system message, structured answers'
    )
