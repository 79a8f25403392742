"""Whole runs on the toy in which the ideator learns: three kinds of jobs, killed and resumed."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import SelectConfig
from pipeline.errors import BadInput
from pipeline.makers.bank import load_bank
from pipeline.makers.base import Tools
from pipeline.makers.policy_ideator import PolicyIdeator, bank_words, change_of, check_settings, parent_of
from pipeline.metric import Direction, Metric
from pipeline.patching.trees import read_tree
from pipeline.records import (
    Change,
    Failure,
    FailureKind,
    Parents,
    PolicyRow,
    PolicyStep,
    PolicyTask,
    PolicyWork,
    Stage,
    StepMeasures,
    TaskResult,
)
from pipeline.rl.policy import save_policy
from pipeline.rl.tiny import make_policy
from pipeline.rl.words import Words, draw_idea
from pipeline.setup.compose import compose_config
from pipeline.stages.learn import identity, nothing, reward_for, under_way
from pipeline.store import files
from pipeline.store.paths import RunPaths
from tests.archives import Made, archive_of, config_of
from tests.makers.world import IDEAS, PRISTINE, composed, tools_of
from tests.toy import Bench, wait_until

FEW = ("ideate=policy", "select=independent", "ideate.candidates=4", "stop.generations=2", "rl.new_tokens=24", "rl.k=2")
CHEAP = ("select.baseline_seeds=1", "select.elites=0", "cluster.poll_s=0.1")


@pytest.mark.timeout(1800)  # on a busy machine the start of a job with torch takes a minute
def test_a_killed_run_resumes_and_pays_for_nothing_twice(toy_data: Path, toy_policy: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    shutil.copytree(toy_policy, data / "policy/toy_tiny")
    bench = Bench(tmp_path / "runs", data)
    steps = bench.folder / "r/policy"
    process = bench.start("r", *FEW, *CHEAP)
    wait_until(lambda: (steps / "step_000/update/task.json").exists(), process, 900)
    process.kill()
    process.communicate()
    before = {path: path.read_bytes() for path in steps.rglob("samples.json")}
    bench.run("r", *FEW, *CHEAP, timeout=900).ok()

    archive = bench.archive("r")
    assert archive.report is not None and archive.count == 8 and archive.all_closed
    assert before and all(path.read_bytes() == text for path, text in before.items())
    for trial in (t for one in archive.candidates for a in one.attempts for t in a.trials):
        assert len([one for one in trial.tries if one.result is not None and one.score is not None]) <= 1
    now = files.read(steps / "step_001/step.json", PolicyStep)
    assert now.step == 1 and (bench.folder / "r" / now.checkpoint / "policy.json").exists()
    learned = files.read(steps / "step_000/update/task.json", PolicyTask).rows
    measures = files.read(steps / "step_000/measures.json", StepMeasures)
    assert measures.ideas == 4 and measures.known == len(learned)
    assert measures.update is None or measures.update.rows == len(learned)


@pytest.mark.timeout(1800)
def test_without_rewards_the_policy_does_not_change(toy_data: Path, toy_words: Words, tmp_path: Path) -> None:
    """An untrained policy writes no idea."""
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    save_policy(make_policy(toy_words, 0, width=16, layers=1), data / "policy/toy_tiny", 0)
    bench = Bench(tmp_path / "runs", data)
    said = bench.run("r", *FEW, *CHEAP, "ideate.candidates=2", "notify.command=['true']", timeout=900).ok().out
    assert said.count("the policy may collapse: no answer contains an idea") == 1
    steps = bench.folder / "r/policy"
    first, second = (files.read(steps / f"step_00{number}/step.json", PolicyStep) for number in (0, 1))
    assert second == replace(first, step=1)
    assert (steps / "step_001/sample/try_0/output/samples.json").exists()
    events = (bench.folder / "r/events.jsonl").read_text()
    assert "no update: all ideas failed" in events
    assert events.count('"notified","where":"","detail":"the policy may collapse: no answer contains an idea') == 1


def test_a_run_without_a_prepared_policy_is_refused(bench: Bench) -> None:
    bench.run("r", *FEW, *CHEAP).refused(2, "contains no policy", "python -m pipeline prepare")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("search.mode=steady",), "set search.mode=generational"),
        (("ideate.candidates=1",), "set ideate.candidates to 2 or more"),
        (("rl.model=some/model",), "add implement=llm"),
    ],
)
def test_settings_that_no_policy_can_learn_from_are_refused(settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        PolicyIdeator(tools_of("ideate=policy", *settings))


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ((), "no group has two rewards"),
        ((0.0, 0.0), "all ideas failed"),
        ((0.5, 0.5), "all rewards of each group are equal"),
    ],
)
def test_the_reason_for_learning_nothing_is_reported(rewards: tuple[float, ...], said: str) -> None:
    rows = tuple(PolicyRow(0, number, reward, 0.0) for number, reward in enumerate(rewards))
    assert nothing(PolicyTask(PolicyWork.UPDATE, 0, 0, 0, "", rows=rows)) == f"no update: {said}"


SCORED, OPEN, FAILED = Made(0.7), Made(), Made(kind=FailureKind.NAN)


@pytest.mark.parametrize(
    ("made", "quorum", "files_of", "said"),
    [
        pytest.param([OPEN] * 4, 0.7, "", None, id="nothing begun"),
        pytest.param([OPEN] * 4, 0.7, "folder", "waits for the update of the step before", id="no policy yet"),
        pytest.param([OPEN] * 4, 0.7, "task", "the policy is sampling 4 ideas", id="sampling"),
        pytest.param([OPEN] * 4, 0.7, "failed", "the policy is sampling 4 ideas", id="the sampling job failed"),
        pytest.param([OPEN] * 4, 0.7, "samples", "0 of 4 ideas have an outcome; select.quorum=0.7 requires 3", id="none"),
        pytest.param([SCORED, FAILED, OPEN, OPEN], 0.7, "samples", "2 of 4 ideas have an outcome", id="too few"),
        pytest.param([SCORED] * 3 + [OPEN], 1.0, "samples", "3 of 4 ideas have an outcome; select.quorum=1 requires 4",
                     id="one is missing"),
    ],
)  # fmt: skip
def test_a_step_whose_quorum_is_never_reached_says_what_it_waits_for(
    made: list[Made], quorum: float, files_of: str, said: str | None, tmp_path: Path
) -> None:
    archive = replace(archive_of(made, selected=False), paths=RunPaths(tmp_path))
    sample = archive.paths.policy_step(0).sample
    if files_of:
        sample.folder.parent.mkdir(parents=True)
    if files_of not in ("", "folder"):
        files.in_folder(sample.folder, lambda: files.create(sample.task, PolicyTask(PolicyWork.SAMPLE, 0, 0, 0, "")))
    if files_of in ("failed", "samples"):
        sample.try_(0).folder.mkdir()
        sample.try_(0).job.write_text("{}")
        failure = Failure(Stage.TRAIN, FailureKind.NODE_FAIL, "gone", "") if files_of == "failed" else None
        files.create(sample.try_(0).result, TaskResult(failure))
    found = under_way(config_of(select=SelectConfig(quorum=quorum)), archive)
    assert found is said is None or (said is not None and found is not None and said in found)


def test_a_step_that_is_over_waits_for_nothing(tmp_path: Path) -> None:
    archive = archive_of([SCORED, FAILED])
    assert under_way(config_of(), replace(archive, paths=RunPaths(tmp_path))) is None
    assert under_way(config_of(), archive_of()) is None


# ---- rewards of candidates, on archives in memory

HIGHER = Metric("m", Direction.maximize)


def test_the_outcome_of_an_idea_is_its_reward() -> None:
    made = [Made(0.7), Made(), Made(kind=FailureKind.NAN), Made(kind=FailureKind.NODE_FAIL)]
    archive = archive_of(made)
    assert [reward_for(HIGHER, archive, one) for one in archive.candidates] == [0.7, None, 0.0, None]
    assert reward_for(Metric("m", Direction.minimize), archive, archive.candidates[0]) == 1 / 0.7


@pytest.mark.parametrize(("first", "reward"), [(Made(0.7), 0.7), (Made(), None), (Made(kind=FailureKind.NAN), 0.0)])
def test_code_that_is_sampled_again_has_the_first_ones_reward(first: Made, reward: float | None) -> None:
    archive = archive_of([first, Made(kind=FailureKind.DUPLICATE)])
    one, again = archive.candidates
    assert one.attempt is not None
    twin = f"{one.id}/{one.attempt.paths.folder.name}"
    again = replace(again, failure=Failure(Stage.IMPLEMENT, FailureKind.DUPLICATE, "the same", twin=twin), attempts=())
    assert reward_for(HIGHER, archive, again) == reward
    assert identity(archive, again) == identity(archive, one)


# ---- ideas of words


def test_every_word_of_the_tiny_policy_is_a_change_of_the_bank() -> None:
    bank = load_bank(IDEAS, composed(()), patches=True)
    words, rng = bank_words(bank, bank.settings(PRISTINE)), random.Random(0)
    assert "momentum" in words.names and "batch=8" in words.all and "batch=4" not in words.all  # 4 is the present value
    for _ in range(100):
        assert change_of(bank, " + ".join(draw_idea(words, rng))) is not None


@pytest.mark.parametrize("experiment", ["rl_posttrain", "rl_pretrain"])
def test_the_tiny_policy_can_write_ten_thousand_ideas_for_either_baseline(experiment: str) -> None:
    config = compose_config([f"+experiment={experiment}", "scale=tiny"])
    code = Path(config.baseline.folder)
    bank, tree = load_bank(code / config.baseline.ideas, config, patches=True), read_tree(code)
    assert isinstance(tree, dict)
    words = bank_words(bank, bank.settings(tree))
    assert words.count() >= 10_000 and len(words.names) >= 10
    PolicyIdeator(Tools(config, config.baseline.metric.metric, code / config.baseline.ideas, lambda _: tree, None))
    assert config.rl.k <= config.ideate.candidates and not config.rl.model


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("experiment", ["rl_posttrain", "rl_pretrain"])
def test_a_larger_scale_has_a_language_model_as_policy(experiment: str, scale: str) -> None:
    """It writes ideas in words, which the bank cannot implement; with `implement=llm` it is accepted."""
    config = compose_config([f"+experiment={experiment}", f"scale={scale}"])
    with pytest.raises(BadInput, match="add implement=llm"):
        check_settings(config)
    config = compose_config([f"+experiment={experiment}", f"scale={scale}", "implement=llm"])
    check_settings(config)
    assert config.rl.model and config.rl.lora_rank and config.rl.sample.gpus_per_node and config.rl.update.gpus_per_node
    assert config.rl.k <= config.ideate.candidates


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("momentum", Change("momentum")),
        ("huber + momentum + batch=8", Change("huber", {"batch": 8}, more=("momentum",))),
        ("batch=8 + batch=16", Change(settings={"batch": 16})),
        ("learning_rate=1e-05", Change(settings={"learning_rate": 1e-5})),
        ("momentum + momentum", Change("momentum")),
        ("momentum + telepathy", None),
        ("speed=3", None),
        ("+", None),
    ],
)
def test_words_are_read(text: str, change: Change | None) -> None:
    assert change_of(load_bank(IDEAS, composed(()), patches=True), text) == change


def test_each_parent_has_a_group() -> None:
    archive = archive_of([Made(0.7), Made(0.8), Made(0.9), Made(0.6)])
    plan = Parents(tuple(one.id for one in archive.candidates), exploit_share=0.8, ideas=8)
    generation = replace(archive.generations[0], parents=plan)
    chosen = [parent_of(archive, generation, number) for number in range(8)]
    assert [one.id[-1] if one is not None else "-" for one in chosen] == list("001122--")


def test_executed_ideas_are_in_the_prompt_of_a_language_model() -> None:
    settings = ("ideate=policy", "implement=llm", "rl.model=some/model", "rl.prompt='Write an idea.'", "rl.shown=2")
    archive = archive_of([Made(0.7), Made()])
    generation = replace(archive.generations[0], number=1, parents=Parents(ideas=2))
    first, second = PolicyIdeator(tools_of(*settings)).prompts(archive, generation)
    title = archive.candidates[0].idea.title
    assert first == second and first.startswith(f"Write an idea.\nIdeas that were executed:\n* {title}: ")
    assert first.count("* ") == 1  # the other has no score
