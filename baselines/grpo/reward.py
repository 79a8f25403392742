"""The reward that training sees. The evaluator has its own grading and never calls this."""

from problems import Problem, is_correct


def reward(completion: str, problem: Problem, size: dict) -> float:
    """1 for a right answer, 0 otherwise."""
    return 1.0 if is_correct(completion, problem, size) else 0.0
