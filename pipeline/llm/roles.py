"""Roles of language models: each role may use another model and other settings (`llm.roles`), or several models
(`llm.ideators`, `llm.implementers`)."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import Embedder, Model, Trouble
from pipeline.llm.purse import Purse
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
    EMBEDDER = "embedder"
    """Compares ideas by their meaning, with `ideate.similarity` below 1."""


_PRICES = ("usd_in", "usd_cached", "usd_out")
_OF_A_PROVIDER = (
    *_PRICES,
    *("api_base", "key_variable", "key_file", "key_optional", "parameters", "cache_marks", "system_role", "structured"),
    *("temperature", "max_tokens", "context"),
)
_ENSEMBLES = {Role.IDEATOR: "ideators", Role.IMPLEMENTER: "implementers"}
_FIELDS = {
    field.name: field for field in dataclasses.fields(LlmConfig) if field.name not in ("roles", *_ENSEMBLES.values())
}


def settings_of(config: LlmConfig, role: str) -> LlmConfig:
    """The settings of one role: `llm.*`, overridden by `llm.roles.ROLE.*`. A role with another model does not inherit
    prices; with a model of another provider, it inherits nothing that depends on the provider. An embedder never inherits
    the model and its parameters. Raises `BadInput`."""
    if role == Role.EMBEDDER:
        if "model" not in (config.roles.get(role) or {}):
            raise BadInput("llm.roles.embedder requires a model: set llm.roles.embedder.model=PROVIDER/MODEL")
        config = dataclasses.replace(config, parameters={})
    return _over(config, config.roles.get(role) or {}, f"llm.roles.{role}")


def members_of(config: LlmConfig, role: Role) -> dict[str, LlmConfig]:
    """The settings of each model of a role, by name of the setting: the entries of `llm.ideators` or `llm.implementers`,
    e.g. `ideators[0]`, or the role itself if there are none. Raises `BadInput`."""
    own = settings_of(config, role)
    group = _ENSEMBLES.get(role, "")
    given: list[Any] = getattr(config, group) if group else []
    found: dict[str, LlmConfig] = {}
    for number, member in enumerate(given):
        place = f"{group}[{number}]"
        settings = _over(own, {"model": member} if isinstance(member, str) else member, f"llm.{place}")
        if any(settings.model == other.model for other in found.values()):
            raise BadInput(f"llm.{group} has {settings.model} twice; name each model once")
        found[place] = settings
    return found or {role: own}


def _over(config: LlmConfig, own: Any, place: str) -> LlmConfig:
    """Settings overridden by others."""
    if not isinstance(own, dict):
        raise BadInput(f"{place} must be a map of settings of llm, e.g. {place}.model=PROVIDER/MODEL")
    for name in own:
        if name not in _FIELDS:
            near = difflib.get_close_matches(str(name), _FIELDS, 1)
            meant = f"; did you mean {place}.{near[0]}?" if near else "."
            raise BadInput(f"{place}.{name} is not a setting{meant} Valid keys of {place}: {', '.join(_FIELDS)}")
    base = dataclasses.replace(config, roles={}, ideators=[], implementers=[])
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
    for role in _ENSEMBLES:
        members_of(config, role)
    check_parameters(config)


def _default(name: str) -> Any:
    field = _FIELDS[name]
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the models of a role."""

    settings: LlmConfig
    """Its settings."""
    model: Model
    """The model."""

    @property
    def name(self) -> str:
        """Name of the model in the configuration."""
        return self.settings.model


class Models:
    """The models of a run by role. It is a model itself: it is in trouble while one of them is, and sends prompts to
    the first."""

    def __init__(
        self, by_role: Mapping[Role, Sequence[Member]], purse: Purse, embedder: Embedder | None = None
    ) -> None:
        """`by_role` has at least one model; all spend from one `purse`."""
        self.by_role, self.purse, self.embedder = by_role, purse, embedder
        self._models = [member.model for members in by_role.values() for member in members]
        self._all: list[Model | Embedder] = [*self._models, *([] if embedder is None else [embedder])]

    @property
    def trouble(self) -> Trouble | None:
        return next((model.trouble for model in self._all if model.trouble is not None), None)

    @property
    def delay(self) -> Trouble | None:
        return next((model.delay for model in self._all if model.delay is not None), None)

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        return self._models[0].ask(prompt, sample)
