"""`python -m pipeline COMMAND`, which is also the console script `groundwork`."""
# PYTHON_ARGCOMPLETE_OK: shells may request completions from this program

import importlib
import os
import sys

from pipeline.commands import COMMANDS


def main() -> None:
    """Run the command named by the first argument; without an argument list the commands."""
    if "_ARGCOMPLETE" in os.environ:
        importlib.import_module("pipeline.commands.completion").answer(sys.argv[1:])
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(_listing())
        return
    name = sys.argv.pop(1).replace("-", "_")
    if name not in COMMANDS:
        print(f"error: {name} is not a command; valid commands: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    try:
        importlib.import_module(f"pipeline.commands.{name}").main()
    except KeyboardInterrupt:  # while modules are imported, which takes about a second
        sys.exit(130)


def _listing() -> str:
    lines = [f"  {name:15} {does}" for name, does in COMMANDS.items()]
    usage = "usage: groundwork COMMAND …, or in the checkout: python -m pipeline COMMAND …"
    return "\n".join([f"{usage}   (COMMAND --help explains one)", "", *lines])


if __name__ == "__main__":
    main()
