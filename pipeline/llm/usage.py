"""The token counts of an answer, from a provider's numbers, which are not trusted."""

import math
from typing import Any

from pipeline.records import Usage


def usage_of(counted: Any, sent: int, received: int) -> Usage:
    """Tokens as the provider counted them. Missing counts are estimated by `sent` and `received` and impossible ones
    are corrected; both make the usage uncertain. Counts are never negative, and no more tokens are cached than were
    sent."""
    tokens_in, tokens_out = (_number(counted, name) for name in ("prompt_tokens", "completion_tokens"))
    uncertain = False
    if not tokens_in and sent:  # litellm writes 0 if a provider reports nothing
        tokens_in, uncertain = sent, True
    if tokens_out is None or (not tokens_out and received):
        tokens_out, uncertain = received, True
    details = getattr(counted, "prompt_tokens_details", None)
    given = getattr(details, "cached_tokens", None)
    cached = _number(details, "cached_tokens") if given is not None else 0
    if cached is None or cached > (tokens_in or 0):
        cached, uncertain = min(cached or 0, tokens_in or 0), True
    return Usage(tokens_in or 0, cached, tokens_out, None, uncertain)


def valid_price(usd: object) -> float | None:
    """The price if it is valid, a finite number that is not negative; else none."""
    good = isinstance(usd, int | float) and not isinstance(usd, bool) and math.isfinite(usd) and usd >= 0
    return float(usd) if good else None  # type: ignore[arg-type]


def _number(of: Any, name: str) -> int | None:
    """A count, given as a number or as text; none if it is missing or invalid."""
    value = getattr(of, name, None)
    try:
        number = float(value) if not isinstance(value, bool) and value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return int(number) if math.isfinite(number) and number >= 0 else None
