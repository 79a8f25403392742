"""Faults of machines that no single job can detect, and results that arrive late. With child processes;
test_on_slurm.py does the same on Slurm."""

from pathlib import Path

from pipeline.records import FailureKind
from pipeline.report.standings import REFERENCE
from tests.toy import TOY, Bench, baseline, program, train_with, wait_until

SETTINGS = (
    "ideate.candidates=3",
    "ideate.patch_share=1",
    "stop.generations=1",
    "select.baseline_seeds=1",
    "select.elites=0",
    "cluster.poll_s=0.05",
    "cluster.max_parallel=1",  # the baseline's good trial comes before the bad ones, not among them
)
BREAKS = "raise SystemExit('libcublas.so.12: cannot open shared object file')"


def bench_with(folder: Path, data: Path, setup: str, ideas: dict[str, dict[str, str]]) -> Bench:
    train = train_with(
        first=f"import time\nROOM = {str(folder)!r}", setup=f"if not arguments.smoke and ({setup}): {BREAKS}"
    )
    for changes in ideas.values():
        if "train.py" in changes:
            changes["train.py"] = train.replace("            random.seed(", changes["train.py"], 1)
    return Bench(folder / "runs", data, baseline(folder, {"train.py": train}, "", ideas))


def setting(value: int) -> dict[str, str]:
    return {"settings.py": (TOY / "settings.py").read_text().replace("batch: int = 4", f"batch: int = {value}")}


def test_when_the_baseline_fails_like_unrelated_candidates_their_failures_are_retracted(
    tmp_path: Path, toy_data: Path
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    all_but_the_first = "os.path.exists(f'{ROOM}/broken') and ('attempt_' in os.getcwd() or arguments.seed > 0)"
    bench = bench_with(tmp_path, toy_data, all_but_the_first, {f"batch-{k}": setting(k) for k in (8, 16, 32)})
    run = bench.folder / "machine"
    process = bench.start("machine", *SETTINGS)
    wait_until((run / "pause.json").exists, process, 180)
    wait_until((run / "alarms/alarm_0/verdict.json").exists, process, 180)
    shown = program("status", str(run)).ok().out
    assert "PAUSED: the unmodified baseline also fails" in shown and "python -m pipeline resume" in shown
    archive = bench.archive("machine")
    (raised,) = archive.alarms
    assert raised.verdict is not None and raised.verdict.machine and len(raised.verdict.candidates) == 3
    assert raised.alarm.seed == 1 and "libcublas" in raised.alarm.signature
    assert not any(candidate.closed for candidate in archive.candidates)
    assert all(candidate.attempt and candidate.attempt.failure is None for candidate in archive.candidates)
    broken.unlink()
    program("resume", str(run)).ok()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    archive = bench.archive("machine")
    assert all(candidate.score is not None for candidate in archive.candidates)
    for candidate in archive.candidates:
        assert candidate.attempt is not None
        (trial,) = candidate.attempt.trials
        spoiled, good = trial.tries
        assert spoiled.failure is not None and spoiled.failure.kind is FailureKind.SPOILED and good.score is not None


def test_when_the_baseline_succeeds_the_ideas_are_at_fault(tmp_path: Path, toy_data: Path) -> None:
    wrong = {
        f"wrong-{k}": {
            "train.py": f"            if not arguments.smoke: raise ValueError('shape {k}')\n            random.seed("
        }
        for k in range(3)
    }
    bench = bench_with(tmp_path, toy_data, "False", wrong)
    bench.run("ideas", *SETTINGS).ok()
    archive = bench.archive("ideas")
    (raised,) = archive.alarms
    assert raised.verdict is not None and not raised.verdict.machine
    assert [candidate.failure and candidate.failure.kind for candidate in archive.candidates] == [
        FailureKind.EXCEPTION
    ] * 3
    assert len(archive.baseline.scores(*REFERENCE)) == 2  # the second verdict


def test_the_next_generation_does_not_wait_for_the_last_of_this_one(tmp_path: Path, toy_data: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    hold = "            while not arguments.smoke and os.path.exists(f'{ROOM}/gate'): time.sleep(0.02)\n"
    hold += "            random.seed("
    ideas = {"slow": {"train.py": hold, **setting(12)}, **{f"batch-{k}": setting(k) for k in (8, 16, 32)}}
    bench = bench_with(tmp_path, toy_data, "False", ideas)
    # With seed 3 the slow idea is in the first generation.
    more = (
        "ideate.candidates=2",
        "stop.generations=2",
        "cluster.max_parallel=4",
        "select.quorum=0.5",
        "seed=3",
        "select=independent",
    )
    process = bench.start("late", *SETTINGS, *more)

    def scored() -> list[str]:
        return [candidate.id for candidate in bench.archive("late").candidates if candidate.score is not None]

    wait_until(lambda: len(scored()) == 3, process, 180)
    early = bench.archive("late").generations[0].selection
    gate.unlink()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    archive = bench.archive("late")
    (slow,) = [candidate for candidate in archive.candidates if candidate.idea.title == "slow"]
    assert slow.id.startswith("generation_000")
    assert early is not None and slow.order > early.seen.outcomes
    last = archive.generations[-1].selection
    assert slow.score is not None and last is not None and slow.order <= last.seen.outcomes


def test_the_next_generation_is_proposed_before_slots_stand_idle(tmp_path: Path, toy_data: Path) -> None:
    """Two slots, three candidates: the last one leaves a slot idle, long before the quorum."""
    gate = tmp_path / "gate"
    gate.touch()
    hold = "            while not arguments.smoke and os.path.exists(f'{ROOM}/gate'): time.sleep(0.02)\n"
    hold += "            random.seed("
    ideas = {"slow": {"train.py": hold, **setting(12)}, **{f"batch-{k}": setting(k) for k in (8, 16, 32, 64, 128)}}
    bench = bench_with(tmp_path, toy_data, "False", ideas)
    # With seed 5 the slow idea is in the first generation.
    more = (
        "ideate.candidates=3",
        "stop.generations=2",
        "cluster.max_parallel=2",
        "select.quorum=0.9",
        "seed=5",
        "select=independent",
    )
    process = bench.start("idle", *SETTINGS, *more)
    wait_until(lambda: len(bench.archive("idle").generations) == 2, process, 180)
    first = bench.archive("idle").generations[0]
    assert first.selection is not None and first.selection.seen.outcomes == 2
    assert [one.idea.title for one in first.candidates if one.score is None] == ["slow"]
    gate.unlink()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    assert all(candidate.score is not None for candidate in bench.archive("idle").candidates)
