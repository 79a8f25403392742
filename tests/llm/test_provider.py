"""The models of a provider, through litellm's own client, with a provider on loopback that speaks both formats."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm import provider
from pipeline.llm.base import Unanswered
from pipeline.llm.provider import ProviderModel, SpendingLimits
from pipeline.llm.replay import Replay
from pipeline.records import Completion, Prompt, Usage
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.llm.desk import KEY, MODELS, desk, in_turn, prompt
from tests.llm.provider import Answer, Asked, Provider
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
        assert 0 < second.usage.usd < first.usage.usd  # cached tokens are cheaper
        spent = Ledger(it.paths).spending()
        assert (spent.answers, spent.unpriced) == (2, 0)
        assert spent.usage.usd == pytest.approx(first.usage.usd + second.usage.usd)


@pytest.mark.parametrize("speaks", FORMATS)
def test_the_shared_part_is_marked_if_the_provider_requires_it(speaks: str, tmp_path: Path) -> None:
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
def test_an_unusable_answer_is_recorded_too(answer: Answer, finish: str, speaks: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(answer), speaks) as it:
        assert (it.ask().text, it.ask().finish, len(it.provider.asked)) == (answer.text, finish, 1)


def test_a_slow_answer_is_waited_for(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("At last.", wait_s=1.5))) as it:
        assert (it.ask().text, len(it.provider.asked)) == ("At last.", 1)


# ---- temporary failures ----


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
def test_a_temporary_failure_is_retried(trouble: Answer, speaks: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(trouble, Answer("Well.")), speaks) as it:
        answer = it.ask()
        assert (answer.text, answer.requests, len(it.provider.asked)) == ("Well.", 2, 2)
        assert it.notices == [] and it.model.trouble is None


def test_a_time_out_is_retried(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Late.", wait_s=3), Answer("Well.")), timeout_s=0.5) as it:
        assert (it.ask().text, len(it.provider.asked)) == ("Well.", 2)


@pytest.mark.parametrize("speaks", FORMATS)
@pytest.mark.parametrize("header", ["Retry-After", "retry-after-ms"])
def test_the_wait_that_the_provider_requests_is_respected(header: str, speaks: str, tmp_path: Path) -> None:
    """Our own first wait is at most a second."""
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


def test_an_outage_pauses_and_is_retried_later(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(error(503, "Down")), retries=1) as it:
        with pytest.raises(Unanswered):
            it.ask()
        assert len(it.provider.asked) == 2
        (notice,) = it.notices
        assert "does not answer" in notice and "retried later" in notice
        assert it.model.trouble is not None and it.model.trouble.until is not None


# ---- failures that require a user ----


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
def test_a_permanent_failure_pauses_with_one_notice(speaks: str, trouble: Answer, words: str, tmp_path: Path) -> None:
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


def test_a_missing_server_is_an_outage(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Well.")), api_base="http://127.0.0.1:9/v1", retries=0) as it:
        with pytest.raises(Unanswered):
            it.ask()
        assert "does not answer" in it.notices[0]


# ---- paid once ----


def test_an_answer_on_disk_is_not_requested_again(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("One."))) as it:
        it.ask(), it.ask(sample=1)
        assert len(it.provider.asked) == 2
    with desk(tmp_path, in_turn(Answer("Two."))) as again:
        assert [again.ask().text, again.ask(sample=1).text, again.ask("Else?").text] == ["One.", "One.", "Two."]
        assert len(again.provider.asked) == 1


def test_two_simultaneous_equal_requests_are_paid_once(tmp_path: Path) -> None:
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


def test_stopping_does_not_wait_for_answers(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(error(500, "Down")), retries=1000) as it:
        threading.Timer(1.0, it.stopping.set).start()
        with pytest.raises(Unanswered):
            it.ask()


# ---- money ----


def test_the_budget_includes_requests_in_flight_and_is_never_exceeded(tmp_path: Path) -> None:
    """Each answer may cost 1 dollar and costs about a tenth of that; the budget allows one and a half in flight."""
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
        assert "budget.usd=1.5 is nearly used up" in notice and "give more with budget.usd=" in notice
    with desk(tmp_path, in_turn(Answer("More.")), usd=1.5, **prices) as again:
        with pytest.raises(Unanswered):
            again.ask("one more")  # earlier spending counts
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


def test_configured_prices_are_used(tmp_path: Path) -> None:
    stated = {"usd_in": 2.0, "usd_cached": 0.5, "usd_out": 8.0}
    with desk(tmp_path, in_turn(Answer("x" * 400)), model="openai/my-own", **stated) as it:
        it.ask("One?")
        usage = it.ask("Two?").usage
        fresh = usage.tokens_in - usage.tokens_cached
        assert usage.usd == pytest.approx((2.0 * fresh + 0.5 * usage.tokens_cached + 8.0 * 100) / 1e6)
        assert usage.tokens_cached > 0


def test_spending_is_summed_without_unknown_prices(tmp_path: Path) -> None:
    ledger = Ledger(RunPaths(tmp_path))
    assert ledger.spending().answers == 0
    ledger.keep(prompt("a"), 0, Completion("", "stop", "m", Usage(10, 5, 2, 0.5)))
    ledger.keep(prompt("a"), 1, Completion("", "stop", "m", Usage(10, 5, 2, None)))
    found = ledger.spending()
    assert (found.answers, found.unpriced, found.usage.tokens_in, found.usage.usd) == (2, 1, 20, 0.5)


# ---- keys ----


@pytest.mark.parametrize("speaks", FORMATS)
def test_the_key_is_sent_and_never_written(speaks: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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


# ---- status 200 without an answer ----


def body(message: object = None, finish: object = "stop", **more: object) -> dict[str, Any]:
    """An answer of a server with OpenAI's protocol."""
    usage = {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    made = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return {**made, **more}


CALL = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
EMPTY = {
    "no choices": (body(choices=[]), "unknown"),
    "null content": (body({"role": "assistant", "content": None}), "stop"),
    "white space": (body({"role": "assistant", "content": " \n"}), "stop"),
    "only a tool call": (body({"role": "assistant", "content": None, "tool_calls": CALL}, "tool_calls"), "tool_calls"),
    "filtered": (body({"role": "assistant", "content": None}, "content_filter"), "content_filter"),
    "refused": (body({"role": "assistant", "content": None, "refusal": "I cannot."}), "stop"),
    "no reason": (body({"role": "assistant", "content": ""}, None), "stop"),
    "a reason that nobody knows": (body({"role": "assistant", "content": ""}, "lunch"), "stop"),
    "only reasoning": (body({"role": "assistant", "content": None, "reasoning_content": "Hm."}), "reasoning"),
    "only reasoning, cut off": (
        body({"role": "assistant", "content": None, "reasoning_content": "Hm."}, "length"),
        "length",
    ),
    "only reasoning in the text": (body({"role": "assistant", "content": "Hm, 8?\n</think>\n"}), "reasoning"),
}


@pytest.mark.parametrize(("answer", "finish"), EMPTY.values(), ids=EMPTY)
def test_status_200_without_an_answer_is_an_empty_answer_that_was_paid(
    answer: dict[str, Any], finish: str, tmp_path: Path
) -> None:
    with desk(tmp_path, in_turn(Answer(body=answer))) as it:
        found = it.ask()
        assert (found.text.strip(), found.finish) == ("", finish)
        assert (found.usage.tokens_in, found.usage.tokens_out) == (300, 40)
        assert it.ask() == found and len(it.provider.asked) == 1
        assert "I cannot." in found.message or "refusal" not in str(answer)
        spent = Ledger(it.paths).spending()
        assert spent.answers == 1 and spent.usage.usd is not None and spent.usage.usd > 0
        assert it.notices == []


ODD = {
    "null choices": body(choices=None),
    "null message": body(None),
    "a list for a text": body({"role": "assistant", "content": [{"type": "text", "text": "Well."}]}),
    "a number for a text": body({"role": "assistant", "content": 5}),
    "no counts": body(
        {"role": "assistant", "content": "x"}, usage={"prompt_tokens": "many", "completion_tokens": None}
    ),
    "half a count": body({"role": "assistant", "content": "x"}, usage={"prompt_tokens": 1.5, "completion_tokens": 2}),
    "nothing": {},
    "a list": [],
    "null": b"null",
    "a text": b'"hello"',
    "a page": b"<html>busy</html>",
    "no bytes": b"",
    "no UTF-8": b'{"choices": "\xe9"}',
    "an error": {"error": {"message": "Upstream down", "code": 502}},
    "an error without a number": {"error": {"message": "Provider returned error", "code": "down"}},
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_a_body_of_unknown_form_is_requested_again(
    answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_FIRST_WAIT_S", 0.01)
    with desk(tmp_path, in_turn(Answer(body=answer), Answer("Well."))) as it:
        found = it.ask()
        assert (found.text, found.requests, len(it.provider.asked)) == ("Well.", 2, 2)
        assert it.model.trouble is None


def test_a_body_of_unknown_form_was_paid_for(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer(body=body(None)), Answer("Well."))) as it:
        found = it.ask()
        alone = it.ask("Again?")
        assert found.usage.uncertain and not alone.usage.uncertain
        assert found.usage.tokens_in > 1.9 * alone.usage.tokens_in
        (warning,) = it.warnings
        assert "no known form" in warning and "estimated" in warning


@pytest.mark.parametrize(
    "answer", [{}, [], b"null", b"busy", {"content": []}, {"content": None}, {"content": [{"type": "x"}]}]
)
def test_unusual_bodies_in_the_other_format_do_not_raise(
    answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_FIRST_WAIT_S", 0.01)
    with desk(tmp_path, in_turn(Answer(body=answer), Answer("Well.")), "anthropic") as it:
        first = it.ask()
        assert first.text == "Well." or (first.text == "" and it.ask(sample=1).text == "Well.")


# ---- a provider's numbers ----


NUMBERS = {
    "more cached than sent": {
        "prompt_tokens": 10,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 965602},
    },
    "negative": {"prompt_tokens": -10, "completion_tokens": -100, "total_tokens": 5},
    "negative cached": {
        "prompt_tokens": 10,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": -9000},
    },
    "none": None,
}


@pytest.mark.parametrize(
    "stated", [{}, {"usd_in": 3.0, "usd_cached": 0.3, "usd_out": 15.0}], ids=["litellm's", "stated"]
)
@pytest.mark.parametrize("usage", NUMBERS.values(), ids=NUMBERS)
def test_impossible_numbers_never_increase_the_budget(
    usage: dict[str, Any] | None, stated: dict[str, float], tmp_path: Path
) -> None:
    answer = Answer("x" * 400, more={"usage": usage and {"total_tokens": 110, **usage}})
    with desk(tmp_path, in_turn(answer), usd=10.0, **stated) as it:
        for text in ("One?", "Two?", "Three?"):
            found = it.ask(text).usage
            assert found.uncertain and found.usd is not None and found.usd > 0
            assert 0 <= found.tokens_cached <= found.tokens_in and found.tokens_out > 0
        spent = Ledger(it.paths).spending()
        assert spent.usage.uncertain and spent.usage.usd is not None and spent.usage.usd > 0
        (warning,) = it.warnings  # reported once
        assert "missing or impossible" in warning and "the account is uncertain" in warning
        assert it.notices == []


def test_numbers_written_as_text_are_read(tmp_path: Path) -> None:
    usage = {"prompt_tokens": "300", "completion_tokens": "40", "total_tokens": "340"}
    with desk(tmp_path, in_turn(Answer("Well.", more={"usage": usage}))) as it:
        found = it.ask().usage
        assert (found.tokens_in, found.tokens_out, found.uncertain) == (300, 40, False) and it.warnings == []


# ---- settings that leave no room for an answer ----

TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 8192 tokens and "
    "your request has 2900 input tokens (8000 > 8192 - 2900)."
)
USED_UP = body(
    {"role": "assistant", "content": None, "reasoning_content": "I think..."},
    "length",
    usage={"prompt_tokens": 900, "completion_tokens": 8000, "total_tokens": 8900},
)


def test_a_limit_that_the_server_refuses_pauses_and_is_retried_once_it_is_fixed(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(error(400, TOO_LARGE, "BadRequestError")), max_tokens=8000) as it:
        for _ in range(3):
            with pytest.raises(Unanswered):
                it.ask()
        assert len(it.provider.asked) == 1
        (notice,) = it.notices
        assert "llm.max_tokens=8000 does not fit the server: set a lower llm.max_tokens" in notice
        assert "8000 > 8192 - 2900" in notice
        assert it.written() == ""
    with desk(tmp_path, in_turn(Answer("Well.")), max_tokens=2000) as mended:
        assert (mended.ask().text, len(mended.provider.asked)) == ("Well.", 1)


def test_reasoning_that_uses_up_the_limit_is_retried_once_and_again_when_the_limit_changes(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer(body=USED_UP)), max_tokens=8000) as it:
        first = it.ask()
        assert (first.text, first.finish) == ("", "length")
        with pytest.raises(Unanswered):
            it.ask(sample=1)
        (notice,) = it.notices
        assert "llm.max_tokens=8000 was used up by hidden reasoning (8000 tokens)" in notice
        assert "set a higher llm.max_tokens" in notice and "llm.parameters" in notice
        assert Ledger(it.paths).spending().usage.tokens_out == 16000
    with desk(tmp_path, in_turn(Answer("Well.")), max_tokens=8000) as same:
        with pytest.raises(Unanswered):
            same.ask()
        assert same.provider.asked == [] and "was used up" in same.notices[0]
    with desk(tmp_path, in_turn(Answer("Well.")), max_tokens=9000) as mended:
        assert (mended.ask().text, len(mended.provider.asked)) == ("Well.", 1)
        assert Ledger(mended.paths).spending().answers == 3
    with desk(tmp_path, in_turn(Answer("Other.")), max_tokens=8000) as back:
        assert (back.ask().text, back.provider.asked) == (
            "Well.",
            [],
        )  # a usable answer counts, whatever the settings


def test_a_usable_answer_beside_those_that_reasoning_used_up_is_used(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer("Well."), Answer(body=USED_UP), Answer(body=USED_UP))) as it:
        assert [it.ask(sample=number).text for number in (2, 0, 1)] == ["Well.", "", ""]
        assert it.notices == []


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Answer("Half", finish="length"), {"max_tokens": 200}),
        (Answer("", finish="content_filter"), {"model": "openai/gpt-4o-mini"}),
        (Answer(""), {"parameters": {"top_p": 0.5}}),
        (error(400, "prompt is too long: 210000 tokens"), {"context": 1000}),
    ],
)
def test_a_failed_request_is_repeated_with_other_settings(first: Answer, then: dict[str, Any], tmp_path: Path) -> None:
    for settings, count in (({}, 1), ({"retries": 1}, 0), (then, 1)):
        with desk(tmp_path, in_turn(Answer("Well.") if settings is then else first), **settings) as it:
            it.ask()
            assert len(it.provider.asked) == count


def test_the_servers_own_text_is_kept_with_an_error_that_counts_as_an_answer(tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(error(400, "prompt is too long: 210000 tokens"))) as it:
        assert "prompt is too long: 210000 tokens" in it.ask().message and "210000" in it.written()


# ---- reasoning in the text ----


@pytest.mark.parametrize(
    "text",
    [
        "a draft\n</think>\n\nWell.",
        "<think>a draft</think>Well.",
        "<|channel|>analysis<|message|>a draft<|end|><|start|>assistant<|channel|>final<|message|>Well.",
        "[THINK]a draft[/THINK]Well.",
        "◁think▷a draft◁/think▷Well.",
    ],
)
def test_reasoning_is_not_part_of_an_answer_and_is_kept_unchanged(text: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(Answer(text))) as it:
        assert it.ask().text.strip() == it.ask().text.strip() == "Well."
        assert "<think>" in text or "a draft" in it.written()  # litellm removes some of it itself
    found = Replay(Ledger(RunPaths(tmp_path)), "recorded").ask(prompt("What?"))
    assert found.text.strip() == "Well."


def test_lone_surrogates_are_replaced_when_an_answer_arrives(tmp_path: Path) -> None:
    odd = json.dumps(body({"role": "assistant", "content": "a \ud83d b"}, model="m\ud83d")).encode()
    with desk(tmp_path, in_turn(Answer(body=odd))) as it:
        assert it.ask().text == it.ask().text == "a \N{REPLACEMENT CHARACTER} b"


# ---- parameters ----


def test_parameters_are_passed_through(tmp_path: Path) -> None:
    given = {"max_completion_tokens": 300, "top_p": 0.5, "extra_body": {"chat_template_kwargs": {"thinking": True}}}
    with desk(tmp_path, in_turn(Answer("Well.")), parameters=given, system_role=False) as it:
        it.ask()
        sent = it.provider.asked[0]
        assert (sent.body["max_completion_tokens"], sent.body["top_p"]) == (300, 0.5) and "max_tokens" not in sent.body
        assert sent.body["chat_template_kwargs"] == {"thinking": True}
        assert [role for role, _ in sent.turns] == ["user"] and sent.text.startswith("The codebase.")


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        (
            error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            ),
            "set llm.parameters.max_completion_tokens=100",
        ),
        (
            error(400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
            "llm.system_role=false",
        ),
        (error(400, "Unknown parameter: 'reasoning_effort'."), "change llm.parameters"),
        (
            error(400, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", "budget_exceeded"),
            "the budget that a proxy sets",
        ),
        (
            error(429, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", "budget_exceeded"),
            "the budget that a proxy sets",
        ),
        (error(413, "<html>413 Request Entity Too Large</html>"), "set a lower llm.context, or raise the limit there"),
    ],
)
def test_the_advice_names_the_setting(trouble: Answer, advice: str, tmp_path: Path) -> None:
    with desk(tmp_path, in_turn(trouble)) as it:
        with pytest.raises(Unanswered):
            it.ask()
        assert len(it.provider.asked) == 1
        assert advice in it.notices[0]


SCHEMA = {
    "type": "object",
    "properties": {"ideas": {"type": "array"}},
    "required": ["ideas"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("model", "structured", "kind"),
    [
        ("openai/gpt-4o", True, "json_schema"),
        ("openai/my-own", True, "json_object"),
        ("openai/gpt-4o", False, None),
    ],
)
def test_a_schema_is_sent_if_the_provider_supports_it(
    model: str, structured: bool, kind: str | None, tmp_path: Path
) -> None:
    asked = Prompt("first", prompt("What? Answer in JSON.").messages, SCHEMA)
    with desk(tmp_path, in_turn(Answer("{}")), model=model, structured=structured) as it:
        it.model.ask(asked), it.ask("As text?")
        with_schema, without_schema = (one.body.get("response_format") for one in it.provider.asked)
        assert (with_schema and with_schema["type"]) == kind and without_schema is None
        if kind == "json_schema":
            assert with_schema["json_schema"]["schema"] == SCHEMA
    assert asked.key == prompt("What? Answer in JSON.").key


# ---- several models ----


def test_models_share_the_budget_and_have_their_own_lines_in_the_account(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    with Provider(in_turn(Answer("x" * 40))) as server:
        ledger = Ledger(paths)
        limits = SpendingLimits(1.5, 0.0, threading.Event())
        common = {"api_base": server.openai, "max_tokens": 100, "usd_in": 0.0, "retries": 0}
        big, small = (
            ProviderModel(LlmConfig(model=f"openai/{name}", usd_out=price, **common), KEY, ledger, limits)
            for name, price in (("big", 10_000.0), ("small", 100.0))
        )
        for number in range(6):
            big.ask(prompt(str(number)))
        with pytest.raises(Unanswered):
            big.ask(prompt("one more"))  # could cost 1 dollar, and 0.6 are spent
        small.ask(prompt("one more"))
        assert limits.purse.spent == pytest.approx(0.601)
    spent = Ledger(paths).spending()
    assert {name: (one.answers, one.usage.usd) for name, one in spent.models.items()} == {
        "big": (6, pytest.approx(0.6)),
        "small": (1, pytest.approx(0.001)),
    }
