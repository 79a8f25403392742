"""The change of each ancestor, and the code without it: worked by hand on a file of five lines."""

from collections.abc import Callable, Mapping

import pytest

from pipeline.makers.lineage import built_on, lineage, without
from pipeline.patching.trees import Entry, Tree
from pipeline.store.views import Candidate
from tests.archives import Made, archive_of, name

BASE = "a=1\n#\nb=1\n#\nc=1\n"


def tree(text: str) -> Tree:
    return {"s.py": Entry(text.encode())}


def reader(texts: Mapping[int, str]) -> Callable[[Candidate | None], Tree]:
    return lambda candidate: tree(BASE if candidate is None else texts[[name(n) for n in texts].index(candidate.id)])


CHAIN = {0: "a=2\n#\nb=1\n#\nc=1\n", 1: "a=2\n#\nb=2\n#\nc=1\n", 2: "a=2\n#\nb=2\n#\nc=2\n"}
"""0 ← 1 ← 2: each changes one line."""
CLASH = {0: CHAIN[0], 1: "a=3\n#\nb=1\n#\nc=1\n", 2: "a=3\n#\nb=1\n#\nc=2\n"}
"""1 changes the same line as 0."""
BACK = {0: CHAIN[0], 1: "a=1\n#\nb=2\n#\nc=1\n", 2: "a=1\n#\nb=2\n#\nc=2\n"}
"""1 reverts the change of 0, and makes another."""
JOIN = {0: CHAIN[0], 1: "a=1\n#\nb=2\n#\nc=1\n", 2: "a=2\n#\nb=2\n#\nc=1\n"}
"""2 joins 0 and 1, which both build on the baseline."""
JOIN_MORE = {**JOIN, 2: "a=2\n#\nb=2\n#\nc=2\n"}
"""2 joins them and changes a line of its own."""
LINEAR, DIAMOND = [(), (0,), (1,)], [(), (), (0, 1)]


@pytest.mark.parametrize(
    ("texts", "parents", "taken", "left"),
    [
        pytest.param(CHAIN, LINEAR, 0, "a=1\n#\nb=2\n#\nc=2\n", id="the first change of a chain"),
        pytest.param(CHAIN, LINEAR, 1, "a=2\n#\nb=1\n#\nc=2\n", id="one in the middle"),
        pytest.param(CHAIN, LINEAR, 2, CHAIN[1], id="its own"),
        pytest.param(CLASH, LINEAR, 0, "conflict", id="a line that was changed again"),
        pytest.param(CLASH, LINEAR, 1, "a=2\n#\nb=1\n#\nc=2\n", id="the second change of a line"),
        pytest.param(BACK, LINEAR, 0, "overwritten", id="a change that was taken back"),
        pytest.param(JOIN, DIAMOND, 0, "a=1\n#\nb=2\n#\nc=1\n", id="one side of a join"),
        pytest.param(JOIN, DIAMOND, 2, "no change", id="the join itself"),
        pytest.param(JOIN_MORE, DIAMOND, 2, JOIN[2], id="what a join changed in addition"),
    ],
)
def test_the_code_without_a_change(
    texts: Mapping[int, str], parents: list[tuple[int, ...]], taken: int, left: str
) -> None:
    archive = archive_of([Made(0.5, parents=of) for of in parents])
    found = without(reader(texts), archive, archive.candidate(name(2)), archive.candidate(name(taken)))
    if left in ("conflict", "overwritten", "no change"):
        assert found.code is None and found.why == left
        assert ("s.py" in found.reason) is (left == "conflict")
    else:
        assert found.code == tree(left) and found.why == ""


def test_ancestors_come_before_those_that_build_on_them_and_once() -> None:
    archive = archive_of([Made(0.5, parents=of) for of in [(), (0,), (0,), (1, 2), ()]])
    assert [one.id for one in lineage(archive, archive.candidate(name(3)))] == [name(n) for n in (0, 1, 2, 3)]
    assert [one.id for one in lineage(archive, archive.candidate(name(4)))] == [name(4)]


def test_parents_that_do_not_merge_leave_the_first_parents_code() -> None:
    texts = {0: CHAIN[0], 1: "a=7\n#\nb=1\n#\nc=1\n", 2: "a=2\n#\nb=1\n#\nc=9\n"}
    archive = archive_of([Made(0.5, parents=of) for of in DIAMOND])
    assert built_on(reader(texts), archive, archive.candidate(name(2))) == tree(texts[0])
