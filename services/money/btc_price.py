"""What a bitcoin costs: fetched by a duty, kept in PostgreSQL, refused when nothing can be said."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.settings import Settings
from gateways.errors import OutsideError
from gateways.prices import FeedPrice, PriceFeed
from models.btc_price import BtcPrice
from models.database import ago, is_young
from models.money import Usd
from services.errors import ErrorCode, NotNow
from services.money.price_agreement import LastPrice, believe
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

FRESH_FOR = timedelta(seconds=60)


class PriceSource(StrEnum):
    LIVE = "live"
    STALE = "stale"
    FALLBACK = "fallback"


@dataclass(frozen=True, kw_only=True)
class BtcQuote:
    """The price to use now, where it comes from, and the feeds behind it."""

    usd: Usd
    source: PriceSource
    feeds: dict[str, Any] = field(default_factory=dict)


def current(session: Session, settings: Settings) -> BtcQuote:
    """The price to quote with. Raises NotNow(price_unavailable) when there is none to be had."""
    newest = session.execute(
        select(BtcPrice, ago(BtcPrice.fetched_at)).order_by(BtcPrice.id.desc()).limit(1)
    ).one_or_none()
    if newest is not None:
        price, since = newest
        if is_young(since, timedelta(seconds=settings.btc_price_max_stale_seconds)):
            source = PriceSource.LIVE if since <= FRESH_FOR else PriceSource.STALE
            return BtcQuote(usd=price.price_usd, source=source, feeds=price.feeds)
    if settings.btc_price_usd_fallback is not None:
        return BtcQuote(usd=Usd(settings.btc_price_usd_fallback), source=PriceSource.FALLBACK)
    raise NotNow(
        "There is no current bitcoin price, so nothing can be priced; try again shortly.",
        code=ErrorCode.PRICE_UNAVAILABLE,
        retry_after=timedelta(seconds=30),
    )


def refresh(tools: Toolbox) -> BtcPrice | None:
    """Ask every feed at once and keep what they agree on; with None the old price ages."""
    told = _ask_all(tools.price_feeds)
    with tools.database.transaction("price.last") as session:
        now = session.scalars(select(func.now())).one()
        last = _last(session)
    agreed = believe(told, asked=len(tools.price_feeds), now=now, last=last)
    feeds = {price.feed: str(price.usd) for price in told}
    if agreed is None:
        logger.warning("no agreed bitcoin price", feeds=feeds)
        return None
    price = BtcPrice(price_usd=agreed, feeds=feeds)
    with tools.database.transaction("price.keep") as session:
        session.add(price)
    return price


def _last(session: Session) -> LastPrice | None:
    newest = session.execute(
        select(BtcPrice.price_usd, ago(BtcPrice.fetched_at)).order_by(BtcPrice.id.desc()).limit(1)
    ).one_or_none()
    return LastPrice(usd=Usd(newest[0]), age=newest[1]) if newest else None


def _ask_all(feeds: tuple[PriceFeed, ...]) -> list[FeedPrice]:
    if not feeds:
        return []
    with ThreadPoolExecutor(len(feeds), thread_name_prefix="feed") as pool:
        answers = pool.map(_ask, feeds)
    return [answer for answer in answers if answer is not None]


def _ask(feed: PriceFeed) -> FeedPrice | None:
    try:
        return feed.fetch()
    except OutsideError as error:
        logger.info("price feed failed", feed=feed.name, code=error.code)
        return None
