"""A `ProviderModel` with a scripted provider on loopback, for tests of the model and of the makers that use it."""

import itertools
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import LlmConfig
from pipeline.llm.provider import ProviderModel, SpendingLimits
from pipeline.records import Completion, Message, Prompt
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.llm.provider import Answer, Provider, Script

KEY = "sk-live-0123456789abcdef"
MODELS = {"openai": "openai/gpt-4o", "anthropic": "anthropic/claude-sonnet-4-5"}
"""Models whose prices are in litellm's table."""


@dataclass
class Desk:
    """A model, its provider, and the files it writes."""

    model: ProviderModel
    provider: Provider
    paths: RunPaths
    stopping: threading.Event
    notices: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def ask(self, text: str = "What?", sample: int = 0) -> Completion:
        return self.model.ask(prompt(text), sample)

    def written(self) -> str:
        """Everything under llm/."""
        return "".join(path.read_text() for path in self.paths.llm.rglob("*") if path.is_file())


def prompt(text: str) -> Prompt:
    return Prompt("first", (Message("system", "The codebase. " * 50), Message("user", text)))


@contextmanager
def desk(
    folder: Path, script: Script, speaks: str = "openai", usd: float = 0.0, key: str | None = KEY, **settings: Any
) -> Iterator[Desk]:
    with Provider(script) as provider, warnings.catch_warnings():
        # litellm imports parts of itself with the first request, and a warning turned into an error would end that.
        warnings.filterwarnings("ignore", r"Items? .* on TypedDict class", UserWarning)
        given = {"model": MODELS[speaks], "api_base": getattr(provider, speaks), "retries": 3, "max_tokens": 100}
        paths, stopping, notices, warned = RunPaths(folder), threading.Event(), list[str](), list[str]()
        ledger = Ledger(paths)
        limits = SpendingLimits(usd, ledger.spending().usage.usd or 0.0, stopping, notices.append, warned.append)
        model = ProviderModel(LlmConfig(**{**given, **settings}), key, ledger, limits)
        yield Desk(model, provider, paths, stopping, notices, warned)


def in_turn(*answers: Answer) -> Script:
    """These answers in turn, then the last one repeatedly."""
    rest = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda _: next(rest)
