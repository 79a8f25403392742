"""Tells a training that continues from its saved state from one that starts again, which reaches the same result.

The lines that the first part left in metrics.jsonl are marked. The second part gets them, as every try that resumes, and
must not write their steps again."""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.commands.checks import Finding
from pipeline.store import files

_MARK = "before_resume"


def mark(metrics: Path) -> list[float]:
    """Mark the lines of a metrics.jsonl; returns their steps."""
    rows = [{**row, _MARK: 1} for row in _rows(metrics)]
    if rows:
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(_steps(rows))


def new_steps(metrics: Path) -> list[float]:
    """The steps of lines without the mark."""
    return list(_steps([row for row in _rows(metrics) if _MARK not in row]))


def repetition(before: Sequence[float], new: Sequence[float], saved_last: bool) -> tuple[Finding, str]:
    """Whether the second part of a training repeats the first, from the steps that each wrote. `saved_last`: whether the
    state between them is known to include the last step of the first part."""
    if not before:
        return Finding.NOT_CHECKED, (
            "no line of metrics.jsonl has a `step` before the stop, so a training that starts again cannot be detected"
        )
    known = max(before) if saved_last else min(before)
    if not new or min(new) > known:
        return Finding.OK, f"no step up to {known:g} is repeated"
    if saved_last or known <= 1:
        return Finding.FAILED, (
            f"it writes step {min(new):g} again: it starts again instead of using output/resume, or it does not keep the "
            "earlier lines of metrics.jsonl"
        )
    return Finding.NOT_CHECKED, (
        f"the first line of metrics.jsonl is that of step {known:g}, which may be after the saved state, so a training "
        "that starts again cannot be detected"
    )


def _rows(metrics: Path) -> Iterator[dict[str, Any]]:
    """The complete lines that are JSON objects."""
    with contextlib.suppress(OSError), files.open_regular(metrics) as file:
        for line in file:
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line) if line.endswith(b"\n") else None
                if isinstance(row, dict):
                    yield row


def _steps(rows: Sequence[dict[str, Any]]) -> Iterator[float]:
    for row in rows:
        step = row.get("step")
        if isinstance(step, int | float) and math.isfinite(step):
            yield float(step)
