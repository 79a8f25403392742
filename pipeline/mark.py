"""Decide about a candidate yourself: every selection from now on keeps to it."""

import argparse
import getpass
import time
from pathlib import Path

from pipeline.assemble import view
from pipeline.cli import call, candidate_at, parser
from pipeline.errors import BadInput
from pipeline.records import Mark
from pipeline.store import files


def main() -> None:
    """Entry point."""
    made = parser(
        "mark",
        "Pin a candidate (a parent and an elite whatever else scores) or ban it (never either).",
        "example:\n  python -m pipeline.mark runs/NAME/generation_000/candidate_003 --ban 'it reads the answers'",
    )
    made.add_argument("candidate", type=Path, help="a candidate's folder")
    decision = made.add_mutually_exclusive_group(required=True)
    decision.add_argument("--pin", action="store_true", help="build on it")
    decision.add_argument("--ban", metavar="REASON", help="never build on it; the ideator is told why")
    decision.add_argument("--clear", action="store_true", help="take the mark back")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Write the mark, or remove it."""
    paths, candidate_id = candidate_at(arguments.candidate)
    run, _ = view(paths)
    candidate = run.reader.read().candidate(candidate_id)
    if arguments.pin and candidate.failure is not None:
        kind = candidate.failure.kind
        raise BadInput(f"{candidate_id} has no score ({kind}) and cannot be built upon; pin one that has, or none yet")
    mark = run.paths.mark(candidate_id)
    if arguments.clear:
        mark.unlink(missing_ok=True)
        words = "unmarked"
    else:
        words = "pinned" if arguments.pin else "banned"
        mark.parent.mkdir(parents=True, exist_ok=True)
        files.replace(mark, Mark(arguments.pin, arguments.ban or "", getpass.getuser(), time.time()))
    run.event(words, candidate.paths.folder, arguments.ban or "")
    print(f"{candidate_id} is {words}; selections from now on keep to it")
    return 0


if __name__ == "__main__":
    main()
