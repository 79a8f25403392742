"""The benchmarks' command line."""

import pytest

from tests.benchmarks.__main__ import main


@pytest.mark.parametrize(("which", "place"), [("search", "FILE"), ("early", "RUN"), ("latency", "RUN")])
def test_a_missing_place_is_named(which: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([which])
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"usage: python -m tests.benchmarks {which} {place}\n")
