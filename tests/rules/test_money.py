"""Units of money: what is rounded, which way, and that nothing is lost on the way."""

import math
from decimal import Decimal
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from models.money import (
    Msats,
    Sats,
    Usd,
    btc_price_rounded,
    msats,
    sats_for,
    sats_owed_for,
    usd_rounded_up,
)

dollars = st.decimals(0, 1_000_000, places=12)
shown_dollars = st.decimals(0, 1_000_000, places=8)
prices = st.decimals(Decimal("0.01"), 10_000_000, places=2)


@given(amount=dollars)
@example(amount=Decimal("0.000000001"))
@example(amount=Decimal("1.00000000"))
def test_dollars_are_rounded_up_to_eight_places_and_never_down(amount: Decimal) -> None:
    rounded = usd_rounded_up(amount)

    assert 0 <= rounded - amount < Decimal("0.00000001")
    assert rounded.as_tuple().exponent == -8


@given(amount=dollars)
def test_rounding_what_was_rounded_changes_nothing(amount: Decimal) -> None:
    once = usd_rounded_up(amount)

    assert usd_rounded_up(once) == once


def test_the_price_of_a_bitcoin_is_rounded_to_the_cent() -> None:
    assert btc_price_rounded(Decimal("67123.455")) == Decimal("67123.46")
    assert btc_price_rounded(Decimal("67123.4549")) == Decimal("67123.45")


@given(amount=shown_dollars, price=prices)
@example(amount=Decimal(0), price=Decimal("0.01"))
@example(amount=Decimal("0.00000001"), price=Decimal(10_000_000))
@example(amount=Decimal(1_000_000), price=Decimal("0.01"))
@example(amount=Decimal("0.01"), price=Decimal(100_000))  # exactly 10 sats
@example(amount=Decimal("0.01000001"), price=Decimal(100_000))
def test_dollars_become_the_smallest_number_of_sats_that_covers_them_and_at_least_one(
    amount: Decimal, price: Decimal
) -> None:
    sats = sats_for(Usd(amount), btc_price=Usd(price))

    assert sats == max(1, math.ceil(Fraction(amount) / Fraction(price) * 10**8))
    assert type(sats) is int


@given(amount=st.integers(0, 10**18))
@example(amount=1)
@example(amount=999)
@example(amount=1000)
@example(amount=1001)
def test_a_fraction_of_a_sat_that_we_owe_is_rounded_up_for_the_caller(amount: int) -> None:
    owed = sats_owed_for(Msats(amount))

    assert owed == math.ceil(Fraction(amount, 1000))
    assert 0 <= msats(owed) - amount < 1000


@given(sats=st.integers(0, 21 * 10**14))
def test_whole_sats_survive_the_way_to_millisats_and_back(sats: int) -> None:
    assert sats_owed_for(msats(Sats(sats))) == sats
