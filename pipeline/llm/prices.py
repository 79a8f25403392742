"""Prices of tokens. An unknown price is none, never zero."""

from dataclasses import dataclass

from pipeline.config import LlmConfig
from pipeline.records import Usage


@dataclass(frozen=True)
class Prices:
    """Prices of one model, US dollars per token."""

    tokens_in: float
    """Price of a prompt's tokens."""
    tokens_cached: float
    """Price of those tokens of a prompt that the provider finds in its cache."""
    tokens_out: float
    """Price of an answer's tokens."""

    def of(self, usage: Usage) -> float:
        """Dollars for the tokens of a usage."""
        fresh = usage.tokens_in - usage.tokens_cached
        return fresh * self.tokens_in + usage.tokens_cached * self.tokens_cached + usage.tokens_out * self.tokens_out


def stated_prices(config: LlmConfig) -> Prices | None:
    """The prices stated in the settings; none unless both the input and output price are set."""
    if config.usd_in is None or config.usd_out is None:
        return None
    cached = config.usd_in if config.usd_cached is None else config.usd_cached
    return Prices(config.usd_in / 1e6, cached / 1e6, config.usd_out / 1e6)
