"""What is said of the sandboxes in which the variants of a run were trained."""

import pytest

from pipeline.report.isolation import isolation_line, warnings


@pytest.mark.parametrize(
    ("scored", "said", "warned"),
    [
        pytest.param({}, "", False, id="nothing scored"),
        pytest.param({"": 3}, "", False, id="not recorded"),
        pytest.param({"none": 0}, "", False, id="none left"),
        pytest.param({"none": 1}, "NO SANDBOX: 1 scored candidate could read", True, id="none"),
        pytest.param({"none": 2, "bubblewrap": 5, "": 1}, "NO SANDBOX: 2 scored candidates could", True, id="mixed"),
        pytest.param({"bubblewrap": 5}, "variants were isolated by bubblewrap (5 candidates)", False, id="bubblewrap"),
        pytest.param(
            {"landlock": 1, "bubblewrap": 2, "": 4},
            "variants were isolated by bubblewrap (2 candidates), landlock (1 candidate)",
            False,
            id="two kinds",
        ),
    ],
)
def test_the_line(scored: dict[str, int], said: str, warned: bool) -> None:
    line = isolation_line(scored)
    assert line.startswith(said) and bool(line) == bool(said)
    assert warnings(scored) == ([line] if warned else [])
