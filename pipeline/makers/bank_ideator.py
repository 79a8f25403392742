"""Ideas without a language model: published ideas from the bank, settings drawn from its ranges, and joins of successful
parents."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.makers.bank import TRIES, draw_settings, load_bank
from pipeline.makers.base import Brief, Tools, UsedUp
from pipeline.records import Change, Idea
from pipeline.store.views import Candidate

Key = tuple[object, ...]


@dataclass(frozen=True)
class Ingredients:
    """The patches and settings in a variant; equal for variants with the same code."""

    patches: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return tuple(sorted(self.patches)), tuple(sorted((name, repr(value)) for name, value in self.settings.items()))

    def with_change(self, change: Change, others: Sequence["Ingredients"] = ()) -> "Ingredients":
        patches, settings = set(self.patches), dict(self.settings)
        for other in others:
            patches |= other.patches
            settings = {**other.settings, **settings}
        patches.update([*([change.patch] if change.patch else []), *change.more])
        return Ingredients(frozenset(patches), {**settings, **change.settings})


class Tried:
    """The ingredients of all ideas so far. Each is read once, so that the cost per idea does not grow with the archive."""

    def __init__(self) -> None:
        self._known: dict[str, Ingredients] = {}
        self._keys: set[Key] = set()
        self._complete = 0

    def update(self, brief: Brief) -> None:
        """Add the ideas that are new since the last call."""
        for generation in brief.archive.generations[self._complete :]:
            for candidate in generation.candidates:
                self._put(candidate.id, candidate.idea)
            if generation.complete and self._complete == generation.number:
                self._complete += 1
        for number, idea in brief.ideas.items():
            paths = brief.generation.paths.candidate(number)
            self._put("/".join(paths.folder.parts[-2:]), idea)

    def of(self, candidate: str) -> Ingredients:
        """The ingredients that a candidate inherited or added; ideas that are only text add none."""
        return self._known[candidate]

    def has(self, ingredients: Ingredients) -> bool:
        """Whether the same code has been proposed before."""
        return ingredients.key in self._keys

    def _put(self, name: str, idea: Idea) -> None:
        if name not in self._known:
            first, *others = [self._known[parent] for parent in idea.parents] or [Ingredients()]
            self._known[name] = first.with_change(idea.change or Change(), others)
            self._keys.add(self._known[name].key)


class BankIdeator:
    """Draws ideas from a bank; the same seed and archive give the same ideas."""

    needs_model = False
    slow = False

    def __init__(self, tools: Tools) -> None:
        self._bank = load_bank(tools.ideas, tools.config)
        self._code = tools.code
        self._seed = tools.config.seed
        self._patch_share = tools.config.ideate.patch_share
        self._tried = Tried()

    def propose(self, brief: Brief) -> Idea:
        """The next idea. Raises `UsedUp` if everything in the bank has been tried."""
        rng = random.Random(f"{self._seed}/{brief.generation.number}/{brief.number}")
        self._tried.update(brief)
        for _ in range(TRIES):
            idea = self._exploit(brief, rng) if brief.exploit else None
            idea = idea or self._explore(rng)
            if idea is not None:
                return idea
        state = "used up" if self._bank.published or self._bank.ranges else "empty"
        raise UsedUp(
            f"the idea bank is {state}; add ideas or ranges to it (step 7 of docs/how-to/bring-your-own-training-code.md), "
            "propose ideas of your own (python -m pipeline propose RUN --idea FILE), or start a run with ideate=llm or, for "
            "proposals alone, ideate.candidates=0"
        )

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        """Does nothing: outcomes only influence the choice of parents."""

    def _explore(self, rng: random.Random) -> Idea | None:
        fresh = [name for name in self._bank.published if not self._tried.has(Ingredients(frozenset({name})))]
        if fresh and (not self._bank.ranges or rng.random() < self._patch_share):
            return self._published(rng.choice(fresh), "explore")
        return self._settings(None, Ingredients(), rng)

    def _exploit(self, brief: Brief, rng: random.Random) -> Idea | None:
        """A change on top of a parent; better parents are chosen more often."""
        own = brief.parents_of([brief.number])
        parent = rng.choices(own, [1 / (rank + 1) for rank in range(len(own))])[0]
        has = self._tried.of(parent.id)
        ways = ["patch", "patch", "join", "join", "settings"]
        rng.shuffle(ways)
        for way in dict.fromkeys(ways):
            if way == "join":
                idea = self._join(brief, parent, has, rng)
            elif way == "patch":
                fresh = [
                    name
                    for name in self._bank.published
                    if name not in has.patches and not self._tried.has(has.with_change(Change(patch=name)))
                ]
                idea = self._published(rng.choice(fresh), "exploit", parent) if fresh else None
            else:
                idea = self._settings(parent, has, rng)
            if idea is not None:
                return idea
        return None

    def _published(self, name: str, origin: str, parent: Candidate | None = None) -> Idea:
        idea = self._bank.published[name]
        title = f"{parent.idea.title} + {idea.title}" if parent else idea.title
        parents = (parent.id,) if parent else ()
        return Idea(title, f"{idea.text} {idea.why}", origin, parents, idea.source, Change(patch=name))

    def _join(self, brief: Brief, parent: Candidate, has: Ingredients, rng: random.Random) -> Idea | None:
        partners = []
        for other in brief.parents:
            both = has.with_change(Change(join=True), [self._tried.of(other.id)])
            if other.id != parent.id and not self._tried.has(both):
                partners.append(other)
        if not partners:
            return None
        other = rng.choice(partners)
        text = f"Join the code of two candidates that worked: {parent.idea.title}; {other.idea.title}."
        title = f"{parent.idea.title} & {other.idea.title}"
        return Idea(title, text, "exploit", (parent.id, other.id), change=Change(join=True))

    def _settings(self, parent: Candidate | None, has: Ingredients, rng: random.Random) -> Idea | None:
        now = self._bank.settings(self._code(parent))
        change = draw_settings(self._bank, now, 1, rng)
        if not change.settings or self._tried.has(has.with_change(change)):
            return None
        values = ", ".join(f"{name} = {value}" for name, value in change.settings.items())
        why = " ".join(self._bank.ranges[name].reason(now[name], value) for name, value in change.settings.items())
        title = f"{parent.idea.title} + {values}" if parent else values
        origin, parents = ("exploit", (parent.id,)) if parent else ("explore", ())
        return Idea(title, f"Set {values}. {why}".strip(), origin, parents, change=Change(settings=change.settings))
