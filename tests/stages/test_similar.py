"""A change that is nearly that of a scored candidate is refused before it is trained (`implement.similarity`)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.makers.base import Implemented
from pipeline.patching.trees import Entry, Tree
from pipeline.records import FailureKind, Idea
from pipeline.store.reader import read_archive
from tests.benchmarks.__main__ import advance, search_in
from tests.benchmarks.simulated import Clock, Numbered, SimulatedCluster

WARM = "\ndef warm(step, most):\n    share = min(1.0, (step + 1) / {steps})\n    return most * share\n"
COOL = "\ndef cool(epoch):\n    while epoch > 7:\n        epoch -= 3\n    print(epoch)\n"
CODES = {"number 0": WARM.format(steps=10), "number 1000": WARM.format(steps=20), "number 2000": COOL}
"""What the idea of each generation adds to the settings file: the second differs from the first in one constant."""


class Adding(Numbered):
    """Adds the code of the idea."""

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented:
        text = baseline["settings.py"].data + CODES[idea.title].encode()
        return Implemented({**baseline, "settings.py": Entry(text)}, "test")


def test_a_nearly_equal_change_is_refused(tmp_path: Path) -> None:
    clock = Clock(1e9)
    cluster = SimulatedCluster(clock, 1, lambda rng: 1.0)
    given = ("ideate.candidates=1", "stop.generations=3", "implement.similarity=0.4")
    context = replace(search_in(tmp_path, clock, cluster, *given), implementer=Adding(clock))
    while not advance(context, clock, cluster, 10.0):
        pass
    context.background.close()
    first, near, other = read_archive(context.run.paths.folder).candidates
    assert first.score is not None and other.score is not None
    assert near.failure is not None and near.failure.kind is FailureKind.REFUSED
    assert near.failure.reason == "50% the same change as g0/c0: number 0 (implement.similarity=0.4)"
    assert not any(attempt.trials for attempt in near.attempts)
