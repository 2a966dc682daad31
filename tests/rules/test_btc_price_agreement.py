"""Of what the feeds say, what is believed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.errors import Unavailable
from gateways.prices import FeedPrice
from models.money import Usd
from services.money.price_agreement import LastPrice, agreeing, believe
from services.resting_feed import RestingFeed

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _told(*texts: str) -> list[FeedPrice]:
    return [FeedPrice(feed=f"feed-{n}", usd=Decimal(text)) for n, text in enumerate(texts)]


def _last(usd: str, *, minutes: int) -> LastPrice:
    return LastPrice(usd=Usd(Decimal(usd)), age=timedelta(minutes=minutes))


def _believed(told: list[FeedPrice], last: LastPrice | None = None) -> Decimal | None:
    return believe(told, asked=5, now=NOW, last=last)


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
        pytest.param(("100000", "100000", "0"), "100000", id="zero is no price"),
        pytest.param(("100000", "100000", "-100000"), "100000", id="below zero is no price"),
        pytest.param(("100000", "100000", "999"), "100000", id="under 1,000 dollars is a mistake"),
        pytest.param(("100000", "100000", "10000001"), "100000", id="over 10 million is a mistake"),
    ],
)
def test_what_is_believed(told: tuple[str, ...], believed: str) -> None:
    assert _believed(_told(*told)) == Decimal(believed)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param((), id="nobody said anything"),
        pytest.param(("0", "NaN", "-1"), id="nothing that was said is a price"),
        pytest.param(("100000", "150000"), id="two disagree: neither is believed"),
        pytest.param(("100000", "100100", "200000", "200100"), id="two camps: neither"),
        pytest.param(("100000",), id="one alone of several, with nothing to compare with"),
    ],
)
def test_what_is_believed_by_nobody(told: tuple[str, ...]) -> None:
    assert _believed(_told(*told)) is None


@pytest.mark.parametrize(
    ("told", "last", "is_believed"),
    [
        pytest.param("102900", _last("100000", minutes=59), True, id="near an agreed price"),
        pytest.param("103100", _last("100000", minutes=5), False, id="more than 3 % from it"),
        pytest.param("100000", _last("100000", minutes=61), False, id="it is an hour old"),
    ],
)
def test_one_feed_alone_is_believed_only_near_a_price_of_the_last_hour(
    told: str, last: LastPrice, *, is_believed: bool
) -> None:
    assert (_believed(_told(told), last) is not None) is is_believed


def test_the_only_feed_there_is_needs_no_other() -> None:
    assert believe(_told("100000"), asked=1, now=NOW, last=None) == Decimal(100_000)


@pytest.mark.parametrize(
    ("told", "last", "is_believed"),
    [
        pytest.param(("111000",) * 2, _last("100000", minutes=9), False, id="two witnesses"),
        pytest.param(("111000",) * 3, _last("100000", minutes=9), True, id="three witnesses"),
        pytest.param(("109000",) * 2, _last("100000", minutes=9), True, id="a smaller jump"),
        pytest.param(("111000",) * 2, _last("100000", minutes=11), True, id="in more time"),
    ],
)
def test_a_jump_by_more_than_a_tenth_in_ten_minutes_wants_three_witnesses(
    told: tuple[str, ...], last: LastPrice, *, is_believed: bool
) -> None:
    assert (_believed(_told(*told), last) is not None) is is_believed


def test_a_price_quoted_more_than_ten_minutes_ago_is_no_price_of_now() -> None:
    old = FeedPrice(feed="old", usd=Decimal(90_000), quoted_at=NOW - timedelta(minutes=11))
    coming = FeedPrice(feed="odd", usd=Decimal(90_000), quoted_at=NOW + timedelta(minutes=11))

    assert _believed([old, coming, *_told("100000", "100000")]) == Decimal(100_000)


def test_the_coarse_feed_may_be_a_little_further_from_the_median() -> None:
    mempool = FeedPrice(feed="mempool", usd=Decimal(101_400))
    other = FeedPrice(feed="other", usd=Decimal(101_400))

    assert len(agreeing([*_told("100000", "100000"), mempool])) == 3
    assert len(agreeing([*_told("100000", "100000"), other])) == 2


@given(
    honest=st.decimals(50_000, 200_000, places=2),
    liars=st.lists(st.decimals(allow_nan=True, allow_infinity=True), max_size=2),
)
def test_two_liars_never_move_three_honest_feeds_by_more_than_a_percent(
    honest: Decimal, liars: list[Decimal]
) -> None:
    prices = [honest, honest * Decimal("1.001"), honest * Decimal("0.999"), *liars]
    told = [FeedPrice(feed=f"feed-{n}", usd=usd) for n, usd in enumerate(prices)]

    believed = _believed(told)

    assert believed is not None
    assert abs(believed - honest) <= honest / 100


class _Feed:
    """Fails until told otherwise; counts how often it was asked."""

    name = "feed"

    def __init__(self) -> None:
        self.error: Unavailable | None = Unavailable("too many", code="http_429")
        self.asked = 0

    def fetch(self) -> FeedPrice:
        self.asked += 1
        if self.error:
            raise self.error
        return FeedPrice(feed=self.name, usd=Decimal(100_000))


def _ask_at(feed: RestingFeed, clock: list[float], *times: float) -> None:
    for at in times:
        clock[0] = at
        with pytest.raises(Unavailable):
            feed.fetch()


def test_a_feed_that_failed_is_asked_again_after_30_s_then_60_s_up_to_10_minutes() -> None:
    clock, inner = [0.0], _Feed()
    feed = RestingFeed(inner, clock=lambda: clock[0])

    _ask_at(feed, clock, 1000, 1029, 1030, 1089, 1090)

    assert inner.asked == 3  # at 1000, 1030 and 1090


def test_a_feeds_own_wish_is_never_undercut_and_success_forgets_the_failures() -> None:
    clock, inner = [0.0], _Feed()
    inner.error = Unavailable("wait", code="http_429", retry_after=timedelta(seconds=300))
    feed = RestingFeed(inner, clock=lambda: clock[0])

    _ask_at(feed, clock, 1000, 1299)
    assert inner.asked == 1
    clock[0], inner.error = 1300, None
    assert feed.fetch().usd == Decimal(100_000)
    inner.error = Unavailable("down", code="http_500")
    _ask_at(feed, clock, 1301, 1330)
    assert inner.asked == 3
