"""What tokens cost, from the price data inside the genai-prices package and from our own overrides.

Nothing is downloaded: prices move when the dependency moves, and a test that lists them shows it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices

from gateways.prices import TokenRates


class LibraryRates:
    """``ModelRates``. An override wins and holds for prompts of any length."""

    def __init__(self, overrides: Mapping[str, TokenRates]) -> None:
        self._overrides = dict(overrides)

    def rates(self, model: str, *, input_tokens: int) -> TokenRates | None:
        """As the protocol says, by the prices of today."""
        return self._overrides.get(model) or _library_rates(model, input_tokens)


def _library_rates(model: str, input_tokens: int) -> TokenRates | None:
    try:
        _, found = get_snapshot().find_provider_model(model, None, None, None)
    except LookupError:
        return None
    prices = found.get_prices(datetime.now(UTC))
    rate_in = _at(prices.input_mtok, input_tokens)
    rate_out = _at(prices.output_mtok, input_tokens)
    if rate_in is None or rate_out is None:
        return None
    return TokenRates(input=rate_in, output=rate_out)


def _at(price: Decimal | TieredPrices | None, input_tokens: int) -> Decimal | None:
    """The rate of every token of such a call: a prompt past a threshold moves all of them."""
    if not isinstance(price, TieredPrices):
        return price
    passed = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return passed[-1] if passed else price.base
