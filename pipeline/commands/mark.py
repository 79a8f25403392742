"""Pin or ban a candidate; every later selection follows the mark."""

import argparse
import getpass
import time
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.errors import BadInput
from pipeline.records import Mark
from pipeline.setup.build import view
from pipeline.setup.places import candidate_at
from pipeline.store import files


def main() -> None:
    """Entry point."""
    made = parser(
        "mark",
        "Pin a candidate (always a parent and an elite) or ban it (never either).",
        "example:\n  python -m pipeline mark runs/NAME/generation_000/candidate_003 --ban 'it reads the answers'",
    )
    made.add_argument("candidate", type=Path, help="a candidate's folder")
    decision = made.add_mutually_exclusive_group(required=True)
    decision.add_argument("--pin", action="store_true", help="always build on it")
    decision.add_argument("--ban", metavar="REASON", help="never build on it; prompts contain the reason")
    decision.add_argument("--clear", action="store_true", help="remove the mark")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Write the mark, or remove it."""
    paths, candidate_id = candidate_at(arguments.candidate)
    run, _ = view(paths)
    candidate = run.reader.read().candidate(candidate_id)
    if arguments.pin and candidate.failure is not None:
        kind = candidate.failure.kind
        raise BadInput(
            f"{candidate_id} failed ({kind}) and cannot be a parent; pin a candidate that has a score or no outcome yet"
        )
    mark = run.paths.mark(candidate_id)
    if arguments.clear:
        mark.unlink(missing_ok=True)
        done = "unmarked"
    else:
        done = "pinned" if arguments.pin else "banned"
        mark.parent.mkdir(parents=True, exist_ok=True)
        files.replace(mark, Mark(arguments.pin, arguments.ban or "", getpass.getuser(), time.time()))
    run.event(done, candidate.paths.folder, arguments.ban or "")
    print(f"{candidate_id} is {done}; later selections follow the change")
    return 0
