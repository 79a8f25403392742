"""What an installation puts on the import path: this name and no other.

`pipeline`, `baselines` and `analysis` are names of other projects on PyPI, and code under evolution may use them for its own
modules. They lie inside this package when it is installed from a wheel, and beside it in a checkout (also with
`pip install -e`). Only a process that starts here finds them; the training process of a variant does not.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE if (_HERE / "pipeline").is_dir() else _HERE.parent
"""Folder of pipeline/, conf/, baselines/, slurm/ and analysis/."""


def main() -> None:
    """The console script `groundwork`, and `python -m groundwork_hpc`."""
    sys.path.insert(0, str(ROOT))
    from pipeline.__main__ import main as run

    run()
