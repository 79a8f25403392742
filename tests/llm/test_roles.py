"""Separate models and settings for ideas, code and verdicts."""

from typing import Any

import pytest

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import Trouble
from pipeline.llm.purse import Purse
from pipeline.llm.replay import Replay
from pipeline.llm.roles import Member, Models, Role, check_roles, settings_of
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths

BASE: dict[str, Any] = {
    "model": "openai/big",
    "key_variable": "OPENAI_API_KEY",
    "api_base": "http://host/v1",
    "max_tokens": 5000,
    "usd_in": 1.0,
    "usd_out": 2.0,
    "parallel": 3,
    "parameters": {"top_p": 0.9},
}


def config(**roles: Any) -> LlmConfig:
    return LlmConfig(**BASE, roles=roles)


def test_a_role_without_settings_of_its_own_uses_the_common_ones() -> None:
    assert settings_of(config(judge={"model": "x/y"}), Role.IDEATOR) == LlmConfig(**BASE)


def test_a_role_replaces_single_settings() -> None:
    found = settings_of(
        config(implementer={"max_tokens": 100, "parameters": {"top_p": 0.1, "seed": 1}}), Role.IMPLEMENTER
    )
    assert found == LlmConfig(**{**BASE, "max_tokens": 100, "parameters": {"top_p": 0.1, "seed": 1}})


def test_another_model_has_prices_of_its_own() -> None:
    found = settings_of(config(ideator={"model": "openai/small", "usd_out": 0.5}), Role.IDEATOR)
    assert found == LlmConfig(**{**BASE, "model": "openai/small", "usd_in": None, "usd_out": 0.5})


def test_another_provider_inherits_nothing_that_belongs_to_one() -> None:
    found = settings_of(config(ideator={"model": "anthropic/c", "key_variable": "ANTHROPIC_API_KEY"}), Role.IDEATOR)
    assert found == LlmConfig(model="anthropic/c", key_variable="ANTHROPIC_API_KEY", parallel=3)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"idaetor": {}}, r"llm\.roles\.idaetor is not a role; valid roles: ideator, implementer, judge, embedder"),
        (
            {"ideator": {"modle": "x"}},
            r"llm\.roles\.ideator\.modle is not a setting; did you mean llm\.roles\.ideator\.model\?",
        ),
        ({"ideator": {"modle": "x"}}, r"Valid keys of llm\.roles\.ideator: kind, model, api_base"),
        ({"ideator": {"roles": {}}}, r"llm\.roles\.ideator\.roles is not a setting"),
        ({"judge": {"max_tokens": "many"}}, r"llm\.roles\.judge: .*many"),
        ({"judge": {"kind": "oracle"}}, r"llm\.roles\.judge: .*oracle"),
        ({"judge": "openai/x"}, r"llm\.roles\.judge must be a map"),
        ({"judge": {"parameters": {"stream": True}}}, r"llm\.roles\.judge\.parameters\.stream cannot be set"),
    ],
)
def test_unknown_roles_and_settings_are_refused_with_the_valid_ones(roles: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_roles(config(**roles))


def test_the_models_of_a_run_are_unavailable_while_one_of_them_is(tmp_path: Any) -> None:
    one, two = (Replay(Ledger(RunPaths(tmp_path)), "s") for _ in range(2))
    by_role = {role: [Member(LlmConfig(), one)] for role, one in ((Role.IDEATOR, one), (Role.JUDGE, two))}
    models = Models(by_role, Purse(0.0, 0.0))
    assert models.trouble is None and models.delay is None
    two.trouble = Trouble("no credit", None)
    assert models.trouble == two.trouble
