"""Scripts that answer like a model that knows the toy: a reliable one, and one with failures on an unreliable
connection."""

import json
import re
from collections.abc import Iterator, Mapping

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
"""From the title of an idea to its file and the line that it replaces by another."""


def title_of(asked: Asked) -> str:
    """The title of the idea whose code is requested."""
    found = re.search(
        r"^(?:Write the code of this idea|This idea was implemented).*\n\n(.+)\n", asked.turns[1][1], re.M
    )
    assert found, asked.question
    return found[1]


class Researcher:
    """Proposes the above ideas in order, each once; if it is shown parents, on the first one."""

    def __init__(self) -> None:
        self._titles: Iterator[str] = iter(EDITS)

    def __call__(self, asked: Asked) -> Answer:
        question = asked.question
        count = re.search(r"Propose (\d+)", question) or re.search(r"(\d+) more are needed", question)
        if count:
            return Answer(self.ideas(int(count[1]), asked.turns[1][1]))
        return Answer(self.code(title_of(asked)))

    def ideas(self, count: int, question: str = "") -> str:
        parents = re.findall(r"^(g\d+/c\d+)", question.partition("best first:")[2], re.M)[:1]
        ideas = []
        for _ in range(count):
            title = next(self._titles)
            path, old, new = EDITS[title]
            text = f"In {path} put `{new.strip()}` in the place of `{old.strip()}`."
            ideas.append({"title": title, "text": text, "parents": parents})
        return f"Here they are.\n```json\n{json.dumps({'ideas': ideas}, indent=1)}\n```"

    @staticmethod
    def code(title: str) -> str:
        return block(*EDITS[title])


WRONG_FILE = "```diff\n--- a/optimizer.py\n+++ b/optimizer.py\n@@ -1,1 +1,1 @@\n-lr = 1\n+lr = 2\n```\n"
"""A change of a file that the toy does not have."""
_PREDICT = "def predict(weights: list[float], x: list[float]) -> float:"


def block(path: str, old: str, new: str) -> str:
    return f"{path}\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n"


CRASH = block("model.py", _PREDICT, f"raise KeyError('no import')\n{_PREDICT}")
PACKAGE = block("model.py", _PREDICT, f"import scipy_of_the_future\n{_PREDICT}")
REPAIRED = block("model.py", f"raise KeyError('no import')\n{_PREDICT}", _PREDICT) + block(*EDITS["Larger steps"])
LINE = Answer("Rate limit", 429, "rate_limit_error", {"Retry-After": "0.1"})


class Moody(Researcher):
    """Ideas are cut off, repeated and delayed by a rate limit; the code of each idea comes after a failure of its
    own."""

    CODE: Mapping[str, tuple[Answer, ...]] = {
        "Momentum": (Answer("Down", 500), Answer(WRONG_FILE), Answer(Researcher.code("Momentum"))),
        "Larger batch": (
            Answer(""),
            Answer("I cannot.", finish="content_filter"),
            Answer(Researcher.code("Larger batch")),
        ),
        "Larger steps": (Answer(CRASH), Answer("Half", cut=True), Answer(REPAIRED)),
        "Pull to zero": (Answer(PACKAGE), Answer(Researcher.code("Pull to zero"), wait_s=0.5)),
        "Huber loss": (Answer(Researcher.code("Momentum")),),
    }

    def __init__(self) -> None:
        super().__init__()
        self._code = {title: iter(answers) for title, answers in self.CODE.items()}
        self._batches = 0

    def __call__(self, asked: Asked) -> Answer:
        if asked.turns[1][1].startswith("Propose"):
            return self._propose(asked)
        title = title_of(asked)
        return next(self._code[title]) if title in self._code else super().__call__(asked)

    def _propose(self, asked: Asked) -> Answer:
        """The first batch is cut off after one idea; the last repeats an old idea."""
        self._batches += 1
        if self._batches == 1:
            return LINE
        if self._batches == 2:
            return Answer(self.ideas(1).rpartition("]")[0] + ',\n{"title": "Half an id', finish="length")
        if self._batches == 5:
            path, old, new = EDITS["Momentum"]
            text = f"In {path} put `{new.strip()}` in the place of `{old.strip()}`."
            return Answer(json.dumps({"ideas": [{"title": "Momentum", "text": text, "parents": []}]}))
        return super().__call__(asked)
