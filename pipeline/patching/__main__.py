"""Applies one reply of a language model to a folder of code: writes the patched code, or prints why the reply is
refused."""

import argparse
import json
import sys
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.patching.refusal import KINDS, Refusal
from pipeline.patching.replies import patched_tree
from pipeline.patching.rules import Rules
from pipeline.patching.trees import diff, read_tree, write_tree

HELP = """\
The reply may hold a unified diff, SEARCH/REPLACE blocks (a line with the path, then
<<<<<<< SEARCH, =======, >>>>>>> REPLACE) or whole files (a line with the path, then a
fenced block), in fences or not, with prose around.

Globs are those of .gitignore: train.py and *.py match at any depth, /train.py and
model/*.py from the folder, data/ all below. Protected wins over evolvable; without
--evolvable every file that is not protected may change.

exit code 0: OUT_FOLDER holds the patched code
          3: the reply is refused, one line of reason on stderr, nothing written
          2: bad input, such as a missing folder or an OUT_FOLDER that is not empty
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.patching",
        description=__doc__,
        epilog=HELP + "kinds of refusal: " + ", ".join(KINDS[: KINDS.index("unknown_setting")]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE_FOLDER", type=Path, help="the code that the reply is about; only read")
    parser.add_argument("reply", metavar="REPLY_FILE", help="the reply, a text file; - for stdin")
    parser.add_argument("out", metavar="OUT_FOLDER", type=Path, help="a new folder for the patched code")
    globs = {"nargs": "+", "action": "extend", "default": [], "metavar": "GLOB"}
    parser.add_argument("--protected", help="files that must not be touched", **globs)  # type: ignore[arg-type]
    parser.add_argument("--evolvable", help="the only files that may be touched", **globs)  # type: ignore[arg-type]
    parser.add_argument("--json", action="store_true", help="print what happened as JSON on stdout too")
    options = parser.parse_args(arguments)
    try:
        happened = _apply(options)
    except (BadInput, OSError) as error:
        print(f"patching: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(happened))
    if "kind" in happened:
        print(f"refused: {happened['kind']}: {happened['reason']}", file=sys.stderr)
        return 3
    return 0


def _apply(options: argparse.Namespace) -> dict[str, str]:
    """Write the patched code and return its diff, or return kind and reason of the refusal. Raises BadInput,
    OSError."""
    if not options.base.is_dir():
        raise BadInput(f"BASE_FOLDER {options.base} is not a folder")
    if options.out.is_symlink() or (options.out.exists() and not _is_empty(options.out)):
        raise BadInput(f"OUT_FOLDER {options.out} exists; name a new folder")
    try:
        rules = Rules(options.evolvable, options.protected)
        rules.check(["any"])
    except ValueError as error:
        raise BadInput(f"a glob cannot be read: {error}") from error
    data = sys.stdin.buffer.read() if options.reply == "-" else Path(options.reply).read_bytes()
    base = read_tree(options.base)
    if isinstance(base, Refusal):
        raise BadInput(f"BASE_FOLDER: {base.reason}")
    try:
        patched = patched_tree(base, data.decode(), rules)
    except UnicodeDecodeError as error:
        patched = Refusal("unreadable", f"the reply is not UTF-8: {error.reason} at byte {error.start}")
    if isinstance(patched, Refusal):
        return {"kind": patched.kind, "reason": patched.reason}
    options.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    write_tree(patched, options.out)
    return {"diff": diff(base, patched)}


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


if __name__ == "__main__":
    sys.exit(main())
