"""The two protocols of makers: an ideator proposes ideas, an implementer turns an idea into code.

Both are chosen in YAML by `_target_` (`ideate.maker`, `implement.maker`) and constructed with the `Tools` of the run and the
other keys of that setting.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.llm.base import Embedder, Model
from pipeline.llm.roles import Member, Role, settings_of
from pipeline.makers.packages import Packages, installed_packages
from pipeline.metric import Metric
from pipeline.patching import Refusal, Rules
from pipeline.patching.trees import Tree
from pipeline.records import Failure, Idea, Usage
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate, Generation


class UsedUp(BadInput):
    """An ideator has no more ideas."""


@dataclass(frozen=True)
class Tools:
    """Resources for makers."""

    config: Config
    """Settings in force."""
    metric: Metric
    """The metric to improve."""
    ideas: Path
    """Folder of the idea bank; may be absent."""
    code: Callable[[Candidate | None], Tree]
    """Returns the code of a candidate; for none, that of the baseline."""
    model: Model | None = None
    """The default language model, for roles without one of their own; none if the run uses none."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the program ends: work that is waiting gives up."""
    models: Mapping[Role, Sequence[Member]] = field(default_factory=dict)
    """The language models by role (`llm.roles`, `llm.ideators`)."""
    embedder: Embedder | None = None
    """The embedding model (`llm.roles.embedder`); none if the run uses none."""

    @functools.cached_property
    def rules(self) -> Rules:
        """Which files a patch may touch."""
        return Rules(self.config.baseline.evolvable, self.config.baseline.protected)

    @functools.cached_property
    def packages(self) -> Packages:
        """Packages that a variant can import."""
        return installed_packages(self.config.baseline.interpreter)

    def members_for(self, role: Role) -> Sequence[Member]:
        """The models of a role, at least one. Raises `BadInput` if the run has no language model."""
        return self.models.get(role) or (Member(settings_of(self.config.llm, role), self.needed_model),)

    def model_for(self, role: Role) -> Model:
        """The first model of a role. Raises `BadInput` if the run has no language model."""
        return self.members_for(role)[0].model

    @property
    def needed_model(self) -> Model:
        """The default language model. Raises `BadInput` if the run has none."""
        if self.model is None:
            raise BadInput("a maker uses a language model without declaring it; set needs_model = True in its class")
        return self.model


@dataclass(frozen=True)
class Brief:
    """A request for one idea."""

    archive: Archive
    """Everything tried so far, including failures."""
    generation: Generation
    """The generation that the idea belongs to; its `parents.seen` says which outcomes it may use."""
    parents: tuple[Candidate, ...]
    """Candidates that the idea may build on, best first; empty means only the baseline."""
    number: int
    """Number of the candidate in its generation."""
    exploit: bool
    """Whether to build on a parent; else the idea builds on the baseline."""
    alike: range
    """Numbers of the candidates of this generation with the same value of `exploit`."""
    ideas: Mapping[int, Idea] = field(default_factory=dict)
    """Ideas that the generation already has, by number."""

    def parents_of(self, numbers: Iterable[int]) -> tuple[Candidate, ...]:
        """The parents for exploit ideas with these numbers, best first: those that the search method drew for them, or all
        parents if it drew none."""
        draws = self.generation.parents.draws
        drawn = {draws[number] for number in numbers if number < len(draws)}
        return tuple(one for one in self.parents if one.id in drawn) or self.parents


class Ideator(Protocol):
    """Proposes ideas. The same brief and seed give the same idea."""

    needs_model: bool
    """Whether it uses the run's language model."""
    slow: bool
    """Whether an idea takes so long that a tick must not wait for it."""

    def propose(self, brief: Brief) -> Idea:
        """The requested idea. Raises `Unanswered` while the model is unavailable, `UsedUp` if there are no more ideas."""
        ...

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        """Receive the outcomes read since the last call, in the order of their decision; all of them after a restart."""
        ...


@dataclass(frozen=True)
class Implemented:
    """An idea as code."""

    tree: Tree
    """The complete variant."""
    maker: str
    """Author of the code."""
    tries: int = 1
    """Number of answers requested."""
    usage: Usage | None = None
    """Tokens and cost of these answers; none if no language model was used."""


@dataclass(frozen=True)
class Crash:
    """An implementation that does not run."""

    code: Tree
    """The complete variant."""
    failure: Failure
    """How it failed."""
    log: str
    """The last lines of its output."""


class Implementer(Protocol):
    """Turns an idea into code. Raises `Unanswered` while the language model is unavailable."""

    needs_model: bool
    """Whether it uses the run's language model."""
    reads_text: bool
    """Whether it can implement an idea that is only text, without a change given as data."""

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        """Implement an idea on top of its parents' code, or of the baseline's if it has none."""
        ...

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        """Repair the code that crashed."""
        ...
