"""People in the loop: `propose`, `mark`, `ideate.seeds` and `implement=command`, on the toy baseline."""

import json
import re
import sys
from pathlib import Path

import pytest

from pipeline.metric import Direction, Metric
from pipeline.records import FailureKind
from pipeline.report.standings import as_known
from pipeline.store.paths import short
from pipeline.store.views import Candidate
from tests.toy import TOY, Bench, baseline, program

FEW = ("select.baseline_seeds=1", "select.elites=1", "select.elite_seeds=1", "cluster.poll_s=0.1", "seed=8")
METRIC = Metric("squared error", Direction.minimize, 0.0)
SETTINGS = (TOY / "settings.py").read_text()


def setting(name: str, old: object, new: object) -> dict[str, str]:
    text = SETTINGS.replace(f"{name} = {old}\n", f"{name} = {new}\n")
    assert text != SETTINGS
    return {"settings.py": text}


BANK = {
    "momentum": setting("momentum: float", 0.0, 0.9),
    "some momentum": setting("momentum: float", 0.0, 0.5),
    "batch": setting("batch: int", 4, 16),
    "large batch": setting("batch: int", 4, 64),
    "smaller batch": setting("batch: int", 4, 2),
    "slower": setting("learning_rate: float", 0.01, 0.005),
    "much slower": setting("learning_rate: float", 0.01, 0.001),
}


def ranked(bench: Bench) -> list[Candidate]:
    """The first generation of `r`, best first."""
    scored = [(one.score.value, one) for one in bench.archive("r").generations[0].candidates if one.score]
    return [one for _, one in sorted(scored, key=lambda pair: pair[0])]


def named(candidates: tuple[Candidate, ...], title: str) -> Candidate:
    (found,) = [one for one in candidates if one.idea.title == title]
    return found


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Bench:
    """A run `r` of one generation with three ideas of a bank. Then the best is banned, the worst is pinned, a person
    proposes an idea with its code, and the run continues for one generation."""
    folder = tmp_path_factory.mktemp("people")
    bench = Bench(folder / "runs", toy_data, baseline(folder, ideas=BANK))
    bench.run("r", *FEW, "select=truncation", "ideate.candidates=3", "stop.generations=1").ok()
    best, _, worst = ranked(bench)
    program("mark", str(best.paths.folder), "--ban", "too well known").ok()
    program("mark", str(worst.paths.folder), "--pin").ok()
    (folder / "idea.md").write_text("# Decay\n\nPull the weights to zero a little, on top of the slower steps.\n")
    old, new = "    weight_decay: float = 0.0", "    weight_decay: float = 0.01"
    (folder / "patch.md").write_text(f"settings.py\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n")
    words = (
        "--idea",
        str(folder / "idea.md"),
        "--patch",
        str(folder / "patch.md"),
        "--parent",
        str(worst.paths.folder),
    )
    done = program("propose", str(bench.folder / "r"), *words).ok()
    assert "'Decay' is proposed for generation 1" in done.out and "stop.generations=2 or more" in done.out
    assert "was proposed already" in program("propose", str(bench.folder / "r"), *words).ok().out
    bench.run("r", *FEW, "select=truncation", "ideate.candidates=3", "stop.generations=2").ok()
    return bench


def test_a_persons_idea_is_tried_beside_the_others(people: Bench) -> None:
    first, second = people.archive("r").generations
    assert len(first.candidates) == 3 and len(second.candidates) == 4
    human = second.candidates[3]
    assert (human.idea.title, human.idea.origin) == ("Decay", "human") and human.score is not None
    worst = ranked(people)[-1]
    assert human.idea.parents == (worst.id,) and human.attempt is not None and worst.attempt is not None
    patch, inherited = (one.attempt.paths.patch.read_text() for one in (human, worst) if one.attempt)
    changed = [line for line in inherited.splitlines() if re.match(r"\+ ", line)]
    assert "+    weight_decay: float = 0.01" in patch and changed and all(line in patch for line in changed)
    assert "pull the weights" in human.idea.text.lower()


def test_a_banned_candidate_is_neither_parent_nor_elite(people: Bench) -> None:
    archive = people.archive("r")
    best = ranked(people)[0]
    first, second = (generation.selection for generation in archive.generations)
    assert first is not None and first.parents[0] == best.id  # decided before
    assert second is not None and best.id not in second.parents
    assert best.order <= second.seen.outcomes
    assert second.seen.banned == {best.id: "too well known"}
    assert archive.report is not None and [one.candidate for one in archive.report.elites] != [best.id]


def test_a_pinned_candidate_is_both(people: Bench) -> None:
    archive, worst = people.archive("r"), ranked(people)[-1]
    selection = archive.generations[1].selection
    assert selection is not None and selection.parents[0] == worst.id
    assert worst.score is not None and as_known(METRIC, worst.id, worst.score, selection.seen).gain < 0
    assert archive.report is not None and [one.candidate for one in archive.report.elites] == [worst.id]
    text = program("status", str(people.folder / "r")).ok().out
    assert "scored, pinned" in text and "scored, banned" in text


def test_a_mark_can_be_removed(people: Bench) -> None:
    worst = ranked(people)[-1]
    marked = people.archive("r").paths.mark(worst.id)
    mark = marked.read_bytes()
    assert people.archive("r").is_pinned(worst.id)
    program("mark", str(worst.paths.folder), "--clear").ok()
    assert not people.archive("r").is_pinned(worst.id)
    marked.write_bytes(mark)


def test_another_run_starts_from_the_elites_of_this_one(people: Bench) -> None:
    best, _, worst = ranked(people)
    seeds = f"ideate.seeds=[{people.folder / 'r'},{best.paths.folder}]"
    given = (*FEW, "select.elites=0", "ideate.candidates=1", "stop.generations=1", "seed=1", seeds)
    people.run("sown", *given).ok()
    people.run("sown", *given).ok()
    archive = people.archive("sown")
    sown = archive.candidates[1:]
    assert {one.idea.title for one in sown} == {best.idea.title, worst.idea.title} and len(archive.candidates) == 3
    for one in sown:
        origin = named(people.archive("r").candidates, one.idea.title)
        assert one.idea.origin == "seed" and one.idea.source == f"r {short(origin.id)}" and one.idea.parents == ()
        assert one.attempt is not None and origin.attempt is not None
        assert one.attempt.paths.patch.read_text() == origin.attempt.paths.patch.read_text()
        assert one.failure is None or one.failure.kind is FailureKind.DUPLICATE  # the bank may have drawn the same
    assert sum(len(one.attempt.trials) for one in archive.candidates if one.attempt) >= 2


@pytest.mark.parametrize(
    ("idea", "patch", "parent", "words"),
    [
        pytest.param("", None, None, ["is empty", "title on its first line"], id="no words"),
        pytest.param("Do", None, None, ["BankImplementer, cannot write code", "--patch FILE"], id="no code"),
        pytest.param("Do", "evaluate.py\n```\nprint(1)\n```\n", None, ["evaluate.py is protected"], id="protected"),
        pytest.param("Do", "I would rather not.", None, ["the code of 'Do' cannot be used"], id="no patch"),
        pytest.param("Do", "x", "generation_000", ["is not a candidate"], id="no candidate"),
    ],
)
def test_invalid_proposals(
    idea: str, patch: str | None, parent: str | None, words: list[str], people: Bench, tmp_path: Path
) -> None:
    (tmp_path / "idea").write_text(idea)
    given = ["--idea", str(tmp_path / "idea")]
    if patch is not None:
        (tmp_path / "patch").write_text(patch)
        given += ["--patch", str(tmp_path / "patch")]
    if parent is not None:
        given += ["--parent", str(people.folder / "r" / parent)]
    before = list((people.folder / "r/proposals").iterdir())
    program("propose", str(people.folder / "r"), *given).refused(2, *words)
    assert list((people.folder / "r/proposals").iterdir()) == before


def test_invalid_seeds(people: Bench) -> None:
    people.run("none", *FEW, "ideate.seeds=[/nowhere]").refused(2, "/nowhere is not in a run folder")


# ---- implement=command ----

AGENT = """
import pathlib, sys, time
words, settings = pathlib.Path(sys.argv[1]).read_text(), pathlib.Path("settings.py")
text = settings.read_text()
if "\\ngood\\n" in words:
    settings.write_text(text.replace("momentum: float = 0.0", "momentum: float = 0.9"))
elif "\\ncheat\\n" in words:
    pathlib.Path("evaluate.py").write_text("print(1)")
elif "\\nslow\\n" in words:
    time.sleep(10_000)
elif "\\nlazy\\n" in words:
    print("nothing to do")
elif "\\nfails\\n" in words:
    raise SystemExit("no tokens left")
elif "it crashed in implement" in words and "NameError" in words:
    settings.write_text(text.replace("batch: int = four", "batch: int = 8"))
else:
    settings.write_text(text.replace("batch: int = 4", "batch: int = four"))
"""
ENDS = {
    "good": None,
    "mends": None,
    "cheat": "evaluate.py is protected",
    "slow": "implement.command: still running after 2 s, its limit",
    "lazy": "the code is the same afterwards",
    "fails": "implement.command: exit code 1: no tokens left",
}


def test_any_program_may_write_the_code(tmp_path: Path, toy_data: Path) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    ideas = {name: setting("batch: int", 4, 5 + number) for number, name in enumerate(ENDS)}
    bench = Bench(tmp_path / "runs", toy_data, baseline(tmp_path, ideas=ideas))
    bench.run("none", *FEW, "implement=command").refused(2, "implement.command=[PROGRAM,'{idea}']")
    given = ("implement=command", "implement.command_limit_min=0.03", "implement.parallel=2", "select.elites=0")
    words = f"implement.command=[{sys.executable},{agent},'{{idea}}']"
    bench.run("r", *FEW, *given, words, f"ideate.candidates={len(ENDS)}", "stop.generations=1").ok()
    archive = bench.archive("r")
    for title, reason in ENDS.items():
        one = named(archive.candidates, title)
        if reason is None:
            assert one.score is not None, one.failure
        else:
            assert one.failure is not None and one.failure.kind is FailureKind.REFUSED and reason in one.failure.reason
    good, mended = (named(archive.candidates, title) for title in ("good", "mends"))
    assert good.attempts[0].paths.patch.read_text().count("\n+") == 2
    assert [attempt.failure is None for attempt in mended.attempts] == [False, True]
    made = json.loads(good.attempts[0].paths.implementation.read_text())
    assert made["maker"].startswith("command ")
