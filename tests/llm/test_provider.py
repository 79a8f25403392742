"""The models of a provider, through litellm's own client, against a provider on loopback that speaks both formats."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import BadInput
from pipeline.llm.base import Unanswered
from pipeline.records import Completion, Usage
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.llm.desk import KEY, MODELS, desk, in_turn, prompt
from tests.llm.provider import Answer, Asked
from tests.toy import ROOT, environment

FORMATS = ("openai", "anthropic")


def error(status: int, text: str, kind: str = "api_error", **more: Any) -> Answer:
    return Answer(text, status, kind, **more)


# ---- answers ----


@pytest.mark.parametrize("speaks", FORMATS)
def test_an_answer_comes_with_its_tokens_and_its_price(speaks: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Momentum.")), speaks) as it:
        first, second = it.ask("What?"), it.ask("What else?")
        (path,) = {asked.path for asked in it.provider.asked}
        assert path == {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[speaks]
        assert (first.text, first.finish, first.requests) == ("Momentum.", "stop", 1)
        sent = sum(len(text) for _, text in it.provider.asked[0].turns)
        assert abs(first.usage.tokens_in - sent // 4) < 3
        assert first.usage.tokens_cached == 0 < second.usage.tokens_cached <= second.usage.tokens_in
        assert first.usage.usd is not None and second.usage.usd is not None
        assert 0 < second.usage.usd < first.usage.usd  # what was cached is cheaper
        spent = Ledger(it.paths).spending()
        assert (spent.answers, spent.unpriced) == (2, 0)
        assert spent.usage.usd == pytest.approx(first.usage.usd + second.usage.usd)


@pytest.mark.parametrize("speaks", FORMATS)
def test_the_shared_part_is_marked_where_the_provider_wants_it(speaks: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Yes.")), speaks, cache_marks=speaks == "anthropic") as it:
        it.ask()
        marked = json.dumps(it.provider.asked[0].body).count("cache_control")
        assert marked == (1 if speaks == "anthropic" else 0)


@pytest.mark.parametrize("speaks", FORMATS)
@pytest.mark.parametrize(
    ("answer", "finish"),
    [
        pytest.param(Answer(""), "stop", id="empty"),
        pytest.param(Answer("", finish="content_filter"), "content_filter", id="refusal"),
        pytest.param(Answer('{"ideas": [{"title": "Half', finish="length"), "length", id="cut off"),
    ],
)
def test_an_answer_that_is_none_is_still_written_down(answer: Answer, finish: str, speaks: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(answer), speaks) as it:
        assert (it.ask().text, it.ask().finish, len(it.provider.asked)) == (answer.text, finish, 1)


def test_a_slow_answer_is_waited_for(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("At last.", wait_s=1.5))) as it:
        assert (it.ask().text, len(it.provider.asked)) == ("At last.", 1)


# ---- troubles that pass ----


@pytest.mark.parametrize("speaks", FORMATS)
@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(error(429, "Rate limit reached", "rate_limit_error"), id="rate limit"),
        pytest.param(error(500, "Internal error"), id="server error"),
        pytest.param(error(529, "Overloaded", "overloaded_error"), id="overloaded"),
        pytest.param(Answer("Half an ans", cut=True), id="cut connection"),
    ],
)
def test_what_passes_is_asked_again(trouble: Answer, speaks: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(trouble, Answer("Well.")), speaks) as it:
        answer = it.ask()
        assert (answer.text, answer.requests, len(it.provider.asked)) == ("Well.", 2, 2)
        assert it.notices == [] and it.model.trouble is None


def test_a_time_out_is_asked_again(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Late.", wait_s=3), Answer("Well.")), timeout_s=0.5) as it:
        assert (it.ask().text, len(it.provider.asked)) == ("Well.", 2)


@pytest.mark.parametrize("speaks", FORMATS)
@pytest.mark.parametrize("header", ["Retry-After", "retry-after-ms"])
def test_the_wait_that_the_provider_asks_for_is_kept(header: str, speaks: str, tmp_path: Path) -> None:
    """Our own first wait is a second at most."""
    headers = {header: "1500" if header.endswith("ms") else "1.5"}
    busy = error(429, "Too many tokens per minute", "rate_limit_error", headers=headers)
    with desk(tmp_path, in_turn(busy, Answer("Well.")), speaks) as it:
        it.ask()
        first, second = it.provider.asked
        assert second.at - first.at >= 1.5


def test_a_long_wait_pauses_everything_once(tmp_path: Path) -> None:
    busy = error(429, "Daily limit", "rate_limit_error", headers={"Retry-After": "3600"})
    with desk(tmp_path, in_turn(busy)) as it:
        for _ in range(3):
            with pytest.raises(Unanswered):
                it.ask()
        assert len(it.provider.asked) == 1
        (notice,) = it.notices
        assert "asks to wait 3600 s" in notice
        assert it.model.trouble is not None and it.model.trouble.until is not None


def test_an_outage_pauses_and_is_tried_again_later(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(error(503, "Down")), retries=1) as it:
        with pytest.raises(Unanswered):
            it.ask()
        assert len(it.provider.asked) == 2
        (notice,) = it.notices
        assert "does not answer" in notice and "asked again later" in notice
        assert it.model.trouble is not None and it.model.trouble.until is not None


# ---- troubles that only a person can end ----


@pytest.mark.parametrize(
    ("speaks", "trouble", "words"),
    [
        ("openai", error(429, "You exceeded your current quota", "insufficient_quota"), "credit is used up"),
        ("anthropic", error(400, "Your credit balance is too low", "invalid_request_error"), "credit is used up"),
        ("openai", error(401, f"Incorrect API key provided: {KEY}", "invalid_api_key"), "the key was refused"),
        ("anthropic", error(401, "invalid x-api-key", "authentication_error"), "the key was refused"),
        ("openai", error(404, "The model `gpt-4o` does not exist", "model_not_found"), "no such model"),
        ("anthropic", error(404, "model: claude-sonnet-4-5", "not_found_error"), "llm.model"),
        ("openai", error(403, "Your account has been suspended", "account_deactivated"), "suspended"),
        ("anthropic", error(403, "This organization has been disabled", "permission_error"), "suspended"),
        ("openai", error(400, "temperature must be 1", "invalid_request_error"), "change the llm settings"),
    ],
)
def test_what_does_not_pass_pauses_with_one_notice(speaks: str, trouble: Answer, words: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(trouble), speaks) as it:
        for text in ("What?", "What else?"):
            with pytest.raises(Unanswered):
                it.ask(text)
        assert len(it.provider.asked) == 1
        (notice,) = it.notices
        assert words in notice and "\n" not in notice and MODELS[speaks] in notice
        assert it.model.trouble is not None and it.model.trouble.until is None
        assert KEY not in notice and KEY[:12] not in notice
        assert it.written() == ""


@pytest.mark.parametrize(
    ("speaks", "trouble", "finish"),
    [
        (
            "openai",
            error(400, "This model's maximum context length is 128000 tokens", "context_length_exceeded"),
            "context",
        ),
        ("anthropic", error(400, "prompt is too long: 210000 tokens", "invalid_request_error"), "context"),
        ("openai", error(400, "Rejected by our safety system", "content_policy_violation"), "content_filter"),
    ],
)
def test_a_prompt_that_gets_no_answer_is_no_reason_to_pause(
    speaks: str, trouble: Answer, finish: str, tmp_path: Path
) -> None:
    with desk(tmp_path, in_turn(trouble), speaks) as it:
        assert (it.ask().text, it.ask().finish, len(it.provider.asked)) == ("", finish, 1)
        assert it.notices == [] and it.ask().usage.usd == 0


def test_nobody_there_is_an_outage(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Well.")), api_base="http://127.0.0.1:9/v1", retries=0) as it:
        with pytest.raises(Unanswered):
            it.ask()
        assert "does not answer" in it.notices[0]


# ---- paid once ----


def test_an_answer_on_disk_is_not_asked_for_again(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("One."))) as it:
        it.ask(), it.ask(sample=1)
        assert len(it.provider.asked) == 2
    with desk(tmp_path, in_turn(Answer("Two."))) as again:
        assert [again.ask().text, again.ask(sample=1).text, again.ask("Else?").text] == ["One.", "One.", "Two."]
        assert len(again.provider.asked) == 1


def test_the_same_question_from_two_sides_is_paid_once(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("One.", wait_s=0.3))) as it, ThreadPoolExecutor(4) as pool:
        assert {answer.text for answer in pool.map(lambda _: it.ask(), range(4))} == {"One."}
        assert len(it.provider.asked) == 1


def test_no_more_requests_than_allowed_are_in_flight(tmp_path: Path) -> None:
    in_flight, most, lock = [0], [0], threading.Lock()
    meet = threading.Event()

    def script(asked: Asked) -> Answer:
        with lock:
            in_flight[0] += 1
            most[0] = max(most[0], in_flight[0])
            if in_flight[0] == 2:
                meet.set()
        threading.Timer(0.3, land).start()
        return Answer("Well.", wait_s=0.35)

    def land() -> None:
        with lock:
            in_flight[0] -= 1

    with desk(tmp_path, script, parallel=2) as it, ThreadPoolExecutor(6) as pool:
        list(pool.map(it.ask, map(str, range(6))))
        assert most[0] == 2 and meet.is_set() and len(it.provider.asked) == 6


def test_whoever_stops_does_not_wait_for_answers(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(error(500, "Down")), retries=1000) as it:
        threading.Timer(1.0, it.stopping.set).start()
        with pytest.raises(Unanswered):
            it.ask()


# ---- money ----


def test_the_budget_counts_what_is_in_flight_and_is_never_passed(tmp_path: Path) -> None:
    """Each answer may cost 1 dollar and costs about a tenth of that; there is room for one in flight and a half."""
    prices = {"usd_in": 0.0, "usd_out": 10_000.0}
    in_flight = threading.Semaphore(1)

    def script(asked: Asked) -> Answer:
        assert in_flight.acquire(blocking=False), "two in flight"
        threading.Timer(0.1, in_flight.release).start()
        return Answer("x" * 40, wait_s=0.15)

    with desk(tmp_path, script, usd=1.5, **prices) as it, ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(it.ask, str(number)) for number in range(12)]
        ends = [future.exception() for future in futures]
        assert {type(end) for end in ends} == {type(None), Unanswered}
        spent = Ledger(it.paths).spending().usage.usd
        assert spent is not None and 0.5 < spent <= 0.6 and spent + 1.0 > 1.5
        (notice,) = it.notices
        assert "budget.usd=1.5 is all but used up" in notice and "give more with budget.usd=" in notice
    with desk(tmp_path, in_turn(Answer("More.")), usd=1.5, **prices) as again:
        with pytest.raises(Unanswered):
            again.ask("one more")  # what was spent before counts
        assert again.provider.asked == []


def test_unknown_prices_are_unknown(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Well.")), model="openai/my-own") as it:
        assert it.ask().usage.usd is None
        spent = Ledger(it.paths).spending()
        assert (spent.answers, spent.unpriced, spent.usage.usd) == (1, 1, 0)
    with (
        pytest.raises(BadInput, match=r"budget\.usd=5 cannot be kept: the price of openai/my-own is not known.*usd_in"),
        desk(tmp_path, in_turn(Answer()), model="openai/my-own", usd=5),
    ):
        pass


def test_stated_prices_are_taken(tmp_path: Path) -> None:
    stated = {"usd_in": 2.0, "usd_cached": 0.5, "usd_out": 8.0}
    with desk(tmp_path, in_turn(Answer("x" * 400)), model="openai/my-own", **stated) as it:
        it.ask("One?")
        usage = it.ask("Two?").usage
        fresh = usage.tokens_in - usage.tokens_cached
        assert usage.usd == pytest.approx((2.0 * fresh + 0.5 * usage.tokens_cached + 8.0 * 100) / 1e6)
        assert usage.tokens_cached > 0


def test_spending_adds_up_with_unknown_prices_left_out(tmp_path: Path) -> None:
    ledger = Ledger(RunPaths(tmp_path))
    assert ledger.spending().answers == 0
    ledger.keep(prompt("a"), 0, Completion("", "stop", "m", Usage(10, 5, 2, 0.5)))
    ledger.keep(prompt("a"), 1, Completion("", "stop", "m", Usage(10, 5, 2, None)))
    found = ledger.spending()
    assert (found.answers, found.unpriced, found.usage.tokens_in, found.usage.usd) == (2, 1, 20, 0.5)


# ---- keys ----


@pytest.mark.parametrize("speaks", FORMATS)
def test_the_key_is_sent_and_written_nowhere(speaks: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answers = (error(500, f"Trouble with {KEY}"), Answer("Well."), error(401, f"Bad key {KEY}", "invalid_api_key"))
    with desk(tmp_path, in_turn(*answers), speaks) as it, ExitStack() as stack:
        it.ask("What?")
        stack.enter_context(pytest.raises(Unanswered))
        headers = it.provider.asked[0].headers
        assert KEY in (headers.get("authorization", "") + headers.get("x-api-key", ""))
        assert KEY not in it.written() and "Well." in it.written()
        try:
            it.ask("What else?")
        finally:
            assert KEY not in "".join(it.notices) and it.notices
            assert KEY not in "".join(capfd.readouterr())


# ---- import ----


def test_nothing_is_fetched_when_litellm_is_imported() -> None:
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from pipeline.llm.provider import import_litellm, find_prices\n"
        "from pipeline.config import LlmConfig\n"
        "prices = find_prices(LlmConfig(model='anthropic/claude-sonnet-4-5'), import_litellm())\n"
        "assert prices and 0 < prices.tokens_cached < prices.tokens_in < prices.tokens_out\n"
        "assert find_prices(LlmConfig(model='openai/my-own'), import_litellm()) is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
