"""What an error of a provider means: pure functions over the status and the text of its answer."""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Then(StrEnum):
    """What to do about an error."""

    AGAIN = "again"
    """Send the request once more, later."""
    PAUSE = "pause"
    """Ask nothing more until a person has acted."""
    ANSWERED = "answered"
    """This prompt gets no other answer: take the error for one."""


@dataclass(frozen=True)
class ErrorAction:
    """One error, judged."""

    then: Then
    words: str
    """With `pause`: what a person can do. With `answered`: the reason for the end of the answer."""


# Providers agree on nothing but the status, and not always on that: the first words that match decide.
_WORDS: tuple[tuple[re.Pattern[str], ErrorAction], ...] = (
    (
        re.compile(r"insufficient_quota|credit balance|insufficient (balance|credit|funds)|billing_hard_limit", re.I),
        ErrorAction(Then.PAUSE, "the account's credit is used up: add some"),
    ),
    (
        re.compile(
            r"(account|organi[sz]ation|api key|workspace).{0,40}(suspended|disabled|deactivated|restricted)|"
            r"account_deactivated",
            re.I,
        ),
        ErrorAction(Then.PAUSE, "the account or its key is suspended: ask the provider"),
    ),
    (
        re.compile(
            r"model_not_found|model.{0,80}(does not exist|not found|no longer|has been (deprecated|retired|removed)|"
            r"decommissioned)|unknown model",
            re.I,
        ),
        ErrorAction(Then.PAUSE, "the provider has no such model (any more): choose another with llm.model"),
    ),
    (
        re.compile(
            r"context_length|context (length|window|limit)|prompt is too long|too many (input )?tokens|"
            r"maximum (number of|input) tokens|request_too_large|reduce the length",
            re.I,
        ),
        ErrorAction(Then.ANSWERED, "context"),
    ),
    (
        re.compile(r"content_policy|content_filter|content management policy|safety system|flagged", re.I),
        ErrorAction(Then.ANSWERED, "content_filter"),
    ),
)
_BY_STATUS = {
    401: ErrorAction(Then.PAUSE, "the key was refused: set the right one"),
    402: ErrorAction(Then.PAUSE, "the account's credit is used up: add some"),
    403: ErrorAction(Then.PAUSE, "the key may not use this: set another key or choose another model with llm.model"),
    404: ErrorAction(Then.PAUSE, "nothing is there: see whether llm.model and llm.api_base are right"),
}
_AGAIN = frozenset({408, 409, 425, 429})


def action_for(status: int | None, text: str) -> ErrorAction:
    """What to do about an error; without a status the connection itself failed."""
    if status is None or status >= 500:
        return ErrorAction(Then.AGAIN, "")
    account, rest = _WORDS[:2], _WORDS[2:]
    again = status in _AGAIN  # a rate limit may speak of "too many tokens", and only means now
    for pattern, verdict in (*account, *(() if again else rest)):
        if pattern.search(text):
            return verdict
    if again:
        return ErrorAction(Then.AGAIN, "")
    return _BY_STATUS.get(
        status, ErrorAction(Then.PAUSE, "the provider does not take the request: change the llm settings")
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the provider asks us to wait, if it does; it may name seconds, milliseconds or a date."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = named.get(name, "")
        if re.fullmatch(r"\d+(\.\d*)?", value):
            return float(value) * unit
    try:
        return max(0.0, email.utils.parsedate_to_datetime(named.get("retry-after", "")).timestamp() - now)
    except ValueError:
        return None
