"""What a language model was asked and what it answered, each answer a file. An answer on disk is never paid for again."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.records import Completion, Prompt, Usage
from pipeline.store import files
from pipeline.store.paths import PromptPaths, RunPaths


@dataclass(frozen=True)
class Spending:
    """What the answers of a run cost."""

    answers: int = 0
    """How many there are."""
    unpriced: int = 0
    """Those of them whose price is not known; they are missing from the dollars."""
    usage: Usage = field(default_factory=Usage)
    """Tokens of all answers, dollars of those with a price."""


class Ledger:
    """The `llm/` folder of a run."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths

    def find(self, prompt: Prompt, sample: int) -> Completion | None:
        """An answer that was paid for."""
        return files.read_if_there(self._paths.prompt(prompt.key).sample(sample), Completion)

    def keep(self, prompt: Prompt, sample: int, completion: Completion) -> None:
        """Write an answer down."""
        paths = self._paths.prompt(prompt.key)
        paths.folder.mkdir(parents=True, exist_ok=True)
        files.create(paths.prompt, prompt)
        files.create(paths.sample(sample), completion)

    def prompts(self, purpose: str) -> list[Prompt]:
        """What was asked for one purpose."""
        return [
            prompt
            for paths in self._folders()
            if paths.folder.name.startswith(f"{purpose}-")
            and (prompt := files.read_if_there(paths.prompt, Prompt)) is not None
        ]

    def spending(self) -> Spending:
        """The sum over all answers."""
        found = [
            files.read(path, Completion) for paths in self._folders() for path in paths.folder.glob("sample_*.json")
        ]
        priced = [one.usage for one in found if one.usage.usd is not None]
        unpriced = [
            Usage(one.usage.tokens_in, one.usage.tokens_cached, one.usage.tokens_out)
            for one in found
            if one.usage.usd is None
        ]
        return Spending(len(found), len(unpriced), sum([*priced, *unpriced], Usage()))

    def _folders(self) -> Iterator[PromptPaths]:
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._paths.llm)):
                yield self._paths.prompt(name)
