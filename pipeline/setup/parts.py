"""Creates replaceable parts from their settings: `_target_` names a class, the other keys are its arguments."""

import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from pipeline.config import Part
from pipeline.errors import BadInput


def class_of(part: Part, key: str) -> Any:
    """The class that a setting names. Raises `BadInput`."""
    target = part.get("_target_")
    if not isinstance(target, str):
        raise BadInput(f"{key} names no class; give one as {key}._target_=PACKAGE.MODULE.CLASS")
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(
            f"{key}._target_={target} cannot be imported ({reason}); install its package, or put it beside the folder of "
            "--config-dir"
        ) from None


def check_part(part: Part, key: str, given: int) -> None:
    """Raise `BadInput` unless the class that a setting names accepts the setting's other keys after `given`
    arguments."""
    own = {name: value for name, value in part.items() if not name.startswith("_")}
    _check_names(class_of(part, key), own, given, key)


def make_part(part: Part, key: str, *arguments: object) -> Any:
    """An object of the class that a setting names, created with `arguments` and the setting's other keys. Raises
    `BadInput`."""
    check_part(part, key, len(arguments))
    try:
        make: Callable[..., Any] = instantiate({**part, "_partial_": True})
    except HydraException as error:
        raise BadInput(f"{key}: {' '.join(str(error).split())}") from error
    return make(*arguments)


def _check_names(kind: Any, own: dict[str, Any], given: int, key: str) -> None:
    """Raise `BadInput` for a key that the class does not accept, or a required one that is missing."""
    parameters = list(inspect.signature(kind).parameters.values())[given:]
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    named = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
    allowed = ", ".join(one.name for one in named) or "none"
    for name in own:
        if name not in [one.name for one in named]:
            raise BadInput(f"{key}.{name} is not an argument of {kind.__name__}; allowed: {allowed}")
    for one in named:
        if one.default is one.empty and one.name not in own:
            raise BadInput(f"{key}.{one.name} is missing; {kind.__name__} needs it")
