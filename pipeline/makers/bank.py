"""The idea bank of a baseline: published ideas, and ranges of settings.

A bank is a folder of files `NAME.yaml` (title, text, why, source), each with `NAME.diff` (a patch against the baseline), and
`settings.yaml` (ranges). An idea of the bank contains its change as data, so that no text has to be implemented. If the
implementer reads text, an idea needs no patch.
"""

import math
import pkgutil
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.patching import Refusal, read_settings
from pipeline.patching.encoding import text_of
from pipeline.patching.trees import Tree
from pipeline.records import Change
from pipeline.text import writable

SETTINGS_FILE = "settings.yaml"
TRIES = 20


@dataclass(frozen=True)
class Published:
    """One published idea."""

    title: str
    """A few words."""
    text: str
    """What to change."""
    why: str
    """Why it may help."""
    source: str
    """The publication."""
    patch: str
    """Unified diff against the baseline; empty if the idea is only text."""


@dataclass(frozen=True)
class Range:
    """Range for new values of a setting: a log-uniform factor on the current value, or a list of choices."""

    why: str = ""
    """Expected effect of a change, if the values have no order."""
    higher: str = ""
    """Expected effect of a larger value."""
    lower: str = ""
    """Expected effect of a smaller value."""
    factor: tuple[float, float] | None = None
    """Lowest and highest factor."""
    choices: tuple[Any, ...] = ()
    """Values to choose from."""

    def fits(self, now: Any) -> bool:
        """Whether new values can be drawn given the current one: a factor requires a number, and a variant may have replaced
        it by anything."""
        return self.factor is None or _is_number(now)

    def reason(self, now: Any, value: Any) -> str:
        """The expected effect of changing the current value to a new one, by the direction of the change if it has one."""
        if not _is_number(now) or not _is_number(value) or now == value:
            return self.why
        return (self.higher if value > now else self.lower) or self.why

    @staticmethod
    def scaled(now: Any, factor: float) -> Any:
        """A value times a factor, of the same type, with three digits."""
        value = now * factor
        return max(1, round(value)) if isinstance(now, int) else float(f"{value:.3g}")

    def draw(self, now: Any, rng: random.Random) -> Any:
        """A value of the same type that differs from the current one; the current one if there is no other."""
        if self.factor is None:
            others = [choice for choice in self.choices if choice != now]
            return rng.choice(others) if others else now
        low, high = map(math.log, self.factor)
        for _ in range(TRIES):
            drawn = self.scaled(now, math.exp(rng.uniform(low, high)))
            if drawn != now:
                return drawn
        return now


@dataclass(frozen=True)
class Bank:
    """The contents of an idea bank."""

    published: Mapping[str, Published]
    """Ideas by name, sorted."""
    ranges: Mapping[str, Range]
    """Ranges by setting, sorted."""
    settings_file: str
    """File of the code that contains the settings."""
    settings_class: str
    """Dataclass in that file; empty if the settings are constants of the module, or keys of a YAML or JSON file."""

    def settings(self, tree: Tree) -> dict[str, Any]:
        """Current values of the settings with ranges, except those from which a range cannot draw."""
        text = self.settings_text(tree)
        values = read_settings(text, self.settings_class, self.settings_file) if isinstance(text, str) else text
        if isinstance(values, Refusal):
            return {}
        return {
            name: values[name] for name, known in self.ranges.items() if name in values and known.fits(values[name])
        }

    def settings_text(self, tree: Tree) -> str | Refusal:
        """The text of the settings file, or why it cannot be read."""
        entry = tree.get(self.settings_file)
        if entry is None:
            return Refusal("wrong_file", f"{self.settings_file or 'a settings file'} is not in the parent's code")
        text = text_of(self.settings_file, entry.data)
        if text != writable(text):
            return Refusal("unreadable", f"{self.settings_file} is not text in its encoding in the parent's code")
        return text


def load_bank(folder: Path, config: Config, patches: bool | None = None) -> Bank:
    """Read a bank. Raises `BadInput` naming the file that cannot be used. `patches` says whether each idea requires a patch;
    by default this depends on the run's implementer."""
    needed = needs_patches(config) if patches is None else patches
    published, ranges = {}, {}
    for path in sorted(folder.glob("*.yaml")):
        content = _yaml(path)
        if path.name == SETTINGS_FILE:
            for name, words in sorted(content.get("ranges", {}).items()):
                ranges[name] = _range(path, name, words)
            continue
        patch = path.with_suffix(".diff")
        missing = [key for key in ("title", "text", "why", "source") if not content.get(key)]
        if missing:
            raise BadInput(f"{path} lacks {', '.join(missing)}; add them")
        if needed and not patch.is_file():
            raise BadInput(
                f"{path} requires a patch, {patch.name}, in the same folder; or use implement=llm or implement=command"
            )
        words = {key: " ".join(str(content[key]).split()) for key in ("title", "text", "why", "source")}
        published[path.stem] = Published(**words, patch=patch.read_text() if patch.is_file() else "")
    baseline = config.baseline
    return Bank(published, ranges, baseline.settings_file, baseline.settings_class.get(config.scale, ""))


def needs_patches(config: Config) -> bool:
    """Whether the implementer only applies changes given as data, and cannot read text."""
    return not pkgutil.resolve_name(config.implement.maker["_target_"]).reads_text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, ValueError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} must contain keys and values")
    return {str(key): value for key, value in content.items()}


def _range(path: Path, name: str, words: Any) -> Range:
    factor, choices = words.get("factor"), words.get("choices")
    if (factor is None) == (choices is None):
        raise BadInput(f"{path}: {name} requires either `factor: [low, high]` or `choices: [...]`")
    why, higher, lower = (" ".join(str(words.get(key, "")).split()) for key in ("why", "higher", "lower"))
    return Range(why, higher, lower, tuple(factor) if factor else None, tuple(choices or ()))


def draw_settings(bank: Bank, now: Mapping[str, Any], count: int, rng: random.Random) -> Change:
    """New values for `count` randomly chosen settings; settings that cannot take another value are left out."""
    names = rng.sample(sorted(now), min(count, len(now)))
    drawn = {name: bank.ranges[name].draw(now[name], rng) for name in sorted(names)}
    return Change(settings={name: value for name, value in drawn.items() if value != now[name]})
