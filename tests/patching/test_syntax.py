"""Equivalent code has the same hash, whatever its layout; different code has a different hash."""

import pytest

from pipeline.likeness import jaccard
from pipeline.patching import Refusal, Rules
from pipeline.patching.syntax import changed_parts, check_python, hash_of_changes
from pipeline.patching.trees import Entry

BASE = {"a.py": Entry(b"def f(x):\n    return x + 1\n"), "data.json": Entry(b"{}")}


def changed(path: str, text: bytes) -> str:
    return hash_of_changes(BASE, BASE | {path: Entry(text)})


@pytest.mark.parametrize(
    "text",
    [
        b"def f(x):\n    return x + 2\n",
        b"# why\ndef f(x):\n\n    return (x + 2)  # two\n",
        b'"""Doc."""\r\ndef f( x ):\r\n    """Adds."""\r\n    return x+2\r\n',
    ],
)
def test_comments_layout_and_docstrings_are_ignored(text: bytes) -> None:
    assert changed("a.py", text) == changed("a.py", b"def f(x): return x + 2\n")


@pytest.mark.parametrize(
    ("one", "two", "low", "high"),
    [
        pytest.param(b"def f(x):\n    return x + 2\n", b"# why\ndef f(x): return x+2\n", 1.0, 1.0, id="the same"),
        pytest.param(b"def f(x):\n    return x + 2\n", b"def f(x):\n    return x + 3\n", 0.2, 0.5, id="another value"),
        pytest.param(
            b"def f(x):\n    y = sum(abs(z) for z in x)\n    z = max(1, y)\n    return y / z + 2\n",
            b"def f(x):\n    y = sum(abs(z) for z in x)\n    z = max(1, y)\n    return y / z + 3\n",
            *(0.6, 0.95),
            id="one value in a long change",
        ),
        pytest.param(b"def f(x):\n    return x + 2\n", b"def g(x):\n    return 7 * x\n", 0.0, 0.4, id="another change"),
    ],
)
def test_how_much_of_two_changes_is_equal(one: bytes, two: bytes, low: float, high: float) -> None:
    first, second = (changed_parts(BASE, BASE | {"a.py": Entry(text)}) for text in (one, two))
    assert low <= jaccard(first, second) <= high


def test_without_python_lines_are_compared() -> None:
    assert changed_parts(BASE, BASE | {"data.json": Entry(b"[]")}) == {
        ("data.json", "-", "{}"),
        ("data.json", "+", "[]"),
    }
    assert changed_parts(BASE, BASE) == frozenset()


def test_a_new_comment_leaves_the_base() -> None:
    assert changed("a.py", b"# new\n" + BASE["a.py"].data) == hash_of_changes(BASE, BASE)


def test_other_code_differs() -> None:
    two, three = b"def f(x): return x + 2\n", b"def f(x): return x + 3\n"
    hashes = {
        hash_of_changes(BASE, BASE),
        changed("a.py", two),
        changed("a.py", three),
        changed("b.py", two),
        changed("data.json", b"[]"),
        changed("a.py", b"not python ("),
        hash_of_changes(BASE, {"data.json": BASE["data.json"]}),
        hash_of_changes(BASE, {"a.py": BASE["a.py"]}),
    }
    assert len(hashes) == 8


@pytest.mark.parametrize("source", [b"x = (\n", b"return 1\n", b"x\0\n", b"\xff = 1\n", b"(" * 5000, b"-" * 200_000])
def test_python_that_does_not_compile(source: bytes) -> None:
    refusal = check_python("a.py", source)
    assert isinstance(refusal, Refusal)
    assert refusal.kind == "syntax"
    assert check_python("a.txt", source) is None


@pytest.mark.parametrize(
    ("path", "evolvable", "protected", "allowed"),
    [
        ("a.py", (), (), True),
        ("m/a.py", ("*.py",), (), True),
        ("m/a.txt", ("*.py",), (), False),
        ("ideas/x/a.py", ("ideas/**",), (), True),
        ("model/a.py", ("model/*.py",), (), True),
        ("x/model/a.py", ("model/*.py",), (), False),
        ("model/n/a.py", ("model/*.py",), (), False),
        ("evaluate.py", (), ("evaluate.py",), False),
        ("m/evaluate.py", (), ("evaluate.py",), False),
        ("m/evaluate.py", (), ("/evaluate.py",), True),
        ("eval/x/a.py", ("*.py",), ("eval/",), False),
        ("eval/open.py", ("*.py",), ("eval/*", "!eval/open.py"), True),
    ],
)
def test_rules(path: str, evolvable: tuple[str, ...], protected: tuple[str, ...], allowed: bool) -> None:
    rules = Rules(evolvable, protected)
    assert rules.allows(path) is allowed
    assert (rules.check([path]) is None) is allowed
