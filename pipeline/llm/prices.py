"""What tokens cost. Unknown prices are none, never zero."""

from dataclasses import dataclass

from pipeline.config import LlmConfig
from pipeline.records import Usage


@dataclass(frozen=True)
class Prices:
    """Of one model, US dollars a token."""

    tokens_in: float
    """Of a prompt."""
    tokens_cached: float
    """Of the part of a prompt that the provider finds in its cache."""
    tokens_out: float
    """Of an answer."""

    def of(self, usage: Usage) -> float:
        """Dollars for so many tokens."""
        fresh = usage.tokens_in - usage.tokens_cached
        return fresh * self.tokens_in + usage.tokens_cached * self.tokens_cached + usage.tokens_out * self.tokens_out


def stated_prices(config: LlmConfig) -> Prices | None:
    """The prices that the settings state; none unless both sides are there."""
    if config.usd_in is None or config.usd_out is None:
        return None
    cached = config.usd_in if config.usd_cached is None else config.usd_cached
    return Prices(config.usd_in / 1e6, cached / 1e6, config.usd_out / 1e6)
