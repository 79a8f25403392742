"""Two kinds of installation, a wheel and an editable one, each in a new virtual environment."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline.setup.create import version
from tests.toy import CHEAP, ROOT, Done, baseline, train_with

FACTS = configparser.ConfigParser()
FACTS.read(ROOT / "setup.cfg")
NUMBER = FACTS["metadata"]["version"]
FOLDERS = ("pipeline", "conf", "baselines", "slurm", "analysis")
PRIVATE = (*FOLDERS, "tests", "docs")
"""Names that an installation must not put on the import path."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, since building writes into the folder."""
    folder = tmp_path_factory.mktemp("checkout")
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for name in (*FOLDERS, "groundwork_hpc"):
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder), str(checkout))
    (built,) = folder.iterdir()
    return built


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def fresh(folder: Path, *what: str) -> Path:
    """A virtual environment with one installation; dependencies are those of the tests. Returns the folder of its
    programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shared = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "dependencies.pth").write_text("\n".join(shared) + "\n")  # their own .pth files are not read
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    pip("--python", str(folder / "bin/python"), "install", *offline, *what)
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh(tmp_path_factory.mktemp("installed") / "venv", str(wheel))


@pytest.fixture(scope="module")
def editable(checkout: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh(tmp_path_factory.mktemp("editable") / "venv", "--editable", str(checkout))


@pytest.fixture(params=["installed", "editable"])
def programs(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def start(programs: Path, where: Path, name: str, *arguments: str) -> Done:
    """Start a program of an installation, in a folder that is not a checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(programs / name), *arguments],
        cwd=where,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_wheel_holds_the_program_under_one_name(wheel: Path, checkout: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    facts = {name for name in names if name.startswith(f"groundwork_hpc-{NUMBER}.dist-info/")}
    files = {
        path.relative_to(checkout / "groundwork_hpc" if name == "groundwork_hpc" else checkout).as_posix()
        for name in (*FOLDERS, "groundwork_hpc")
        for path in (checkout / name).rglob("*")
        if path.is_file()
    }
    assert names - facts == {f"groundwork_hpc/{name}" for name in files}
    assert {"pipeline/py.typed", "conf/config.yaml", "slurm/evolve.sbatch", "pipeline/makers/prompts/first.md"} <= files


def test_no_other_name_is_on_the_import_path(programs: Path, tmp_path: Path) -> None:
    asked = (
        "import groundwork_hpc, importlib.util\n"
        f"print('groundwork_hpc', *[name for name in {PRIVATE} if importlib.util.find_spec(name)])"
    )
    assert start(programs, tmp_path, "python", "-c", asked).ok().out.split() == ["groundwork_hpc"]


def test_the_command_works_from_anywhere(programs: Path, tmp_path: Path) -> None:
    assert "check_baseline" in start(programs, tmp_path, "groundwork").ok().out
    assert "--take-over" in start(programs, tmp_path, "groundwork", "run", "--help").ok().out
    assert "no runs in runs/" in start(programs, tmp_path, "groundwork", "status").ok().out
    start(programs, tmp_path, "groundwork", "status", ".").refused(2, "is not in a run folder")
    words = ("run", "+experiment=evolve_posttrain", "scale=tiny", "cluster=local", "dry_run=true")
    assert "dry run of grpo at scale tiny" in start(programs, tmp_path, "groundwork", *words).ok().out
    assert "check_baseline" in start(programs, tmp_path, "python", "-m", "groundwork_hpc").ok().out
    assert list(tmp_path.iterdir()) == []


def test_a_variant_does_not_find_the_installed_program(installed: Path, tmp_path: Path, toy_data: Path) -> None:
    look = f"import importlib.util\nassert not [name for name in {PRIVATE} if importlib.util.find_spec(name)]"
    conf = baseline(tmp_path, files={"train.py": train_with(first=look)})
    toy = conf / "baseline/toy.yaml"
    toy.write_text(toy.read_text().replace("-S, ", ""))  # the toy trains without site-packages, other baselines do not
    given = ("--config-dir", str(conf), "baseline=toy", "scale=tiny", "cluster=local", f"data={toy_data}", "run=r")
    start(installed, tmp_path, "groundwork", "run", *given, *CHEAP, "ideate.candidates=0").ok()
    assert (tmp_path / "runs/r/baseline/trial_0/score.json").exists()
    assert f'"version": "{NUMBER}"' in (tmp_path / "runs/r/run.json").read_text()  # no commit of a surrounding folder


def test_the_version_is_stated_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", NUMBER)
    assert "project" not in tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text())
    for folder in ("pipeline", "groundwork_hpc"):
        for path in (ROOT / folder).rglob("*.py"):
            assert NUMBER not in path.read_text(), path
    assert version().partition("+")[0] == NUMBER
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heading is not None and NUMBER in heading[1]


def test_every_package_has_a_folder() -> None:
    packages = FACTS["options"]["packages"].split()
    assert packages == ["groundwork_hpc", *(f"groundwork_hpc.{name}" for name in FOLDERS)]
