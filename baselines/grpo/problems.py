"""Problems, prompts, and the grading of answers. Protected: the evaluator grades with this file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """A question and its right answer, both as text."""

    problem: str
    answer: str


def write_problems(path: Path, problems: list[Problem]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(problem)) + "\n" for problem in problems))


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file, in its order."""
    return [Problem(**json.loads(line)) for line in path.read_text().splitlines()]


def prompt_text(problem: Problem, size: dict) -> str:
    """The text that the model continues."""
    return size["prompt"].replace("{problem}", problem.problem)


def extract_answer(completion: str, size: dict) -> str | None:
    """The text between the last opening tag and the closing tag after it; all of it where a scale has no tags."""
    opening, closing = size["answer_tags"]
    if not opening:
        return completion.strip()
    _, found, rest = completion.rpartition(opening)
    answer, closed, _ = rest.partition(closing)
    return answer.strip() if found and closed else None


def is_correct(completion: str, problem: Problem, size: dict) -> bool:
    """Whether the completion gives the right answer: exactly, or, with grading `math`, the same mathematics."""
    answer = extract_answer(completion, size)
    if answer is None or answer == problem.answer:
        return answer is not None
    return size["grading"] == "math" and bool(answer) and same_mathematics(answer, problem.answer)


def same_mathematics(answer: str, gold: str) -> bool:
    """Whether two LaTeX expressions mean the same, by math-verify (which gives up after some seconds)."""
    from math_verify import parse, verify  # slow to import, and needed only here

    return bool(verify(parse(f"${gold.strip('$')}$"), parse(f"${answer.strip('$')}$")))
