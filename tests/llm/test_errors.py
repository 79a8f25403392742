"""Classification of providers' errors, with their own texts."""

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
        ("down", "Provider returned error", Then.AGAIN),
        ("502", "Bad gateway", Then.AGAIN),
        ("429", "Rate limit", Then.AGAIN),
        (500, "Budget has been exceeded", Then.AGAIN),
        (400, "ExceededBudget: User=u over budget. Spend=1.1, Budget=1.0", Then.PAUSE),
        (429, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", Then.PAUSE),
        (413, "<html>413 Request Entity Too Large</html>", Then.PAUSE),
        (413, "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000", Then.PAUSE),
    ],
)
def test_errors_are_classified(status: int | str | None, text: str, then: Then) -> None:
    action = action_for(status, text)
    assert action.then is then
    assert (bool(action.advice), bool(action.finish)) == (then is Then.PAUSE, then is Then.ANSWERED)


@pytest.mark.parametrize(
    ("status", "text", "advice"),
    [
        (
            400,
            "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 8192 tokens "
            "and your request has 2900 input tokens (8000 > 8192 - 2900).",
            "set a lower llm.max_tokens",
        ),
        (
            400,
            "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens",
            "set a lower llm.max_tokens",
        ),
        (
            400,
            "max_tokens is too large: 8000. This model supports at most 4096 completion tokens",
            "set a lower llm.max_tokens",
        ),
        (400, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", "set a lower llm.max_tokens"),
        (400, "`max_tokens` must be less than or equal to `8192`", "set a lower llm.max_tokens"),
        (
            400,
            "This model's maximum context length is 8192 tokens. However, you requested 10900 tokens (2900 in the messages, "
            "8000 in the completion).",
            "set a lower llm.max_tokens",
        ),
        (
            400,
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "set a lower llm.max_tokens",
        ),
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "set llm.parameters.max_completion_tokens={max_tokens}",
        ),
        (
            400,
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            "llm.system_role=false",
        ),
        (400, "System role not supported", "llm.system_role=false"),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it", "llm.system_role=false"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/...", "llm.system_role=false"),
        (
            400,
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default",
            "llm.temperature=null",
        ),
        (400, "Unknown parameter: 'reasoning_effort'.", "change llm.parameters"),
        (400, "UnsupportedParamsError: openai does not support parameters: ['thinking']", "change llm.parameters"),
        (400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported", "llm.structured=false"),
        (400, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", "raise it in the proxy"),
        (413, "<html>413 Request Entity Too Large</html>", "set a lower llm.context, or raise the limit there"),
        (413, "Request too large on tokens per minute (TPM): Limit 6000", "limit of tokens per minute"),
        (404, "The API deployment for this resource does not exist. DeploymentNotFound", "llm.model"),
    ],
)
def test_the_advice_names_the_setting_to_change(status: int, text: str, advice: str) -> None:
    assert advice in action_for(status, text).advice


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
def test_the_requested_wait_is_parsed(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "Bad key sk-live-0123456789abcdef.",
        "Incorrect API key provided: sk-live-****cdef.",
        "AIzaSyA0123456789 is not valid",
    ],
)
def test_keys_are_removed_from_messages_of_providers(text: str) -> None:
    """Providers repeat a key in whole or in part."""
    said = without("sk-live-0123456789abcdef", text)
    assert "***" in said and not any(part in said for part in ("sk-live", "cdef", "SyA0"))
    assert without(None, "a task-like word") == "a task-like word"
