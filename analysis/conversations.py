"""The prompts and replies of a language model behind a candidate, found by the title and text of its idea."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.errors import Damaged
from pipeline.records import Completion, Prompt
from pipeline.store import files
from pipeline.store.paths import PromptPaths, RunPaths

_TITLE = re.compile(r'"title"\s*:\s*("(?:[^"\\]|\\.)*")')
_CODE = ("implement", "repair_patch", "repair_crash")
_SAME = 60
"""Number of characters of an idea's text that must be found in addition to its title."""


@dataclass(frozen=True)
class Exchange:
    """One prompt with its replies."""

    key: str
    """Key of the prompt; its folder is llm/KEY in the run."""
    purpose: str
    """Purpose of the prompt."""
    prompt: str
    """The conversation without its first message, which is the same for all prompts."""
    replies: tuple[str, ...]
    """The answers, each after a line with its model and tokens."""


def conversations(
    paths: RunPaths, ideas: Iterable[tuple[str, str, str]], damaged: list[str]
) -> dict[str, list[Exchange]]:
    """Exchanges by the candidate that they led to; `ideas` are candidate, title and text of each idea."""
    by_title: dict[str, list[tuple[str, str]]] = {}
    for candidate, title, text in ideas:
        by_title.setdefault(title, []).append((candidate, text))
    found: dict[str, list[Exchange]] = {}
    for exchange in _exchanges(paths, damaged):
        said = exchange.prompt if exchange.purpose in _CODE else "\n".join(exchange.replies)
        titles = said.splitlines() if exchange.purpose in _CODE else _titles(said)
        for candidate, text in {one for title in titles for one in by_title.get(title, ())}:
            start = text[:_SAME]
            if start in said or json.dumps(start)[1:-1] in said or json.dumps(start, ensure_ascii=False)[1:-1] in said:
                found.setdefault(candidate, []).append(exchange)
    return found


def _titles(said: str) -> Iterator[str]:
    for written in _TITLE.findall(said):
        try:
            yield json.loads(written)
        except ValueError:
            continue


def _exchanges(paths: RunPaths, damaged: list[str]) -> Iterator[Exchange]:
    for folder in sorted(paths.llm.glob("*-*")):
        try:
            prompt = files.read_if_there(PromptPaths(folder).prompt, Prompt)
            answers = [files.read(path, Completion) for path in sorted(folder.glob("sample_*.json"))]
        except Damaged as error:
            damaged.append(str(error))
            continue
        except FileNotFoundError:
            continue  # a run that is being deleted
        if prompt is not None:
            asked = "\n\n".join(f"[{message.role}]\n{message.text}" for message in prompt.messages[1:])
            replies = tuple(
                f"[{one.model}, {one.usage.tokens_out} tokens, {one.finish}]\n{one.text}" for one in answers
            )
            yield Exchange(folder.name, prompt.purpose, asked, replies)
