"""The how-to: a candidate with two changes is retrained, transferred, ablated and exported with the commands of the
page."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.makers.variants import variant_tree
from pipeline.patching.trees import read_tree
from pipeline.store.data import write_manifest
from pipeline.store.reader import read_archive
from tests.docs.pages import ROOT, command_lines, shell_environment
from tests.toy import TOY, Bench, Done, baseline, program

LINES = command_lines((ROOT / "docs/how-to/check-a-result.md").read_text())
SETTINGS = (TOY / "settings.py").read_text()
FEW = (
    "ideate.candidates=1",
    "select.baseline_seeds=1",
    "select.elites=1",
    "select.elite_seeds=1",
    "cluster.poll_s=0.1",
)


@dataclass(frozen=True)
class Folder:
    """The reader's folder, with the run `first` in `runs/`."""

    path: Path

    def typed(self, line: str, *more: str) -> Done:
        """Runs a line of the page here, and returns its output."""
        environment = {**shell_environment(self.path), "PYTHONPATH": str(ROOT)}
        words = ["bash", "-c", f"{line} {shlex.join(more)}"]
        done = subprocess.run(words, cwd=self.path, env=environment, capture_output=True, text=True, timeout=240)
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, line: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.typed(line, "--json").ok().out)
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Folder:
    """`g0/c0` is momentum, `g1/c1` a larger batch on top of it, which is the elite."""
    path = tmp_path_factory.mktemp("check")
    ideas = {"momentum": {"settings.py": SETTINGS.replace("momentum: float = 0.0", "momentum: float = 0.7")}}
    ideas["slow"] = {"settings.py": SETTINGS.replace("learning_rate: float = 0.01", "learning_rate: float = 0.001")}
    conf = baseline(path, ideas=ideas)
    bench = Bench(path / "runs", toy_data, conf)
    bench.run("first", *FEW, "seed=1", "stop.generations=1").ok()
    (path / "idea.md").write_text("Larger batch\n\nLook at more rows in a step.\n")
    (path / "code.md").write_text(
        "settings.py\n<<<<<<< SEARCH\n    batch: int = 4\n=======\n    batch: int = 16\n>>>>>>> REPLACE\n"
    )
    run = path / "runs/first"
    idea, code = ("--idea", str(path / "idea.md")), ("--patch", str(path / "code.md"))
    program("propose", str(run), *idea, *code, "--parent", str(run / "generation_000/candidate_000")).ok()
    bench.run("first", *FEW, "seed=1", "stop.generations=2").ok()
    archive = read_archive(run)
    assert [one.idea.title for one in archive.candidates if one.idea.title != "slow"] == ["momentum", "Larger batch"]
    return Folder(path)


def test_the_page_has_each_command() -> None:
    assert [line.split()[3] for line in LINES if line.startswith("python")] == [
        "rerun",
        "rerun",
        "rerun",
        "ablate",
        "export",
    ]


def test_a_rerun_with_the_same_seeds_repeats_every_number(folder: Folder) -> None:
    found = folder.json(LINES[0])
    assert found["kind"] == "rerun" and found["candidate"] == "first g1/c1" and found["changed"] == []
    assert set(found["checked"]) == {"code", "patch", "data"}
    assert found["repeated"] == [2, 2] and found["agrees"] is True and found["difference"]["gain"] == 0
    assert found["sandbox"] == "none"
    assert found["original"]["candidate"]["seeds"] == 1 and not found["original"]["chose"]
    assert found["original"]["candidate"]["value"] == found["now"]["candidate"]["value"]
    before = sorted((folder.path / "runs").rglob("*.json"))
    assert folder.json(LINES[0]) == found  # the same command: nothing is trained again
    assert sorted((folder.path / "runs").rglob("*.json")) == before


def test_a_rerun_with_other_seeds_is_compared_by_a_test(folder: Folder) -> None:
    done = folder.typed(LINES[1].replace("--seeds 3", "--seeds 2")).ok()
    assert "\nagrees: the rerun differs by " in done.out and "with the seeds of the original" not in done.out
    assert "checked against the record: code " in done.out and "\nNO SANDBOX: " in done.out


def test_with_other_settings_it_is_a_transfer_compared_with_the_baseline_under_the_same(folder: Folder) -> None:
    found = folder.json(f"{LINES[2]} --seeds 1")
    assert found["kind"] == "transfer" and found["changed"] == ["train.budget_steps: 60 -> 240"]
    assert found["agrees"] is None and found["difference"] is None
    assert found["now"]["baseline"]["value"] < found["original"]["baseline"]["value"]  # four times the steps
    run = Path(found["run"])
    assert json.loads((run / "derived.json").read_text())["changed"] == found["changed"]
    assert json.loads((run / "run.json").read_text())["config"]["train"]["budget_steps"] == 240


@pytest.fixture
def lost(folder: Folder) -> Iterator[Folder]:
    """The folder with a run whose data is no longer where it was."""
    live = folder.path / "runs/first/live.json"
    text = live.read_text()
    live.write_text(json.dumps({**json.loads(text), "data": "/moved/away"}))
    yield folder
    live.write_text(text)


def test_data_that_was_moved_can_be_named(lost: Folder, toy_data: Path) -> None:
    lost.typed(LINES[0]).refused(2, "holds no prepared data")
    shutil.copytree(toy_data, lost.path / "data")
    found = lost.json(f"{LINES[0].partition('#')[0]} data=data")
    assert found["kind"] == "rerun" and found["repeated"] == [2, 2] and "data" in found["checked"]
    assert json.loads((Path(found["run"]) / "live.json").read_text())["data"] == "data"
    found = lost.json("python -m pipeline ablate g1/c1 --seeds 1 data=data")
    assert found["changed"] == [] and "data" in found["checked"] and found["sandbox"] == "none"


def test_other_data_makes_it_a_transfer(folder: Folder, toy_data: Path) -> None:
    data = folder.path / "other"
    shutil.copytree(toy_data, data)
    (data / "toy/tiny/README").write_text("other rows\n")
    write_manifest(data / "toy/tiny")
    found = folder.json(f"{LINES[0].partition('#')[0]} --seeds 1 data=other")
    assert found["kind"] == "transfer" and [one.partition(":")[0] for one in found["changed"]] == ["data"]
    assert "data" not in found["checked"]


def test_an_ablation_shows_the_contribution_of_each_change(folder: Folder) -> None:
    found = folder.json(LINES[3].replace("--seeds 3", "--seeds 2"))
    momentum, batch = found["contributions"]
    assert (momentum["title"], batch["title"]) == ("momentum", "Larger batch")
    assert found["seeds"] == momentum["seeds"] == batch["seeds"] == 2
    for one in (momentum, batch):
        assert one["gain"]["low"] < one["gain"]["gain"] < one["gain"]["high"]
        assert one["gain"]["gain"] == pytest.approx(one["without"] - found["value"])  # lower is better
    # Without its own change the code is the parent's, which the first run trained with the same seed.
    parent = read_archive(folder.path / "runs/first").candidate("generation_000/candidate_000")
    made = {one.idea.title: one for one in read_archive(Path(found["run"])).candidates}
    assert parent.score is not None and made["without g1/c1: Larger batch"].score is not None
    assert made["without g1/c1: Larger batch"].score.value == parent.score.value


def test_the_export_is_the_code_with_a_commit_for_each_change(folder: Folder) -> None:
    for line in LINES[4:]:
        done = folder.typed(line).ok()
    subjects = [line.partition(" ")[2] for line in done.out.splitlines()]
    assert subjects == ["Add where this code comes from", "Larger batch", "momentum", "Start from the baseline toy"]
    out, run = folder.path / "better-recipe", folder.path / "runs/first"
    archive = read_archive(run)
    tree = read_tree(out)
    assert isinstance(tree, dict)
    code = {path: entry for path, entry in tree.items() if not path.startswith("provenance/")}
    assert code == variant_tree(archive.paths, archive.candidate("generation_001/candidate_001"))
    assert not subprocess.run(["git", "-C", out, "status", "--short"], capture_output=True, text=True).stdout
    record = json.loads((out / "provenance/provenance.json").read_text())
    assert [one["candidate"][-3:] for one in record["lineage"]] == ["000", "001"]
    assert record["command"] in (out / "provenance/README.md").read_text()
    command = record["command"].replace("DATA", str(folder_data(run))).replace("OUTPUT", str(folder.path / "again"))
    (folder.path / "again").mkdir()
    words = [sys.executable, *shlex.split(command)[1:]]
    subprocess.run(words, cwd=out, check=True)
    assert (folder.path / "again/checkpoint/model.json").is_file()
    folder.typed(LINES[4]).ok()  # the same command again
    folder.typed(LINES[4].replace("g1/c1", "g0/c0")).refused(
        2, "better-recipe exists and is not an export of first g0/c0"
    )


def test_an_export_needs_no_prepared_data(lost: Folder) -> None:
    found = lost.json("python -m pipeline export g1/c1 elsewhere")
    assert set(found["checked"]) == {"code", "patch"}
    assert found["data"] == json.loads((lost.path / "runs/first/run.json").read_text())["data"]


def folder_data(run: Path) -> Path:
    return Path(json.loads((run / "live.json").read_text())["data"]) / "toy/tiny"


def test_a_modified_patch_is_not_trained(folder: Folder) -> None:
    patch = folder.path / "runs/first/generation_001/candidate_001/attempt_0/patch.diff"
    text = patch.read_text()
    patch.write_text(text.replace("+    batch: int = 16", "+    batch: int = 17"))
    try:
        folder.typed(LINES[0]).refused(1, "does not give the code that was trained", "restore it")
    finally:
        patch.write_text(text)
