"""The how-to is a user's package: each of its parts works if chosen as described on the page."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store.reader import read_archive
from tests.docs.pages import ROOT, blocks, command_lines, shell_environment, type_in_shell
from tests.docs.projects import Project
from tests.toy import program

PAGE = ROOT / "docs/how-to/replace-a-part.md"
TEXT = PAGE.read_text()
FAST = ("select.elites=0", "select.baseline_seeds=1", "cluster.poll_s=0.1", "stop.generations=1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Project:
    """The page's files, with the toy in place of the page's baseline."""
    return Project.of_page(TEXT, tmp_path_factory.mktemp("my-project"), toy_data, *FAST)


def test_the_ideator_and_the_cluster_run_by_the_command_of_the_page(project: Project) -> None:
    toy = " ".join(("baseline=toy", f"data={project.data}", *FAST))
    (line,) = command_lines(TEXT)
    assert "baseline=grpo" in line
    type_in_shell([line.replace("baseline=grpo", toy)], project.folder)
    ideas = [one.idea for one in read_archive(project.folder / "runs/grid").candidates]
    values = [one.change.settings["learning_rate"] for one in ideas if one.change is not None]
    assert values == [0.0001, 0.0003, 0.001, 0.003] and {one.origin for one in ideas} == {"grid"}
    live = json.loads((project.folder / "runs/grid/live.json").read_text())
    assert live["cluster"]["backend"] == {"_target_": "my_parts.Polite", "free": 1}


def test_the_cluster_leaves_slots_free(project: Project) -> None:
    program(
        "run", *project.arguments("polite", "cluster=polite", "cluster.max_parallel=3", "cluster.backend.free=2")
    ).ok()
    tries = [
        one
        for holder in read_archive(project.folder / "runs/polite").holders()
        for t in holder.trials
        for one in t.tries
    ]
    spans = sorted((one.result.started_at, one.result.ended_at) for one in tries if one.result is not None)
    assert len(spans) > 2
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_the_implementer_uses_code_written_by_a_person(project: Project) -> None:
    arguments = project.arguments("replace", "cluster=local", "implement=replace", "ideate.candidates=0")
    program("run", *arguments, "--once").ok()
    for name, text in (
        ("good", "batch: int = 4 => batch: int = 5"),
        ("bad", "nothing like it => 1"),
        ("protected", "standard_error => error"),
    ):
        idea = project.folder / f"{name}.md"
        idea.write_text(f"{name}\n\n{text}\n")
        at = ["--idea", str(idea)]
        program("propose", f"{project.folder}/runs/replace", *at).ok()
    program("run", *arguments).ok()
    found = {one.idea.title: one for one in read_archive(project.folder / "runs/replace").candidates}
    assert set(found) == {"good", "bad", "protected"}
    assert found["good"].score is not None and found["good"].attempt is not None
    assert found["good"].attempt.paths.patch.read_text().count("+    batch: int = 5") == 1
    for name in ("bad", "protected"):
        failure = found[name].failure
        assert failure is not None and failure.reason.startswith("no evolvable file contains")


SCRIPT = """
import sys
from pathlib import Path
from pipeline.sandbox.base import Access, Command, RunLimits, make_sandbox
sandbox = make_sandbox({"_target_": "my_parts.Nice", "level": 15})
folder = Path(sys.argv[1])
command = Command([sys.executable, "-c", "import os; print(os.nice(0))"], folder, {}, folder / "log")
outcome = sandbox.run(command, Access(), RunLimits(20, 1))
print(outcome.good, (folder / "log").read_text())
"""


def test_the_sandbox_contains_a_command(project: Project, tmp_path: Path) -> None:
    environment = shell_environment(tmp_path) | {"PYTHONPATH": f"{ROOT}:{project.folder}"}
    typed = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(typed, env=environment, capture_output=True, text=True, check=False)
    expected = min(19, os.nice(0) + 15)  # the tests may run with a lower priority, too
    assert done.stdout.split() == ["True", str(expected)], done.stderr


def test_the_sandbox_is_a_choice(project: Project) -> None:
    text = program("run", *project.arguments("dry", "cluster=local", "train.sandbox=nice", "dry_run=true")).ok().out
    assert "dry run of toy" in text
    done = program("run", *project.arguments("bad", "cluster=local", "ideate=grid", "ideate.maker.value=[1]"))
    done.refused(2, "ideate.maker.value", "setting, values")


def test_every_block_of_yaml_is_a_file_of_a_group() -> None:
    labels = [block.label for block in blocks(TEXT) if block.language == "yaml"]
    assert labels == [
        f"conf/{name}.yaml" for name in ("ideate/grid", "implement/replace", "cluster/polite", "train/sandbox/nice")
    ]
