"""Composes a `Config` from a command line with Hydra, with errors that list the allowed values."""

import dataclasses
import difflib
import math
import re
import shutil
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Clock, Codes, Config, RlConfig, SelectConfig
from pipeline.errors import BadInput
from pipeline.makers.prompting import OWN_FOLDER, own_templates
from pipeline.policy.rungs import rung_budgets
from pipeline.policy.stopping import parse_date
from pipeline.setup.folders import CONF, REPOSITORY, SITE

_SLURM, _LOCAL = "pipeline.cluster.slurm.SlurmCluster", "pipeline.cluster.local.LocalCluster"
# Debugging details that Hydra and OmegaConf add to messages.
_NOISE = re.compile(
    r"Config search path:.*|See https?://\S+ for details|(reference_type|object_type|full_key)[=:].*|"
    r"Set the environment variable HYDRA_FULL_ERROR.*",
    re.S,
)


_RUN_EACH = "add -m, which starts a run for each value: python -m pipeline.run -m … seed=1,2,3 run=NAME"


_RANGES: dict[str, tuple[float, float | None]] = {
    "seeds": (1, None),
    "select.quorum": (0, 1),
    "select.baseline_seeds": (1, None),
    "select.elites": (0, None),
    "ideate.candidates": (0, None),
    "ideate.lessons_every": (0, None),
    "ideate.similarity": (0, 1),
    "ideate.widen": (0, 1),
    "implement.similarity": (0, 1),
    "budget.device_hour_usd": (0, None),
    "search.ahead": (0, None),
    "search.keep": (0, 1),
    "implement.parallel": (1, None),
    "stop.generations": (1, None),
    "stop.candidates": (0, None),
    "stop.patience": (0, None),
    "cluster.max_parallel": (0, None),
    "train.early_stop": (0, 0.95),
    "cluster.pack": (1, None),
    "cluster.pack_wait_s": (0, None),
    "cluster.poll_s": (0, None),
    "budget.gpu_hours": (0, None),
    "budget.reserve": (0, 1),
    "budget.usd": (0, None),
    "llm.max_tokens": (1, None),
    "llm.context": (1, None),
    "rl.k": (1, None),
    "rl.kl": (0, None),
    "rl.staleness": (0, None),
    "rl.cap": (1, None),
    "rl.temperature": (0.01, None),
    "rl.new_tokens": (1, None),
    "rl.lora_rank": (0, None),
    "rl.epochs": (1, None),
    "rl.minibatch": (1, None),
    "rl.microbatch": (1, None),
    "rl.clip": (0, 1),
    "rl.clip_high": (0, None),
    "rl.zero_stage": (0, 3),
    "rl.sample.gpus_per_node": (0, None),
    "rl.sample.cpus_per_task": (1, None),
    "rl.sample.mem_gb": (0.01, None),
    "rl.sample.time_min": (1, None),
    "rl.update.nodes": (1, None),
    "rl.update.gpus_per_node": (0, None),
    "rl.update.cpus_per_task": (1, None),
    "rl.update.mem_gb": (0.01, None),
    "rl.update.time_min": (1, None),
    "train.retries": (0, None),
    "train.resources.nodes": (1, None),
    "train.resources.gpus_per_node": (0, None),
    "train.resources.cpus_per_task": (1, None),
    "train.resources.mem_gb": (0.01, None),
    "train.resources.time_min": (1, None),
}
"""Smallest and largest allowed value of settings; none means no limit."""


def compose_config(overrides: Sequence[str], config_dir: Path | None = None) -> Config:
    """Compose `conf/config.yaml` with overrides. Groups are also searched in `config_dir`, the user's own.

    Raises `BadInput`, with the valid keys or choices, for invalid overrides.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    # Hydra would accept `+stop.generatons=3` as a new key.
    for override in overrides:
        if "=" in override and (unknown := _unknown_key(override, config_dir)):
            raise BadInput(unknown)
    places = [f"file://{folder.resolve()}" for folder in (config_dir, SITE) if folder is not None and folder.is_dir()]
    searched = [f"hydra.searchpath=[{','.join(places)}]"] if places else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            composed = compose(config_name="config", overrides=[*searched, *map(_added, overrides)])
        config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a group is null
        raise BadInput(_one_line(error)) from error
    assert isinstance(config, Config)
    if config.prompts:
        raise BadInput(
            f"prompts.{next(iter(config.prompts))} cannot be set here; put your template into {OWN_FOLDER}/NAME.md"
        )
    if config_dir is not None:
        config.own_code = config.own_code or str(config_dir.resolve().parent)
    use_code_of(config.own_code)
    if config.own_code and not Path(config.own_code).is_dir():
        raise BadInput(f"own_code={config.own_code} is not a folder; give the folder with your classes")
    if config.own_code:  # recorded with the run's settings, so that a resume with other prompts is refused
        config.prompts = own_templates(Path(config.own_code) / OWN_FOLDER)
    if not config.cluster.backend:  # cluster=auto: resolved here, for all later readers of the run's settings
        slurm = shutil.which("sbatch") is not None
        config.cluster.backend = {"_target_": _SLURM if slurm else _LOCAL}
        config.cluster.unattended = slurm
    config.baseline.folder = str(_code_folder(config.baseline.folder, config_dir))
    if config.search.rungs[-1:] == [1.0]:  # the whole training, which follows anyway
        config.search.rungs.pop()
    _check(config)
    return config


def use_code_of(folder: str) -> None:
    """Make the classes in a folder importable. Installed packages take precedence."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


def own_config_dir(config: Config) -> Path | None:
    """The user's folder of configuration groups that describes the baseline or its numbers; none if there is none in
    `own_code`."""
    name = config.baseline.name
    groups = (f"baseline/{name}.yaml", f"size/{name}_{config.scale}.yaml")
    found = [path for group in groups for path in sorted(Path(config.own_code).glob(f"*/{group}")) if config.own_code]
    return found[0].parent.parent if found else None


def as_value(text: str) -> str:
    """The text as Hydra's grammar requires it after `KEY=`: in quotation marks unless it is one word or a plain path."""
    if re.fullmatch(r"[A-Za-z/.][\w/.-]*", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _check(config: Config) -> None:
    """Raise `BadInput` for a value that no run can use, before anything is created."""
    if config.stop.date:
        parse_date(config.stop.date)
    train, given = config.train, flatten(dataclasses.asdict(config))
    for name, value in config.cluster.slurm.extra.items():
        if isinstance(value, dict | list):
            raise BadInput(f"cluster.slurm.extra.{name}={value} is not one value; give the value for --{name}=")
    for key, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{key}={value} cannot be used; give a finite number")
    for key, (least, most) in _RANGES.items():
        value = given[key]
        if value is not None and (value < least or (most is not None and value > most)):
            allowed = f"between {least} and {most}" if most is not None else f"{least} or more"
            raise BadInput(f"{key}={value:g} cannot be used; give {allowed}")
    _check_race(config.select)
    _check_rungs(config)
    _check_ranks(config.rl)
    if train.early_stop and not config.baseline.curve.name:
        raise BadInput(
            f"train.early_stop={train.early_stop:g} needs a curve to compare; set baseline.curve.name to a key of "
            "metrics.jsonl and baseline.curve.direction, or train.early_stop=0"
        )
    if config.measure.codes is not Codes.none and config.measure.target is None:
        raise BadInput("measure.target is missing; give the value of the metric to reach, e.g. measure.target=3.28")
    if train.clock is Clock.wall and not 0 < train.budget_min < train.limit_min:
        raise BadInput(
            f"train.budget_min={train.budget_min:g} must be above 0 and below the guard train.limit_min={train.limit_min:g}"
        )


def _check_race(select: SelectConfig) -> None:
    rounds = select.confirm
    entered = [*(one[0] for one in rounds if len(one) == 2 and one[1] >= 1), select.elites]
    if len(entered) <= len(rounds) or entered != sorted(entered, reverse=True):
        raise BadInput(
            f"select.confirm={rounds} cannot be used; give rounds [candidates, seeds] with decreasing numbers of "
            f"candidates, at least select.elites={select.elites}, as select.confirm=[[6,2],[3,2]]"
        )


def _check_rungs(config: Config) -> None:
    rungs = config.search.rungs
    budgets = [0.0, *rung_budgets(config), config.train.budget]
    if rungs and (budgets != sorted(set(budgets)) or not all(0 < one < 1 for one in rungs)):
        raise BadInput(
            f"search.rungs={rungs} cannot be used; give rising shares of the budget between 0 and 1, as search.rungs=[0.25]"
        )


def _check_ranks(rl: RlConfig) -> None:
    if rl.sample.nodes != 1:
        raise BadInput(
            f"rl.sample.nodes={rl.sample.nodes}: sampling uses one node; set rl.sample.gpus_per_node instead"
        )
    ranks = rl.update.nodes * max(1, rl.update.gpus_per_node)
    if ranks > 1 and rl.zero_stage is None:
        raise BadInput(
            f"rl.update requests {ranks} GPUs or nodes and rl.zero_stage is null; set rl.zero_stage=0, 1, 2 or 3"
        )
    if rl.zero_stage is not None and rl.dtype == "float16":
        raise BadInput("rl.dtype=float16 cannot be trained with rl.zero_stage; use bfloat16 or float32")


def fixed_part(config: Config) -> dict[str, Any]:
    """The settings that must stay the same on resume, as plain data. `baseline.folder` is left out: it is a path, and
    its content is hashed."""
    fixed: dict[str, Any] = _part(config, live=False)
    fixed["baseline"].pop("folder")
    return fixed


def live_part(config: Config) -> dict[str, Any]:
    """The settings that may change when a run is resumed, as plain data."""
    live: dict[str, Any] = _part(config, live=True)
    return live


def as_yaml(config: Config) -> str:
    """The composed configuration as YAML, as Hydra's `--cfg job` prints it."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def save_site(config: Config) -> Path:
    """Save the settings `cluster.*` outside the repository, where `cluster=site` finds them; returns the file."""
    path = SITE / "cluster" / "site.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config.cluster)))
    return path


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `group.key` to value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The changed settings, each as `key: old -> new`."""
    old, new = flatten(before), flatten(now)
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return [f"{key}: {_brief(old.get(key))} -> {_brief(new.get(key))}" for key in keys]


def _brief(value: Any) -> str:
    """A value on one line; multi-line text is cut."""
    first, _, rest = str(value).strip().partition("\n")
    return f"{first[:60]}…" if rest else first


def _part(node: Any, live: bool, inside: bool = False) -> Any:
    """The live or the fixed fields of a configuration as nested plain data. All fields of a live group are live."""
    if isinstance(node, list):
        return [_part(item, live, True) for item in node]
    if isinstance(node, dict):
        return {key: _part(item, live, True) for key, item in node.items()}
    if hasattr(node, "name") and hasattr(node, "value"):
        return node.value
    if not dataclasses.is_dataclass(node):
        return node
    part: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        is_live = (inside and live) or bool(field.metadata.get("live"))
        value = getattr(node, field.name)
        if is_live == live:
            part[field.name] = _part(value, live, live)
        elif not is_live and dataclasses.is_dataclass(value):
            if below := _part(value, live):
                part[field.name] = below
    return part


def _code_folder(folder: str, config_dir: Path | None) -> Path:
    """Folder of a baseline's code: an absolute path, or relative to the parent of `config_dir` or to this
    repository."""
    places = [REPOSITORY / folder]
    if config_dir is not None:
        places.insert(0, config_dir.resolve().parent / folder)
    for place in places:
        if place.is_dir():
            return place
    raise BadInput(f"baseline.folder={folder} is not a folder; looked for {' and '.join(map(str, places))}")


def _one_line(error: Exception) -> str:
    """Hydra's error message on one line."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(_NOISE.sub("", str(cause)))
        cause = cause.__cause__
    text = " ".join(" ".join(dict.fromkeys(causes)).split())
    if "--multirun" in text:
        return f"{text.partition(' requires')[0]}: a setting takes one value; {_RUN_EACH}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read as KEY=VALUE; put quotes around a value with , = or spaces in it ({text})"
        )
    return text


def _unknown_key(override: str, config_dir: Path | None) -> str | None:
    """An error message if the key of an override is not in the schema; none if it is, or if any key is allowed
    there."""
    key = override.lstrip("+~").partition("=")[0]
    groups = [folder / key for folder in (CONF, config_dir, SITE) if folder is not None]
    if any(group.is_dir() for group in groups) or "@" in key or key == "hydra.searchpath":
        return None
    if key.partition("/")[0].partition(".")[0] == "hydra":
        return f"{key} has no effect here; run= and runs= set the folder of a run, and -m starts several"
    node: Any = Config
    done: list[str] = []
    for name in key.split("."):
        if _is_open(node):
            return None
        keys, parent = _fields(node), ".".join(done)
        if not keys:
            return f"{key} is not a setting: {parent} is a single value"
        if name not in keys:
            near = difflib.get_close_matches(name, keys, 1)
            meant = f"; did you mean {'.'.join([*done, near[0]])}?" if near else "."
            wrong = ".".join([*done, name])
            return f"{wrong} is not a setting{meant} Valid keys of {parent or 'the configuration'}: {', '.join(keys)}"
        node = typing.get_type_hints(node)[name]
        done.append(name)
    return None


def _fields(node: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(node)] if dataclasses.is_dataclass(node) else []


def _is_open(node: Any) -> bool:
    """Whether a setting is a map with arbitrary keys."""
    return typing.get_origin(node) is dict


def _added(override: str) -> str:
    """The override, rewritten if it sets a key of an open map, so that Hydra accepts a new key."""
    key, _, value = override.partition("=")
    if override.startswith(("+", "~")) or "=" not in override:
        return override
    if "." in key and (CONF / key.replace(".", "/")).is_dir() and not value.startswith("{"):
        return f"{key.replace('.', '/')}={value}"  # train.sandbox=auto names a file of conf/train/sandbox/
    node: Any = Config
    for name in key.split("."):
        if name not in _fields(node):
            return f"++{override}" if _is_open(node) else override
        node = typing.get_type_hints(node)[name]
    return f"++{override}" if _is_open(node) else override
