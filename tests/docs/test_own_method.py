"""The how-to is a user's package: its files are written, and its commands run a search on the toy baseline."""

import importlib
import json
import random
from pathlib import Path

import pytest

from pipeline.config import SelectConfig
from pipeline.records import Parents, Selection
from pipeline.store import files
from tests.archives import Made, archive_of, config_of, name
from tests.docs.pages import ROOT, blocks, command_lines, type_in_shell
from tests.docs.projects import Project
from tests.toy import program

PAGE = ROOT / "docs/how-to/write-your-own-search-method.md"
TEXT = PAGE.read_text()
FAST = ("select.elites=0", "select.baseline_seeds=1", "cluster.poll_s=0.1", "stop.generations=3")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Project:
    """The page's files, with the toy in place of the page's baseline."""
    return Project.of_page(
        TEXT, tmp_path_factory.mktemp("my-project"), toy_data, "select=tournament", "cluster=local", *FAST
    )


@pytest.fixture(scope="module")
def typed(project: Project) -> str:
    """Output of the page's commands, run in order in one shell at the root of the checkout."""
    toy = " ".join(("baseline=toy", f"data={project.data}", *FAST))
    lines = [line.replace("baseline=grpo", toy) for line in command_lines(TEXT)]
    assert sum(toy in line for line in lines) == 1
    return type_in_shell(lines, project.folder)


def values(run: Path, before: int) -> dict[str, float]:
    """Score of every scored candidate of the earlier generations."""
    found = {}
    for path in run.glob("generation_*/candidate_*/attempt_0/trial_0/score.json"):
        candidate = "/".join(path.relative_to(run).parts[:2])
        if int(candidate[11:14]) < before:
            found[candidate] = json.loads(path.read_text())["value"]
    return found


def test_the_page_holds_every_file_of_its_tree(project: Project) -> None:
    tree = next(block.text for block in blocks(TEXT) if block.language == "text")
    named = {word for word in tree.split() if word.endswith((".py", ".yaml"))}
    assert (
        named
        == {block.label for block in blocks(TEXT) if block.label}
        == {"my_search.py", "conf/select/tournament.yaml"}
    )


def test_its_parents_won_tournaments(typed: str, project: Project) -> None:
    run = project.folder / "runs/first"
    assert "stop.generations=3" in (run / "report.json").read_text()
    for number in (1, 2):
        parents = files.read(run / f"generation_{number:03d}/parents.json", Parents)
        scored = sorted((value, name) for name, value in values(run, number).items())
        rng = random.Random(f"0/{3 * number}")  # the draw that the page describes
        winners = {min(rng.sample(scored, min(3, len(scored)))) for _ in range(4)}
        assert parents.candidates == tuple(name for _, name in sorted(winners)) != ()
        assert (parents.exploit_share, parents.ideas) == (0.5, 3)
        assert parents.candidates == files.read(run / f"generation_{number - 1:03d}/selection.json", Selection).parents
    built_on = {
        json.loads(path.read_text())["parents"][0] for path in run.glob("generation_001/*/idea.json") if _parents(path)
    }
    assert built_on and built_on <= set(files.read(run / "generation_001/parents.json", Parents).candidates)


def test_pins_come_on_top_and_banned_candidates_never_win(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(project.folder)
    method = importlib.import_module("my_search").Tournament
    archive = archive_of([Made(0.1), Made(0.2), Made(0.3), Made(0.9)], marks={0: True, 1: True, 3: False})
    config = config_of(select=SelectConfig(parents=1))
    chosen = method(config, config.baseline.metric.metric, size=4).select(archive).parents
    assert chosen == (name(1), name(0), name(2))


def _parents(path: Path) -> list[str]:
    return list(json.loads(path.read_text())["parents"])


def test_its_setting_is_used(typed: str, project: Project) -> None:
    config = json.loads((project.folder / "runs/first/run.json").read_text())["config"]
    assert config["select"]["method"] == {"_target_": "my_search.Tournament", "size": 3}


def test_other_commands_find_the_class(typed: str) -> None:
    assert "the unmodified code" in typed.rpartition("files: ")[2]  # the name that `status` prints


def test_it_works_in_steady_mode(project: Project) -> None:
    program("run", *project.arguments("steady", "search.mode=steady", "stop.generations=4")).ok()
    opened = sorted(project.folder.glob("runs/steady/generation_*/parents.json"))
    chosen = [files.read(path, Parents).candidates for path in opened]
    assert sum(len(list(path.parent.glob("candidate_*"))) for path in opened) == 12
    assert not chosen[0] and any(chosen)


def test_a_misspelt_setting_is_refused_with_the_valid_ones(project: Project) -> None:
    message = next(block.text for block in blocks(TEXT) if block.text.startswith("error: "))
    done = program("run", *project.arguments("misspelt", "select.method.sise=3"))
    done.refused(2, "size, exploit_share")
    assert done.err == message
