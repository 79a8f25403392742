"""Results of `check_baseline` for stopping and resuming: ok, FAIL or not checked, with the reason."""

from pathlib import Path

import pytest

from pipeline.commands.checks import Finding
from pipeline.commands.continuation import repetition
from tests.toy import TOY, Done, baseline, program

TRAIN = (TOY / "train.py").read_text()
STEPS = "            if step % 20 == 0:\n"
SECONDS = '            if time.monotonic() - began >= json.loads(Path(arguments.size).read_text())["resume_every_s"]:\n'
START = "    output, settings = Path(arguments.output), Tiny()\n"


def checked(folder: Path, data: Path, train: str, *more: str) -> Done:
    conf = baseline(folder, {"train.py": train})
    given = (f"data={data}", f"runs={folder}/runs", "--seeds", "1", *more)
    return program("check_baseline", str(conf / "baseline/toy.yaml"), "scale=tiny", *given)


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def line(done: Done) -> str:
    """The lines about stopping, resuming and continuing."""
    joined = " ".join(done.out.split())
    return joined[joined.index("stop and resume") - 12 : joined.index("a broken")]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        pytest.param((), "finished before it wrote output/resume", id="no interval"),
        pytest.param(("+size.resume_every_s=100",), "even with resume_every_s=0.001", id="an interval without effect"),
    ],
)
def test_what_could_not_be_checked_is_not_reported_as_ok(
    more: tuple[str, ...], why: str, tmp_path: Path, toy_data: Path
) -> None:
    """A training that never writes resume/ and ends soon: neither ok nor FAIL."""
    done = checked(tmp_path, toy_data, replaced(TRAIN, STEPS, "            if False:\n"), *more).ok()
    assert "not checked stop and resume:" in line(done) and why in line(done)
    assert "a trial restarts at step 0" in line(done)
    assert "the baseline fulfils its contract, as far as it was checked: 1 not checked" in done.out


def test_a_training_that_ends_before_it_saves_is_made_to_save_earlier(tmp_path: Path, toy_data: Path) -> None:
    train = replaced(replaced(TRAIN, STEPS, SECONDS), START, f"{START}    began = time.monotonic()\n")
    done = checked(
        tmp_path, toy_data, replaced(train, "import os\n", "import os\nimport time\n"), "+size.resume_every_s=100"
    ).ok()
    same = "the same value as an uninterrupted training, to the bit"
    assert f"ok stop and resume: {same} ok stop part-way and continue: {same}" in line(done)


def test_a_failing_resume_is_found(tmp_path: Path, toy_data: Path) -> None:
    """A training that finished before it was stopped has left a state to resume from, too."""
    train = replaced(
        TRAIN, 'state = json.loads((resume / "state.json").read_text())', 'raise SystemExit("cannot read it")'
    )
    done = checked(tmp_path, toy_data, train)
    assert done.code == 1 and "FAIL stop and resume:" in line(done) and "cannot read it" in line(done)


@pytest.mark.parametrize("mode", ["a", "w"])
def test_a_training_that_ignores_its_state_and_starts_again_is_found(mode: str, tmp_path: Path, toy_data: Path) -> None:
    """It reaches the same value to the bit."""
    train = replaced(TRAIN, 'if (resume / "state.json").exists():', "if False:")
    done = checked(tmp_path, toy_data, replaced(train, 'open("a", ', f'open("{mode}", '))
    assert done.code == 1
    for name in ("stop and resume", "stop part-way and continue"):
        assert f"FAIL {name}: it writes step 1 again" in line(done)


@pytest.mark.parametrize(
    ("before", "new", "saved_last", "found"),
    [
        pytest.param([1, 2, 3], [3, 4], False, Finding.OK, id="a step after the saved one is repeated"),
        pytest.param([1, 2, 3], [3, 4], True, Finding.FAILED, id="a saved step is repeated"),
        pytest.param([1, 2, 3], [], False, Finding.OK, id="nothing left to train"),
        pytest.param([0, 10], [0, 10], False, Finding.FAILED, id="the first step is repeated"),
        pytest.param([10, 20], [10, 20], False, Finding.NOT_CHECKED, id="a line for every tenth step, saved before"),
        pytest.param([10, 20], [20, 30], False, Finding.OK, id="a line for every tenth step"),
        pytest.param([10, 20], [10, 20], True, Finding.FAILED, id="a line for every tenth step, all saved"),
        pytest.param([], [1, 2], False, Finding.NOT_CHECKED, id="no line before the stop"),
    ],
)
def test_what_the_second_part_repeats(before: list[float], new: list[float], saved_last: bool, found: Finding) -> None:
    assert repetition(before, new, saved_last)[0] is found


def test_without_steps_in_the_metrics_a_new_start_cannot_be_detected(tmp_path: Path, toy_data: Path) -> None:
    done = checked(tmp_path, toy_data, replaced(TRAIN, '{"step": step, "loss"', '{"loss"')).ok()
    assert line(done).count("not checked stop") == 2 and line(done).count("no line of metrics.jsonl has a `step`") == 2


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        pytest.param("int(stop)", "int(whole or stop)", "30 of 60 give the value of the whole", id="not stopped"),
        pytest.param("    if whole:\n", "    if False:\n", "stops at 30 of 60 without output/resume", id="no state"),
        pytest.param(
            "settings.learning_rate * part",
            "settings.learning_rate * part * (1 - step / (steps + 1))",
            ", uninterrupted ",
            id="schedule of the part",
        ),
    ],
)
def test_a_training_that_does_not_continue_as_promised_is_found(
    old: str, new: str, why: str, tmp_path: Path, toy_data: Path
) -> None:
    done = checked(tmp_path, toy_data, replaced(replaced(TRAIN, STEPS, "            if False:\n"), old, new))
    found = line(done).partition("FAIL stop part-way and continue: ")[2]
    assert done.code == 1 and why in found


def test_with_a_clock_of_wall_time_a_continued_training_may_differ_by_noise(tmp_path: Path, toy_data: Path) -> None:
    train = replaced(replaced(TRAIN, STEPS, "            if False:\n"), "/{step}", "/{step}/{resume.exists()}")
    train = replaced(train, 'removeprefix("steps=")', 'removeprefix("seconds=")')
    done = checked(tmp_path, toy_data, train, "train.clock=wall", "train.budget_min=0.4", "--seeds", "3").ok()
    assert "ok stop part-way and continue: continued " in line(done) and "apart" in line(done)


@pytest.mark.parametrize(
    ("smoke", "why"),
    [
        pytest.param("[/nowhere/python,train.py]", "/nowhere/python", id="missing"),
        pytest.param("['false']", "it printed nothing (exit code 1)", id="silent"),
    ],
)
def test_a_failing_smoke_test_is_reported_with_its_reason(smoke: str, why: str, tmp_path: Path, toy_data: Path) -> None:
    done = checked(tmp_path, toy_data, "raise SystemExit('no training')", f"baseline.commands.smoke={smoke}")
    assert done.code == 1 and "FAIL smoke:" in done.out and why in done.out


def test_a_missing_interpreter_is_reported(tmp_path: Path, toy_data: Path) -> None:
    checked(tmp_path, toy_data, TRAIN, "baseline.interpreter=/nowhere/python").refused(2, "/nowhere/python is missing")
