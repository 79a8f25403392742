"""What a sandbox adds to the start of a command: `python -m tests.benchmarks.sandbox_cost`.

The same short command runs under each kind in turn, and each is compared with the run without a sandbox beside it: the
median of the differences of wall time, and the ratio of the medians. A trial starts two sandboxes, for `train` and for
`evaluate`, and one more for each `serve`.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from pipeline.sandbox import bubblewrap, landlock
from pipeline.sandbox.base import Access, Command, RunLimits, Sandbox, allowed_environment
from pipeline.sandbox.contained import Contained

ROUNDS = 40


def main() -> None:
    """Print a table."""
    kinds: list[Sandbox] = [Contained()]
    kinds += [bubblewrap.Bubblewrap()] if not bubblewrap.trouble() else []
    kinds += [landlock.Landlock()] if not landlock.trouble() else []
    taken: dict[str, list[float]] = {kind.kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for kind in kinds:
                taken[kind.kind].append(_seconds(kind, Path(folder)))
    print("| sandbox | added to a command, median | ratio to none |\n|---|---|---|")
    for name, seconds in taken.items():
        added = statistics.median(here - bare for here, bare in zip(seconds, taken["none"], strict=True))
        ratio = statistics.median(seconds) / statistics.median(taken["none"])
        print(f"| `{name}` | {1000 * added:.0f} ms | {ratio:.2f} |")


def _seconds(kind: Sandbox, folder: Path) -> float:
    command = Command([sys.executable, "-S", "-c", "pass"], folder, allowed_environment(), folder / "log")
    started = time.monotonic()
    outcome = kind.run(command, Access(write=(folder,)), RunLimits(60.0, 1.0))
    assert outcome.good
    return time.monotonic() - started


if __name__ == "__main__":
    main()
