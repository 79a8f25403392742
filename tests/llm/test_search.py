"""A whole search whose ideas and code come from a language model on loopback that often fails."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import tokens
from pipeline.llm.keys import find_key
from pipeline.records import Completion, FailureKind, Prompt, Purpose
from pipeline.store import files
from pipeline.store.paths import short
from tests.llm.provider import Answer, Asked, Provider, common
from tests.llm.researcher import Moody, Researcher, title_of
from tests.toy import ROOT, Bench, environment, outline, program

KEY = "sk-live-0123456789abcdef"
WITH_KEY = {"LLM_API_KEY": KEY}
MODEL = ("ideate=llm", "implement=llm")
SMALL = ("select.baseline_seeds=1", "select.elites=0", "cluster.poll_s=0.1", "select.margin=0", "seed=1")
SEARCH = (*MODEL, *SMALL, "ideate.candidates=3", "stop.generations=2")
GUIDANCE = "Leave the loss as it is."


def served(provider: Provider) -> tuple[str, str]:
    return "llm=openai_compatible", f"llm.api_base={provider.openai}"


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Iterator[tuple[Bench, Provider, str]]:
    """Two generations; a user adds guidance during the first."""
    bench = Bench(tmp_path_factory.mktemp("llm"), toy_data)
    model = Moody()

    def script(asked: Asked) -> Answer:
        (bench.folder / "r/guidance.md").write_text(GUIDANCE)
        return model(asked)

    with Provider(script) as provider:
        done = bench.run("r", *SEARCH, *served(provider), extra=WITH_KEY, timeout=280).ok()
        yield bench, provider, done.out + done.err


def answers(run: Path) -> list[tuple[Prompt, Completion]]:
    """Everything that was asked and answered, in order of time."""
    found = [
        (files.read(path.parent / "prompt.json", Prompt), files.read(path, Completion))
        for path in run.glob("llm/*/sample_*.json")
    ]
    return sorted(found, key=lambda pair: pair[1].at)


def test_two_generations_finish(moody: tuple[Bench, Provider, str]) -> None:
    archive = moody[0].archive("r")
    assert len(archive.generations) == 2 and archive.report is not None
    ends = {one.idea.title: one.failure.kind if one.failure else "scored" for one in archive.candidates}
    assert len(ends) == 6 and Counter(ends.values()) == {"scored": 5, FailureKind.DUPLICATE: 1}
    exploits = [one for one in archive.candidates if one.idea.origin == "exploit"]
    assert exploits and all(one.idea.parents for one in exploits)


def test_every_kind_of_failure_occurred(moody: tuple[Bench, Provider, str]) -> None:
    archive = moody[0].archive("r")
    by_title = {one.idea.title: one for one in archive.candidates}
    tries = {
        title: [attempt.implementation.tries for attempt in one.attempts if attempt.implementation]
        for title, one in by_title.items()
    }
    assert tries["Momentum"] == [2]  # the server's error does not count as a try, the wrong file does
    assert tries["Larger batch"] == [3]  # empty, refused, good
    assert tries["Pull to zero"] == [2]  # a missing package is refused before anything runs
    crashed, mended = by_title["Larger steps"].attempts
    assert crashed.failure is not None and crashed.failure.kind is FailureKind.SMOKE and crashed.trials == ()
    assert mended.failure is None and mended.scores(Purpose.SEARCH)
    requests = [answer.requests for _, answer in answers(archive.paths.folder)]
    assert Counter(requests) == {1: len(requests) - 3, 2: 3}  # the rate limit, the error 500, the cut connection
    purposes = Counter(prompt.purpose for prompt, _ in answers(archive.paths.folder))
    assert purposes["first"] == 2 and purposes["repair_crash"] == 1 and purposes["repair_patch"] == 3


def test_an_unusable_answer_is_returned_with_the_reason(moody: tuple[Bench, Provider, str]) -> None:
    questions = [prompt.messages[-1].text for prompt, _ in answers(moody[0].folder / "r")]
    for words in (
        "This cannot be used: there is no file optimizer.py",
        "This cannot be used: model.py imports scipy_of_the_future, which is not installed",
        "KeyError: 'no import'",
        "'Momentum' is the same as 'Momentum', which is known already.",
        "2 more are needed.",
    ):
        assert any(words in question for question in questions), words


def test_the_same_code_is_not_trained_twice_and_shares_its_score(moody: tuple[Bench, Provider, str]) -> None:
    bench = moody[0]
    archive = bench.archive("r")
    (twin,) = [one for one in archive.candidates if one.failure is not None]
    first = next(one for one in archive.candidates if one.idea.title == "Momentum")
    assert twin.idea.title == "Huber loss" and twin.score is None and twin.failure is not None
    assert twin.failure.twin == f"{first.id}/attempt_0" and not list(twin.paths.folder.rglob("job.json"))
    assert first.score is not None and archive.shared_score(twin) == first.score
    assert f"the same code as {short(first.id)}" in program("status", str(bench.folder / "r")).ok().out


def test_every_answer_is_paid_once_and_recorded(moody: tuple[Bench, Provider, str]) -> None:
    bench, provider, _ = moody
    kept = answers(bench.folder / "r")
    assert provider.answered == len(kept) > 10
    texts = Counter(asked.text for asked in provider.asked)
    repeated = [prompt for prompt, answer in kept if answer.requests > 1 or not answer.text.strip()]
    assert sum(count - 1 for count in texts.values()) == len(repeated) == 4


def test_nine_tenths_of_the_prompts_are_a_shared_prefix(moody: tuple[Bench, Provider, str]) -> None:
    """The longest prefix that an earlier prompt has, too: what a provider can find in its cache."""
    bench, provider, _ = moody
    texts = ["".join(text for _, text in asked.turns) for asked in provider.asked]
    for generation in range(2):
        ours = [
            number
            for number, asked in enumerate(provider.asked)
            if (GUIDANCE in asked.text or _idea_of(bench, asked) == 1) is (generation == 1)
        ]
        later = ours[1:] if generation == 0 else ours
        shared = sum(max(common(texts[number], other) for other in texts[:number]) for number in later)
        share = shared / sum(len(texts[number]) for number in later)
        assert len(ours) >= 5 and share >= 0.9, (generation, share)


def _idea_of(bench: Bench, asked: Asked) -> int | None:
    """The generation of the idea, if its code is requested."""
    if asked.turns[1][1].startswith("Propose"):
        return None
    title = title_of(asked)
    return next(int(one.id[11:14]) for one in bench.archive("r").candidates if one.idea.title == title)


def test_guidance_is_read_and_recorded(moody: tuple[Bench, Provider, str]) -> None:
    bench, provider, _ = moody
    assert (bench.folder / "r/generation_001/guidance.md").read_text() == GUIDANCE
    assert not (bench.folder / "r/generation_000/guidance.md").exists()
    asked = [one for one in provider.asked if one.turns[1][1].startswith("Propose")]
    told = [GUIDANCE in one.text for one in asked]
    assert told == sorted(told) and 0 < sum(told) < len(told)


def test_history_contains_outcomes_and_failures(moody: tuple[Bench, Provider, str]) -> None:
    explore = [prompt for prompt, _ in answers(moody[0].folder / "r") if prompt.purpose == "explore"]
    text = explore[0].messages[1].text
    assert re.search(
        r"g0/c0: Momentum\n  .*\n  Scored 0\.\d+ ± 0\.\d+: \+0\.\d+ ± 0\.\d+ against the codebase "
        r"\((clear gain|within noise)\)",
        text,
    )


def test_no_prompt_shows_the_evaluators_data(moody: tuple[Bench, Provider, str]) -> None:
    bench, provider, _ = moody
    rows = [json.loads((bench.data / f"toy/tiny/evaluator/{name}.json").read_text()) for name in ("validation", "test")]
    numbers = {repr(row[1]) for split in rows for row in split}
    assert numbers and not any(number in asked.text for number in numbers for asked in provider.asked)


def test_the_key_is_in_no_file_and_no_output(moody: tuple[Bench, Provider, str]) -> None:
    bench, provider, said = moody
    assert {asked.headers["authorization"] for asked in provider.asked} == {f"Bearer {KEY}"}
    assert KEY not in said
    for path in (bench.folder / "r").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_status_shows_money_beside_hours(moody: tuple[Bench, Provider, str]) -> None:
    bench, provider, _ = moody
    text = program("status", str(bench.folder / "r")).ok().out
    assert "core hours: 0.0" in text
    assert f"language model: price unknown for {provider.answered} answers" in text


# ---- replay ----


def test_a_recorded_run_is_replayed_without_a_server(moody: tuple[Bench, Provider, str], tmp_path: Path) -> None:
    bench, provider, _ = moody
    before = len(provider.asked)
    again = Bench(tmp_path / "runs", bench.data)
    replay = (*SEARCH, "llm=replay", f"llm.source={bench.folder / 'r'}")
    again.run("r", *replay, "--once").ok()
    (again.folder / "r/guidance.md").write_text(GUIDANCE)
    again.run("r", *replay).ok()
    assert outline(again.archive("r")) == outline(bench.archive("r"))
    assert len(provider.asked) == before
    assert not (again.folder / "r/llm").exists()


def test_a_request_that_was_not_recorded_is_an_error_that_names_the_difference(
    moody: tuple[Bench, Provider, str], tmp_path: Path
) -> None:
    bench, _, _ = moody
    other = Bench(tmp_path / "runs", bench.data)
    source = f"llm.source={bench.folder / 'r'}"
    done = other.run("r", *SEARCH, "llm=replay", source, "train.budget_steps=70")
    done.refused(
        2, "has no answer to first-", "line", "Budget of one training: 60 steps", "now 'Budget of one training: 70"
    )
    other.run("s", *SEARCH, "llm=replay", "llm.source=/nowhere").refused(
        2, "llm.source=/nowhere holds no recorded answers"
    )


# ---- kills ----


def test_killed_between_an_answer_and_its_use_nothing_is_paid_twice(bench: Bench, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.touch()
    settings = (*MODEL, *SMALL, "ideate.candidates=1", "stop.generations=1")
    with Provider(Researcher()) as provider:
        arguments = bench.arguments("r", *settings, *served(provider))
        kills = 0
        while True:
            done = subprocess.run(
                [sys.executable, "tests/kill_after.py", f"{known}:sample_", *arguments],
                cwd=ROOT,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode in (0, -9), done.stdout + done.stderr
            if done.returncode == 0:
                break
            kills += 1
        assert kills == provider.answered == len(provider.asked) == 2
    archive = bench.archive("r")
    assert archive.report is not None and [one.closed for one in archive.candidates] == [True]


# ---- failures that require a user ----


def test_a_suspended_key_pauses_the_model_and_trials_are_still_collected(bench: Bench) -> None:
    model = Researcher()
    closed = [False]

    def script(asked: Asked) -> Answer:
        if closed[0]:
            return Answer(f"Your API key {KEY} has been suspended", 403, "account_deactivated")
        closed[0] = "Write the code" in asked.question
        return model(asked)

    settings = (*MODEL, *SMALL, "ideate.candidates=3", "stop.generations=1", "implement.parallel=1")
    with Provider(script) as provider:
        stopped = bench.run("r", *settings, *served(provider), extra=WITH_KEY)
        asked = len(provider.asked)
    assert stopped.code == 1 and "Traceback" not in stopped.err
    (error,) = stopped.err.splitlines()
    (notice,) = (line for line in stopped.out.splitlines() if line.startswith("waiting"))
    assert "(asking the language model): openai/default: the account or its key is suspended" in notice
    assert error.startswith("error: ") and error.endswith("then run the same command again")
    assert KEY not in stopped.err + stopped.out
    assert asked == 3  # ideas, the code of one, and the one that was refused
    archive = bench.archive("r")
    assert [one.score is not None for one in archive.candidates] == [True, False, False]
    assert [one.failure for one in archive.candidates] == [None] * 3 and archive.baseline.scores(Purpose.BASELINE)
    with Provider(model) as provider:
        bench.run("r", *settings, *served(provider), extra=WITH_KEY).ok()
        assert len(provider.asked) == 2  # what was paid for is not requested again
    assert all(one.score is not None for one in bench.archive("r").candidates)


def test_without_a_key_the_error_names_the_variable_and_the_offline_alternative(bench: Bench) -> None:
    done = bench.run("r", *MODEL, "llm=anthropic", extra={"ANTHROPIC_API_KEY": ""})
    done.refused(2, "ANTHROPIC_API_KEY", "llm.key_file=", "ideate=bank implement=bank", "llm=replay")
    assert not bench.folder.exists()


def test_a_key_file_must_be_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    config = LlmConfig(model="openai/gpt", key_variable="OPENAI_API_KEY", key_file=str(path))
    path.chmod(0o640)
    with pytest.raises(BadInput, match=f"can be read by others.*chmod 600 {path}"):
        find_key(config, {})
    path.chmod(0o600)
    assert find_key(config, {}) == KEY
    assert find_key(config, {"OPENAI_API_KEY": "from the environment"}) == "from the environment"
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        find_key(config, {})


# ---- costs ----


def test_a_dry_run_estimates_the_cost_from_the_real_prompts_without_requests(
    moody: tuple[Bench, Provider, str], tmp_path: Path
) -> None:
    bench, provider, _ = moody
    before = len(provider.asked)
    elsewhere = Bench(tmp_path / "runs", bench.data)
    given = (*SEARCH, "dry_run=true", "llm=anthropic", "llm.model=anthropic/claude-sonnet-4-5", "ideate.batch=2")
    out = elsewhere.run("r", *given, extra={"ANTHROPIC_API_KEY": ""}).ok().out
    assert not elsewhere.folder.exists()
    first = next(prompt for prompt, _ in answers(bench.folder / "r") if prompt.purpose == "first")
    size = sum(tokens(message.text) for message in first.messages)
    found = re.search(
        r"expected: ideas +2 requests, ([\d,]+) tokens in \(([\d,]+) of them cached\), ([\d,]+) out: \$0\.\d\d", out
    )
    assert found is not None, out
    counted, cached, _ = (int(number.replace(",", "")) for number in found.groups())
    assert abs(counted - 2 * size) < 10 and 0.9 * size < cached < size
    for words in (
        "generation 0, 3 candidates",
        "at most: code",
        "all 2 generations: about $",
        "the whole run: at most ",
    ):
        assert words in out, out
    after = bench.run("r", *SEARCH, *served(provider), "dry_run=true", "stop.generations=3").ok().out
    assert "generation 2, 3 candidates" in after and "price unknown of openai/default: set llm.usd_in" in after
    assert len(provider.asked) == before and len(bench.archive("r").generations) == 2


def test_a_dry_run_without_a_model_costs_only_hours(bench: Bench) -> None:
    out = bench.run("r", *SMALL, "dry_run=true").ok().out
    assert "no language model is used: $0.00" in out and "core hours of the generation: 0.2 at most" in out
