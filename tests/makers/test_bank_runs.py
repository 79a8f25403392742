"""Runs whose bank has few ideas or none: ideas in words, and ideas of users."""

import json
import shutil
from pathlib import Path

from tests.toy import TOY, Bench, baseline, program, train_with

FEW = ("select.baseline_seeds=1", "select.elites=0", "cluster.poll_s=0.1")
WORDS = {"title": "Larger batch", "text": "Take 16 rows.", "why": "To see.", "source": "none; a test"}
SED = "implement.command=[sed,-i,'s/batch: int = 4/batch: int = 16/',settings.py]"


def propose(bench: Bench, name: str, folder: Path, title: str, old: str, new: str) -> str:
    (folder / "idea.md").write_text(f"# {title}\n\nDo it.\n")
    (folder / "patch.md").write_text(f"settings.py\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n")
    given = ("--idea", str(folder / "idea.md"), "--patch", str(folder / "patch.md"))
    return program("propose", str(bench.folder / name), *given).ok().out


def titles(bench: Bench, name: str) -> list[list[str]]:
    return [[one.idea.title for one in generation.candidates] for generation in bench.archive(name).generations]


def test_a_persons_idea_is_trained_when_the_bank_is_used_up(tmp_path: Path, toy_data: Path) -> None:
    """A generation has fewer ideas if the bank ends during it; then the run states what it requires, and accepts it."""
    settings = (TOY / "settings.py").read_text().replace("momentum: float = 0.0", "momentum: float = 0.9")
    bench = Bench(tmp_path / "runs", toy_data, baseline(tmp_path, ideas={"momentum": {"settings.py": settings}}))
    given = (*FEW, "ideate.candidates=2", "stop.generations=2")
    words = (
        "the idea bank is used up",
        "propose RUN",
        "ideate=llm",
        "step 7 of docs",
        "or end this search with stop.candidates=1",
    )
    bench.run("r", *given).refused(2, *words)
    assert titles(bench, "r") == [["momentum"], []] and bench.archive("r").candidates[0].score is not None
    said = propose(bench, "r", tmp_path, "Batch", "    batch: int = 4", "    batch: int = 16")
    assert said == "'Batch' is proposed for generation 1\n"  # and no advice to increase stop.generations
    bench.run("r", *given).ok()
    archive = bench.archive("r")
    assert titles(bench, "r") == [["momentum"], ["Batch"]] and archive.candidates[1].score is not None
    assert archive.report is not None and archive.report.stopped == "stop.generations=2 reached"


def test_running_trials_finish_before_the_empty_bank_is_reported(tmp_path: Path, toy_data: Path) -> None:
    """With two slots the bank is used up while its last idea trains. The run can then be ended as its message says."""
    text = (TOY / "settings.py").read_text()
    bank = {
        str(batch): {"settings.py": text.replace("batch: int = 4", f"batch: int = {batch}")} for batch in (8, 16, 32)
    }
    slow = train_with(setup="if not arguments.smoke:\n    import time; time.sleep(1.5)")
    bench = Bench(tmp_path / "runs", toy_data, baseline(tmp_path, files={"train.py": slow}, ideas=bank))
    given = (*FEW, "ideate.candidates=2", "stop.generations=9", "search.mode=steady", "cluster.max_parallel=2")
    given = (*given, "select=independent")
    bench.run("r", *given).refused(2, "the idea bank is used up", "stop.candidates=3")
    assert [one.score is not None for one in bench.archive("r").candidates] == [True] * 3
    bench.run("r", *given, "stop.candidates=3").ok()
    assert bench.archive("r").report is not None


def test_a_run_can_use_ideas_of_people_only(tmp_path: Path, toy_data: Path) -> None:
    """Without a bank and without requested candidates: the baseline is trained, then what people propose, when they
    do."""
    conf = baseline(tmp_path)
    shutil.rmtree(tmp_path / "toy/ideas")
    bench = Bench(tmp_path / "runs", toy_data, conf)
    bench.run("refused", *FEW).refused(2, "the idea bank is empty", "propose RUN", "ideate=llm", "ideate.candidates=0")
    bench.run("r", *FEW, "ideate.candidates=0").ok()
    propose(bench, "r", tmp_path, "Batch", "    batch: int = 4", "    batch: int = 16")
    bench.run("r", *FEW, "ideate.candidates=0").ok()
    archive = bench.archive("r")
    assert [one.idea.title for one in archive.candidates] == ["Batch"] and archive.candidates[0].score is not None
    assert (
        archive.report is not None and archive.report.stopped == "every proposal has been tried (ideate.candidates=0)"
    )


def test_a_command_implements_an_idea_of_the_bank_that_has_no_patch(tmp_path: Path, toy_data: Path) -> None:
    conf = baseline(tmp_path, ideas={})
    (tmp_path / "toy/ideas/larger_batch.yaml").write_text(json.dumps(WORDS))
    bench = Bench(tmp_path / "runs", toy_data, conf)
    bench.run("none", *FEW).refused(2, "larger_batch.yaml requires a patch, larger_batch.diff", "implement=command")
    bench.run("r", *FEW, "implement=command", SED, "ideate.candidates=1", "stop.generations=1").ok()
    (candidate,) = bench.archive("r").candidates
    assert candidate.idea.text == "Take 16 rows. To see." and candidate.score is not None
    assert candidate.attempt is not None and "+    batch: int = 16" in candidate.attempt.paths.patch.read_text()
