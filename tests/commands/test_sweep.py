"""`run -m`: several values of a setting are several runs of one group."""

import json
import subprocess

import pytest

from pipeline.errors import BadInput
from pipeline.setup.sweep import members
from tests.toy import CHEAP, ROOT, Bench, command, environment, interrupt, program, wait_until


@pytest.mark.parametrize(
    ("given", "suffixes", "settings"),
    [
        (["seed=1,2"], ["seed-1", "seed-2"], [("seed=1",), ("seed=2",)]),
        (["a=x", "seed=range(1,3)"], ["seed-1", "seed-2"], [("a=x", "seed=1"), ("a=x", "seed=2")]),
        (
            ["+experiment=p,q", "b.c=choice(1,2)"],
            ["experiment-p-c-1", "experiment-p-c-2", "experiment-q-c-1", "experiment-q-c-2"],
            [(f"+experiment={one}", f"b.c={two}") for one in "pq" for two in "12"],
        ),
        (["l=[1,2],[3]"], ["l-_1_2", "l-_3"], [("l=[1,2]",), ("l=[3]",)]),
        (["a='x/y','x:y'"], ["a-_x_y-0", "a-_x_y-1"], [("a='x/y'",), ("a='x:y'",)]),
    ],
    ids=["values", "range", "product", "lists", "alike in a name"],
)
def test_each_combination_is_a_run_with_a_name_of_its_own(
    given: list[str], suffixes: list[str], settings: list[tuple[str, ...]]
) -> None:
    found = members(given)
    assert [member.suffix for member in found] == suffixes
    assert [member.overrides for member in found] == settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("seed=1", "none has several; give some, as in seed=1,2,3"),
        ("run=a,b", "run= takes one value, the name of the group"),
        ("seed=glob(*)", "give values as in seed=1,2,3"),
        ("seed=interval(1,2)", "give values as in seed=1,2,3"),
        ("seed=1,2,[", "give values as in"),
    ],
)
def test_what_is_no_sweep_is_refused_with_a_line(given: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        members([given])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_whatever_is_wrong_with_one_run_is_said_before_any_starts(bench: Bench) -> None:
    bench.run("g", "-m", "seed=1,x").refused(2, "seed=x")
    bench.run("g", "-m", "seed=1,2", "--parallel", "0").refused(2, "give 1 or more")
    bench.run("g", "--parallel", "2").refused(2, "add -m")
    assert not bench.folder.exists()


def test_a_group_is_stopped_resumed_and_listed(bench: Bench) -> None:
    """Ctrl-C in the first of two runs starts no second; the same command then brings both to an end, side by side."""
    given = (*CHEAP, "ideate.candidates=1", "-m", "seed=1,2")
    process = subprocess.Popen(
        command("run", *bench.arguments("g", *given)),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    wait_until(lambda: (bench.folder / "g-seed-1/baseline/trial_0").exists(), process)
    interrupt(process)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopped; resume with: " in out and "stopped; resume all with: " in out
    assert [path.name for path in bench.folder.iterdir()] == ["g-seed-1"]

    done = bench.run("g", *given, "--parallel", "2").ok()
    assert "g-seed-1 | finished" in done.out and "g-seed-2 | finished" in done.out
    assert done.out.endswith("group g: 2 runs completed\n")
    for seed in (1, 2):
        archive = bench.archive(f"g-seed-{seed}")
        assert archive.report is not None
        assert json.loads(archive.paths.live.read_text())["group"] == "g"
        assert json.loads(archive.paths.facts.read_text())["config"]["seed"] == seed
        assert f"seed={seed} group=g run=g-seed-{seed}" in done.out

    listed = subprocess.run(
        command("status", "g"), cwd=bench.folder.parent, env=environment(), capture_output=True, text=True, check=True
    )
    assert listed.stdout.count("[finished]") == 2
    program("status", "h").refused(2, "is not in a run folder")
