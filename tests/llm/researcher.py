"""A script that answers like a good model of the toy: ideas as JSON, code as search and replace blocks."""

import json
import re
from collections.abc import Iterator

from tests.llm.provider import Answer, Asked

_STEP = 'state["velocity"][i] = settings.momentum * state["velocity"][i] - settings.learning_rate * part'
EDITS = {
    "Momentum": ("settings.py", "    momentum: float = 0.0", "    momentum: float = 0.9"),
    "Larger batch": ("settings.py", "    batch: int = 4", "    batch: int = 16"),
    "Larger steps": ("settings.py", "    learning_rate: float = 0.01", "    learning_rate: float = 0.02"),
    "Pull to zero": ("settings.py", "    weight_decay: float = 0.0", "    weight_decay: float = 0.001"),
    "Decaying steps": ("train.py", f"                {_STEP}", f"                {_STEP} * (1 - 0.9 * step / steps)"),
    "Huber loss": (
        "model.py",
        "        error = predict(weights, x) - y",
        "        error = max(-3.0, min(3.0, predict(weights, x) - y))",
    ),
    "Smaller batch": ("settings.py", "    batch: int = 4", "    batch: int = 2"),
    "Smaller steps": ("settings.py", "    learning_rate: float = 0.01", "    learning_rate: float = 0.005"),
}
"""Title of an idea to its file, and the line it replaces by another."""


class Researcher:
    """Proposes the ideas above in order, each once; on a parent it proposes one for the same first parent."""

    def __init__(self) -> None:
        self._titles: Iterator[str] = iter(EDITS)

    def __call__(self, asked: Asked) -> Answer:
        question = asked.question
        count = re.search(r"Propose (\d+)", question) or re.search(r"(\d+) more are needed", question)
        if count:
            return Answer(self.ideas(int(count[1]), question))
        title = re.search(r"^(?:Write the code of this idea|This idea was implemented).*\n\n(.+)\n", question)
        assert title, question
        return Answer(self.code(title[1]))

    def ideas(self, count: int, question: str = "") -> str:
        parents = re.findall(r"^(g\d+/c\d+)", question.partition("best first:")[2], re.M)[:1]
        ideas = []
        for _ in range(count):
            title = next(self._titles)
            path, old, new = EDITS[title]
            text = f"In {path} put `{new.strip()}` in the place of `{old.strip()}`."
            ideas.append({"title": title, "text": text, "parents": parents})
        return f"Here they are.\n```json\n{json.dumps({'ideas': ideas}, indent=1)}\n```"

    def code(self, title: str) -> str:
        path, old, new = EDITS[title]
        return f"{path}\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n"
