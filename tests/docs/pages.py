"""Markdown as the tests use it: fenced blocks, links, anchors."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<marks>`{3,})(?P<language>\w*).*?\n(?P<text>.*?)^(?P=indent)(?P=marks) *$", re.M | re.S
)
_LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_LABEL = re.compile(r"\*\*`(?P<path>[^`\n]+)`\*\*\n\n$")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    label: str
    """The path in bold above it, to which the block is written. Empty if there is none."""


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        label = _LABEL.search(text[: match.start()])
        found.append(Block(match["language"], match["text"], label["path"] if label else ""))
    return found


def write_files(text: str, folder: Path) -> None:
    """Write every block of a page that has a path to its place in a folder."""
    for block in blocks(text):
        if block.label:
            path = folder / block.label
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of the links of a page."""
    return [match["target"] for match in _LINK.finditer(prose(text))]


def anchors(text: str) -> set[str]:
    """The valid `#…` targets in a page, by GitHub's rule."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(text), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Links of a page to missing places in this repository. External links are not followed."""
    for target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or not path.is_relative_to(ROOT):
            yield f"{target}: there is no {name}"
        elif anchor and path.suffix == ".md" and anchor not in anchors(text if path == page else path.read_text()):
            yield f"{target}: no heading gives #{anchor}"


def command_lines(text: str) -> list[str]:
    """The command lines of the `bash` blocks of a page: continued lines are joined, comments are left out."""
    lines = []
    for block in blocks(text):
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                line = re.sub(r"(^|\s+)#.*", "", line).strip()
                lines += [line] if line else []
    return lines


def commands(text: str) -> list[list[str]]:
    """Every command that the reader is told to type, as words: in `bash` blocks and in running text."""
    spans = [span for span in re.findall(r"`([^`\n]+)`", prose(text)) if re.match(r"(python|make|sbatch) ", span)]
    return [shlex.split(line) for line in (*command_lines(text), *spans)]


def pages() -> list[Path]:
    """The pages of the project: Markdown files that are tracked, or will be, but are not test material."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(ROOT / name for name in names if not name.startswith("tests/"))


def shell_environment(home: Path) -> dict[str, str]:
    """The environment for commands of a page: `python` is the interpreter of the tests, `PROJECT` their folder."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PROJECT": str(home), "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}


def type_in_shell(lines: Sequence[str], home: Path, timeout: float = 200) -> str:
    """Run lines in one shell at the root of the checkout, with `PROJECT` a folder of the reader. Returns their output;
    fails if one of them fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=ROOT,
        env=shell_environment(home),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def type_page(text: str, home: Path, timeout: float = 200) -> str:
    """Run all `bash` blocks of a page, in order."""
    return type_in_shell([block.text for block in blocks(text) if block.language == "bash"], home, timeout)
