"""`python -m pipeline.run` from end to end, on the toy baseline with local processes."""

import contextlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from pipeline.records import Failure
from pipeline.store.archive import Archive
from pipeline.store.paths import short
from pipeline.store.views import Candidate
from tests.toy import (
    BASELINES,
    CHEAP,
    ROOT,
    TOY,
    Bench,
    baseline,
    environment,
    interrupt,
    jobs_of,
    listing,
    outline,
    processes_with,
    program,
    train_with,
    wait_until,
)

GOLDEN = ROOT / "tests/golden/run_folder.txt"
SEARCH = ("select.baseline_seeds=2", "select.elites=1", "select.elite_seeds=1", "cluster.poll_s=0.1")


# ---- two generations ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Bench:
    """A run named `first`, of two generations."""
    bench = Bench(tmp_path_factory.mktemp("runs"), toy_data)
    done = bench.run("first", *SEARCH).ok()
    assert " -m pipeline.run --config-dir " in done.out.partition("resume with: ")[2]
    assert "stop.generations=2 reached" in done.out and "On the test split" in done.out
    return bench


@pytest.fixture
def copy(finished: Bench, tmp_path: Path) -> Bench:
    """A copy of it, to modify."""
    shutil.copytree(finished.folder / "first", tmp_path / "runs/first")
    return Bench(tmp_path / "runs", finished.data)


def test_the_run_folder_is_as_documented(finished: Bench) -> None:
    found = "".join(f"{name}\n" for name in listing(finished.folder / "first"))
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(found)
    renew = "look at the difference; `RENEW_GOLDEN=1 python -m pytest tests/test_run.py` regenerates it"
    assert found == GOLDEN.read_text(), renew


def test_the_search_finds_an_improvement_and_builds_on_it(finished: Bench) -> None:
    archive = finished.archive("first")
    first, second = archive.generations
    assert first.selection is not None and second.selection is not None and archive.report is not None
    assert all(candidate.idea.parents == () for candidate in first.candidates)
    assert second.parents.candidates == first.selection.parents != ()
    children = [candidate for candidate in second.candidates if candidate.idea.origin == "exploit"]
    assert children and all(set(child.idea.parents) <= set(first.selection.parents) for child in children)
    (best,) = archive.report.elites
    assert best.gain > 3 * best.gain_error and archive.report.elites_test[0].gain > 0
    assert all(candidate.closed for candidate in archive.candidates)
    assert archive.baseline.trials[0].score is not None and archive.baseline.trials[0].score.seed == 0


def test_a_result_contains_the_memory_of_the_machine_and_of_the_training(finished: Bench) -> None:
    (trial, *_) = finished.archive("first").baseline.trials
    result = trial.tries[-1].result
    assert result is not None and result.memory.host_gb is not None and result.memory.host_peak_gb is not None
    assert 0 < result.memory.host_peak_gb < 1 and result.memory.host_peak_gb < result.memory.host_gb
    assert result.memory.gpu_gb is None


def test_a_second_run_with_the_same_seed_is_identical(finished: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "runs", finished.data)
    other.run("second", *SEARCH, "cluster.max_parallel=1").ok()
    assert outline(other.archive("second")) == outline(finished.archive("first"))


def test_no_file_of_a_run_contains_its_path(finished: Bench) -> None:
    """So that it can be moved, or copied to a laptop."""
    run = finished.folder / "first"
    for name in listing(run):
        if name != "live.json":  # contains `runs` and `data` as they were typed
            assert str(finished.folder) not in (run / name).read_text(errors="replace"), name


def test_the_patch_on_the_pristine_baseline_is_the_variant(finished: Bench, tmp_path: Path) -> None:
    archive = finished.archive("first")
    for candidate in archive.candidates:
        attempt = candidate.attempts[0]
        work = tmp_path / short(candidate.id).replace("/", "-")
        shutil.copytree(archive.paths.pristine, work)
        code = f"git init -q . && git apply --whitespace=nowarn {attempt.paths.patch}"
        assert os.system(f"cd {work} && chmod -R u+w . && {code} && rm -rf .git") == 0
        assert _texts(work) == _texts(attempt.paths.variant)


def _texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_checkpoints_of_elites_and_the_baseline_are_kept(finished: Bench) -> None:
    archive = finished.archive("first")
    assert archive.report is not None
    kept = {
        path.relative_to(archive.paths.folder).parts[0:2] for path in archive.paths.folder.glob("**/output/checkpoint")
    }
    best = archive.report.elites[0].candidate
    assert {"/".join(parts) for parts in kept} == {"baseline/trial_0", "baseline/trial_1", best}
    assert not list(archive.paths.folder.glob("**/output/resume"))


def test_retention_is_a_setting(bench: Bench) -> None:
    """What each choice keeps is tested in tests/policy/test_retention.py."""
    given = (
        "select.baseline_seeds=1",
        "select.elites=1",
        "select.elite_seeds=1",
        "stop.generations=1",
        "cluster.poll_s=0.1",
    )
    bench.run("r", *given, "keep.checkpoints=none").ok()
    archive = bench.archive("r")
    assert archive.report is not None and len(archive.report.elites_test) == 1  # scored before it was removed
    assert not list(archive.paths.folder.glob("generation_*/**/output/checkpoint"))


# ---- other searches ----


def test_tuning_changes_every_setting_that_has_a_range(bench: Bench) -> None:
    bench.run("r", *CHEAP, "ideate=tune", "select=independent").ok()
    candidates = bench.archive("r").candidates
    assert [one.idea.origin for one in candidates] == ["tune"] * 3
    changes = [dict(one.idea.change.settings) for one in candidates if one.idea.change]
    assert all(set(change) == {"learning_rate", "batch"} for change in changes)
    assert len({json.dumps(change) for change in changes}) == 3
    assert all(one.score is not None for one in candidates)


def test_once_is_one_tick_for_cron(bench: Bench) -> None:
    for _ in range(40):
        bench.run("r", *CHEAP, "ideate.candidates=1", "--once").ok()
        if bench.archive("r").report is not None:
            break
    assert [candidate.closed for candidate in bench.archive("r").candidates] == [True]


# ---- candidates that misbehave ----

MARK = f"mark-{uuid.uuid4()}"
"""Part of the command lines of processes that try to outlive their trial."""
CHILD = f"[sys.executable, '-S', '-c', 'import time; time.sleep(10_000)', '{MARK}']"
BAD: dict[str, Mapping[str, str]] = {
    "import": {"train.py": train_with(first="raise RuntimeError('boom at import')")},
    "smoke hangs": {"train.py": train_with(first="import time", setup="if arguments.smoke: time.sleep(10_000)")},
    "crash": {"train.py": train_with(step="if step == 3: raise KeyError('boom in step 3')")},
    "exit": {"train.py": train_with(step="if step == 3: print('I give up'); raise SystemExit(7)")},
    "nonsense": {
        "train.py": train_with(
            end="print('\\udcff\\x00\\x1b[2J' * 100, file=open(1, 'w', errors='surrogateescape', closefd=False))\n"
            "(output / 'metrics.jsonl').write_bytes(b'\\xff{{{')\n"
            "(output / 'checkpoint').mkdir(); (output / 'checkpoint/model.json').write_bytes(b'\\xff{{{')\n"
            "print('accuracy: 1.0'); return"
        )
    },
    "hang": {
        "train.py": train_with(first="import time", step="if step == 3: print('zzz', flush=True); time.sleep(10_000)")
    },
    "deaf": {
        "train.py": train_with(
            first="import signal, time",
            step="if step == 3:\n    for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n    time.sleep(10_000)",
        )
    },
    "fork": {
        "train.py": train_with(
            first="import subprocess, sys", end=f"subprocess.Popen({CHILD}, start_new_session=True); print('forked')"
        )
    },
    "memory": {
        "train.py": train_with(
            first="import time", step="if step == 3: greed = bytearray(400_000_000); time.sleep(10_000)"
        )
    },
    "no checkpoint": {"train.py": train_with(end="print('never mind'); return")},
    "nan": {"train.py": train_with(end="state['weights'][0] = float('nan')")},
    "implausible": {"train.py": train_with(end="state['weights'][0] = 1e6")},
    "cheat": {"evaluate.py": "print('perfect')\n"},
    "nothing": {"train.py": train_with()},
    "spy": {"train.py": train_with(step="if step == 1: print(dict(os.environ), os.getcwd(), flush=True)")},
    "own": {
        "train.py": train_with(
            first="import analysis\nimport pipeline.records", end="print(pipeline.records.WHO, analysis.WHO)"
        ),
        "pipeline/__init__.py": "",
        "pipeline/records.py": "WHO = 'my own pipeline'\n",
        "analysis/__init__.py": "WHO = 'and analysis'\n",
    },
    "good": {
        "settings.py": (TOY / "settings.py").read_text().replace("momentum: float = 0.0", "momentum: float = 0.9")
    },
}
for number, name in enumerate(("fork", "spy", "own")):
    # They also train differently: a change without effect on the checkpoint is not a result.
    BAD[name]["settings.py"] = (TOY / "settings.py").read_text().replace("batch: int = 4", f"batch: int = {5 + number}")
ENDS: dict[str, tuple[str, str, str, str]] = {
    # name: stage, kind, beginning of the reason, a text in the lines of the log
    "import": ("implement", "smoke", "exit code 1: RuntimeError: boom at import", "Traceback"),
    "smoke hangs": ("implement", "smoke", "still running after 3 s, its limit", ""),
    "crash": ("train", "exception", "exit code 1: KeyError: 'boom in step 3'", "Traceback"),
    "exit": ("train", "exception", "exit code 7: I give up", "I give up"),
    "nonsense": ("evaluate", "bad_checkpoint", "no finite predictions", ""),
    "hang": ("train", "timeout", "still running after 3 s, its limit", "zzz"),
    "deaf": ("train", "timeout", "still running after 3 s, its limit", ""),
    "memory": ("train", "out_of_memory", "used 0.", ""),
    "no checkpoint": (
        "train",
        "no_checkpoint",
        "training exited with code 0 but left no output/checkpoint",
        "never mind",
    ),
    "nan": ("evaluate", "bad_checkpoint", "no finite predictions", ""),
    "implausible": ("evaluate", "implausible", "squared error 1", ""),
    "cheat": ("implement", "refused", "evaluate.py is protected", ""),
    "nothing": ("implement", "refused", "the code is the same as the baseline's", ""),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Archive:
    """One run of all the above."""
    folder = tmp_path_factory.mktemp("bad")
    yaml = 'evolvable: ["*.py"]\n'
    conf = baseline(folder, ideas=BAD)
    text = (conf / "baseline/toy.yaml").read_text()
    text = re.sub(r"evolvable: .*\n", yaml, text).replace("low: 0.0}", "low: 0.0, high: 1e6}")
    (conf / "baseline/toy.yaml").write_text(text)
    bench = Bench(folder / "runs", toy_data, conf)
    limits = (
        "train.limit_min=0.05",
        "implement.smoke_limit_min=0.05",
        "train.resources.mem_gb=0.3",
        "implement.parallel=2",
    )
    done = bench.run(
        "bad", *CHEAP, *limits, f"ideate.candidates={len(BAD)}", extra={"FAKE_API_KEY": "sk-very-secret"}
    ).ok()
    assert "Failed: " in done.out
    return bench.archive("bad")


def candidate_of(archive: Archive, name: str) -> Candidate:
    (found,) = [candidate for candidate in archive.candidates if candidate.idea.title == name]
    return found


@pytest.mark.parametrize("name", ENDS)
def test_a_misbehaving_candidate_is_a_failure_with_its_reason(name: str, bad: Archive) -> None:
    candidate = candidate_of(bad, name)
    stage, kind, begin, line = ENDS[name]
    failure = candidate.failure
    assert isinstance(failure, Failure), candidate
    assert (failure.stage, failure.kind) == (stage, kind), failure
    first, *log = failure.reason.splitlines()
    assert first.startswith(begin), failure.reason
    assert len(log) <= 12 and (not line or any(line in one for one in log)), failure.reason
    assert failure.reason.isprintable() or "\n" in failure.reason
    assert failure.attempt == "attempt_0"


@pytest.mark.parametrize("name", ["fork", "spy", "own", "good"])
def test_the_run_continues(name: str, bad: Archive) -> None:
    assert candidate_of(bad, name).score is not None


def test_every_candidate_has_one_outcome_and_the_report_counts_them(bad: Archive) -> None:
    assert set(BAD) == {*ENDS, "fork", "spy", "own", "good"}
    assert bad.report is not None
    assert dict(bad.report.failures) == Counter(f"{stage}/{kind}" for stage, kind, _, _ in ENDS.values())
    trials = [trial for holder in bad.holders() for trial in holder.trials]
    assert all(len(trial.tries) == 1 for trial in trials)  # a failure of the idea itself is not retried


def test_nothing_outlives_its_trial(bad: Archive) -> None:
    assert processes_with(MARK) == []
    assert jobs_of(bad.paths.folder) == []


def test_no_trial_and_no_file_sees_a_key(bad: Archive) -> None:
    log = candidate_of(bad, "spy").attempts[0].trials[0].tries[0].paths.train_log.read_text()
    assert "'PATH'" in log and "FAKE_API_KEY" not in log and "GROUNDWORK" not in log
    for path in bad.paths.folder.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret" not in path.read_bytes(), path


def test_a_variant_with_a_pipeline_of_its_own_trains_it(bad: Archive) -> None:
    log = candidate_of(bad, "own").attempts[0].trials[0].tries[0].paths.train_log.read_text()
    assert log == "my own pipeline and analysis\n"


def test_output_of_a_variant_is_not_a_score(bad: Archive) -> None:
    assert candidate_of(bad, "nonsense").score is None


# ---- resuming ----


def test_the_same_command_again_changes_nothing(copy: Bench) -> None:
    run = copy.folder / "first"
    before = {name: (run / name).read_bytes() for name in listing(run)}
    done = copy.run("first", *SEARCH).ok()
    assert "changed since last time: runs: " in done.out and "stop.generations=2 reached" in done.out
    after = {name: (run / name).read_bytes() for name in listing(run)}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"live.json", "events.jsonl"}


def test_live_settings_may_change_and_the_change_is_shown_and_recorded(copy: Bench) -> None:
    done = copy.run("first", *SEARCH, "stop.generations=3", "cluster.max_parallel=1", "train.retries=5").ok()
    for change in ("cluster.max_parallel: 0 -> 1", "stop.generations: 2 -> 3", "train.retries: 2 -> 5"):
        assert f"changed since last time: {change}\n" in done.out
    archive = copy.archive("first")
    assert len(archive.generations) == 3 and archive.report is not None
    assert archive.report.stopped == "stop.generations=3 reached"
    assert (archive.paths.folder / "report_0.json").is_file()
    assert json.loads(archive.paths.live.read_text())["train"]["retries"] == 5
    assert "stop.generations: 2 -> 3" in archive.paths.events.read_text()


def test_fixed_settings_may_not_change(copy: Bench) -> None:
    run = copy.folder / "first"
    before = {name: (run / name).read_bytes() for name in listing(run)}
    done = copy.run("first", *SEARCH, "seed=3", "size.rows=7", "train.limit_min=1", "stop.generations=9")
    done.refused(2, "seed: 0 -> 3", "size.rows: 400 -> 7", "train.limit_min: 0.5 -> 1", "run=NAME")
    assert "stop.generations" not in done.err
    assert {name: (run / name).read_bytes() for name in listing(run)} == before


def test_a_changed_checkout_does_not_change_a_run(copy: Bench, tmp_path: Path) -> None:
    """Jobs and ideas use the run's own copy: a baseline that was broken since then still runs."""
    conf = baseline(
        tmp_path / "changed", dict.fromkeys(("train.py", "evaluate.py"), "raise SystemExit('changed')\n"), ideas={}
    )
    changed = Bench(copy.folder, copy.data, conf)
    changed.run("first", *SEARCH, "stop.generations=3").ok()
    assert len([one for one in copy.archive("first").candidates if one.score is not None]) >= 6


def test_a_stop_rule_ends_a_run_and_is_reported(bench: Bench) -> None:
    """The rules themselves are tested in tests/policy."""
    done = bench.run("r", *CHEAP, "stop.generations=5", "ideate.candidates=3", "stop.candidates=3")
    report = bench.archive("r").report
    assert done.ok() and report is not None and report.stopped == "stop.candidates=3 reached"
    assert report.stopped in done.out


# ---- interruption ----


@pytest.fixture
def gated(tmp_path: Path, toy_data: Path) -> tuple[Bench, Path, Path]:
    """A baseline whose training waits while one file exists, and appends a line to another when it starts."""
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    starts.touch()
    wait = train_with(
        first="import time",
        setup="if not arguments.smoke: print(os.getcwd(), arguments.seed, file=open(os.environ['TOY_STARTS'], 'a'))",
        step="while step == 30 and os.path.exists(os.environ['TOY_GATE']): time.sleep(0.02)",
    )
    momentum = (TOY / "settings.py").read_text().replace("momentum: float = 0.0", "momentum: float = 0.9")
    batch = (TOY / "settings.py").read_text().replace("batch: int = 4", "batch: int = 16")
    ideas = {"momentum": {"settings.py": momentum}, "batch": {"settings.py": batch}}
    environment = f"environment: {{TOY_STARTS: {starts}, TOY_GATE: {gate}}}\n"
    conf = baseline(tmp_path / "gated", {"train.py": wait}, environment, ideas)
    return Bench(tmp_path / "runs", toy_data, conf), gate, starts


STOPPED = (*CHEAP, "ideate.candidates=2", "cluster.max_parallel=2", "train.limit_min=5")


def test_ctrl_c_stops_cleanly_and_the_printed_command_resumes(gated: tuple[Bench, Path, Path]) -> None:
    bench, gate, starts = gated
    gate.touch()
    process = bench.start("stopped", *STOPPED)
    wait_until(lambda: len(starts.read_text().splitlines()) == 2, process)
    interrupt(process)
    out, _ = process.communicate(timeout=180)
    run = bench.folder / "stopped"
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert jobs_of(run) == []
    assert not bench.archive("stopped").paths.controller.exists()
    tries = [trial.tries[0] for holder in bench.archive("stopped").holders() for trial in holder.trials]
    assert [one.result.failure.kind for one in tries if one.result and one.result.failure] == ["interrupted"] * 2
    gate.unlink()
    (again,) = re.findall(r"stopped; resume with: (.* -m pipeline\.run .*)", out)
    pasted = subprocess.run(again, shell=True, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=180)
    assert pasted.returncode == 0, pasted.stderr
    bench.run("unbroken", *STOPPED).ok()
    assert outline(bench.archive("stopped")) == outline(bench.archive("unbroken"))


def test_ctrl_c_ends_a_smoke_test_too(tmp_path: Path, toy_data: Path) -> None:
    mark = f"mark-{uuid.uuid4()}"
    hang = train_with(
        first="import subprocess, sys", setup=f"if arguments.smoke: subprocess.run({CHILD.replace(MARK, mark)})"
    )
    conf = baseline(tmp_path / "hang", ideas={"hang": {"train.py": hang}})
    bench = Bench(tmp_path / "runs", toy_data, conf)
    process = bench.start("stopped", *CHEAP, "ideate.candidates=1", "implement.smoke_limit_min=5")
    wait_until(lambda: processes_with(mark) != [], process)
    interrupt(process)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 130, out
    assert processes_with(mark) == []
    (candidate,) = bench.archive("stopped").candidates
    assert not candidate.closed and candidate.attempts[0].failure is None  # it was not the idea's fault


def test_sigterm_is_like_ctrl_c(gated: tuple[Bench, Path, Path]) -> None:
    bench, gate, starts = gated
    gate.touch()
    process = bench.start("stopped", *STOPPED)
    wait_until(lambda: starts.read_text() != "", process)
    process.terminate()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 130 and "resume with" in out
    assert jobs_of(bench.folder / "stopped") == []


def test_killed_at_random_moments_it_trains_nothing_twice(gated: tuple[Bench, Path, Path]) -> None:
    """Trials of a killed controller keep running, and the next controller waits for them."""
    bench, _, starts = gated
    rng, settings = random.Random(0), (*STOPPED, "select.baseline_seeds=2", "select.elites=1", "select.elite_seeds=1")
    bench.run("unbroken", *settings).ok()
    kills = 0
    for _ in range(8):
        process = bench.start("killed", *settings)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(0.5, 2.0))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills > 0
    bench.run("killed", *settings).ok()
    assert outline(bench.archive("killed")) == outline(bench.archive("unbroken"))
    ours = Counter(line for line in starts.read_text().splitlines() if "/killed/" in line)
    assert ours and set(ours.values()) == {1}


def test_a_trial_that_outlived_its_controller_is_adopted(gated: tuple[Bench, Path, Path]) -> None:
    bench, gate, starts = gated
    gate.touch()
    process = bench.start("killed", *STOPPED)
    wait_until(lambda: len(starts.read_text().splitlines()) == 2, process)
    process.kill()
    process.wait()  # its trials hold the pipe open
    assert process.stdout is not None
    process.stdout.close()
    second = bench.start("killed", *STOPPED)
    wait_until(lambda: (bench.folder / "killed/controller.json").read_text().find(str(second.pid)) > 0, second)
    gate.unlink()
    out, _ = second.communicate(timeout=180)
    assert second.returncode == 0, out
    archive = bench.archive("killed")
    assert all(len(trial.tries) == 1 for holder in archive.holders() for trial in holder.trials)


def test_a_trial_whose_machine_died_is_retried_and_resumes_from_what_it_saved(
    gated: tuple[Bench, Path, Path],
) -> None:
    bench, gate, starts = gated
    gate.touch()
    process = bench.start("lost", *STOPPED)
    wait_until(lambda: len(starts.read_text().splitlines()) == 2, process)
    first = bench.folder / "lost/baseline/trial_0"
    wait_until(lambda: (first / "try_0/output/resume/state.json").exists(), process)
    psutil.Process(json.loads((first / "try_0/claim.json").read_text())["pid"]).kill()
    gate.unlink()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    archive = bench.archive("lost")
    lost, again = archive.baseline.trials[0].tries
    assert lost.result is not None and lost.result.failure is not None and lost.result.failure.kind == "vanished"
    assert again.job.resume_from == "try_0" and again.job.used_s > 0
    steps = [json.loads(line)["step"] for line in again.paths.metrics.read_text().splitlines()]
    assert steps == list(range(1, 61))
    assert archive.baseline.trials[0].score is not None and archive.baseline.trials[0].score.try_ == "try_1"


def test_a_second_controller_is_refused(gated: tuple[Bench, Path, Path]) -> None:
    bench, gate, starts = gated
    gate.touch()
    process = bench.start("held", *STOPPED)
    wait_until(lambda: starts.read_text() != "", process)
    bench.run("held", *STOPPED).refused(1, f"pid {process.pid} on ", "--take-over", "pipeline status")
    gate.unlink()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out


# ---- bad input ----


def test_a_new_name_is_chosen_and_printed(bench: Bench) -> None:
    arguments = [word for word in bench.arguments("", *CHEAP, "ideate.candidates=1") if not word.startswith("run=")]
    done = program("run", *arguments).ok()
    (name,) = [path.name for path in bench.folder.iterdir()]
    assert re.fullmatch(r"toy-tiny-\d{8}-\d{6}", name)
    assert f" -m pipeline.run {' '.join(arguments)} run={name}\n" in done.out.partition("resume with: ")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+experiment=evolve_everything"], ["evolve_everything", "evolve_posttrain"]),
        (["baseline=nothing"], ["nothing", "grpo"]),
        (["stop.date=tomorrow"], ["stop.date=tomorrow is not a date", "2026-12-31T18:00"]),
        (
            ["data=/nowhere"],
            ["/nowhere/toy/tiny holds no prepared data", "baseline=toy scale=tiny data=/nowhere"],
        ),
        (["--config-dir", "/nowhere"], ["--config-dir /nowhere is not a folder"]),
    ],
)
def test_bad_input(arguments: list[str], words: list[str], bench: Bench) -> None:
    bench.run("r", *arguments).refused(2, *words)
    assert not bench.folder.exists() or list(bench.folder.iterdir()) == []


@pytest.mark.parametrize("folder", ["data", "my data, v=2"])
def test_the_printed_command_prepares_the_missing_data(folder: str, tmp_path: Path) -> None:
    data = os.path.relpath(tmp_path / folder, ROOT)
    arguments = Bench(tmp_path / "runs", Path(data), baseline(tmp_path)).arguments("r", *CHEAP, "ideate.candidates=0")
    arguments[arguments.index(f"data={data}")] = f"data='{data}'"
    done = program("run", *arguments)
    done.refused(2, "holds no prepared data; make it with: ")
    words = shlex.split(done.err.partition("make it with: ")[2])
    assert words[:4] == ["python", "-m", "pipeline", "prepare"]
    program(*words[3:]).ok()
    assert (tmp_path / folder / "toy/tiny/manifest.json").is_file()
    program("run", *arguments).ok()


def test_data_that_changed_is_refused(copy: Bench, tmp_path: Path) -> None:
    shutil.copytree(copy.data, tmp_path / "data")
    manifest = tmp_path / "data/toy/tiny/manifest.json"
    manifest.write_text(manifest.read_text().replace('"hash": "', '"hash": "0'))
    Bench(copy.folder, tmp_path / "data").run("first", *SEARCH).refused(2, "is not what first started with")


def test_a_folder_that_is_not_a_run_is_not_touched(bench: Bench) -> None:
    (bench.folder / "thesis").mkdir(parents=True)
    (bench.folder / "thesis/chapter.txt").write_text("words")
    bench.run("thesis").refused(2, "thesis exists and is not a run folder", "run=NAME")
    assert [path.name for path in (bench.folder / "thesis").iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "live.json",
        "generation_000/parents.json",
        "generation_000/candidate_001/idea.json",
        "baseline/trial_0/score.json",
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_lost(name: str, copy: Bench) -> None:
    path = copy.folder / "first" / name
    for summary in copy.folder.glob("first/*/summary.json"):
        summary.unlink()  # a summary only saves reading the files, which are authoritative
    path.chmod(0o644)
    path.write_text(path.read_text()[:-20])
    before = {name: (copy.folder / "first" / name).read_bytes() for name in listing(copy.folder / "first")}
    done = copy.run("first", *SEARCH)
    done.refused(1, f"{path} is damaged", "restore the file")
    after = {name: (copy.folder / "first" / name).read_bytes() for name in listing(copy.folder / "first")}
    assert {name for name in after if after[name] != before.get(name)} - {"live.json", "events.jsonl"} <= {
        name
        for name in after
        if name.endswith("summary.json")  # made again from the files
    }


def test_a_scale_that_requires_gpus_is_refused_without_them(tmp_path: Path) -> None:
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    data = tmp_path / "data/grpo/small"
    data.mkdir(parents=True)
    (data / "manifest.json").write_text('{"hash": "x", "bytes": 0, "files": 0}')
    given = ("+experiment=evolve_posttrain", "scale=small", "cluster=local", "run=r", f"runs={tmp_path / 'runs'}")
    program("run", *given, f"data={tmp_path / 'data'}").refused(
        2, "a trial requires 1 GPU(s) and this machine has 0", "scale=tiny", "cluster=slurm"
    )


def test_a_broken_baseline_stops_the_run(tmp_path: Path, toy_data: Path) -> None:
    conf = baseline(tmp_path / "broken", {"train.py": train_with(step="raise ValueError('broken')")})
    bench = Bench(tmp_path / "runs", toy_data, conf)
    bench.run("r", *CHEAP).refused(1, "the unmodified baseline failed (train/exception)", "ValueError: broken")
    assert jobs_of(bench.folder / "r") == []


def test_help_names_the_exit_codes() -> None:
    done = program("run", "--help").ok()
    assert "Exit codes: 0 done, 1 the run could not continue, 2 bad input, 130 interrupted." in done.out
    assert "--take-over" in done.out and "scale=tiny" in done.out


def test_the_toy_does_not_use_the_program() -> None:
    assert sorted(path.name for path in TOY.glob("*.py")) == [
        "evaluate.py",
        "model.py",
        "prepare.py",
        "settings.py",
        "train.py",
    ]
    assert (BASELINES / "conf/baseline/toy.yaml").is_file()


# ---- what a refused or a finished run does not change


def test_a_refused_second_controller_has_changed_nothing(gated: tuple[Bench, Path, Path], finished: Bench) -> None:
    bench, gate, starts = gated
    gate.touch()
    process = bench.start("held", *STOPPED)
    wait_until(lambda: len(starts.read_text().splitlines()) == 2, process)
    run = bench.folder / "held"
    kept = ("live.json", "events.jsonl", "controller.json", "proposals")
    before = {name: (run / name).read_bytes() for name in kept if (run / name).is_file()}
    seed = finished.folder / "first"
    bench.run("held", *STOPPED, "stop.generations=7", f"ideate.seeds=[{seed}]").refused(1, "is held by", "--take-over")
    assert {name: (run / name).read_bytes() for name in kept if (run / name).is_file()} == before
    assert not (run / "proposals").exists()
    interrupt(process)
    process.communicate(timeout=180)


def test_a_run_that_cannot_be_created_leaves_nothing(bench: Bench) -> None:
    bench.run("r", "ideate.seeds=[/nowhere]").refused(2, "/nowhere is not in a run folder")
    other = Bench(bench.folder, bench.data / "nothing")
    other.run("s").refused(2, "holds no prepared data")
    assert not (bench.folder / "s").exists()


def test_a_candidate_pinned_in_a_finished_run_is_confirmed_before_it_ends_again(copy: Bench) -> None:
    archive = copy.archive("first")
    assert archive.report is not None
    elite = archive.report.elites[0].candidate
    other = next(one for one in archive.candidates if one.score is not None and one.id != elite)
    program("mark", str(other.paths.folder), "--pin").ok()
    copy.run("first", *SEARCH).ok()
    after = copy.archive("first")
    assert after.report is not None and [one.candidate for one in after.report.elites] == [other.id]
    assert after.in_flight() == [] and jobs_of(copy.folder / "first") == []
    assert [one.trials for one in after.report.elites] == [1] and len(after.report.elites_test) == 1
