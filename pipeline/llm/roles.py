"""Roles of language models: each role may use another model and other settings (`llm.roles`)."""

import dataclasses
import difflib
from enum import StrEnum
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import Model, Trouble
from pipeline.llm.requests import check_parameters, provider_of
from pipeline.records import Completion, Prompt


class Role(StrEnum):
    """The task of a model."""

    IDEATOR = "ideator"
    """Proposes ideas."""
    IMPLEMENTER = "implementer"
    """Writes code."""
    JUDGE = "judge"
    """Judges ideas and code, for makers that use it."""


_PRICES = ("usd_in", "usd_cached", "usd_out")
_OF_A_PROVIDER = (
    *_PRICES,
    *("api_base", "key_variable", "key_file", "key_optional", "parameters", "cache_marks", "system_role", "structured"),
    *("temperature", "max_tokens", "context"),
)
_FIELDS = {field.name: field for field in dataclasses.fields(LlmConfig) if field.name != "roles"}


def settings_of(config: LlmConfig, role: str) -> LlmConfig:
    """The settings of one role: `llm.*`, overridden by `llm.roles.ROLE.*`. A role with another model does not inherit
    prices; with a model of another provider, it inherits nothing that depends on the provider. Raises `BadInput`."""
    own = config.roles.get(role) or {}
    place = f"llm.roles.{role}"
    if not isinstance(own, dict):
        raise BadInput(f"{place} must be a map of settings of llm, e.g. {place}.model=PROVIDER/MODEL")
    for name in own:
        if name not in _FIELDS:
            near = difflib.get_close_matches(str(name), _FIELDS, 1)
            meant = f"; did you mean {place}.{near[0]}?" if near else "."
            raise BadInput(f"{place}.{name} is not a setting{meant} Valid keys of {place}: {', '.join(_FIELDS)}")
    base = dataclasses.replace(config, roles={})
    model = own.get("model", config.model)
    if model != config.model:
        same = provider_of(str(model)) == provider_of(config.model)
        base = dataclasses.replace(base, **{name: _default(name) for name in (_PRICES if same else _OF_A_PROVIDER)})
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(base), own))
    except OmegaConfBaseException as error:
        raise BadInput(f"{place}: {' '.join(str(error).split())}") from error
    assert isinstance(merged, LlmConfig)
    check_parameters(merged, place if own else "llm")
    return merged


def check_roles(config: LlmConfig) -> None:
    """Raise `BadInput` for an unknown role, or for invalid settings of a role."""
    for role in config.roles:
        if role not in list(Role):
            raise BadInput(f"llm.roles.{role} is not a role; valid roles: {', '.join(Role)}")
        settings_of(config, role)
    check_parameters(config)


def _default(name: str) -> Any:
    field = _FIELDS[name]
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


class Models:
    """The models of a run by role. It is a model itself: it is in trouble while one of them is, and sends prompts to
    the first."""

    def __init__(self, models: dict[Role, Model]) -> None:
        """`models` has at least one entry."""
        self.by_role = models

    @property
    def trouble(self) -> Trouble | None:
        return next((model.trouble for model in self.by_role.values() if model.trouble is not None), None)

    @property
    def delay(self) -> Trouble | None:
        return next((model.delay for model in self.by_role.values() if model.delay is not None), None)

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        return next(iter(self.by_role.values())).ask(prompt, sample)
