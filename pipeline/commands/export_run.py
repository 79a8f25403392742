"""Write a run as files of a program that shows experiments."""

import argparse
from pathlib import Path

from pipeline.commands.beside import analysis
from pipeline.commands.report import runs_of
from pipeline.commands.terminal import call, make_console, parser, say
from pipeline.errors import BadInput


def main() -> None:
    """Entry point."""
    made = parser(
        "export_run",
        "Write runs as files of TensorBoard, MLflow or Weights & Biases. Nothing is sent anywhere, and the runs are not\n"
        "changed; called again, each is written anew, so that it also follows a run in progress.",
        "examples:\n  python -m pipeline export_run runs/NAME --to tensorboard\n"
        "  python -m pipeline export_run GROUP --to mlflow --output mlruns",
    )
    made.add_argument("run", type=Path, nargs="+", help="run folders, names, or the name of a group")
    made.add_argument("--to", choices=["tensorboard", "mlflow", "wandb"], required=True, help="which program")
    made.add_argument("--output", type=Path, help="folder to write into (default: exports/PROGRAM)")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the runs and write the files."""
    exports, output = analysis("exports"), arguments.output or Path("exports") / arguments.to
    shown = ""
    for folder in dict.fromkeys(folder for one in arguments.run for folder in runs_of(one)):
        try:
            shown = exports.WRITERS[arguments.to](exports.exported(folder), output)
        except ModuleNotFoundError as error:
            raise BadInput(
                f"{error.name} is not installed; install the extra with: pip install 'groundwork-hpc[{arguments.to}]'"
            ) from error
    say(make_console(), f"{output}; see it with: {shown}")
    return 0
