"""The option `-m`: starts a run for each combination of values, as in `seed=1,2,3`."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pipeline.errors import BadInput

_NAMES_THE_GROUP = ("run", "group")


@dataclass(frozen=True)
class Member:
    """One run of a group."""

    suffix: str
    """Suffix of its name after the name of the group, e.g. `seed-1`."""
    overrides: tuple[str, ...]
    """Its overrides, each with one value."""


def members(overrides: Sequence[str]) -> list[Member]:
    """The runs of a sweep, in the order of the values. Raises `BadInput` if no setting has several values."""
    choices: list[list[tuple[str, str]]] = []
    try:
        for one in OverridesParser.create().parse_overrides(list(overrides)):
            key = one.get_key_element()
            if not one.is_sweep_override():
                choices.append([("", str(one.input_line))])
                continue
            if key in _NAMES_THE_GROUP:
                raise BadInput(f"{one.input_line}: with -m, run= takes one value, the name of the group")
            last = key.lstrip("+").rpartition(".")[2]
            choices.append([(f"{last}-{value}", f"{key}={value}") for value in one.sweep_string_iterator()])
    except HydraException as error:
        raise BadInput(f"-m: {' '.join(str(error).split())}; give values as in seed=1,2,3 or seed=range(1,4)") from None
    if not any(name for values in choices for name, _ in values):
        raise BadInput(
            "-m starts a run for each value of a setting, but no setting has several; give some, as in seed=1,2,3"
        )
    found = []
    for picked in itertools.product(*choices):
        suffix = "-".join(re.sub(r"[^\w.+-]+", "_", name).strip("_") for name, _ in picked if name)
        found.append(Member(suffix, tuple(override for _, override in picked)))
    if len({member.suffix for member in found}) == len(found):
        return found
    return [Member(f"{member.suffix}-{number}", member.overrides) for number, member in enumerate(found)]
