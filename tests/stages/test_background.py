"""Background work beside the ticks."""

import threading

import pytest

from pipeline.stages.context import Background


def test_ideas_do_not_wait_for_code_nor_code_for_ideas() -> None:
    background, gate, written = Background(1), threading.Event(), list[str]()
    for number in range(3):
        background.start(f"ideas {number}", gate.wait, ideas=True)  # type: ignore[arg-type]
    background.start("code", lambda: written.append("code"))
    while background.busy and not written:
        background.done.wait(0.01)
    assert written == ["code"]
    gate.set()
    background.close()


def test_the_same_work_is_not_started_twice_at_the_same_time() -> None:
    background, gate, runs = Background(2), threading.Event(), list[int]()

    def work() -> None:
        runs.append(1)
        gate.wait()

    for _ in range(3):
        background.start("one", work)
    gate.set()
    while background.busy:
        background.done.wait(0.01)
    assert len(runs) == 1
    background.start("one", work)
    while background.busy:
        background.done.wait(0.01)
    background.close()
    assert len(runs) == 2


def test_an_exception_of_the_work_is_raised_by_the_next_tick() -> None:
    background = Background(1)

    def fail() -> None:
        raise ValueError("it broke")

    background.start("one", fail)
    while background.busy:
        background.done.wait(0.01)
    with pytest.raises(ValueError, match="it broke"):
        background.check()
    background.check()
    background.close()
