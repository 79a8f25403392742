"""What an error of a provider means, in their own words."""

import email.utils

import pytest

from pipeline.llm.errors import Then, action_for, retry_after
from pipeline.llm.keys import without

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "text", "then"),
    [
        (None, "Connection error.", Then.AGAIN),
        (500, "Internal server error", Then.AGAIN),
        (503, "The model is overloaded. Please try again later.", Then.AGAIN),
        (529, "Overloaded", Then.AGAIN),
        (408, "Request timed out.", Then.AGAIN),
        (429, "Rate limit reached for gpt in organization org-x on tokens per min (TPM): Limit 30000", Then.AGAIN),
        (429, "Number of request tokens has exceeded your per-minute rate limit: too many tokens", Then.AGAIN),
        (429, "Resource has been exhausted (e.g. check quota).", Then.AGAIN),
        (429, "You exceeded your current quota, please check your plan. {'code': 'insufficient_quota'}", Then.PAUSE),
        (400, "Your credit balance is too low to access the Anthropic API.", Then.PAUSE),
        (402, "Insufficient Balance", Then.PAUSE),
        (401, "invalid x-api-key", Then.PAUSE),
        (401, "Your API key has been disabled", Then.PAUSE),
        (400, "API key not valid. Please pass a valid API key.", Then.PAUSE),
        (403, "This organization has been disabled.", Then.PAUSE),
        (404, "The model `gpt-0` does not exist or you do not have access to it.", Then.PAUSE),
        (400, "model: claude-1 has been deprecated", Then.PAUSE),
        (404, "models/gemini-0 is not found for API version v1beta", Then.PAUSE),
        (400, "Unsupported parameter: 'max_tokens'", Then.PAUSE),
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9000", Then.ANSWERED),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", Then.ANSWERED),
        (413, "request_too_large", Then.ANSWERED),
        (400, "The input token count (1048577) exceeds the maximum number of tokens allowed", Then.ANSWERED),
        (400, "Your request was rejected as a result of our safety system.", Then.ANSWERED),
    ],
)
def test_errors_are_told_apart(status: int | None, text: str, then: Then) -> None:
    verdict = action_for(status, text)
    assert verdict.then is then
    assert bool(verdict.words) is (then is not Then.AGAIN)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"Retry-After": email.utils.formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"Retry-After": email.utils.formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_wait_asked_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "Bad key sk-live-0123456789abcdef.",
        "Incorrect API key provided: sk-live-****cdef.",
        "AIzaSyA0123456789 is not valid",
    ],
)
def test_keys_are_taken_out_of_what_providers_say(text: str) -> None:
    """They repeat a key in whole or in part."""
    said = without("sk-live-0123456789abcdef", text)
    assert "***" in said and not any(part in said for part in ("sk-live", "cdef", "SyA0"))
    assert without(None, "a task-like word") == "a task-like word"
