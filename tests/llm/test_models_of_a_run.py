"""The models of a run, from a command line: provider files, parameters and roles, keys and displayed values."""

import re
from pathlib import Path

import pytest

from pipeline.commands.display import estimated, spent
from pipeline.commands.doctor import here
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.llm.requests import parameters
from pipeline.llm.roles import Role
from pipeline.policy.accounting import Account
from pipeline.records import Completion, Usage
from pipeline.setup.build import asks_provider, find_keys, roles_of
from pipeline.setup.compose import compose_config
from pipeline.setup.preview import dry_run
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.llm.desk import prompt
from tests.llm.provider import Answer, Asked, Provider
from tests.llm.researcher import Researcher
from tests.toy import CONF, Bench, program

MODEL = ("ideate=llm", "implement=llm")


def composed(*settings: str) -> Config:
    return compose_config(["baseline=toy", "scale=tiny", *MODEL, *settings], CONF)


@pytest.mark.parametrize("name", ["azure", "bedrock", "litellm_proxy"])
def test_credentials_in_the_environment_require_no_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_API_KEY", raising=False)
    monkeypatch.delenv("LITELLM_PROXY_API_KEY", raising=False)
    config = composed(f"llm={name}")
    assert config.llm.model.startswith(f"{name}/") and find_keys(config) == {Role.IDEATOR: None, Role.IMPLEMENTER: None}


def test_parameters_of_any_name_are_composed_and_merged() -> None:
    given = ("llm.parameters={reasoning_effort: high, extra_body: {a: 1}}", "llm.parameters.top_p=0.9")
    config = composed("llm=openai", "llm.max_tokens=500", *given, "llm.parameters.max_completion_tokens=700")
    assert parameters(config.llm) == {
        "reasoning_effort": "high",
        "extra_body": {"a": 1},
        "top_p": 0.9,
        "max_completion_tokens": 700,
    }


def test_a_role_takes_single_settings_or_a_whole_provider_file() -> None:
    config = composed(
        *("llm=openai", "llm.roles.implementer.max_tokens=900", "+llm@llm.roles.ideator=anthropic"),
        "llm.roles.judge={model: openai/gpt-4o-mini, temperature: 0}",
    )
    found = roles_of(config)
    assert found[Role.IMPLEMENTER].model == config.llm.model and found[Role.IMPLEMENTER].max_tokens == 900
    ideator = found[Role.IDEATOR]
    assert (ideator.key_variable, ideator.cache_marks) == ("ANTHROPIC_API_KEY", True)
    assert (found[Role.JUDGE].temperature, found[Role.JUDGE].key_variable) == (0.0, "OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("llm.roles.idaetor.model=x/y", r"llm\.roles\.idaetor is not a role; valid roles: ideator"),
        ("llm.roles.ideator.modle=x/y", r"llm\.roles\.ideator\.modle is not a setting; did you mean .*Valid keys"),
        ("llm.roles.ideator.max_tokens=many", r"llm\.roles\.ideator: .*many"),
        ("llm.parameters.stream=true", r"llm\.parameters\.stream cannot be set"),
        ("llm.ideators=[{modle: x/y}]", r"llm\.ideators\[0\]\.modle is not a setting; did you mean"),
        ("llm.ideators=[x/y,x/y]", r"llm\.ideators has x/y twice"),
        ("llm.implementers=[3]", r"llm\.implementers\[0\] must be a map"),
    ],
)
def test_unknown_settings_of_a_role_are_refused_before_anything_is_created(setting: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        asks_provider(composed("llm=openai", setting))


def test_each_role_needs_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    config = composed("llm=openai", "+llm@llm.roles.ideator=anthropic")
    with pytest.raises(BadInput, match=r"set ANTHROPIC_API_KEY .*with llm\.roles\.ideator\.key_file=FILE"):
        find_keys(config)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "two")
    assert find_keys(config) == {Role.IDEATOR: "two", Role.IMPLEMENTER: "one"}
    lines = [line.text for line in here(config) if line.name == "key"]
    assert any(line.startswith("ideator: for anthropic/") for line in lines)
    assert any(line.startswith("implementer: for openai/") and "max_tokens=" in line for line in lines)


def test_a_dry_run_prices_each_role_and_shows_what_is_sent() -> None:
    settings = ("llm=openai", "llm.roles.ideator={model: openai/a, max_tokens: 50, usd_in: 1, usd_out: 10}")
    found = dry_run(composed(*settings, "llm.roles.implementer={model: openai/b, parameters: {top_p: 0.5}}"))
    ideas, code = found.most
    assert (
        ideas.asked == "openai/a (max_tokens=50)"
        and "openai/b (max_tokens=" in code.asked
        and "top_p=0.5" in code.asked
    )
    assert ideas.usage.usd is not None and code.usage.usd is None
    assert ideas.usage.tokens_out == 50 * ideas.requests


def test_a_dry_run_prices_the_embeddings_of_all_that_the_ideator_writes() -> None:
    embedder = "llm.roles.embedder={model: openai/e, usd_in: 0.02, usd_out: 0}"
    settings = ("llm=openai", "llm.model=openai/a", "llm.usd_in=1", "llm.usd_out=10", "ideate.similarity=0.9")
    config = composed(*settings, embedder)
    found = dry_run(config)
    for ideas, vectors, _ in (found.expected, found.most):
        assert (vectors.what, vectors.asked, vectors.requests) == ("embeddings", "openai/e", ideas.requests)
        assert vectors.usage == Usage(ideas.usage.tokens_out, usd=pytest.approx(0.02e-6 * ideas.usage.tokens_out))
    assert any(line.startswith("  expected: embeddings ") for line in estimated(config, found))


def test_status_has_a_line_for_each_model_and_marks_an_uncertain_account(tmp_path: Path) -> None:
    ledger = Ledger(RunPaths(tmp_path))
    ledger.keep(prompt("a"), 0, Completion("x", "stop", "big", Usage(10, 0, 2, 0.5)))
    account = Account("core", 0.0, 0.0, 0.0, {}, 0.0)
    (_, line) = spent(account, ledger.spending())
    assert line == "language model: $0.50 for 1 answer, 10 tokens in (0% cached), 2 out"
    ledger.keep(prompt("b"), 0, Completion("x", "stop", "small", Usage(10, 5, 2, 0.25, True)))
    _, total, big, small = spent(account, ledger.spending())
    assert total.startswith(
        "language model: $0.75 (uncertain: the provider's counts were missing or impossible) for 2 answers"
    )
    assert big.startswith("  big: $0.50 for 1 answer") and small.startswith("  small: $0.25 (uncertain")


def test_an_ensemble_is_used_according_to_the_earnings_of_its_models(tmp_path: Path, toy_data: Path) -> None:
    """A whole run with two models for ideas and two for code, resumed after its end."""
    model, asked = Researcher(), list[Asked]()

    def script(one: Asked) -> Answer:
        asked.append(one)
        return model(one)

    bench = Bench(tmp_path / "runs", toy_data)
    small = ("select.baseline_seeds=1", "select.elites=0", "ideate.candidates=3", "ideate.batch=1")
    small += ("stop.generations=2", "cluster.poll_s=0.1", "implement.parallel=1")
    with Provider(script) as provider:
        served = ("llm=openai_compatible", f"llm.api_base={provider.openai}", "llm.usd_in=1", "llm.usd_out=2")
        served += ("llm.ideators=[openai/a, {model: openai/b, usd_in: 30, usd_out: 60}]",)
        served += ("llm.implementers=[openai/c, openai/d]",)
        bench.run("r", *MODEL, *small, *served).ok()
        count = len(asked)
        bench.run("r", *MODEL, *small, *served).ok()  # nothing is requested again
    candidates = bench.archive("r").candidates
    assert count == len(asked) == 12
    ideas = [one.body["model"] for one in asked if one.turns[1][1].startswith("Propose")]
    assert [f"openai/{one}" for one in ideas] == [one.idea.maker for one in candidates]
    assert {one.idea.implementer for one in candidates} <= {"openai/c", "openai/d"}
    codes = sorted(one.body["model"] for one in asked if not one.turns[1][1].startswith("Propose"))
    assert [f"openai/{one}" for one in codes] == sorted(one.idea.implementer for one in candidates)
    assert {one.idea.maker for one in candidates} == {"openai/a", "openai/b"}
    assert all((one.idea.usd is None) == (one.idea.maker == "openai/a") for one in candidates)  # its price is unknown


def test_ideas_and_code_come_from_two_models_with_their_own_settings(tmp_path: Path, toy_data: Path) -> None:
    """A whole run with one candidate; the first answer of the ideator is only a draft."""
    model, asked = Researcher(), list[Asked]()

    def script(one: Asked) -> Answer:
        asked.append(one)
        if len(asked) == 1:
            return Answer(f"{model.ideas(1)} No.\n</think>\n", more={"usage": {"prompt_tokens": -3}})
        return model(one) if len(asked) == 2 else Answer(model.code("Larger batch"))

    bench = Bench(tmp_path / "runs", toy_data)
    small = (
        "select.baseline_seeds=1",
        "select.elites=0",
        "ideate.candidates=1",
        "stop.generations=1",
        "cluster.poll_s=0.1",
    )
    with Provider(script) as provider:
        served = ("llm=openai_compatible", f"llm.api_base={provider.openai}", "llm.usd_in=1", "llm.usd_out=2")
        roles = ("llm.roles.ideator={model: openai/big, parameters: {top_p: 0.5}, usd_in: 3, usd_out: 4}",)
        roles += ("llm.roles.implementer={system_role: false, max_tokens: 777}",)
        done = bench.run("r", *MODEL, *small, *served, *roles).ok()
    first, second, code = asked
    assert [one.body["model"] for one in asked] == ["big", "big", "default"]
    assert first.turns == second.turns and first.body["top_p"] == 0.5 and "top_p" not in code.body
    assert (code.body["max_tokens"], [role for role, _ in code.turns]) == (777, ["user"])
    (candidate,) = bench.archive("r").candidates
    assert candidate.score is not None
    assert (done.out + done.err).count("the account is uncertain") == 1
    out = program("status", str(bench.folder / "r")).ok().out
    assert re.search(r"^ +big: \$\d\.\d\d \(uncertain", out, re.M) and re.search(r"^ +default: \$", out, re.M)
