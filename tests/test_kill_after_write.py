"""A run that is killed after every single write of the store in turn, and resumed, ends like one that was not
killed."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.records import FailureKind, Stage
from tests.toy import ROOT, TOY, Bench, baseline, environment, outline, train_with

SETTINGS = (
    "seed=8",  # with this seed the bank proposes one of each, and a child
    "select.baseline_seeds=1",
    "select.elites=1",
    "select.elite_seeds=1",
    "ideate.candidates=2",
    "stop.generations=2",
    "cluster.poll_s=0.05",
    "cluster.max_parallel=2",
)
STARTS = 'print(os.getcwd(), arguments.seed, file=open(os.environ["TOY_STARTS"], "a"))'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> tuple[Bench, Path]:
    """A bank with an idea that works, one that crashes in training, one that cannot be imported and one that is never
    scored; each start of a training appends a line to a file."""
    folder = tmp_path_factory.mktemp("kill")
    starts = folder / "starts"
    counted = train_with(setup=f"if not arguments.smoke: {STARTS}")
    settings = (TOY / "settings.py").read_text()
    ideas = {
        "momentum": {"settings.py": settings.replace("momentum: float = 0.0", "momentum: float = 0.9")},
        "batch": {"settings.py": settings.replace("batch: int = 4", "batch: int = 16")},
        "crash": {
            "train.py": counted.replace("            random.seed(", "            crash[step]\n            random.seed(")
        },
        "smoke": {"model.py": "raise SystemExit('no import')\n"},
    }
    ideas["crash"]["train.py"] = ideas["crash"]["train.py"].replace("crash[step]", "step > 3 and print(1 / 0)")
    conf = baseline(folder, {"train.py": counted}, f"environment: {{TOY_STARTS: {starts}}}\n", ideas)
    return Bench(folder / "runs", toy_data, conf), starts


@pytest.fixture(scope="module")
def unbroken(made: tuple[Bench, Path]) -> Mapping[str, Any]:
    bench, _ = made
    bench.run("unbroken", *SETTINGS).ok()
    archive = bench.archive("unbroken")
    outcomes = Counter((one.failure.stage, one.failure.kind) if one.failure else None for one in archive.candidates)
    assert outcomes == {None: 2, (Stage.TRAIN, FailureKind.EXCEPTION): 1, (Stage.IMPLEMENT, FailureKind.SMOKE): 1}
    assert any(one.idea.parents for one in archive.candidates)
    assert archive.report is not None and archive.report.elites
    return outline(archive)


def killed_run(bench: Bench, name: str, known_or_number: object, settings: Sequence[str] = SETTINGS) -> int:
    """The exit code of a run that is killed after one of its writes; 0 if it finished first."""
    done = subprocess.run(
        [sys.executable, "tests/kill_after.py", str(known_or_number), *bench.arguments(name, *settings)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode in (0, -9), done.stdout
    return done.returncode


def assert_same(bench: Bench, name: str, starts: Path, unbroken: Mapping[str, Any]) -> None:
    archive = bench.archive(name)
    assert outline(archive) == unbroken
    assert_nothing_trained_twice(name, starts)
    assert not archive.paths.controller.exists()


def assert_nothing_trained_twice(name: str, starts: Path) -> None:
    ours = [line for line in starts.read_text().splitlines() if f"/{name}/" in line]
    assert [line for line, count in Counter(ours).items() if count > 1] == [], "trained twice"


def test_killed_after_every_write_in_turn(
    made: tuple[Bench, Path], unbroken: Mapping[str, Any], tmp_path: Path
) -> None:
    bench, starts = made
    known = tmp_path / "known"
    known.touch()
    assert killed_run(bench, "in-turn", f"+{known}") == 0
    names = known.read_text().splitlines()
    assert len(names) == len(set(names)) > 60
    for written in (
        "run.json #1",
        "code #1",
        "baseline trial_0 try_N job.json #1",
        "baseline trial_0 try_N job.json #2",
        "baseline trial_0 score.json #1",
        "baseline trial_1 score.json #1",
        "generation_000 parents.json #1",
        "generation_001 candidate_001 idea.json #1",
        "generation_000 selection.json #1",
        "generation_001 selection.json #1",
        "report.json #1",
    ):
        assert written in names, names
    for end in (
        "attempt_0 patch.diff #1",
        "attempt_0 smoke.json #1",
        "attempt_0 trial_0 failure.json #1",
        "attempt_0 failure.json #1",
    ):
        assert any(name.endswith(end) for name in names), names
    assert_same(bench, "in-turn", starts, unbroken)


@pytest.mark.parametrize("seed", range(2))
def test_killed_after_random_numbers_of_writes(
    seed: int, made: tuple[Bench, Path], unbroken: Mapping[str, Any]
) -> None:
    bench, starts = made
    rng, name = random.Random(seed), f"random-{seed}"
    kills = 0
    while killed_run(bench, name, rng.randint(6, 40)):
        kills += 1
        assert kills < 100
    assert kills > 1
    assert_same(bench, name, starts, unbroken)


def test_a_slow_disk_changes_nothing(made: tuple[Bench, Path], unbroken: Mapping[str, Any]) -> None:
    bench, starts = made
    assert killed_run(bench, "slow", "slow") == 0
    assert_same(bench, "slow", starts, unbroken)


def test_a_steady_search_survives_kills(made: tuple[Bench, Path]) -> None:
    """Its decisions depend on the order of results, which a kill changes; but nothing is lost or done twice."""
    bench, starts = made
    rng, name, kills = random.Random(3), "steady", 0
    settings = (*SETTINGS, "search.mode=steady")
    while killed_run(bench, name, rng.randint(8, 40), settings):
        kills += 1
        assert kills < 100
    archive = bench.archive(name)
    assert kills > 1 and archive.count == 4 and archive.all_closed and archive.report is not None
    assert all(generation.selection is not None for generation in archive.generations)
    assert sorted(candidate.order for candidate in archive.candidates) == [1, 2, 3, 4]
    assert_nothing_trained_twice(name, starts)


def test_two_steady_runs_with_the_same_order_of_results_decide_the_same(made: tuple[Bench, Path]) -> None:
    bench, _ = made
    alone = ("search.mode=steady", "search.ahead=0", "cluster.max_parallel=1")  # one result after another
    for name in ("steady-1", "steady-2"):
        bench.run(name, *SETTINGS, *alone).ok()
    assert outline(bench.archive("steady-1")) == outline(bench.archive("steady-2"))
    late = bench.archive("steady-1").generations[-1]
    assert late.parents.seen.outcomes == bench.archive("steady-1").count - 1  # each decision has read every result
