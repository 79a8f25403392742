"""Groups of runs: several values of a setting (`run -m`), or several methods (`arms`)."""

import json
import subprocess

import pytest

from pipeline.commands.compare import check_budgets
from pipeline.errors import BadInput
from pipeline.setup.compose import compose_config
from pipeline.setup.sweep import Member, arm_members, members
from tests.toy import CHEAP, CONF, ROOT, Bench, command, environment, interrupt, program, wait_until


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
        ("seed=1", "no setting has several; give some, as in seed=1,2,3"),
        ("run=a,b", "run= takes one value, the name of the group"),
        ("seed=glob(*)", "give values as in seed=1,2,3"),
        ("seed=interval(1,2)", "give values as in seed=1,2,3"),
        ("seed=1,2,[", "give values as in"),
    ],
)
def test_an_invalid_sweep_is_refused_in_one_line(given: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        members([given])
    assert words in str(caught.value) and "\n" not in str(caught.value)


GIVEN = ("+experiment=compare_posttrain", "baseline=toy", "scale=tiny", "cluster=local")


def of_arms(*more: str) -> list[Member]:
    given = [*GIVEN, *more]
    return arm_members(given, compose_config(given, CONF), CONF)


def test_arms_are_runs_that_share_baselines_seed_by_seed() -> None:
    found = of_arms("seeds=2", "seed=5", "run=g", "arms=[evolve_posttrain,'rl_posttrain rl.k=2']")
    assert [(one.suffix, one.baseline_of) for one in found] == [
        ("evolve_posttrain-seed-5", ""),
        ("rl_posttrain_rl.k_2-seed-5", "evolve_posttrain-seed-5"),
        ("evolve_posttrain-seed-6", ""),
        ("rl_posttrain_rl.k_2-seed-6", "evolve_posttrain-seed-6"),
    ]
    shared = ("baseline=toy", "scale=tiny", "cluster=local")
    assert found[3].overrides == (
        *("+experiment=rl_posttrain", *shared, "rl.k=2"),
        *("seed=6", "arm='rl_posttrain rl.k=2'"),
    )
    assert compose_config(found[3].overrides, CONF).arm == "rl_posttrain rl.k=2"


def test_the_makers_of_an_arm_override_those_given_for_all() -> None:
    evolve, best_of_n, tune = of_arms("ideate=llm", "implement=llm")
    assert "ideate=llm" in evolve.overrides and "implement=llm" in best_of_n.overrides
    assert not {"ideate=llm", "implement=llm"} & set(tune.overrides)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("arms=[evolve_posttrain]", "give at least two"),
        ("arms=[evolve_posttrain,evolve_posttrain]", "each once"),
        ("arms=[evolve_posttrain,evolution]", "'evolution' is no experiment; begin with one of: best_of_n_posttrain"),
        ("select=puct", "select=puct: every arm chooses its own"),
    ],
)
def test_arms_that_cannot_be_used_are_refused(given: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        of_arms(given)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_arms_have_equal_budgets() -> None:
    more = "arms=[evolve_posttrain,'tune_posttrain stop.generations=9']"
    configs = [compose_config(one.overrides, CONF) for one in of_arms(more)]
    with pytest.raises(BadInput, match="differ in candidates"):
        check_budgets(configs)


def test_an_error_of_one_run_is_reported_before_any_starts(bench: Bench) -> None:
    bench.run("g", "-m", "seed=1,x").refused(2, "seed=x")
    bench.run("g", "-m", "seed=1,2", "--parallel", "0").refused(2, "give 1 or more")
    bench.run("g", "--parallel", "2").refused(2, "add -m")
    assert not bench.folder.exists()


def test_a_comparison_shares_baselines_and_ends_with_its_report(bench: Bench) -> None:
    given = (*CHEAP, "ideate.candidates=1", "+experiment=compare_posttrain", "arms=[evolve_posttrain,tune_posttrain]")
    argv = command("run", *bench.arguments("g", *given))
    done = subprocess.run(argv, cwd=bench.folder.parent, env=environment(), capture_output=True, text=True, check=True)
    assert "  evolve_posttrain: " in done.stdout and "report: reports/g.html" in done.stdout
    assert "Which method is better?" in (bench.folder.parent / "reports/g.html").read_text()
    first, second = (bench.folder / f"g-{arm}_posttrain-seed-0" for arm in ("evolve", "tune"))
    claims = [(run / "baseline/trial_0/try_0/claim.json").read_text() for run in (first, second)]
    assert claims[0] == claims[1]
    assert f"taken over from {first.name}" in (second / "events.jsonl").read_text()


def test_a_group_is_stopped_resumed_and_listed(bench: Bench) -> None:
    """Ctrl-C in the first of two runs prevents the second; the same command then finishes both, side by side."""
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
