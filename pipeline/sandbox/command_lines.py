"""The command lines of a baseline, filled in."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.config import BaselineConfig, Clock, Config, TrainConfig
from pipeline.errors import BadInput
from pipeline.sandbox.base import allowed_environment


def fill(baseline: BaselineConfig, argv: Sequence[str], places: Mapping[str, object]) -> list[str]:
    """A command line with every `{place}` replaced. Raises `BadInput` for a place that this command is not given."""
    known: dict[str, object] = {"python": baseline.interpreter or sys.executable, **places}
    try:
        return [part.format_map(known) for part in argv]
    except KeyError as error:
        raise BadInput(
            f"baseline {baseline.name}: {{{error.args[0]}}} in `{' '.join(argv)}` is unknown; "
            f"allowed here: {', '.join(sorted(known))}"
        ) from None
    except (ValueError, IndexError, AttributeError) as error:
        raise BadInput(
            f"baseline {baseline.name}: `{' '.join(argv)}` has a brace that names nothing ({error}); write {{{{ and }}}} "
            f"for braces, or one of {', '.join(sorted(known))} between them"
        ) from None


_SMOKE = ("train_data", "output", "seed", "size")
_PLACES = {
    "prepare": ("data", "size"),
    "build": _SMOKE,
    "smoke": _SMOKE,
    "train": (*_SMOKE, "budget"),
    "evaluate": ("evaluator_data", "checkpoint", "split", "seed", "size", "result"),
    "serve": ("exchange", "checkpoint", "size"),
}
"""Commands of a baseline and what each is given."""
_MAY_BE_ABSENT = ("build", "serve")


def check_commands(baseline: BaselineConfig) -> None:
    """Raises `BadInput` for a command line that is missing or cannot be filled in."""
    for name, places in _PLACES.items():
        argv = getattr(baseline.commands, name)
        if not argv and name not in _MAY_BE_ABSENT:
            raise BadInput(
                f"baseline {baseline.name} has no baseline.commands.{name}; give its program and arguments as a list"
            )
        if name == "evaluate" and baseline.commands.serve:
            places = (*places, "exchange")
        fill(baseline, argv, dict.fromkeys(places, name))


def train_command(
    config: Config, size: Path, data: Path, output: Path, seed: int, budget: float | None = None
) -> list[str]:
    """The training of a variant, to be run in the variant's folder; with the budget of the run, or another in its unit."""
    places = {
        "train_data": data / "train",
        "output": output,
        "seed": seed,
        "size": size,
        "budget": budget_argument(config.train.with_budget(budget)),
    }
    return fill(config.baseline, config.baseline.commands.train, places)


def budget_argument(train: TrainConfig) -> str:
    """The budget as `{budget}`: `steps=80` or `seconds=3600`."""
    return f"steps={train.budget_steps}" if train.clock is Clock.steps else f"seconds={60 * train.budget_min:g}"


SCRATCH_VARIABLE = "GROUNDWORK_SCRATCH"
"""Environment variable that names a job its folder for temporary files and caches."""
_CACHES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "CUDA_CACHE_PATH")


def compiled_caches(given: str) -> dict[str, str]:
    """Variables for the caches of compilers that `build` and `prepare` fill, in `given`, which may be empty."""
    folder = _parent(given) / f"groundwork-cache-{os.getuid()}"
    return {name: f"{folder}/{name.lower()}" for name in _CACHES}


@contextlib.contextmanager
def scratch_folder(given: str | None = None) -> Iterator[dict[str, str]]:
    """Variables that point temporary files and caches to a folder of this try alone, which is removed in the end. The caches
    begin as copies of the filled ones, times of files included, so that no variant can change what another one runs.
    In a job the place is `given` by a variable."""
    given = os.environ.get(SCRATCH_VARIABLE, "") if given is None else given
    parent = _parent(given)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="groundwork-", dir=parent, ignore_cleanup_errors=True) as made:
        own = {name: f"{made}/{name.lower()}" for name in _CACHES}
        for name, filled in compiled_caches(given).items():
            if os.path.isdir(filled):
                shutil.copytree(filled, own[name], symlinks=True)
        yield {**own, "XDG_CACHE_HOME": f"{made}/cache", "TMPDIR": made}


def _parent(given: str) -> Path:
    return Path(os.path.expandvars(given) or tempfile.gettempdir())


def variant_environment(baseline: BaselineConfig, cpus: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command of the baseline finds in its environment: the allow-list, the number of threads, the baseline's own
    variables. What only the pipeline needs (`GROUNDWORK_…`) stays out."""
    ours = {name: value for name, value in allowed_environment().items() if not name.startswith("GROUNDWORK_")}
    return {
        **ours,
        "OMP_NUM_THREADS": str(cpus),
        "PYTHONDONTWRITEBYTECODE": "1",  # the folder of a variant holds exactly the code that runs
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        **baseline.environment,
        **(extra or {}),
    }
