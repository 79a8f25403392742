"""What a sandbox exposes of a machine: the interpreter and what its environment names, but no home folder."""

import os
import sys
from pathlib import Path

import pytest

from pipeline.config import Network
from pipeline.errors import BadInput
from pipeline.sandbox import apptainer, bubblewrap
from pipeline.sandbox.base import Access, Command, RunLimits
from pipeline.sandbox.command_lines import compiled_caches, scratch_folder
from pipeline.sandbox.places import program_places, system_places


def python_in(prefix: Path) -> Path:
    """A program at the place where a Python installation has one."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    program = prefix / "bin/python3"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_a_virtual_environment_brings_the_python_that_made_it(tmp_path: Path) -> None:
    base = python_in(tmp_path / "opt/python")
    made = tmp_path / "me/code/.venv"
    (made / "bin").mkdir(parents=True)
    (made / "bin/python").symlink_to(base)
    (made / "pyvenv.cfg").write_text(f"home = {base.parent}\nversion = 3.11\n")
    assert program_places([str(made / "bin/python")], {}) == [made, tmp_path / "opt/python"]


def test_this_interpreter_is_found_and_its_checkout_is_not() -> None:
    places = program_places([sys.executable], {})
    assert Path(sys.prefix) in places
    assert not any(Path(__file__).is_relative_to(place) for place in places)


def test_a_home_folder_is_not_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/bin/python3` exposes `~/bin` and `~/lib`, but not the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    program = python_in(tmp_path)
    assert program_places([str(program)], {}) == [tmp_path / "bin", tmp_path / "lib"]
    assert program_places(["true"], {"PATH": f"{tmp_path}:{tmp_path.parent}"}) == []


def test_folders_that_the_environment_names(tmp_path: Path) -> None:
    for name in ("cuda", "modules/lib", "tools/bin"):
        (tmp_path / name).mkdir(parents=True)
    environment = {
        "PATH": f"/usr/bin:{tmp_path}/tools/bin:{tmp_path}/absent:relative",
        "LD_LIBRARY_PATH": f"{tmp_path}/modules/lib:",
        "CUDA_HOME": f"{tmp_path}/cuda",
    }
    wanted = [tmp_path / "cuda", tmp_path / "modules/lib", tmp_path / "tools/bin"]
    assert program_places(["true"], environment) == wanted


def test_of_etc_only_what_programs_read() -> None:
    names = {str(place) for place in system_places()}
    assert "/usr" in names and "/etc/passwd" in names
    assert not names & {"/etc", "/etc/shadow", "/etc/ssh", "/etc/munge", "/root", "/home", "/var", "/run", "/"}


COMMAND = Command(["python", "x"], Path("/runs/r/variant"), {"PATH": "/usr/bin", "LANG": "C"}, Path("/runs/r/log"))
ACCESS = Access(read=(Path("/data/train"),), write=(Path("/runs/r/output"),))


@pytest.mark.parametrize(
    ("network", "shared"), [(Network.none, False), (Network.loopback, False), (Network.host, True)]
)
def test_bubblewrap_shares_the_network_only_on_request(network: Network, shared: bool) -> None:
    access = Access(ACCESS.read, ACCESS.write, network)
    argv = bubblewrap.arguments(COMMAND, access, RunLimits(60, 2.0), Path("/scratch/t"))
    assert ("--unshare-net" not in argv) is shared
    assert {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session"} <= set(argv)
    text = " ".join(argv)
    assert "--bind /scratch/t /tmp" in text and "--size 2000000000 --tmpfs /dev/shm" in text
    assert "--ro-bind /data/train /data/train" in text and "--bind /runs/r/output /runs/r/output" in text
    assert text.endswith("--remount-ro / --chdir /runs/r/variant --")


def test_apptainer_is_given_an_image_and_nothing_else(tmp_path: Path) -> None:
    argv = apptainer.arguments(Path("/i.sif"), COMMAND, ACCESS, Path("/scratch/t"))
    assert argv == [
        *"apptainer exec --containall --no-home --no-privs --no-eval --writable-tmpfs --cleanenv".split(),
        *"--net --network none --bind /scratch/t:/tmp:rw".split(),
        *"--bind /runs/r/variant:/runs/r/variant:ro --bind /data/train:/data/train:ro".split(),
        *"--bind /runs/r/output:/runs/r/output:rw --pwd /runs/r/variant /i.sif".split(),
    ]
    for image in ("", str(tmp_path / "absent.sif")):
        with pytest.raises(BadInput, match=r"train\.sandbox\.image=.* does not exist; set train"):
            apptainer.Apptainer(image)


def test_a_trial_gets_a_copy_of_the_compilers_caches(tmp_path: Path) -> None:
    """Modification times are copied, since compilers use them to detect stale files; what the trial writes stays in its
    copy."""
    filled = Path(compiled_caches(str(tmp_path))["TRITON_CACHE_DIR"])
    filled.mkdir(parents=True)
    (filled / "kernel.so").write_text("built")
    os.utime(filled / "kernel.so", (1e9, 1e9))
    with scratch_folder(str(tmp_path)) as variables:
        own = Path(variables["TRITON_CACHE_DIR"])
        assert own.is_relative_to(variables["TMPDIR"]) and own != filled
        assert (own / "kernel.so").read_text() == "built" and (own / "kernel.so").stat().st_mtime == 1e9
        (own / "kernel.so").write_text("evil")
        assert not Path(variables["XDG_CACHE_HOME"]).is_relative_to(Path.home())
    assert (filled / "kernel.so").read_text() == "built" and not own.exists()
