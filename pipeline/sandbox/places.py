"""The places of a machine that an untrusted program needs, read-only: the system, its interpreter, and folders named in its
environment. Home folders are excluded."""

import glob
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.sandbox.base import Access, Command
from pipeline.sandbox.removal import temporary_folder

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "ld.so.cache ld.so.conf ld.so.conf.d localtime timezone passwd group nsswitch.conf hosts resolv.conf protocols services "
    "ssl ca-certificates pki alternatives mime.types OpenCL vulkan nccl.conf gai.conf"
).split()
"""Files in /etc that programs read. The rest, e.g. the machine's keys, is excluded."""
_DEVICES = ("/dev/nvidia*", "/dev/dri", "/dev/kfd", "/dev/infiniband", "/dev/gdrdrv")
_LISTS = ("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH")
_FOLDERS = ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "VIRTUAL_ENV")


def system_places() -> list[Path]:
    """Folders and files of the operating system."""
    return [path for path in map(Path, (*SYSTEM, *(f"/etc/{name}" for name in _ETC))) if path.exists()]


def expanded(names: Iterable[str]) -> tuple[Path, ...]:
    """User-given paths with `~` and variables expanded."""
    return tuple(Path(os.path.expandvars(name)).expanduser() for name in names)


@contextmanager
def private_folder(command: Command, access: Access) -> Iterator[Path]:
    """A folder for temporary files of one command, inside its TMPDIR if it may write there."""
    given = command.environment.get("TMPDIR", "")
    inside = any(Path(given) == place for place in access.write) if given else False
    with temporary_folder("sandbox-", given if inside else None) as folder:
        yield folder


def device_places() -> list[Path]:
    """Device files of GPUs and fast networks. The cluster decides which of them a job may open."""
    return [Path(name) for pattern in _DEVICES for name in sorted(glob.glob(pattern))]


def program_places(argv: Sequence[str], environment: Mapping[str, str]) -> list[Path]:
    """Folders that a program needs to start: the installation of its interpreter, and those listed in its environment."""
    names = [place for name in _LISTS for place in environment.get(name, "").split(os.pathsep)]
    names += [environment.get(name, "") for name in _FOLDERS]
    places = [Path(name) for name in names if name.startswith("/")]
    program = shutil.which(argv[0], path=environment.get("PATH", ""))
    if program is not None:
        places += _installation(Path(program))
    return outermost(place for place in places if place.is_dir() and not _holds_a_home(place))


def _installation(program: Path) -> Iterator[Path]:
    """Folders where a program is installed; for a virtual environment also those of its base Python."""
    for path in dict.fromkeys((program, program.resolve())):
        prefix = path.parent.parent
        if path.parent.name == "bin" and not _holds_a_home(prefix):
            yield prefix
        else:
            yield from (path.parent, prefix / "lib", prefix / "lib64")
        settings = prefix / "pyvenv.cfg"
        if settings.is_file():
            lines = (line.partition("=") for line in settings.read_text().splitlines())
            for home in (Path(value.strip()) for key, _, value in lines if key.strip() == "home"):
                yield from _installation(home / "python3")


def _holds_a_home(place: Path) -> bool:
    """Whether a place is or contains a home folder."""
    home = Path(os.path.expanduser("~"))
    return any(place in (one, *one.parents) for one in (home, home.resolve(), Path("/home/user")))


def outermost(places: Iterable[Path]) -> list[Path]:
    """The places that are not inside the system or another place."""
    kept: list[Path] = []
    for place in sorted(set(places)):
        if not any(place.is_relative_to(other) for other in [*kept, *map(Path, SYSTEM)]):
            kept.append(place)
    return kept
