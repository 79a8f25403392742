"""Command lines of a baseline with their placeholders filled in, and their environment."""

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
from pipeline.sandbox.removal import temporary_folder


def fill(baseline: BaselineConfig, argv: Sequence[str], places: Mapping[str, object]) -> list[str]:
    """A command line with every `{place}` replaced. Raises `BadInput` for an unknown placeholder."""
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
            f"baseline {baseline.name}: `{' '.join(argv)}` has an invalid placeholder ({error}); write {{{{ and }}}} "
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
"""Placeholders of each command of a baseline."""
_MAY_BE_ABSENT = ("build", "serve")


def check_commands(baseline: BaselineConfig) -> None:
    """Raise `BadInput` for a command line that is missing or cannot be filled in."""
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
    config: Config, size: Path, data: Path, output: Path, seed: int, budget: float | None = None, part: bool = False
) -> list[str]:
    """The command line that trains a variant, to be run in the variant's folder. Another `budget` than the run's is in the
    same unit; with `part` the training stops there on its way to the whole budget."""
    text = budget_argument(config.train.with_budget(budget))
    if part:
        text += f"/{budget_argument(config.train).partition('=')[2]}"
    places = {
        "train_data": data / "train",
        "output": output,
        "seed": seed,
        "size": size,
        "budget": text,
    }
    return fill(config.baseline, config.baseline.commands.train, places)


def budget_argument(train: TrainConfig) -> str:
    """The value of `{budget}`: `steps=80` or `seconds=3600`."""
    return f"steps={train.budget_steps}" if train.clock is Clock.steps else f"seconds={60 * train.budget_min:g}"


SCRATCH_VARIABLE = "GROUNDWORK_SCRATCH"
"""Environment variable that passes a job its folder for temporary files and caches."""
_CACHES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "CUDA_CACHE_PATH")


def compiled_caches(given: str) -> dict[str, str]:
    """Variables for the compiler caches that `build` and `prepare` fill, in the folder `given`; empty means the default."""
    folder = _parent(given) / f"groundwork-cache-{os.getuid()}"
    return {name: f"{folder}/{name.lower()}" for name in _CACHES}


@contextlib.contextmanager
def scratch_folder(given: str | None = None) -> Iterator[dict[str, str]]:
    """Variables that point temporary files and caches to a private folder, which is removed on exit. The caches start as
    copies of the filled ones, including modification times, so that no variant can change what another one runs. By default
    the parent folder comes from `SCRATCH_VARIABLE`, which is set in jobs."""
    given = os.environ.get(SCRATCH_VARIABLE, "") if given is None else given
    parent = _parent(given)
    parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder("groundwork-", parent) as made:
        own = {name: f"{made}/{name.lower()}" for name in _CACHES}
        for name, filled in compiled_caches(given).items():
            if os.path.isdir(filled):
                shutil.copytree(filled, own[name], symlinks=True)
        yield {**own, "XDG_CACHE_HOME": f"{made}/cache", "TMPDIR": str(made)}


def _parent(given: str) -> Path:
    return Path(os.path.expandvars(given) or tempfile.gettempdir())


def variant_environment(baseline: BaselineConfig, cpus: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a baseline's command: the allow-list, the number of threads, the baseline's own variables.
    Variables for the pipeline only (`GROUNDWORK_…`) are left out."""
    ours = {name: value for name, value in allowed_environment().items() if not name.startswith("GROUNDWORK_")}
    return {
        **ours,
        "OMP_NUM_THREADS": str(cpus),
        "PYTHONDONTWRITEBYTECODE": "1",  # the folder of a variant contains exactly the code that runs
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        **baseline.environment,
        **(extra or {}),
    }
