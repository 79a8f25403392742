"""Isolation in a container image with Apptainer (apptainer.org), for baselines that come as an image."""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import Network
from pipeline.errors import BadInput, SandboxFailed
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits
from pipeline.sandbox.contained import supervise
from pipeline.sandbox.places import expanded, private_folder

_FAILED = 255
"""Exit code of Apptainer itself."""


class Apptainer:
    """The command runs in an image with its own process namespace, and sees only the places in `access`."""

    kind = "apptainer"
    private_memory = True

    def __init__(self, image: str, read: Sequence[str] = ()) -> None:
        """`image` is a .sif file or an unpacked folder; `read` are additional files and folders that every command may read.
        Raises `BadInput` if the image does not exist."""
        (self._image,) = expanded([image])
        if not image or not self._image.exists():
            raise BadInput(f"train.sandbox.image={image} does not exist; set train.sandbox.image=/path/to/image.sif")
        self._read = expanded(read)

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        with private_folder(command, access) as temporary:
            own = arguments(self._image, command, access, temporary, self._read)
            inside = replace(
                command,
                argv=[*own, *command.argv],
                cwd=Path("/"),
                environment={
                    "PATH": os.environ.get("PATH", ""),
                    "HOME": os.environ.get("HOME", "/"),
                    # Other variables are passed to the command inside only.
                    **{f"APPTAINERENV_{name}": value for name, value in command.environment.items() if name != "PATH"},
                },
            )
            outcome = supervise(inside, limits, enough, (*access.write, temporary), len(own)).outcome
        if outcome.ended is End.EXIT and outcome.exit_code == _FAILED:
            raise SandboxFailed(f"apptainer could not start `{command.argv[0]}`: see {command.log}")
        return outcome


def arguments(image: Path, command: Command, access: Access, temporary: Path, more: Sequence[Path] = ()) -> list[str]:
    """The command line of Apptainer, without the command itself."""
    alone = "--containall --no-home --no-privs --no-eval --writable-tmpfs --cleanenv".split()
    read = dict.fromkeys((command.cwd, *access.read, *more))
    binds = [*(f"{place}:{place}:ro" for place in read), *(f"{place}:{place}:rw" for place in access.write)]
    return [
        "apptainer",
        "exec",
        *alone,
        *(["--nv"] if access.devices else []),
        *([] if access.network is Network.host else ["--net", "--network", "none"]),
        *("--bind", f"{temporary}:/tmp:rw"),
        *(part for bind in binds for part in ("--bind", bind)),
        *("--pwd", str(command.cwd), str(image)),
    ]


@functools.cache
def trouble() -> str:
    """Why Apptainer cannot be used on this machine; empty if it can."""
    if shutil.which("apptainer") is None:
        return "the program apptainer is not installed"
    done = subprocess.run(["apptainer", "--version"], capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stderr.strip()
