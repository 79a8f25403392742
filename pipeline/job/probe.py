"""The job that `doctor` sends to a compute node: it records what the node offers."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.cluster.jobs import current_node
from pipeline.sandbox.auto import kinds
from pipeline.sandbox.command_lines import scratch_folder
from pipeline.store import files
from pipeline.store.paths import ProbePaths

_TORCH = """
import json, torch
found = dict(torch=torch.__version__, built_for=torch.version.cuda or "", gpus=0, error="")
try:
    found["gpus"] = torch.cuda.device_count()
    if found["gpus"]:
        found["works"] = float((torch.ones(2, device="cuda") + 1).sum())
except Exception as error:
    found["error"] = str(error).splitlines()[0]
print(json.dumps(found))
"""
_ADDRESSES = (("huggingface.co", 443), ("pypi.org", 443))


@dataclass(frozen=True)
class Question:
    """What to examine (question.json)."""

    interpreter: str
    """Python interpreter of the baseline's commands."""
    gpus: int
    """GPUs per node that a trial requires."""


@dataclass(frozen=True)
class Seen:
    """What a compute node offers (seen.json)."""

    node: str
    """Name of the node."""
    driver: str
    """Version of the NVIDIA driver and model of the GPU; empty without a driver."""
    torch: str
    """Version of torch and of the CUDA it was built for; empty if no GPU is required or torch cannot be imported."""
    torch_gpus: int
    """GPUs that torch can use."""
    torch_error: str
    """Why torch cannot be used, or empty."""
    compiler: str
    """C++ compiler on PATH, or empty."""
    sandbox: Mapping[str, str]
    """Each kind of sandbox, strongest first, with the reason why it does not work; empty if it does."""
    network: tuple[str, ...]
    """Reachable hosts."""
    scratch: str
    """Folder for temporary files, with its free space."""
    memory_gb: float
    """Memory of the node, GB."""


def look(folder: str) -> None:
    """Answer the question in a folder that `doctor` created."""
    paths = ProbePaths(Path(folder))
    files.create(paths.seen, _see(files.read(paths.question, Question)))


def _see(question: Question) -> Seen:
    torch: dict[str, object] = {}
    if question.gpus:
        done = _run(question.interpreter, "-c", _TORCH)
        lines = done.stdout.strip().splitlines()
        torch = json.loads(lines[-1]) if done.returncode == 0 and lines else {"error": _last(done.stderr)}
    smi = _run("nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader")
    with scratch_folder() as variables:
        place = Path(variables["TMPDIR"])
        scratch = f"{place.parent} ({shutil.disk_usage(place).free / 1e9:.0f} GB free)"
    built_for = torch.get("built_for")
    return Seen(
        node=current_node().name,
        driver=smi.stdout.strip().splitlines()[0] if smi.returncode == 0 and smi.stdout.strip() else "",
        torch=f"{torch['torch']}, CUDA {built_for or 'none'}" if "torch" in torch else "",
        torch_gpus=int(str(torch.get("gpus", 0))),
        torch_error=str(torch.get("error", "")),
        compiler=next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), ""),
        sandbox=kinds(),
        network=tuple(host for host, port in _ADDRESSES if _reaches(host, port)),
        scratch=scratch,
        memory_gb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
    )


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _last(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no output")


def _reaches(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False
