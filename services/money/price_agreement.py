"""Which of the prices that feeds tell is believed.

Pure: the time and the last price are handed in.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gateways.prices import FeedPrice
from models.money import Usd

PLAUSIBLE_USD = (Decimal(1_000), Decimal(10_000_000))
QUOTED_WITHIN = timedelta(minutes=10)
"""Of sources that tell the time of their price;
older (or more in the future) is not a price of now.
"""
OUTLIER_SHARE = Decimal("0.01")
"""A feed further than this from the median is not believed."""
COARSE_OUTLIER_SHARE = {"mempool": Decimal("0.015")}
"""It rounds to whole dollars and lags by minutes."""
ALONE_SHARE = Decimal("0.03")
ALONE_WITHIN = timedelta(hours=1)
"""One feed alone of several is believed only near a price that was agreed on within this time."""
JUMP_SHARE = Decimal("0.10")
JUMP_WITHIN = timedelta(minutes=10)
JUMP_NEEDS = 3
"""A jump by more than a tenth within ten minutes wants three witnesses."""


@dataclass(frozen=True, kw_only=True)
class LastPrice:
    """The price agreed on before, and how long ago."""

    usd: Usd
    age: timedelta


def believe(
    told: Sequence[FeedPrice], *, asked: int, now: datetime, last: LastPrice | None
) -> Usd | None:
    """The price that enough feeds agree on; None = keep the old one and let it age.

    ``asked`` is how many feeds there are: of one that is the only one, nobody else is expected.
    """
    witnesses = agreeing([price for price in told if _is_of_now(price, now)])
    if not witnesses:
        return None
    price = Usd(statistics.median(witness.usd for witness in witnesses))
    if len(witnesses) == 1 and asked > 1 and not _is_near(price, last, ALONE_SHARE, ALONE_WITHIN):
        return None
    if len(witnesses) < min(JUMP_NEEDS, asked) and _has_jumped(price, last):
        return None
    return price


def agreeing(told: Sequence[FeedPrice]) -> list[FeedPrice]:
    """Drop what is no price, then what is far from the median.

    Of two that disagree neither stays.
    """
    low, high = PLAUSIBLE_USD
    prices = [price for price in told if price.usd.is_finite() and low <= price.usd <= high]
    if not prices:
        return []
    middle = statistics.median(price.usd for price in prices)
    return [price for price in prices if abs(price.usd - middle) <= middle * _tolerance(price)]


def _tolerance(price: FeedPrice) -> Decimal:
    return COARSE_OUTLIER_SHARE.get(price.feed, OUTLIER_SHARE)


def _is_of_now(price: FeedPrice, now: datetime) -> bool:
    return price.quoted_at is None or abs(now - price.quoted_at) <= QUOTED_WITHIN


def _is_near(price: Usd, last: LastPrice | None, share: Decimal, within: timedelta) -> bool:
    return last is not None and last.age <= within and abs(price - last.usd) <= last.usd * share


def _has_jumped(price: Usd, last: LastPrice | None) -> bool:
    return (
        last is not None
        and last.age <= JUMP_WITHIN
        and abs(price - last.usd) > last.usd * JUMP_SHARE
    )
