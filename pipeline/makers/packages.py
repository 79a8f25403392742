"""The packages that a variant can import, and a check of its imports."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.errors import BadInput
from pipeline.patching import Refusal
from pipeline.patching.syntax import imported_modules
from pipeline.patching.trees import Entry
from pipeline.sandbox.base import allowed_environment

_LIST = """
import importlib.metadata as metadata, json, sys
found = sorted({f"{one.name} {one.version}" for one in metadata.distributions() if one.name}, key=str.lower)
provided = metadata.packages_distributions()
modules = sorted({*provided, *sys.stdlib_module_names, *sys.builtin_module_names})
print(json.dumps([found, modules, {module: sorted(set(names)) for module, names in provided.items()}]))
"""
_OF_TRAINING = frozenset(
    "accelerate apex bitsandbytes causal-conv1d cupy datasets deepspeed einops flash-attn flashinfer-python flax "
    "grouped-gemm hqq jax jaxtyping keras liger-kernel lightgbm lightning lion-pytorch mamba-ssm math-verify ml-dtypes mlx "
    "numba numpy opt-einsum optax peft pytorch-lightning pytorch-optimizer safetensors schedulefree scikit-learn scipy "
    "sentencepiece sympy tensorflow tiktoken timm tokenizers torch torch-optimizer torchao torchaudio torchmetrics "
    "torchvision transformer-engine transformers triton trl unsloth vllm xformers xgboost".split()
)
"""Normalized names of packages that training code of this field imports."""


@dataclass(frozen=True)
class Packages:
    """The packages of one interpreter."""

    distributions: tuple[str, ...]
    """Name and version of each package, e.g. `torch 2.6.0`."""
    modules: frozenset[str]
    """Top-level module names that can be imported, including the standard library."""
    providers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Packages that provide each top-level module name."""


def installed_packages(interpreter: str) -> Packages:
    """The packages of a baseline's interpreter; empty means our own. Raises `BadInput` if the interpreter does not run."""
    check_interpreter(interpreter)
    argv = [interpreter or sys.executable, "-c", _LIST]
    try:
        done = subprocess.run(argv, env=allowed_environment(), capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInput(f"baseline.interpreter={interpreter} does not run: {error}") from error
    distributions, modules, providers = json.loads(done.stdout)
    return Packages(tuple(distributions), frozenset(modules), providers)


def check_interpreter(interpreter: str) -> None:
    """Raise `BadInput` if the interpreter does not exist; empty means our own."""
    if interpreter and shutil.which(interpreter) is None:
        wrong = "cannot be executed" if os.path.exists(interpreter) else "is missing"
        raise BadInput(
            f"baseline.interpreter={interpreter} {wrong}: give the Python that has the packages of the baseline, as an "
            f"absolute path, or leave it empty for {sys.executable}"
        )


def training_packages(packages: Packages, code: Mapping[str, Entry], named: Sequence[str]) -> tuple[str, ...]:
    """Name and version of packages that training code may use: those that the code imports, well-known ones of the field,
    and those that match a glob in `named`. Build tools, linters and dependencies of others would not help a model."""
    imported = {name for path, entry in code.items() for name in imported_modules(path, entry)}
    direct = {_normal(package) for module in imported for package in packages.providers.get(module, (module,))}
    globs = [_normal(one) for one in named]

    def useful(distribution: str) -> bool:
        name = _normal(distribution.partition(" ")[0])
        return name in direct or name in _OF_TRAINING or any(fnmatch.fnmatch(name, one) for one in globs)

    return tuple(one for one in packages.distributions if useful(one))


def _normal(name: str) -> str:
    """A package's name in normalized form, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_imports(base: Mapping[str, Entry], variant: Mapping[str, Entry], packages: Packages) -> Refusal | None:
    """A refusal if a changed file imports a module that is not installed, not part of the code, and not imported before."""
    own = {part.removesuffix(".py") for path in variant for part in PurePosixPath(path).parts}
    known = packages.modules | own | {name for path, entry in base.items() for name in imported_modules(path, entry)}
    for path, entry in variant.items():
        if base.get(path) == entry:
            continue
        unknown = sorted(imported_modules(path, entry) - known)
        if unknown:
            return Refusal("unreadable", f"{path} imports {', '.join(unknown)}, which is not installed and cannot be")
    return None
