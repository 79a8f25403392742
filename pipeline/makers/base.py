"""The two protocols of those that make candidates: an ideator proposes, an implementer turns an idea into code.

Both are chosen in YAML by `_target_` (`ideate.maker`, `implement.maker`) and made with the `Tools` of the run and the other
keys of that setting.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.llm.base import Model
from pipeline.llm.roles import Role
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
    """What makers may use."""

    config: Config
    """Settings in force."""
    metric: Metric
    """What is searched for."""
    ideas: Path
    """Folder of the idea bank; may be absent."""
    code: Callable[[Candidate | None], Tree]
    """The code of a candidate; of the baseline for none."""
    model: Model | None = None
    """The language model, where one is needed and the role of whoever asks has no other."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the program ends: work that waits gives up."""
    models: Mapping[Role, Model] = field(default_factory=dict)
    """The language models by role (`llm.roles`)."""

    @functools.cached_property
    def rules(self) -> Rules:
        """Which files a patch may touch."""
        return Rules(self.config.baseline.evolvable, self.config.baseline.protected)

    @functools.cached_property
    def packages(self) -> Packages:
        """What a variant can import."""
        return installed_packages(self.config.baseline.interpreter)

    def model_for(self, role: Role) -> Model:
        """The model that a role asks. Raises `BadInput` where the run has no language model."""
        model = self.models.get(role)
        return self.needed_model if model is None else model

    @property
    def needed_model(self) -> Model:
        """Raises `BadInput` where the run has no language model."""
        if self.model is None:
            raise BadInput("a maker asks a language model and does not say so; set needs_model = True in its class")
        return self.model


@dataclass(frozen=True)
class Brief:
    """What an ideator is asked for."""

    archive: Archive
    """Everything tried so far, failures too."""
    generation: Generation
    """The generation that the idea belongs to; its `parents.seen` says which outcomes it may use."""
    parents: tuple[Candidate, ...]
    """Who may be built upon, best first; empty means only the baseline."""
    number: int
    """Number of the candidate in its generation."""
    exploit: bool
    """Whether to build on a parent; else the idea builds on the baseline."""
    alike: range
    """Numbers of the candidates of this generation that are asked for in the same way."""
    ideas: Mapping[int, Idea] = field(default_factory=dict)
    """Ideas that the generation has already, by number."""

    def parents_of(self, numbers: Iterable[int]) -> tuple[Candidate, ...]:
        """Who exploit ideas with some numbers build on, best first: those that the search method drew for them; any, if it
        drew none."""
        draws = self.generation.parents.draws
        drawn = {draws[number] for number in numbers if number < len(draws)}
        return tuple(one for one in self.parents if one.id in drawn) or self.parents


class Ideator(Protocol):
    """Proposes ideas. The same brief and seed give the same idea."""

    needs_model: bool
    """Whether it asks the run's language model."""
    slow: bool
    """Whether an idea takes so long that a tick must not wait for it."""

    def propose(self, brief: Brief) -> Idea:
        """Raises `Unanswered` while there is nobody to ask, and `UsedUp` when it has no more ideas."""
        ...

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        """Outcomes read since the last call, in the order in which they were decided; all of them after a restart."""
        ...


@dataclass(frozen=True)
class Implemented:
    """An idea as code."""

    tree: Tree
    """The whole variant."""
    maker: str
    """Who wrote it."""
    tries: int = 1
    """How many texts were asked for."""
    usage: Usage | None = None
    """What they took; none where no language model was asked."""


@dataclass(frozen=True)
class Crash:
    """An implementation that does not run."""

    code: Tree
    """The whole variant."""
    failure: Failure
    """How it ended."""
    log: str
    """The last lines that it printed."""


class Implementer(Protocol):
    """Turns an idea into code. Raises `Unanswered` while there is nobody to ask."""

    needs_model: bool
    """Whether it asks the run's language model."""
    reads_text: bool
    """Whether it can implement an idea that is only text, without a change as data."""

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        """On top of the parents' code; of the baseline's where there are none."""
        ...

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        """On top of the code that crashed."""
        ...
