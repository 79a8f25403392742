"""Run `pipeline.run` and kill it with SIGKILL right after a write of the store.

    python tests/kill_after.py KNOWN ARGUMENTS        killed after the first write not listed in the file KNOWN
    python tests/kill_after.py KNOWN:WORD ARGUMENTS   the same among writes whose path contains WORD
    python tests/kill_after.py 17 ARGUMENTS           killed after the 17th write
    python tests/kill_after.py slow ARGUMENTS         not killed: each write takes as long as on a busy shared disk
    python tests/kill_after.py +KNOWN ARGUMENTS       started again after each kill, until it is not killed

Writes are distinguished by their path in the run folder; all tries of a trial count as one. A run that is repeatedly
killed after a new write therefore finishes, after it was killed once after each write. With `+` each start is a fork of
this process, which saves the imports.
"""

import os
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.commands import run
from pipeline.records import Event
from pipeline.store import files

_again, _known_or_number = re.fullmatch(r"(\+?)(.*)", sys.argv.pop(1)).groups()  # type: ignore[union-attr]
_runs = next(Path(word.removeprefix("runs=")).resolve() for word in sys.argv if word.startswith("runs="))
_written: Counter[str] = Counter()
_SLOW_S = 0.3


def _after_write(path: Path | str, what: str = "") -> None:
    try:
        place = Path(path).relative_to(_runs)
    except ValueError:
        return  # a temporary folder
    name = " ".join(filter(None, (*place.parts[1:], what)))
    name = re.sub(r"try_\d+", "try_N", re.sub(r"\.part-\S+", "part", name))
    _written[name] += 1
    if _known_or_number == "slow":
        time.sleep(_SLOW_S)
        return
    if _known_or_number.isdigit():
        if _written.total() == int(_known_or_number):
            os.kill(os.getpid(), signal.SIGKILL)
        return
    list_of_known, _, word = _known_or_number.partition(":")
    known = Path(list_of_known)
    name += f" #{_written[name]}"
    if word in name and name not in known.read_text().splitlines():
        with known.open("a") as file:
            file.write(f"{name}\n")
        os.kill(os.getpid(), signal.SIGKILL)


class _Os:
    """The `os` module as the store sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def link(source: Path, target: Path) -> None:
        os.link(source, target)
        _after_write(target)

    @staticmethod
    def replace(source: Path, target: Path) -> None:
        os.replace(source, target)
        _after_write(target)


def _append(path: Path, record: Event, original: Any = files.append) -> None:
    original(path, record)
    _after_write(path, f"{record.what} {record.where}".strip())


files.os = _Os()  # type: ignore[assignment]
files.append = _append  # type: ignore[assignment]
sys.argv[0] = "run"
while _again and (child := os.fork()):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        sys.exit(code)
run.main()
