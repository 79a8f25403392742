"""Which trials are submitted now if several share a job."""

import pytest

from pipeline.policy.packing import submitted_now
from pipeline.policy.trials import Wanted
from pipeline.records import Purpose
from tests.archives import Made, archive_of


@pytest.mark.parametrize(
    ("ready", "free", "in_flight", "more", "expected"),
    [
        pytest.param("wwwww", 9, 0, False, "wwwww", id="nothing more is expected: a partial pack starts, too"),
        pytest.param("wwwww", 9, 0, True, "wwww", id="more is expected: full packs only"),
        pytest.param("ww", 9, 4, True, "", id="two wait for more"),
        pytest.param("ww", 9, 4, False, "ww", id="no other trial is expected"),
        pytest.param("wwwwww", 1, 7, False, "", id="too few slots: wait until a whole pack has ended"),
        pytest.param("wwwwww", 5, 3, False, "wwww", id="as many as fill packs"),
        pytest.param("wwwwww", 2, 0, False, "ww", id="never more than two slots: nothing to wait for"),
        pytest.param("wrwrwrwr", 8, 0, False, "wwwwrrrr", id="budgets are not mixed"),
        pytest.param("wrwrww", 8, 0, True, "wwww", id="the rest of a kind waits"),
        pytest.param("", 8, 0, False, "", id="nothing is ready"),
    ],
)
def test_partial_packs_wait_only_for_expected_trials(
    ready: str, free: int, in_flight: int, more: bool, expected: str
) -> None:
    holder = archive_of([Made(0.5)]).baseline
    kinds = {None: "w", 25.0: "r"}
    wanted = [Wanted(holder, Purpose.SEARCH, 0, None if letter == "w" else 25.0) for letter in ready]
    found = submitted_now(wanted, free, 4, in_flight, more)
    assert "".join(kinds[one.budget] for one in found) == expected


def test_without_packs_whatever_is_ready_is_submitted() -> None:
    holder = archive_of([Made(0.5)]).baseline
    wanted = [Wanted(holder, Purpose.SEARCH, seed) for seed in range(5)]
    assert submitted_now(wanted, 3, 1, 7, False) == wanted[:3]
