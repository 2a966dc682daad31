"""The price of a bitcoin: asked for, kept, aged, and refused when nothing can be said."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, update

from config.settings import Settings
from local.stand_in.faults import Fault, FaultKind
from models.btc_price import BtcPrice
from services.errors import ErrorCode, NotNow
from services.jobs import intake
from services.money import btc_price
from services.money.btc_price import BtcQuote
from tests.support.life import Life


def _current(life: Life, settings: Settings | None = None) -> BtcQuote:
    with life.tools.database.transaction("test.price") as session:
        return btc_price.current(session, settings or life.tools.settings)


def _age_price(life: Life, by: timedelta) -> None:
    with life.tools.database.transaction("test.age_price") as session:
        session.execute(update(BtcPrice).values(fetched_at=func.now() - by))


def _without_fallback(life: Life) -> Settings:
    return life.tools.settings.model_copy(update={"btc_price_usd_fallback": None})


def test_given_feeds_that_agree_then_the_price_is_live_and_names_them(life: Life) -> None:
    life.stand_in.set_btc_price(Decimal("97123.45"))

    btc_price.refresh(life.tools)

    quote = _current(life)
    assert quote.usd == Decimal("97123.45") or abs(quote.usd - Decimal("97123.45")) < 1
    assert quote.source == "live"
    assert set(quote.feeds) == {"coingecko", "kraken", "coinbase", "bitstamp", "mempool"}


@pytest.mark.parametrize(
    ("age", "source"),
    [
        (timedelta(seconds=50), "live"),
        (timedelta(seconds=70), "stale"),
        (timedelta(seconds=890), "stale"),
        (timedelta(seconds=910), "fallback"),
        (timedelta(hours=-1), "fallback"),  # PostgreSQL's clock was set back
    ],
)
def test_a_price_is_live_for_a_minute_stale_for_a_quarter_hour_and_then_the_fallback_counts(
    life: Life, age: timedelta, source: str
) -> None:
    btc_price.refresh(life.tools)
    _age_price(life, age)

    assert _current(life).source == source


def test_given_no_price_and_no_fallback_then_no_job_is_taken_in_and_no_invoice_made(
    life: Life,
) -> None:
    tools = life.tools.with_(settings=_without_fallback(life))

    with pytest.raises(NotNow) as refusal:
        intake.create(tools, "Anything.", client_key="192.0.2.1")

    assert refusal.value.code is ErrorCode.PRICE_UNAVAILABLE
    assert refusal.value.retry_after is not None
    assert life.stand_in.counts().requests.get("POST /api/v1/payments", 0) == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target="feed.kraken", kind=FaultKind.BODY),
        Fault(target="feed.kraken", kind=FaultKind.BODY, text='{"error":["EQuery:down"]}'),
        Fault(
            target="feed.kraken",
            kind=FaultKind.BODY,
            text='{"error":[],"result":{"X":{"c":["NaN"]}}}',
        ),
        Fault(
            target="feed.kraken",
            kind=FaultKind.BODY,
            text='{"error":[],"result":{"X":{"c":["0"]}}}',
        ),
        Fault(
            target="feed.kraken",
            kind=FaultKind.BODY,
            text='{"error":[],"result":{"X":{"c":["not a number"]}}}',
        ),
        Fault(
            target="feed.kraken",
            kind=FaultKind.BODY,
            text='{"error":[],"result":{"X":{"c":["250000.00"]}}}',
        ),
        Fault(target="feed.kraken", kind=FaultKind.STATUS, status=500),
        Fault(target="feed.kraken", kind=FaultKind.STATUS, status=429, retry_after="60"),
        Fault(target="feed.kraken", kind=FaultKind.TRUNCATED),
        Fault(target="feed.kraken", kind=FaultKind.RESET),
    ],
    ids=["html", "error body", "NaN", "zero", "text", "liar", "500", "429", "truncated", "reset"],
)
def test_one_feed_that_lies_or_fails_moves_nothing(life: Life, fault: Fault) -> None:
    life.stand_in.set_btc_price(Decimal(100_000))
    life.stand_in.arm(fault)

    price = btc_price.refresh(life.tools)

    assert price is not None
    assert price.price_usd == Decimal(100_000)


def test_given_a_feed_that_failed_then_it_alone_is_left_in_peace(life: Life) -> None:
    life.stand_in.arm(
        Fault(target="feed.kraken", kind=FaultKind.STATUS, status=500, retry_after="3600")
    )

    btc_price.refresh(life.tools)
    btc_price.refresh(life.tools)

    assert life.stand_in.counts().requests["GET /feeds/{name}"] == 5 + 4


def test_given_feeds_that_agree_on_nothing_then_the_old_price_stays_and_ages(life: Life) -> None:
    for n, feed in enumerate(("coingecko", "kraken", "coinbase", "bitstamp", "mempool")):
        life.stand_in.set_btc_price(Decimal(50_000 * (n + 1)), feed=feed)
    for feed in ("coinbase",):
        life.stand_in.arm(Fault(target=f"feed.{feed}", kind=FaultKind.STATUS, status=500))

    assert btc_price.refresh(life.tools) is None
    with life.tools.database.transaction("test.count") as session:
        assert session.scalar(select(func.count()).select_from(BtcPrice)) == 0
