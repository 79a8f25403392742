"""The commands that read a run (status, show, evaluate) and those that control it (pause, resume, cancel)."""

import json
from pathlib import Path

import pytest

from pipeline.commands import COMMANDS
from pipeline.records import FailureKind
from pipeline.sandbox.command_lines import scratch_folder
from pipeline.store.paths import RunPaths
from pipeline.store.run import locked
from tests.toy import CONF, Bench, baseline, jobs_of, program, train_with, wait_until


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Path:
    """A finished run in which one idea fails."""
    folder = tmp_path_factory.mktemp("finished")
    ideas = {
        "momentum": {
            "settings.py": (CONF.parent / "toy/settings.py")
            .read_text()
            .replace("momentum: float = 0.0", "momentum: float = 0.9")
        },
        "crash": {"train.py": train_with(step="raise ValueError('no such luck')")},
    }
    conf = baseline(folder, ideas=ideas)
    bench = Bench(folder / "runs", toy_data, conf)
    bench.run("r", "ideate.candidates=2", "stop.generations=1", "select.elites=1", "select.elite_seeds=1").ok()
    return folder / "runs/r"


def candidate_called(run: Path, title: str) -> Path:
    return next(
        idea.parent
        for idea in run.glob("generation_*/candidate_*/idea.json")
        if json.loads(idea.read_text())["title"] == title
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_sufficient(name: str) -> None:
    text = program(name, "--help").ok().out
    assert ("python -m pipeline.run" if name == "run" else f"python -m pipeline {name}") in text
    assert "Exit codes: 0 done" in text


def test_build_fills_the_caches_in_the_sandbox_of_trials(toy_data: Path, tmp_path: Path) -> None:
    """It leaves no other files, and a trial gets a copy."""
    scratch = tmp_path / "scratch"
    code = (
        "import os, pathlib\n"
        "(pathlib.Path(os.environ['TRITON_CACHE_DIR']) / 'kernel').write_text('built')\n"
        f"for place in ({str(toy_data / 'toy/tiny/train/x')!r}, {str(tmp_path / 'x')!r}, 'x'):\n"
        "    try: open(place, 'w')\n"
        "    except OSError as error: print(error.strerror)"
    )
    given = (
        "--config-dir",
        str(baseline(tmp_path, {"build.py": code})),
        "baseline=toy",
        "scale=tiny",
        f"data={toy_data}",
    )
    line = 'baseline.commands.build=["{python}",build.py]'
    done = program("build", *given, line, "train.sandbox=landlock", f"cluster.scratch={scratch}").ok()
    assert done.out == "Permission denied\n" * 3 + "built for toy at scale tiny\n"
    assert list(scratch.glob("groundwork-[!c]*")) == []
    with scratch_folder(str(scratch)) as variables:
        assert (Path(variables["TRITON_CACHE_DIR"]) / "kernel").read_text() == "built"


def test_a_build_that_fails_is_one_line(toy_data: Path) -> None:
    given = ("--config-dir", str(CONF), "baseline=toy", "scale=tiny", f"data={toy_data}")
    for code, words in (("raise SystemExit(3)", "ended with exit code 3"), ("1 / 0", "division by zero")):
        program("build", *given, f'baseline.commands.build=["{{python}}",-c,"{code}"]').refused(1, words)
    program("build", *given, "baseline.commands.build=[/nowhere/nvcc]").refused(2, "cannot be run", "/nowhere/nvcc")


def test_status_shows_every_candidate_and_the_results(finished: Path) -> None:
    text = program("status", str(finished)).ok().out
    for words in ("finished", "momentum", "failed: exception", "the unmodified code", "On the test split"):
        assert words in text


def test_status_is_machine_readable(finished: Path) -> None:
    told = json.loads(program("status", str(finished), "--json").ok().out)
    assert told["states"] == {"scored": 1, "failed": 1}
    assert told["finished"] is True
    assert told["best"] == candidate_called(finished, "momentum").relative_to(finished).as_posix()


def test_show_prints_the_patch_and_the_score(finished: Path) -> None:
    text = program("show", str(candidate_called(finished, "momentum"))).ok().out
    for words in ("+    momentum: float = 0.9", "trial_0 (search), seed 0: squared error", "run it again:", "train.py"):
        assert words in text


def test_show_prints_the_reason_and_the_end_of_the_log(finished: Path) -> None:
    text = program("show", str(candidate_called(finished, "crash"))).ok().out
    for words in ("train/exception", "exit code 1: ValueError: no such luck", "| Traceback"):
        assert words in text


def test_evaluate_reproduces_the_recorded_score(finished: Path) -> None:
    folder = candidate_called(finished, "momentum")
    recorded = json.loads((folder / "attempt_0/trial_0/score.json").read_text())
    again = json.loads(program("evaluate", str(folder), "--json").ok().out)
    assert (again["value"], again["standard_error"], again["n"]) == (
        recorded["value"],
        recorded["standard_error"],
        recorded["n"],
    )


def test_evaluate_scores_the_baseline_on_the_test_split(finished: Path) -> None:
    (recorded,) = (
        json.loads((job.parents[1] / "score.json").read_text())
        for job in finished.glob("baseline/trial_*/try_0/job.json")
        if json.loads(job.read_text())["of"] == "trial_1"
    )
    arguments = (str(finished / "baseline"), "--trial", "1", "--split", "test", "--json")
    again = json.loads(program("evaluate", *arguments).ok().out)
    assert (again["value"], again["split"]) == (recorded["value"], "test")


@pytest.mark.parametrize(
    ("module", "where", "words"),
    [
        pytest.param("status", ".", "is not in a run folder", id="status of no run"),
        pytest.param("show", "r", "is not a candidate", id="show a run"),
        pytest.param(
            "show", "r/generation_000/candidate_007", "is not a candidate", id="show a candidate that does not exist"
        ),
        pytest.param("evaluate", "r/generation_000", "is not a candidate", id="evaluate a generation"),
        pytest.param("pause", ".", "is not in a run folder", id="pause of no run"),
    ],
)
def test_bad_folders_are_one_line(finished: Path, module: str, where: str, words: str) -> None:
    program(module, str(finished.parent / where)).refused(2, words)


def test_evaluate_without_a_checkpoint_gives_the_reason(finished: Path) -> None:
    folder = candidate_called(finished, "crash")
    program("evaluate", str(folder)).refused(2, "none of its trials has a score", "pipeline show")


def test_a_paused_run_starts_nothing_until_resumed(bench: Bench) -> None:
    few = ("ideate.candidates=1", "stop.generations=1", "select.elites=0", "select.baseline_seeds=1")
    bench.run("r", *few, "--once").ok()
    run = bench.folder / "r"
    before = len(list(run.rglob("job.json")))
    program("pause", str(run), "--reason", "lunch").ok()
    for _ in range(3):
        bench.run("r", *few, "--once").ok()
    assert len(list(run.rglob("job.json"))) == before
    assert "PAUSED: lunch" in program("status", str(run)).ok().out
    program("resume", str(run)).ok()
    bench.run("r", *few).ok()
    assert len(list(run.rglob("job.json"))) > before
    assert bench.archive("r").report is not None


def test_cancel_ends_the_jobs_of_a_run_and_pauses_it(tmp_path: Path, toy_data: Path) -> None:
    conf = baseline(tmp_path, files={"train.py": train_with(step="import time; time.sleep(0.2)")})
    bench = Bench(tmp_path / "runs", toy_data, conf)
    process = bench.start(
        "r", "ideate.candidates=1", "stop.generations=1", "select.elites=0", "select.baseline_seeds=2"
    )
    run = bench.folder / "r"
    try:
        wait_until(lambda: len(list(run.glob("baseline/trial_*/try_0/output/metrics.jsonl"))) > 0, process)
        assert "jobs cancelled" in program("cancel", str(run)).ok().out
        wait_until(lambda: not [one for one in jobs_of(run) if "train.py" in " ".join(one.cmdline())], process)
        tries = [one for trial in bench.archive("r").baseline.trials for one in trial.tries]
        assert tries and {one.failure.kind for one in tries if one.failure is not None} == {FailureKind.INTERRUPTED}
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate()


def test_check_baseline_checks_the_contract(tmp_path: Path, toy_data: Path) -> None:
    slow = baseline(tmp_path, files={"train.py": train_with(step="import time; time.sleep(0.01)")})
    places = (f"runs={tmp_path / 'runs'}", f"data={toy_data}")
    text = program("check_baseline", str(slow / "baseline/toy.yaml"), "scale=tiny", *places).ok().out
    for words in (
        "seed 2: squared error",
        "standard deviation between seeds",
        "to the bit",
        "broken model.py is detected",
    ):
        assert words in text
    assert "the baseline fulfils its contract" in text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"train.py": train_with(end="raise SystemExit(0)")}, "no_checkpoint", id="no checkpoint"),
        pytest.param({"train.py": train_with(setup="arguments.seed = 0")}, "is the seed used?", id="seed unused"),
    ],
)
def test_check_baseline_finds_violations(tmp_path: Path, toy_data: Path, files: dict[str, str], words: str) -> None:
    conf = baseline(tmp_path, files=files)
    places = (f"runs={tmp_path / 'runs'}", f"data={toy_data}")
    done = program("check_baseline", "toy", "--config-dir", str(conf), "scale=tiny", *places)
    assert done.code == 1
    assert words in done.out


def test_a_file_that_is_never_imported_violates_the_contract(tmp_path: Path, toy_data: Path) -> None:
    """For example, because an installed copy of the code shadows the variant's."""
    conf = baseline(tmp_path, files={"extra.py": "x = 1\n"}, yaml="")
    yaml = conf / "baseline/toy.yaml"
    yaml.write_text(yaml.read_text().replace("evolvable: [", "evolvable: [extra.py, "))
    places = (f"runs={tmp_path / 'runs'}", f"data={toy_data}")
    done = program("check_baseline", str(yaml), "scale=tiny", *places)
    assert done.code == 1
    assert "FAIL a broken extra.py is detected" in done.out


def test_clean_removes_what_is_not_needed_and_the_run_can_be_resumed(tmp_path: Path, toy_data: Path) -> None:
    bench = Bench(tmp_path / "runs", toy_data)
    given = (
        "ideate.candidates=2",
        "select.baseline_seeds=1",
        "select.elites=1",
        "select.elite_seeds=1",
        "cluster.poll_s=0.1",
    )
    bench.run("r", *given, "stop.generations=1", "keep.checkpoints=all").ok()
    run = bench.folder / "r"
    before = sorted(run.glob("generation_*/**/checkpoint"))
    told = program("clean", str(run), "--dry-run").ok().out
    assert "could be removed" in told and sorted(run.glob("generation_*/**/checkpoint")) == before
    program("clean", str(run)).ok()
    archive = bench.archive("r")
    assert archive.report is not None
    best = archive.report.elites[0].candidate
    left = {path.relative_to(run).as_posix() for path in run.glob("generation_*/**/checkpoint")}
    assert left and all(path.startswith(best) for path in left) and len(left) < len(before)
    assert [path.is_dir() for path in sorted(run.glob("generation_*/*/attempt_0/variant"))].count(True) == 1
    assert list(run.glob("baseline/trial_0/try_0/output/checkpoint"))
    bench.run(
        "r", *given, "stop.generations=2", "keep.checkpoints=all"
    ).ok()  # children are built from patches, not from folders
    process = bench.start("r", *given, "stop.generations=3")
    wait_until((run / "controller.json").exists, process)
    program("clean", str(run)).refused(1, "is held by")
    process.communicate(timeout=180)
    with locked(RunPaths(run)):
        program("clean", str(run)).refused(1, "is held by")
        assert "could be removed" in program("clean", str(run), "--dry-run").ok().out
