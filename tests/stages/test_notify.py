"""The user is notified by a program that receives the message and is never waited for."""

from pathlib import Path

import pytest

from pipeline.policy.notices import Notice
from pipeline.stages.notify import Notifier
from pipeline.store.paths import RunPaths
from pipeline.store.run import Facts, Run
from tests.toy import wait_until

FULL, END = Notice("pause 7", "paused: the disk is full"), Notice("end 4", "finished")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "mine").mkdir()
    return Run(RunPaths(tmp_path / "mine"), Facts(2, {}, "", "", "", 0.0))


def lines(path: Path, count: int) -> list[str]:
    wait_until(lambda: path.exists() and len(path.read_text().splitlines()) == count)
    return path.read_text().splitlines()


def settle(notifier: Notifier) -> None:
    """Wait for the programs that the notifier started, which it does not do itself."""
    for _, process in notifier._started:
        process.wait(30)


def test_each_cause_is_reported_once_and_again_an_hour_after_it_ended(run: Run, tmp_path: Path) -> None:
    out, clock = tmp_path / "out", Clock()
    notifier = Notifier(run, clock, ["sh", "-c", f'echo "$1"; cat >> {out}', "sh", "{text}"])
    notifier.tell([FULL])
    assert lines(out, 1) == ["mine: paused: the disk is full"]
    for _ in range(3):
        clock.now += 3000
        notifier.tell([FULL])  # the cause still exists
    settle(notifier)
    notifier = Notifier(run, clock, notifier._command)  # a restarted controller
    notifier.tell([FULL, END])
    clock.now += 600
    notifier.tell([])
    notifier.tell([FULL])
    clock.now += 4000
    notifier.tell([])
    notifier.tell([FULL])
    settle(notifier)
    said = lines(out, 4)  # a second after the restart: the file holds the time of the first notification
    assert [one.partition(": ")[2] for one in said].count("finished") == 1


def test_a_program_that_is_missing_or_hangs_delays_nothing(run: Run) -> None:
    clock = Clock()
    Notifier(run, clock, ["/no/such/program"]).tell([FULL])
    assert '"not notified"' in run.paths.events.read_text()
    notifier = Notifier(run, clock, ["sleep", "1000"])
    notifier.tell([END])
    ((_, process),) = notifier._started
    clock.now += 61
    notifier.tell([END])
    process.wait(30)
    assert process.returncode < 0
