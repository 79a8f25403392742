"""From a command line to settings: every preset composes, and a misspelt key fails with a list of the valid ones."""

import ast
import dataclasses
from pathlib import Path

import pytest

from pipeline import config as schema
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.setup.compose import CONF, compose_config, differences, fixed_part, flatten, live_part
from pipeline.setup.create import run_paths_of
from tests.test_records import undocumented
from tests.toy import CONF as TOY_CONF
from tests.toy import Bench, program

BANK, TUNE = "pipeline.makers.bank_ideator.BankIdeator", "pipeline.makers.tune.TuneIdeator"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_at_every_scale(experiment: str, scale: str) -> None:
    given = [f"+experiment={experiment}", f"scale={scale}"]
    if experiment == "time_to_target" and scale == "small":
        given.append("measure.target=4.0")  # no good value has been measured at this scale
    for order in (given, given[::-1]):
        config = compose_config(order)
        assert config.scale == scale
        assert Path(config.baseline.folder).is_dir()
        assert config.size["scale"] == scale
        assert config.baseline.settings_class[scale]
        assert config.train.budget_steps or config.train.budget_min


def test_there_is_something_to_compose() -> None:
    assert SCALES == ["paper", "small", "tiny"]
    assert {"evolve_posttrain", "best_of_n_posttrain", "tune_posttrain"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("baseline", sorted(path.stem for path in (CONF / "baseline").glob("*.yaml")))
@pytest.mark.parametrize("scale", SCALES)
def test_every_baseline_composes_at_every_scale(baseline: str, scale: str) -> None:
    assert compose_config([f"baseline={baseline}", f"scale={scale}"]).baseline.name == baseline


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("baseline", "reported"), [("grpo", "tokens"), ("nanogpt", "parameters")])
def test_kinds_of_candidates_are_three_of_a_number_that_the_evaluator_reports(
    baseline: str, reported: str, scale: str
) -> None:
    settings = compose_config([f"baseline={baseline}", f"scale={scale}", "select=map_elites"]).baseline
    if (baseline, scale) == ("grpo", "tiny"):  # all answers have the same length
        assert settings.descriptors == {}
        return
    ((name, (low, high)),) = settings.descriptors.items()
    assert name == reported and 0 < low < high
    assert f'"{name}": ' in (Path(settings.folder) / "evaluate.py").read_text()


def test_the_command_line_overrides_a_scale() -> None:
    assert compose_config(["scale=small", "baseline.descriptors.tokens=[9]"]).baseline.descriptors == {"tokens": [9]}
    assert compose_config(["scale=tiny"]).ideate.maker == {"_target_": BANK}
    assert compose_config(["scale=tiny", "ideate=tune"]).ideate.maker == {"_target_": TUNE}
    assert compose_config(["ideate=tune", "+experiment=evolve_posttrain", "scale=tiny"]).ideate.maker == {
        "_target_": TUNE
    }


def test_a_users_baseline_is_found_beside_its_configuration() -> None:
    config = compose_config(["baseline=toy", "scale=tiny"], TOY_CONF)
    assert Path(config.baseline.folder) == TOY_CONF.parent / "toy"
    assert config.train.budget_steps == 60


BAD = [
    (["stop.generatons=3"], "stop.generatons is not a setting; did you mean stop.generations?", "patience"),
    (["+stop.generatons=3"], "did you mean stop.generations?", "patience"),
    (["+nonsense=3"], "nonsense is not a setting", "baseline, size, seed"),
    (["train.resources.gpus=3"], "train.resources.gpus is not a setting", "gpus_per_node, cpus_per_task"),
    (["+experiment=evolve_pottrain"], "evolve_pottrain", "evolve_posttrain"),
    (["baseline=nothing"], "nothing", "grpo"),
    (["scale=huge"], "huge", "tiny"),
    (["ideate=wish"], "wish", "tune"),
    (["ideate=wish"], "wish", "bank"),
    (["stop.generations=many"], "many", "stop.generations"),
    (["stop.generations"], "stop.generations", ""),
    (["seed=[1"], "seed=[1", ""),
    (["stop.date=tomorrow"], "stop.date=tomorrow is not a date", "2026-12-31T18:00"),
    (["select.quorum=1.5"], "select.quorum=1.5", "between 0 and 1"),
    (["ideate.candidates=-1"], "ideate.candidates=-1", "0 or more"),
    (["+budget.max.usd=1"], "budget.max is not a setting", "gpu_hours, reserve, usd"),
    (["++budget.max.usd=1"], "budget.max is not a setting", "gpu_hours, reserve, usd"),
    (["+llm.extra.reasoning_effort=low"], "llm.extra is not a setting", "model, api_base"),
    (["+train.optimizer.lr=1e-3"], "train.optimizer is not a setting", "clock"),
    (["+stop.generations.most=1"], "stop.generations.most is not a setting: stop.generations is a single value", ""),
    (["measure.codes=scored", "baseline=nanogpt", "scale=small"], "measure.target is missing", "measure.target=3.28"),
    (["budget.usd=-1"], "budget.usd=-1", "0 or more"),
    (["budget.usd=nan"], "budget.usd=nan", "a finite number"),
    (["budget.gpu_hours=-5"], "budget.gpu_hours=-5", "0 or more"),
    (["stop.target=inf"], "stop.target=inf", "a finite number"),
    (["train.resources.mem_gb=-1"], "train.resources.mem_gb=-1", "0.01 or more"),
    (["train.resources.nodes=0"], "train.resources.nodes=0", "1 or more"),
    (["train.resources.gpus_per_node=-1"], "train.resources.gpus_per_node=-1", "0 or more"),
    (["llm.max_tokens=0"], "llm.max_tokens=0", "1 or more"),
    (["rl.zero_stage=4"], "rl.zero_stage=4", "between 0 and 3"),
    (
        ["rl.update.nodes=2", "rl.zero_stage=null"],
        "rl.update requests 8 GPUs or nodes",
        "set rl.zero_stage=0, 1, 2 or 3",
    ),
    (["rl.sample.nodes=2"], "rl.sample.nodes=2", "set rl.sample.gpus_per_node instead"),
    (["rl.zero_stage=2", "rl.dtype=float16"], "rl.dtype=float16", "use bfloat16 or float32"),
    (["llm=null"], "Config group override must be a string", ""),
    (["hydra.run.dir=x"], "hydra.run.dir has no effect here", "run= and runs="),
    (["hydra/launcher=basic"], "hydra/launcher has no effect here", "-m"),
    (["prompts.first=x"], "prompts.first cannot be set here", "prompts/NAME.md"),
    (["seed"], "seed cannot be read as KEY=VALUE", ""),
    (["'"], "' cannot be read as KEY=VALUE", ""),
    (["stop={generatons: 3}"], "generatons", ""),
    (["+llm={foo: 1}"], "foo", ""),
    (["cluster={slurm: {foo: 1}}"], "foo", ""),
    (["scale=small", "train.limit_min=2"], "train.budget_min=5", "below the guard train.limit_min=2"),
]


@pytest.mark.parametrize(
    ("given", "seen", "allowed"), BAD, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_bad_settings_are_refused_in_one_line_with_the_allowed_ones(given: list[str], seen: str, allowed: str) -> None:
    with pytest.raises(BadInput) as caught:
        compose_config(given)
    words = str(caught.value)
    assert seen in words and allowed in words
    assert "\n" not in words


def test_keys_of_an_open_map_need_no_plus() -> None:
    given = ["cluster.slurm.extra={licenses: scratch}", "baseline.environment.FOO=1", "select.method.rounds=3"]
    config = compose_config(given)
    assert config.cluster.slurm.extra == {"licenses": "scratch"} and config.baseline.environment["FOO"] == "1"
    assert config.select.method["rounds"] == 3


def test_a_misspelt_key_ends_a_program_with_2() -> None:
    program("run", "stop.generatons=3").refused(2, "did you mean stop.generations?", "Valid keys of stop: generations")


def test_v_shows_the_traceback() -> None:
    done = program("run", "-v", "stop.generatons=3")
    assert done.code == 2
    assert "Traceback" in done.err and done.err.splitlines()[-1].startswith("error: ")


def test_fixed_and_live_are_a_partition() -> None:
    config = compose_config(["baseline=toy", "scale=tiny"], TOY_CONF)
    fixed, live = set(flatten(fixed_part(config))), set(flatten(live_part(config)))
    assert not fixed & live
    everything = set(flatten(_plain(config)))
    assert fixed | live == everything - {"baseline.folder"}  # a path; its content is hashed


def _plain(config: Config) -> dict[str, object]:
    plain: dict[str, object] = dataclasses.asdict(config)
    return plain


def test_which_settings_are_live() -> None:
    """Everything that influences the meaning of a score is fixed."""
    config = compose_config(["baseline=toy", "scale=tiny"], TOY_CONF)
    groups = {key.partition(".")[0] for key in flatten(live_part(config))}
    assert groups == {
        *"ideate implement train search llm budget cluster keep stop notify".split(),
        *"dry_run run group runs data own_code arm arms seeds baseline_of".split(),
    }
    assert {key for key in flatten(live_part(config)) if key.startswith(("train.", "implement."))} == {
        "train.retries",
        "train.disk_gb",
        "implement.parallel",
        "implement.command",
        "implement.command_environment",
        "implement.command_read",
        "implement.command_limit_min",
    }
    assert {"seed", "scale", "size.seed", "train.limit_min", "baseline.metric.direction", "select.quorum"} <= set(
        flatten(fixed_part(config))
    )


def test_differences_name_the_old_and_the_new() -> None:
    before = {"a": {"b": 1, "c": 2}, "d": {}}
    assert differences(before, {"a": {"b": 1, "c": 3}, "d": {}}) == ["a.c: 2 -> 3"]
    assert differences(before, {"a": {"b": 1}, "d": {"e": 1}}) == ["a.c: 2 -> None", "d: {} -> None", "d.e: None -> 1"]
    assert differences(before, before) == []


def test_every_setting_has_a_docstring() -> None:
    for node in ast.parse(Path(str(schema.__file__)).read_text()).body:
        if isinstance(node, ast.ClassDef):
            assert ast.get_docstring(node), node.name
            assert undocumented(node) == [], node.name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("baseline.commands.smoke=[]", "has no baseline.commands.smoke"),
        ("baseline.commands.train=['{nope}']", "{nope} in `{nope}` is unknown; allowed here: budget"),
        ("baseline.commands.evaluate=['{budget}']", "{budget} in"),
        ("baseline.commands.train=['{']", "has an invalid placeholder"),
        ("baseline.commands.train=['{0}']", "has an invalid placeholder"),
        ("baseline.commands.train=['{seed.x}']", "has an invalid placeholder"),
        ("ideate.maker.foo=1", "ideate.maker.foo is not an argument of BankIdeator"),
        ("train.sandbox.foo=1", "train.sandbox.foo is not an argument"),
        ("own_code=/nowhere", "own_code=/nowhere is not a folder"),
        ("run=.", "run='.' is not a name"),
        ("run=a/../..", "is not a name"),
        ('run="a\tb"', "is not a name"),
        ("cluster.slurm.extra={a: {b: 1}}", "cluster.slurm.extra.a={'b': 1} is not one value"),
    ],
)
def test_unusable_settings_are_refused_before_anything_is_created(given: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run_paths_of(compose_config(["baseline=toy", "scale=tiny", "run=r", f"runs={tmp_path}", given], TOY_CONF))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_what_a_run_refuses(bench: Bench) -> None:
    bench.run("r", "dry_run=true", "ideate.maker.foo=1").refused(2, "ideate.maker.foo is not an argument")
