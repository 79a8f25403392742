"""Access to `analysis/`, which is beside the pipeline and builds on `store/` and `report/`. It is imported by name only when
a command needs it, so that the pipeline works without its extra and does not depend on it."""

import importlib
from types import ModuleType

from pipeline.errors import BadInput


def analysis(name: str, extra: str = "analysis") -> ModuleType:
    """A module of `analysis/`. Raises `BadInput` if a package of its extra is missing."""
    try:
        return importlib.import_module(f"analysis.{name}")
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{error.name} is not installed; install the extra with: pip install 'groundwork-hpc[{extra}]', "
            f"in the checkout: pip install -e '.[{extra}]'"
        ) from error
