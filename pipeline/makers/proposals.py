"""Ideas in the answers of a language model: a tolerant reader, and a comparison of ideas."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.likeness import jaccard, numbers_of, trigrams_of, words_of
from pipeline.records import Idea
from pipeline.text import plain, split_reasoning, writable

_ALIKE = 0.8
_TITLES, _TEXTS = ("title", "name"), ("text", "description", "idea", "content")


IDEAS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "ideas": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "title": {"type": "string"},
                    "text": {"type": "string"},
                    "parents": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["title", "text", "parents"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["ideas"],
    "additionalProperties": False,
}
"""Schema of an answer with ideas, for providers that enforce one. `read_proposals` accepts more than that."""


@dataclass(frozen=True)
class Proposal:
    """One idea as the model wrote it."""

    title: str
    text: str
    parents: tuple[str, ...]


def read_proposals(answer: str) -> list[Proposal]:
    """All ideas in an answer, ignoring text around the JSON; if the JSON was cut off, the ideas before the cut."""
    answer = split_reasoning(answer).answer
    # A backslash that is not a JSON escape, as in LaTeX, is taken literally.
    answer = re.sub(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])?', lambda found: found[0] if found[1] else r"\\", answer)
    decoder = json.JSONDecoder(strict=False)
    found: list[Proposal] = []
    at = answer.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(answer, at)
            ideas = list(_proposals(value))
        except (ValueError, RecursionError):  # an integer may be too long to read
            ideas = []
        found += ideas
        at = answer.find("{", end if ideas else at + 1)
    return found


def trigram_likeness(one: Idea, two: Idea) -> float:
    """Share of equal character trigrams, 0 to 1."""
    return jaccard(trigrams_of(whole(one)), trigrams_of(whole(two)))


def alike(one: Idea, two: Idea, least: float = 1.0, likeness: Callable[[Idea, Idea], float] = trigram_likeness) -> bool:
    """Whether two ideas have the same parents, the same numbers, and nearly the same words, or at least this likeness if
    `least` is below 1 (`ideate.similarity`)."""
    if one.parents != two.parents or numbers_of(whole(one)) != numbers_of(whole(two)):
        return False
    if jaccard(idea_words(one), idea_words(two)) >= _ALIKE:
        return True
    return least < 1 and likeness(one, two) >= least


def _proposals(value: Any) -> Iterator[Proposal]:
    if isinstance(value, list):
        for item in value:
            yield from _proposals(item)
    elif isinstance(value, dict):
        if isinstance(value.get("ideas"), list):
            yield from _proposals(value["ideas"])
            return
        text = _first(value, _TEXTS)
        if text:
            title = _first(value, _TITLES) or " ".join(text.split()[:8])
            parents = value.get("parents", value.get("parent", []))
            named = parents if isinstance(parents, list) else [parents]
            yield Proposal(title, text, tuple(name for name in named if isinstance(name, str) and name))


def _first(value: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((plain(writable(value[name])).strip() for name in names if isinstance(value.get(name), str)), "")


def idea_words(idea: Idea) -> frozenset[str]:
    """The words, in any script, and numbers of an idea, which `alike` compares."""
    return words_of(whole(idea))


def whole(idea: Idea) -> str:
    """Title and text of an idea."""
    return f"{idea.title} {idea.text}"
