"""Of what the feeds say, what is believed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.prices import FeedPrice
from models.money import Usd
from services.money.price_agreement import LastPrice, believe

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def _told(*prices: str | Decimal, quoted_at: datetime | None = None) -> list[FeedPrice]:
    return [
        FeedPrice(feed=f"feed{number}", usd=Decimal(price), quoted_at=quoted_at)
        for number, price in enumerate(prices)
    ]


def _last(usd: str, age: timedelta = MINUTE) -> LastPrice:
    return LastPrice(usd=Usd(Decimal(usd)), age=age)


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        pytest.param(("100000", "100200"), "100100", id="two that agree: their middle"),
        pytest.param(("100000", "100100", "100300"), "100100", id="three that agree: the median"),
        pytest.param(("100000", "100100", "250000"), "100050", id="a liar high is dropped"),
        pytest.param(("100000", "100100", "20000"), "100050", id="a liar low is dropped"),
        pytest.param(
            ("100000", "100100", "100200", "10000", "900000"),
            "100100",
            id="two liars on two sides are dropped",
        ),
        pytest.param(
            ("100000", "100100", "100200", "200000", "200000"),
            "100100",
            id="two liars who agree are outvoted by three",
        ),
        pytest.param(("100000", "100000", "NaN"), "100000", id="NaN is no price"),
        pytest.param(("100000", "100000", "sNaN"), "100000", id="a signalling NaN is no price"),
        pytest.param(("100000", "100000", "Infinity"), "100000", id="infinity is no price"),
        pytest.param(("100000", "100000", "-Infinity"), "100000", id="nor is it below zero"),
        pytest.param(("100000", "100000", "0"), "100000", id="zero is no price"),
        pytest.param(("100000", "100000", "-100000"), "100000", id="below zero is no price"),
        pytest.param(("100000", "100000", "999"), "100000", id="under 1,000 dollars is a mistake"),
        pytest.param(("100000", "100000", "10000001"), "100000", id="over 10 million, too"),
    ],
)
def test_what_is_believed(told: tuple[str, ...], believed: str) -> None:
    assert believe(_told(*told), asked=5, now=NOW, last=None) == Decimal(believed)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param((), id="nobody said anything"),
        pytest.param(("0", "NaN", "-1"), id="nothing that was said is a price"),
        pytest.param(("100000", "150000"), id="two disagree: neither is believed"),
        pytest.param(("100000", "100100", "200000", "200100"), id="two camps: neither"),
        pytest.param(("100000",), id="one alone of five, and nothing to compare it with"),
    ],
)
def test_what_is_believed_by_nobody(told: tuple[str, ...]) -> None:
    assert believe(_told(*told), asked=5, now=NOW, last=None) is None


@pytest.mark.parametrize(
    ("last", "is_believed"),
    [
        pytest.param(_last("101000", HOUR), True, id="near what was agreed on within the hour"),
        pytest.param(_last("101000", HOUR + MINUTE), False, id="nobody has agreed for an hour"),
        pytest.param(_last("105000"), False, id="too far from what was agreed on"),
    ],
)
def test_one_feed_alone_of_several_is_believed_only_near_the_last_price(
    last: LastPrice, is_believed: bool
) -> None:
    believed = believe(_told("100000"), asked=5, now=NOW, last=last)

    assert believed == (Decimal(100_000) if is_believed else None)


def test_the_only_feed_that_there_is_is_believed() -> None:
    assert believe(_told("100000"), asked=1, now=NOW, last=None) == Decimal(100_000)


def test_a_jump_within_minutes_wants_three_witnesses() -> None:
    last = _last("100000")

    assert believe(_told("120000", "120000"), asked=5, now=NOW, last=last) is None
    assert believe(_told("120000", "120000", "120000"), asked=5, now=NOW, last=last) == 120_000
    long_ago = _last("100000", HOUR)
    assert believe(_told("120000", "120000"), asked=5, now=NOW, last=long_ago) == 120_000


@pytest.mark.parametrize("off", [11 * MINUTE, -11 * MINUTE])
def test_a_price_of_another_time_is_no_price(off: timedelta) -> None:
    told = [*_told("100000", "100000"), *_told("100900", "100900", quoted_at=NOW - off)]

    assert believe(told, asked=5, now=NOW, last=None) == Decimal(100_000)


@given(
    honest=st.decimals(50_000, 200_000, places=2),
    liars=st.lists(st.decimals(allow_nan=True, allow_infinity=True), max_size=2),
)
def test_two_liars_never_move_three_honest_feeds_by_more_than_a_percent(
    honest: Decimal, liars: list[Decimal]
) -> None:
    told = _told(honest, honest * Decimal("1.001"), honest * Decimal("0.999"), *liars)

    believed = believe(told, asked=5, now=NOW, last=None)

    assert believed is not None
    assert abs(believed - honest) <= honest / 100
