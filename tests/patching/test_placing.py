"""Where a hunk belongs, shown on the smallest possible files."""

import pytest

from pipeline.patching import Refusal
from pipeline.patching.placing import patch
from pipeline.patching.reading import Hunk, Line


def hunk(text: str, *others: str, start: int | None = None) -> Hunk:
    """A hunk of lines such as "-old", with alternative readings."""
    readings = tuple(
        tuple(Line({" ": " ", "-": "-", "+": "+"}[line[0]], line[1:]) for line in reading.split("\n"))  # type: ignore[arg-type]
        for reading in (text, *others)
    )
    return Hunk("hunk", readings, start=start)


@pytest.mark.parametrize(
    ("file", "hunks", "expected"),
    [
        ("a\nb\n", [hunk("-b\n+c")], "a\nc\n"),
        ("  b\nb \n", [hunk("-b\n+c")], "  b\nc\n"),  # line ends are ignored before indentation is
        ("b \nb\n", [hunk("-b\n+c")], "b \nc\n"),  # and neither is ignored if there is an exact match
        ("    b\n", [hunk("-b\n+c\n+  d")], "    c\n      d\n"),
        ("\tb\n", [hunk("-    b\n+    c")], "\tc\n"),
        ("a\nx\nb\nc\n", [hunk(" a\n b\n-c\n+d")], "a\nx\nb\nd\n"),  # the hunk lacks x, away from the change
        ("a\nx\nb\n", [hunk(" a\n-x\n+y"), hunk(" y\n-b\n+c")], "a\ny\nc\n"),  # the second refers to the first's result
        ("a\nb\n", [hunk(" a\n+x"), hunk(" x\n+y\n b")], "a\nx\ny\nb\n"),
        ("a\nb\nc\nd\n", [hunk("-a\n+A\n b"), hunk(" b\n-c\n+C")], "A\nb\nC\nd\n"),  # context may overlap
        ("a\nb\n", [hunk("-z\n+y", "-b\n+c")], "a\nc\n"),  # the reading that fits
        ("a\nb", [hunk("-b\n+c")], "a\nc"),
        ("a\r\nb\r\n", [hunk("-b\n+c")], "a\r\nc\r\n"),
        ("a\x0cb\x85c\u2028d\ne\n", [hunk("-e\n+f")], "a\x0cb\x85c\u2028d\nf\n"),  # only newlines end lines
        ("", [hunk("+a")], "a\n"),
    ],
)
def test_place(file: str, hunks: list[Hunk], expected: str) -> None:
    assert patch("f", file, hunks) == expected


@pytest.mark.parametrize(
    ("file", "hunks", "kind"),
    [
        ("b\nb\n", [hunk("-b\n+c")], "ambiguous"),
        ("  b\n    b\n", [hunk("-b\n+c")], "ambiguous"),
        ("a\nx\nb\n", [hunk(" a\n+y\n b")], "wrong_file"),  # before or after x?
        ("a\nx\nb\n", [hunk("-a\n-b\n+c")], "wrong_file"),
        ("alpha\nbeta\ngamma\n", [hunk(" alphb\n bete\n gamme\n-gamma\n+c")], "wrong_file"),
        (
            "alpha\nbeta\ngamma\ndelta\n",
            [hunk(" alphb\n bete\n gammb\n-delta\n+c")],
            "wrong_file",
        ),  # a quarter matches
        ("a\nb\n", [hunk("-a\n+x", "-b\n+y")], "ambiguous"),  # two readings
        ("a\nb\n", [hunk("-a\n+x", "-a\n-b\n+y")], "ambiguous"),  # two readings in one place
        ("a\nb\n", [hunk("-b\n+x"), hunk("-b\n+y")], "conflict"),
        ("a\nb\n", [hunk("-b"), hunk(" a\n-b")], "conflict"),
        ("a\nb\n", [hunk(" a\n+x\n b"), hunk(" a\n+y\n b")], "conflict"),
        ("a\nb\n", [hunk("-a\n+x"), hunk("-z\n+y")], "partial"),
        ("a\n", [hunk("+x")], "wrong_file"),
    ],
)
def test_no_place(file: str, hunks: list[Hunk], kind: str) -> None:
    refusal = patch("f", file, hunks)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.kind == kind
