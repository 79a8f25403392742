"""The messages of the troubleshooting page are the program's."""

import re

import pytest

from tests.docs.pages import ROOT

PAGE = ROOT / "docs/how-to/troubleshooting.md"
SOURCES = [path.read_text() for room in ("pipeline", "analysis") for path in (ROOT / room).rglob("*.py")]
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.M)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_program_prints_the_message(message: str) -> None:
    parts = [part.strip() for part in message.split("…") if part.strip()]
    assert parts and all(any(part in source for source in SOURCES) for part in parts), message
