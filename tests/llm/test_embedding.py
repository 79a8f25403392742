"""Texts compared by their meaning: vectors from a server on loopback, through litellm's own client."""

import json
import re
from pathlib import Path

import pytest

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import Unanswered
from pipeline.llm.embedding import EmbeddingModel, EmbeddingReplay
from pipeline.records import Completion
from pipeline.setup.build import find_keys, roles_of
from pipeline.setup.compose import compose_config
from pipeline.store import files
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.llm.desk import KEY, Desk, desk, in_turn
from tests.llm.provider import Answer, Asked
from tests.llm.provider import Provider as Server
from tests.llm.researcher import Researcher
from tests.toy import CONF, Bench

MODEL = "openai/text-embedding-3-small"


def vectors(asked: Asked) -> Answer:
    """A vector for each text: how often it has an a, a b, and a c."""
    return Answer(json.dumps([[text.count(letter) + 0.0 for letter in "abc"] for text in asked.body["input"]]))


def embedding(desk: Desk) -> EmbeddingModel:
    """An embedding model with the same provider and folder."""
    config = LlmConfig(model=MODEL, api_base=desk.provider.openai, retries=3, parameters={"dimensions": 3})
    return EmbeddingModel(config, KEY, Ledger(desk.paths), desk.model._limits)


def answers(folder: Path) -> list[Completion]:
    return [files.read(path, Completion) for path in sorted(folder.glob("llm/embed-*/sample_*.json"))]


def test_texts_become_vectors_of_length_one_in_batches_and_each_once(tmp_path: Path) -> None:
    with desk(tmp_path, vectors) as it:
        model = embedding(it)
        a, b, also_a = model.embed(["aa", "ab", "aa"])
        assert a is not None and b is not None and also_a is not None
        assert float(a @ also_a) == pytest.approx(1) and float(a @ b) == pytest.approx(0.5**0.5, abs=1e-4)
        model.embed(["aa", *("a" * count for count in range(1, 131))])
    assert [len(one.body["input"]) for one in it.provider.asked] == [2, 64, 64, 1]
    first = it.provider.asked[0]
    assert (first.path, first.headers["authorization"]) == ("/v1/embeddings", f"Bearer {KEY}")
    assert (first.body["model"], first.body["dimensions"]) == ("text-embedding-3-small", 3)
    assert KEY not in it.written()


def test_what_is_paid_for_is_neither_requested_again_nor_priced_wrongly(tmp_path: Path) -> None:
    with desk(tmp_path, vectors) as it:
        before = embedding(it).embed(["abc", "b"])
        after = embedding(it).embed(["b", "abc"])
        assert len(it.provider.asked) == 1
        assert [None if one is None else one.tolist() for one in after[::-1]] == [one.tolist() for one in before]
        spent = Ledger(it.paths).spending()
        tokens = len("abc\nb") // 4
        assert (spent.usage.tokens_in, spent.unpriced, spent.usage.uncertain) == (tokens, 0, False)
        assert spent.usage.usd == pytest.approx(tokens * 2e-8) == pytest.approx(it.model._limits.purse.spent)
    replay = EmbeddingReplay(Ledger(RunPaths(tmp_path)), "recorded", MODEL)
    assert [one.tolist() for one in replay.embed(["abc", "b"])] == [one.tolist() for one in before]
    with pytest.raises(BadInput, match="recorded has no vector by openai/text-embedding-3-small of the text 'c'"):
        replay.embed(["b", "c"])


def test_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    busy = Answer("Rate limit reached", 429, "rate_limit_error", {"Retry-After": "0.1"})
    with desk(tmp_path, lambda asked: busy if len(it.provider.asked) < 3 else vectors(asked)) as it:
        assert embedding(it).embed(["a"])[0] is not None
    assert [one.requests for one in answers(tmp_path)] == [3]  # none of them by the client itself


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer("Incorrect API key", 401), "the key was refused", id="key"),
        pytest.param(Answer("No such model", 404, "model_not_found"), "not found: check llm.model", id="model"),
        pytest.param(Answer("[[1, 2]]"), "no vector for each text", id="too few"),
        pytest.param(Answer("[[1, 2], [1]]"), "no vector for each text", id="other length"),
        pytest.param(Answer("[[0, 0], [1, 2]]"), "no vector for each text", id="zero"),
        pytest.param(Answer("[[NaN, 1], [1, 2]]"), "no vector for each text", id="no number"),
    ],
)
def test_what_only_a_person_can_solve_pauses_the_run(answer: Answer, reason: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(answer)) as it:
        model = embedding(it)
        with pytest.raises(Unanswered, match=reason):
            model.embed(["a", "b"])
        assert model.trouble is not None and reason in model.trouble.reason and len(it.notices) == 1


def test_a_text_that_the_model_rejects_has_no_vector_and_spoils_no_other(tmp_path: Path) -> None:
    def script(asked: Asked) -> Answer:
        long = any(len(text) > 9 for text in asked.body["input"])
        return Answer("maximum context length is 9 tokens", 400) if long else vectors(asked)

    with desk(tmp_path, script) as it:
        for _ in range(2):
            found = embedding(it).embed(["a", "b" * 10, "c"])
            assert [one is None for one in found] == [False, True, False]
        assert [len(one.body["input"]) for one in it.provider.asked] == [3, 1, 2, 1, 1]


def test_a_request_that_may_exceed_the_budget_is_not_sent(tmp_path: Path) -> None:
    with desk(tmp_path, vectors, usd=1e-7) as it, pytest.raises(Unanswered, match="nearly used up"):
        embedding(it).embed(["a" * 60])
    assert it.provider.asked == []


# ---- in a run ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(("+llm.roles.embedder.key_variable=K",), "llm.roles.embedder requires a model", id="model"),
        pytest.param(("+llm.roles.embedder.model=x/y",), "compares nothing with ideate.similarity=1", id="off"),
    ],
)
def test_an_embedder_that_cannot_work_is_refused(settings: tuple[str, ...], message: str) -> None:
    config = compose_config(["baseline=toy", "scale=tiny", "ideate=llm", "llm=openai", *settings], CONF)
    with pytest.raises(BadInput, match=re.escape(message)):
        roles_of(config)


def test_an_embedder_inherits_the_key_of_its_provider_and_no_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    chosen = ("llm=openai", "llm.parameters={reasoning_effort: high}", f"llm.roles.embedder.model={MODEL}")
    config = compose_config(["baseline=toy", "scale=tiny", "ideate=llm", *chosen, "ideate.similarity=0.9"], CONF)
    assert find_keys(config)["embedder"] == "one" and roles_of(config)["embedder"].parameters == {}


def test_an_idea_in_other_words_returns_to_the_ideator_with_its_twin(tmp_path: Path, toy_data: Path) -> None:
    """A whole run of two candidates, and its replay."""
    model, asked, talks = Researcher(), list[Asked](), list[str]()
    ideas = (
        {"title": "Momentum", "text": "Keep a velocity.", "parents": []},
        {"title": "Heavy ball", "text": "Let inertia carry every step on.", "parents": []},
        {"title": "Larger batch", "text": "Average over more rows.", "parents": []},
    )
    meaning = {"Momentum": [1.0, 0.1], "Heavy ball": [1.0, 0.0], "Larger batch": [0.0, 1.0]}

    def script(one: Asked) -> Answer:
        asked.append(one)
        if one.path.endswith("/embeddings"):
            return Answer(
                json.dumps([meaning[" ".join(text.split()[:2]).replace(" Keep", "")] for text in one.body["input"]])
            )
        if "Propose" in one.turns[1][1]:
            talks.append(one.question)
            return Answer(json.dumps({"ideas": ideas[:2] if len(talks) == 1 else ideas[2:]}))
        return model(one)

    bench = Bench(tmp_path / "runs", toy_data)
    small: tuple[str, ...] = ("select.baseline_seeds=1", "select.elites=0", "ideate.candidates=2")
    small += ("stop.generations=1", "cluster.poll_s=0.1", "ideate=llm", "implement=llm", "ideate.similarity=0.9")
    small += ("llm.roles.embedder={model: openai/vec, usd_in: 1000, usd_out: 0}",)
    with Server(script) as server:
        served = ("llm=openai_compatible", f"llm.api_base={server.openai}", "llm.usd_in=1", "llm.usd_out=2")
        bench.run("r", *small, *served).ok()
    assert [one.idea.title for one in bench.archive("r").candidates] == ["Momentum", "Larger batch"]
    assert "'Heavy ball' is the same as 'Momentum', which is known already." in talks[1]
    assert [len(one.body["input"]) for one in asked if "input" in one.body] == [2, 1]
    usd = Ledger(bench.archive("r").paths).spending().models["openai/vec"].usage.usd
    assert usd is not None and usd > 0
    again = Bench(tmp_path / "again", toy_data)
    again.run("r", *small, "llm=replay", f"llm.source={bench.folder / 'r'}").ok()
    assert [one.idea.title for one in again.archive("r").candidates] == ["Momentum", "Larger batch"]
