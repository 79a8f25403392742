"""Runs of a group: with `-m` one for each combination of values, as in `seed=1,2,3`; with `arms` one for each method and
seed."""

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.setup.compose import as_value
from pipeline.setup.folders import CONF

_NAMES_THE_GROUP = ("run", "group")
_OF_AN_ARM = (*_NAMES_THE_GROUP, "arms", "arm", "seeds", "seed", "baseline_of", "experiment")
"""Settings that are set for each run of an arm."""
_METHOD = ("ideate", "implement", "select")
"""Groups by which methods differ: what the experiment of an arm chooses of them stands, whatever is given for all arms."""


@dataclass(frozen=True)
class Member:
    """One run of a group."""

    suffix: str
    """Suffix of its name after the name of the group, e.g. `seed-1`."""
    overrides: tuple[str, ...]
    """Its overrides, each with one value."""
    baseline_of: str = ""
    """Suffix of the run whose baseline it shares; empty if it trains its own."""


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
        suffix = "-".join(_as_name(name) for name, _ in picked if name)
        found.append(Member(suffix, tuple(override for _, override in picked)))
    if len({member.suffix for member in found}) == len(found):
        return found
    return [Member(f"{member.suffix}-{number}", member.overrides) for number, member in enumerate(found)]


def arm_members(overrides: Sequence[str], config: Config, config_dir: Path | None) -> list[Member]:
    """`config.seeds` runs of each arm of `config`, which `overrides` composed: all arms of a seed before the next seed, so
    that an unfinished comparison still compares equals. The first arm's run comes first, and the others of its seed share
    its baseline. Raises `BadInput` for arms that cannot be used."""
    arms = [" ".join(arm.split()) for arm in config.arms]
    if len(arms) < 2 or len({_as_name(arm) for arm in arms}) < len(arms):
        raise BadInput(f"arms={config.arms}: give at least two, each once, as arms=[evolve_posttrain,tune_posttrain]")
    shared = [one for one in overrides if _key(one) not in _OF_AN_ARM]
    settings = {arm: _settings(arm, shared, config_dir) for arm in arms}
    for one in shared:
        if all(one not in found for found in settings.values()):
            raise BadInput(f"{one}: every arm chooses its own; name it behind an arm, as arms=['{arms[0]} {one}',…]")
    first, seeds = arms[0], range(config.seed, config.seed + config.seeds)
    return [
        Member(
            f"{_as_name(arm)}-seed-{seed}",
            (*settings[arm], f"seed={seed}", f"arm={as_value(arm)}"),
            "" if arm is first else f"{_as_name(first)}-seed-{seed}",
        )
        for seed in seeds
        for arm in arms
    ]


def _settings(arm: str, shared: Sequence[str], config_dir: Path | None) -> tuple[str, ...]:
    """Of one arm: its experiment, what is given for all arms, and its own."""
    experiment, *own = shlex.split(arm)
    chosen = {_key(one) for one in own} | set(_chosen(experiment, config_dir))
    return (f"+experiment={experiment}", *(one for one in shared if _key(one) not in chosen), *own)


def _chosen(experiment: str, config_dir: Path | None) -> Iterator[str]:
    """The groups of `_METHOD` that an experiment overrides. Raises `BadInput` if there is no such experiment."""
    places = [folder / "experiment" for folder in (CONF, config_dir) if folder is not None]
    found = [place / f"{experiment}.yaml" for place in places if (place / f"{experiment}.yaml").is_file()]
    if not found:
        names = sorted(path.stem for place in places for path in place.glob("*.yaml"))
        raise BadInput(f"arms: {experiment!r} is no experiment; begin with one of: {', '.join(names)}")
    for entry in (yaml.safe_load(found[-1].read_text()) or {}).get("defaults", []):
        for key in entry if isinstance(entry, dict) else ():
            group = str(key).rpartition("/")[2]
            if group in _METHOD:
                yield group


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")
