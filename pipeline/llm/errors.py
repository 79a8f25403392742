"""Decides what to do about a provider's error, by pure functions of its status and text."""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Then(StrEnum):
    """What to do about an error."""

    AGAIN = "again"
    """Send the request again, later."""
    PAUSE = "pause"
    """Send nothing more until a user has acted."""
    ANSWERED = "answered"
    """This prompt gets no other answer: the error counts as the answer."""


@dataclass(frozen=True)
class ErrorAction:
    """The action for one error."""

    then: Then
    advice: str = ""
    """With `pause`: what the user can do. `{max_tokens}` stands for that setting."""
    finish: str = ""
    """With `answered`: the finish reason of the answer."""


def _pause(advice: str) -> ErrorAction:
    return ErrorAction(Then.PAUSE, advice)


# Providers agree only on the status, and not always on that. The first pattern that matches decides.
_ACCOUNT: tuple[tuple[str, ErrorAction], ...] = (
    (
        r"budget has been exceeded|budget_exceeded|exceeded ?budget|exceeded (your|the|its|max(imum)?) (\w+ )?budget|"
        r"over budget",
        _pause(
            "the budget that a proxy sets for this key or user is used up: raise it in the proxy, or use another key"
        ),
    ),
    (
        r"insufficient_quota|credit balance|insufficient (balance|credit|funds)|billing_hard_limit",
        _pause("the account's credit is used up: add credit"),
    ),
    (
        r"(account|organi[sz]ation|api key|workspace).{0,40}(suspended|disabled|deactivated|restricted)|account_deactivated",
        _pause("the account or its key is suspended: contact the provider"),
    ),
)
"""These apply to responses with the status of a rate limit, too."""
_TOO_LARGE = r"(is )?too (large|high|big)|exceeds?|must be|must not|cannot be|should be|at most|less than|out of range"
_SETTINGS: tuple[tuple[str, ErrorAction], ...] = (
    (
        r"use '?max_completion_tokens|max_tokens.{0,60}(not supported|unsupported|deprecated).{0,80}max_completion_tokens",
        _pause("the model requires another parameter: set llm.parameters.max_completion_tokens={max_tokens}"),
    ),
    (
        rf"max_?(completion_|output_|new_)?tokens['`\"]?.{{0,60}}({_TOO_LARGE})|max_tokens: \d+ > \d+|"
        r"max(_output_t|OutputT|_t)okens.{0,60}(supports?|valid) (values|range)|valid range of max_tokens",
        _pause("llm.max_tokens={max_tokens} does not fit the server: set a lower llm.max_tokens"),
    ),
    (
        r"(system|developer)['`\"]?( role| message| prompt| instruction)s?.{0,60}"
        r"(not supported|not enabled|unsupported|not allowed|not available)|"
        r"not support.{0,30}(system|developer)['`\"]? (role|message|prompt|instruction)|"
        r"role['`\"]?.{0,40}not support.{0,10}(system|developer)|"
        r"roles must alternate|only user and assistant roles",
        _pause("the model does not accept a system message: set llm.system_role=false"),
    ),
    (
        r"temperature.{0,80}(not support|unsupported|deprecated|only the default)",
        _pause("the model does not accept a temperature: set llm.temperature=null"),
    ),
    (
        r"response_format.{0,80}(not support|unsupported|invalid|not available)",
        _pause("the model does not accept response_format: set llm.structured=false"),
    ),
    (
        r"unsupported ?param|(unknown|unrecognized|unexpected) .{0,20}(parameter|argument)|extra inputs are not permitted|"
        r"does not support param",
        _pause("a parameter is not supported: change llm.parameters (a value of null removes a parameter)"),
    ),
    (
        r"model_not_found|model.{0,80}(does not exist|not found|no longer|has been (deprecated|retired|removed)|"
        r"decommissioned)|unknown model|DeploymentNotFound",
        _pause("the provider has no such model (any more): choose another with llm.model"),
    ),
    (
        r"context_length|context (length|window|limit)|prompt is too long|too many (input )?tokens|"
        r"maximum (number of|input) tokens|request_too_large|reduce the length",
        ErrorAction(Then.ANSWERED, finish="context"),
    ),
    (
        r"content_policy|content_filter|content management policy|safety system|flagged",
        ErrorAction(Then.ANSWERED, finish="content_filter"),
    ),
)
_PER_MINUTE = re.compile(r"tokens per min|\bTPM\b", re.I)
_BY_STATUS = {
    401: _pause("the key was refused: set the right one"),
    402: _pause("the account's credit is used up: add credit"),
    403: _pause("the key may not use this: set another key or choose another model with llm.model"),
    404: _pause("not found: check llm.model and llm.api_base"),
    413: _pause(
        "the request is larger than the server, or a proxy before it, accepts: set a lower llm.context, or raise the limit "
        "there"
    ),
}
_AGAIN = frozenset({408, 409, 425, 429})


def action_for(status: object, text: str) -> ErrorAction:
    """The action for an error. No status means that the connection itself failed."""
    number = _number(status)
    for pattern, action in _ACCOUNT if number is not None and number < 500 else ():
        if re.search(pattern, text, re.I):
            return action
    if number is None or number >= 500 or number in _AGAIN:
        return ErrorAction(Then.AGAIN)  # the message of a rate limit may say "too many tokens", which is only temporary
    if number == 413 and _PER_MINUTE.search(text):
        return _pause(
            "one request is larger than the account's limit of tokens per minute: set a lower llm.max_tokens and llm.context"
        )
    if _leaves_no_room(text):
        return _pause("llm.max_tokens={max_tokens} does not fit the server: set a lower llm.max_tokens")
    for pattern, action in _SETTINGS:
        if re.search(pattern, text, re.I):
            return action
    return _BY_STATUS.get(number, _pause("the provider rejected the request: change the llm settings"))


def _number(status: object) -> int | None:
    """A status as a number; none if it is not one, as with some proxies."""
    try:
        return int(str(status))
    except ValueError:
        return None


def _leaves_no_room(text: str) -> bool:
    """Whether a prompt fits the model's context, but not together with the requested answer."""
    most = re.search(r"maximum context length is (\d+)", text, re.I)
    sent = re.search(r"(\d+) (?:tokens )?(?:in|from) the (?:messages|prompt|input)", text, re.I)
    return most is not None and sent is not None and int(sent[1]) < int(most[1])


UNREADABLE = re.compile(r"Invalid response object|'choices' that is not a list|a response with no 'choices'")
"""litellm's messages for a body of status 200 without an answer in any known format."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by the provider's headers, which may state seconds, milliseconds or a date; none without a valid
    header."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = named.get(name, "")
        if re.fullmatch(r"\d+(\.\d*)?", value):
            return float(value) * unit
    try:
        return max(0.0, email.utils.parsedate_to_datetime(named.get("retry-after", "")).timestamp() - now)
    except (ValueError, OverflowError):
        return None
