"""What things cost elsewhere: a bitcoin in dollars, a model's tokens in dollars."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class TokenRates:
    """USD per million tokens."""

    input: Decimal
    output: Decimal


class ModelRates(Protocol):
    def rates(self, model: str, *, input_tokens: int) -> TokenRates | None:
        """The rates of a call with this many input tokens (some models are dearer for long
        prompts); None = unknown.
        """


@dataclass(frozen=True, kw_only=True)
class FeedPrice:
    """What one public source says a bitcoin costs.

    ``quoted_at`` (aware UTC) only where the source tells it.
    """

    feed: str
    usd: Decimal
    quoted_at: datetime | None = None


class PriceFeed(Protocol):
    name: str

    def fetch(self) -> FeedPrice:
        """One request with a total deadline of 5 seconds. Raises Unavailable or Refused."""
