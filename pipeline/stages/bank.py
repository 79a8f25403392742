"""Ideas without a language model: published ones from the baseline's bank, changes of settings drawn from stated ranges,
and joins of parents that worked.

A bank is a folder of the baseline: `NAME.yaml` (title, text, why, source) beside `NAME.diff` (a patch against the
baseline), and `settings.yaml` (ranges). An idea holds its change as data, so that implementing it needs no more words.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import BaselineConfig
from pipeline.errors import BadInput
from pipeline.patching import Refusal, edit_settings, read_settings
from pipeline.patching.trees import Entry, Tree, apply, merge
from pipeline.records import Change, Idea
from pipeline.stages.base import Brief, Crash, Implemented
from pipeline.store.archive import Archive, Candidate

_SETTINGS = "settings.yaml"
_TRIES = 20


@dataclass(frozen=True)
class Published:
    """One published idea."""

    title: str
    """A few words."""
    text: str
    """What to do."""
    why: str
    """Why it may help."""
    source: str
    """The publication."""
    patch: str
    """Unified diff against the baseline."""


@dataclass(frozen=True)
class Range:
    """Where new values of a setting come from: a factor on the present value, log-uniform, or one of some choices."""

    why: str = ""
    """What it may do."""
    factor: tuple[float, float] | None = None
    """Least and greatest factor."""
    choices: tuple[Any, ...] = ()
    """Values to choose from."""

    def draw(self, now: Any, rng: random.Random) -> Any:
        """A value that differs from the present one, of the same type; the present one if there is no other."""
        if self.factor is None:
            others = [choice for choice in self.choices if choice != now]
            return rng.choice(others) if others else now
        low, high = map(math.log, self.factor)
        for _ in range(_TRIES):
            value = now * math.exp(rng.uniform(low, high))
            drawn = max(1, round(value)) if isinstance(now, int) else float(f"{value:.3g}")
            if drawn != now:
                return drawn
        return now


@dataclass(frozen=True)
class Bank:
    """All there is to draw from."""

    published: Mapping[str, Published]
    """By name, in order of names."""
    ranges: Mapping[str, Range]
    """By setting, in order of names."""
    settings_file: str
    """File of the variant that holds the settings."""
    settings_class: str
    """Dataclass in it."""

    def settings(self, tree: Tree) -> dict[str, Any]:
        """Present values of the settings that have ranges."""
        if not self.settings_file or self.settings_file not in tree:
            return {}
        values = read_settings(tree[self.settings_file].data.decode(), self.settings_class)
        if isinstance(values, Refusal):
            return {}
        return {name: values[name] for name in self.ranges if name in values}


def load_bank(folder: Path, baseline: BaselineConfig, scale: str) -> Bank:
    """Read a bank. Raises `BadInput` naming the file that cannot be used."""
    published, ranges = {}, {}
    for path in sorted(folder.glob("*.yaml")):
        content = _yaml(path)
        if path.name == _SETTINGS:
            for name, words in sorted(content.get("ranges", {}).items()):
                ranges[name] = _range(path, name, words)
            continue
        patch = path.with_suffix(".diff")
        missing = [key for key in ("title", "text", "why", "source") if not content.get(key)]
        if missing or not patch.is_file():
            raise BadInput(f"{path} needs {', '.join(missing) or f'a patch beside it, {patch.name}'}")
        words = {key: " ".join(str(content[key]).split()) for key in ("title", "text", "why", "source")}
        published[path.stem] = Published(**words, patch=patch.read_text())
    return Bank(published, ranges, baseline.settings_file, baseline.settings_class.get(scale, ""))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, ValueError, OSError) as error:
        raise BadInput(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} must hold keys and values")
    return {str(key): value for key, value in content.items()}


def _range(path: Path, name: str, words: Any) -> Range:
    factor, choices = words.get("factor"), words.get("choices")
    if (factor is None) == (choices is None):
        raise BadInput(f"{path}: {name} needs either `factor: [low, high]` or `choices: [...]`")
    return Range(str(words.get("why", "")), tuple(factor) if factor else None, tuple(choices or ()))


@dataclass(frozen=True)
class Ingredients:
    """What a variant consists of: equal for variants that would be the same code."""

    patches: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        return tuple(sorted(self.patches)), tuple(sorted((name, repr(value)) for name, value in self.settings.items()))

    def with_change(self, change: Change, others: Sequence["Ingredients"] = ()) -> "Ingredients":
        patches, settings = set(self.patches), dict(self.settings)
        for other in others:
            patches |= other.patches
            settings = {**other.settings, **settings}
        if change.patch:
            patches.add(change.patch)
        return Ingredients(frozenset(patches), {**settings, **change.settings})


def ingredients(archive: Archive, candidate: Candidate) -> Ingredients:
    """What a candidate inherited and changed; nothing of ideas in words only."""
    known: dict[str, Ingredients] = {}
    for one in archive.candidates:  # parents come before their children
        first, *others = [known[parent] for parent in one.idea.parents] or [Ingredients()]
        known[one.id] = first.with_change(one.idea.change or Change(), others)
    return known[candidate.id]


class BankIdeator:
    """Draws from a bank; the same seed and archive give the same ideas."""

    slow = False

    def __init__(self, bank: Bank, code: Callable[[Candidate | None], Tree], seed: int, patch_share: float) -> None:
        self._bank = bank
        self._code = code
        self._seed = seed
        self._patch_share = patch_share

    def propose(self, brief: Brief) -> Idea:
        """Raises `BadInput` when the bank has nothing that was not tried."""
        rng = random.Random(f"{self._seed}/{brief.generation}/{brief.number}")
        tried = {ingredients(brief.archive, candidate).key for candidate in brief.archive.candidates}
        for _ in range(_TRIES):
            idea = self._exploit(brief, rng, tried) if brief.exploit else None
            idea = idea or self._explore(brief, rng, tried)
            if idea is not None:
                return idea
        raise BadInput("the idea bank is used up; add ideas or ranges to it, or ask for fewer candidates")

    def _explore(self, brief: Brief, rng: random.Random, tried: set[tuple[object, ...]]) -> Idea | None:
        fresh = [name for name in self._bank.published if Ingredients(frozenset({name})).key not in tried]
        if fresh and (not self._bank.ranges or rng.random() < self._patch_share):
            return self._published(rng.choice(fresh), "explore")
        return self._settings(None, Ingredients(), rng, tried)

    def _exploit(self, brief: Brief, rng: random.Random, tried: set[tuple[object, ...]]) -> Idea | None:
        """A change on top of a parent, better parents more often."""
        weights = [1 / (rank + 1) for rank in range(len(brief.parents))]
        parent = rng.choices(brief.parents, weights)[0]
        has = ingredients(brief.archive, parent)
        ways = ["patch", "patch", "join", "join", "settings"]
        rng.shuffle(ways)
        for way in dict.fromkeys(ways):
            if way == "join":
                idea = self._join(brief, parent, has, rng, tried)
            elif way == "patch":
                fresh = [
                    name
                    for name in self._bank.published
                    if name not in has.patches and has.with_change(Change(patch=name)).key not in tried
                ]
                idea = self._published(rng.choice(fresh), "exploit", parent) if fresh else None
            else:
                idea = self._settings(parent, has, rng, tried)
            if idea is not None:
                return idea
        return None

    def _published(self, name: str, origin: str, parent: Candidate | None = None) -> Idea:
        idea = self._bank.published[name]
        title = f"{parent.idea.title} + {idea.title}" if parent else idea.title
        parents = (parent.id,) if parent else ()
        return Idea(title, f"{idea.text} {idea.why}", origin, parents, idea.source, Change(patch=name))

    def _join(
        self, brief: Brief, parent: Candidate, has: Ingredients, rng: random.Random, tried: set[tuple[object, ...]]
    ) -> Idea | None:
        partners = []
        for other in brief.parents:
            both = has.with_change(Change(join=True), [ingredients(brief.archive, other)])
            if other.id != parent.id and both.key not in tried:
                partners.append(other)
        if not partners:
            return None
        other = rng.choice(partners)
        text = f"Join the code of two candidates that worked: {parent.idea.title}; {other.idea.title}."
        title = f"{parent.idea.title} & {other.idea.title}"
        return Idea(title, text, "exploit", (parent.id, other.id), change=Change(join=True))

    def _settings(
        self, parent: Candidate | None, has: Ingredients, rng: random.Random, tried: set[tuple[object, ...]]
    ) -> Idea | None:
        change = draw_settings(self._bank, self._bank.settings(self._code(parent)), 1, rng)
        if not change.settings or has.with_change(change).key in tried:
            return None
        words = ", ".join(f"{name} = {value}" for name, value in change.settings.items())
        why = " ".join(self._bank.ranges[name].why for name in change.settings)
        title = f"{parent.idea.title} + {words}" if parent else words
        origin, parents = ("exploit", (parent.id,)) if parent else ("explore", ())
        return Idea(title, f"Set {words}. {why}".strip(), origin, parents, change=Change(settings=change.settings))


class TuneIdeator:
    """Random search over the ranges of settings, all of them at once: the peer that any idea must beat (Bergstra and
    Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012)."""

    slow = False

    def __init__(self, bank: Bank, code: Callable[[Candidate | None], Tree], seed: int) -> None:
        self._bank = bank
        self._code = code
        self._seed = seed

    def propose(self, brief: Brief) -> Idea:
        """Raises `BadInput` when the bank states no ranges."""
        rng = random.Random(f"{self._seed}/{brief.generation}/{brief.number}")
        change = draw_settings(self._bank, self._bank.settings(self._code(None)), len(self._bank.ranges), rng)
        if not change.settings:
            raise BadInput(f"there is nothing to tune: the idea bank has no {_SETTINGS} with ranges")
        words = ", ".join(f"{name} = {value}" for name, value in change.settings.items())
        return Idea(f"settings {brief.generation}.{brief.number}", f"Set {words}.", "tune", change=change)


def draw_settings(bank: Bank, now: Mapping[str, Any], count: int, rng: random.Random) -> Change:
    """New values for `count` settings drawn at random; those that cannot differ are left out."""
    names = rng.sample(sorted(now), min(count, len(now)))
    drawn = {name: bank.ranges[name].draw(now[name], rng) for name in sorted(names)}
    return Change(settings={name: value for name, value in drawn.items() if value != now[name]})


class BankImplementer:
    """Carries out the changes of a bank's ideas on the code of their parents; git does the merging."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        change = idea.change
        if change is None:
            return Refusal("unreadable", "the idea is in words only, which the idea bank cannot implement")
        code: Tree | Refusal = parents[0] if parents else dict(baseline)
        if change.join:
            code = merge(baseline, parents[0], parents[1])
        if change.patch and not isinstance(code, Refusal):
            patched = apply(baseline, self._bank.published[change.patch].patch)
            code = patched if isinstance(patched, Refusal) else merge(baseline, code, patched)
        if change.settings and not isinstance(code, Refusal):
            code = self._set(code, change.settings)
        return code if isinstance(code, Refusal) else Implemented(code, "bank")

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Refusal:
        return Refusal("unreadable", f"the idea bank cannot mend code ({crash.failure.reason.splitlines()[0]})")

    def _set(self, code: Tree, settings: Mapping[str, Any]) -> Tree | Refusal:
        entry = code.get(self._bank.settings_file)
        if entry is None:
            return Refusal("wrong_file", f"{self._bank.settings_file} is gone from the parent's code")
        text = edit_settings(entry.data.decode(), self._bank.settings_class, settings)
        if isinstance(text, Refusal):
            return text
        return {**code, self._bank.settings_file: Entry(text.encode(), entry.mode)}
