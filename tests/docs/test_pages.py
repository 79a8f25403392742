"""The pages are correct: links resolve, commands are valid, the reference is current."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from docs import generate
from pipeline import config, records
from pipeline.commands import COMMANDS
from pipeline.setup.compose import compose_config
from pipeline.setup.sweep import members
from pipeline.store import paths
from tests.docs.pages import ROOT, anchors, blocks, broken_links, commands, links, pages, shell_environment

PAGES = [path for path in pages() if path.is_file()]
CURRENT = [path for path in PAGES if path.name != "CHANGELOG.md"]
"""Pages that describe the program as it is, without its history."""
READING = ("status", "show", "evaluate")
"""Commands that only read a run, so that the pages' examples can be run on the toy's run."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def usage(command: str) -> str:
    """Help of a command, named as in `python -m COMMAND`."""
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """Name and arguments of a command of the program: `pipeline status` or `pipeline.run`; no name for any other
    command."""
    if words[0].rpartition("/")[2] != "python" or words[1:2] != ["-m"]:
        return "", words
    module, rest = words[2], words[3:]
    if module == "pipeline" and rest and not rest[0].startswith("-"):
        return f"pipeline {rest[0]}", rest[1:]
    return (module if module.partition(".")[0] == "pipeline" else ""), rest


def placeholder(word: str) -> bool:
    """Whether the reader replaces it: `NAME`, `KEY=VALUE`, `$PROJECT/conf`, `…`."""
    return bool(re.search(r"\b[A-Z][A-Z_]{2,}\b|\$|…", word))


def troubles(words: list[str]) -> list[str]:
    """What is wrong with a command as it is printed."""
    found: list[str] = []
    for word in words:
        top = word.partition("/")[0]
        if "/" in word and (ROOT / top).is_dir() and top not in ("runs", "data") and not (ROOT / word).exists():
            found.append(f"there is no {word}")
    if words[0] == "make":
        return found + [one for word in words[1:] if (one := _make_trouble(word))]
    if words[0].rpartition("/")[2] != "python" or words[1:2] != ["-m"]:
        return found
    module = words[2]
    if module == "pip":  # setuptools warns when it is imported
        return found
    if importlib.util.find_spec(module.partition(".")[0]) is None or importlib.util.find_spec(module) is None:
        return [*found, f"there is no module {module}"]
    command, rest = split_command(words)
    if module == "pipeline" and command != module and command.split()[1] not in (*COMMANDS, "COMMAND"):
        return [*found, f"there is no command {command}"]
    if not command or command.endswith("COMMAND"):
        return found
    options = {word.partition("=")[0] for word in rest if word.startswith("-")}
    found += [f"{command} has no option {option}" for option in options if option not in usage(command)]
    overrides = [word for word in rest if "=" in word and not word.startswith("-")]
    if overrides and "--config-dir" not in options and not any(map(placeholder, rest)):
        for one in [member.overrides for member in members(overrides)] if "-m" in options else [overrides]:
            compose_config(one)  # raises, with the message that a reader would see
    return found


def _make_trouble(word: str) -> str | None:
    makefile = (ROOT / "Makefile").read_text()
    key, _, value = word.partition("=")
    if key == "TORCH":
        return None if (ROOT / f"constraints/{value}.txt").is_file() else f"there is no constraints/{value}.txt"
    if "=" in word or placeholder(word) or re.search(rf"^{re.escape(word)}:.*## ", makefile, re.M):
        return None
    return f"the Makefile has no target {word} with a line of help"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    assert list(broken_links(page, page.read_text())) == []


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_commands_are_valid(page: Path) -> None:
    assert [trouble for words in commands(page.read_text()) for trouble in troubles(words)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_commands_that_read_a_run_work(page: Path, toy_run: Path, tmp_path: Path) -> None:
    for typed in reading(page.read_text(), toy_run):
        done = subprocess.run(
            typed, cwd=ROOT, env=shell_environment(tmp_path), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(typed)}\n{done.stderr}"


def reading(text: str, run: Path) -> list[list[str]]:
    """The commands of a page that only read a run, applied to another run."""
    found = []
    for words in commands(text):
        command, rest = split_command(words)
        if command.removeprefix("pipeline ") in READING and rest:
            here = [re.sub(r"^runs/\w+", str(run), word) for word in rest]
            here = [re.sub(r"generation_\d+/candidate_\d+", "generation_000/candidate_002", word) for word in here]
            if not any(map(placeholder, here)):
                found.append([sys.executable, "-m", *command.split(), *here])
    return found


def test_some_commands_read_a_run(toy_run: Path) -> None:
    """Otherwise the test above would check nothing."""
    typed = [words[3] for page in CURRENT for words in reading(page.read_text(), toy_run)]
    assert set(typed) == set(READING)


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_commands_are_named_as_they_are_typed(page: Path) -> None:
    """Only `python -m pipeline.run` has a dot."""
    dotted = "|".join(name for name in COMMANDS if name != "run")
    assert re.findall(rf"(?<![/\w])pipeline\.(?:{dotted})\b(?!\.)", page.read_text()) == []


def test_explained_messages_exist() -> None:
    """The first column of a table of messages contains what the program prints, or a kind of failure."""
    page = (ROOT / "docs/how-to/first-run-on-a-cluster.md").read_text()
    rows = page.partition("| message | meaning |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    quoted = [part for row in rows for part in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    assert len(quoted) > 10
    source = "".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    for message in quoted:
        missing = [one for one in re.split("…|^PAUSED: |^failed: ", message) if one.strip() not in source]
        assert missing == [], f"the program does not print: {message}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index.read_text())}
    below = {path for path in PAGES if path.is_relative_to(ROOT / "docs")} - {index}
    assert {name(path) for path in below - linked} == set()


def test_the_reference_is_current() -> None:
    stale = [name(path) for path, text in generate.pages().items() if not path.is_file() or path.read_text() != text]
    assert stale == [], f"renew it with: {generate.COMMAND}"


@pytest.mark.parametrize("module", [config, records], ids=lambda module: module.__name__)
def test_every_field_has_a_docstring(module: object) -> None:
    texts = generate.documented(module)  # type: ignore[arg-type]
    for cls in vars(module).values():
        if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__ == module.__name__:  # type: ignore[attr-defined]
            empty = [field.name for field in dataclasses.fields(cls) if not texts[cls.__name__].names[field.name]]
            assert empty == [], f"{cls.__name__} has fields without a docstring"


def test_the_reference_names_every_setting_and_record() -> None:
    settings, folder = generate.settings_page(), generate.run_folder_page()
    assert "| `select.margin` | number | `1.0` | fixed |" in settings
    assert "| `stop.generations` | integer | `3` | live |" in settings
    assert "| `train.clock` | `steps` \\| `wall` |" in settings
    for cls in vars(records).values():
        if isinstance(cls, type) and cls.__module__ == records.__name__:
            assert f"\n### {cls.__name__}\n" in folder


def test_the_reference_names_every_file() -> None:
    """A file in `store/paths.py` that the page does not list needs a line in `_FILES` of docs/generate.py."""
    known = set(re.findall(r'"([\w.]+\.(?:json|jsonl|log|diff|md))"', Path(str(paths.__file__)).read_text()))
    assert {"pause.json", "train.log", "patch.diff"} < known
    assert {file for file in known if f"{file}`" not in generate.run_folder_page()} == set()


# ---- the tools of these tests ----


def test_a_broken_link_is_detected() -> None:
    page = ROOT / "docs/index.md"
    text = "# A page\n[a](tutorial.md) [b](nothing.md) [c](#a-page) [d](#b) [e](https://example.org) [f](tutorial.md#zzz)\n"
    assert [one.partition(":")[0] for one in broken_links(page, text)] == ["nothing.md", "#b", "tutorial.md#zzz"]


def test_anchors_follow_the_rule_of_github() -> None:
    assert anchors('# Noise, and "k errors"\n## `a.py`: x\n## Twice\n## Twice\n```\n# no heading\n```\n') == {
        "noise-and-k-errors",
        "apy-x",
        "twice",
        "twice-1",
    }


def test_an_invalid_command_is_detected() -> None:
    text = "```bash\nmake nothing   # a comment\npython -m pipeline.nothing\npython -m pipeline nothing runs/x\n"
    text += "python -m pipeline status --nothing runs/x\npython -m pipeline\npython -m pipeline COMMAND --help\n"
    text += "python -m pipeline.run --nothing \\\n  run=x\n```\n"
    text += "and `make install TORCH=cu0` and `sbatch conf/no.sbatch` and `python -m pipeline.run run=NAME`\n"
    assert [trouble for words in commands(text) for trouble in troubles(words)] == [
        "the Makefile has no target nothing with a line of help",
        "there is no module pipeline.nothing",
        "there is no command pipeline nothing",
        "pipeline status has no option --nothing",
        "pipeline.run has no option --nothing",
        "there is no constraints/cu0.txt",
        "there is no conf/no.sbatch",
    ]
    with pytest.raises(Exception, match=r"stop\.generatons"):
        troubles(["python", "-m", "pipeline.run", "stop.generatons=3"])
    with pytest.raises(Exception, match=r"stop\.generatons"):
        troubles(["python", "-m", "pipeline", "run", "stop.generatons=3"])


def test_a_class_is_a_type_of_setting() -> None:
    row = "| `select.method` | class | `pipeline.methods.thompson.Thompson` | fixed |"
    assert row in generate.settings_page()


def test_blocks_have_the_path_of_their_file() -> None:
    (block,) = blocks("**`a/b.py`**\n\n```python\nx = 1\n```\n")
    assert (block.language, block.label, block.text) == ("python", "a/b.py", "x = 1\n")
