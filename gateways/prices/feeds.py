"""What public sources say a bitcoin costs in dollars; a new one is a row of ``KNOWN_SOURCES``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from gateways.errors import Unavailable
from gateways.http import HttpClient
from gateways.prices import FeedPrice, PriceFeed

FEED_SECONDS = 5.0
FEED_MAX_BYTES = 64 * 1024

Quote = tuple[object, object]
"""Price and time as the source wrote them; the time is None where it tells none."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public price. ``read`` may raise whatever a wrong shape makes it raise."""

    url: str
    read: Callable[[Any], Quote]


def _kraken(answer: Any) -> Quote:
    """Kraken answers errors with 200 and names the pair as it likes."""
    if answer["error"]:
        raise ValueError("an error with status 200")
    return next(iter(answer["result"].values()))["c"][0], None


KNOWN_SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "coingecko": Source(
            url="https://api.coingecko.com/api/v3/simple/price"
            "?ids=bitcoin&vs_currencies=usd&include_last_updated_at=true",
            read=lambda it: (it["bitcoin"]["usd"], it["bitcoin"].get("last_updated_at")),
        ),
        "kraken": Source(url="https://api.kraken.com/0/public/Ticker?pair=XBTUSD", read=_kraken),
        "coinbase": Source(
            url="https://api.exchange.coinbase.com/products/BTC-USD/ticker",
            read=lambda it: (it["price"], it.get("time")),
        ),
        "bitstamp": Source(
            url="https://www.bitstamp.net/api/v2/ticker/btcusd/",
            read=lambda it: (it["last"], it.get("timestamp")),
        ),
        "mempool": Source(
            url="https://mempool.space/api/v1/prices",
            read=lambda it: (it["USD"], it.get("time")),
        ),
    }
)


class HttpPriceFeed:
    """``PriceFeed`` over one request. Shared between threads."""

    def __init__(self, name: str, source: Source, http: HttpClient) -> None:
        self.name = name
        self.source = source
        self._http = http

    def fetch(self) -> FeedPrice:
        """As the protocol says; a price that is no positive number is Unavailable."""
        reply = self._http.get(self.source.url, seconds=FEED_SECONDS, max_bytes=FEED_MAX_BYTES)
        answer = reply.required().object()
        try:
            price, time = self.source.read(answer)
            return FeedPrice(feed=self.name, usd=_positive(price), quoted_at=_instant(time))
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise Unavailable(f"{self.name}: no price in the answer", code="bad_answer") from error


def known_feeds(selection: tuple[str, ...], http: HttpClient) -> list[PriceFeed]:
    """The feeds of a selection, an item being ``name`` or ``name=URL`` to ask it elsewhere.

    Raises ValueError with one sentence for an unknown name, a name given twice, or no http URL.
    """
    feeds: list[PriceFeed] = [_feed(item, http) for item in selection]
    names = [feed.name for feed in feeds]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"PRICE_FEEDS names {', '.join(twice)} more than once.")
    return feeds


def _feed(item: str, http: HttpClient) -> HttpPriceFeed:
    name, is_elsewhere, url = item.strip().partition("=")
    known = KNOWN_SOURCES.get(name)
    if known is None:
        raise ValueError(f"PRICE_FEEDS names {name!r}; known are {', '.join(KNOWN_SOURCES)}.")
    if is_elsewhere and not url.startswith(("http://", "https://")):
        raise ValueError(f"PRICE_FEEDS gives {name} the address {url!r}, which is no http URL.")
    return HttpPriceFeed(name, Source(url=url or known.url, read=known.read), http)


def _positive(price: object) -> Decimal:
    """Exact, whether it came as a number or as text. Raises ValueError."""
    if isinstance(price, bool) or not isinstance(price, (int, str, Decimal)):
        raise TypeError("a price is a number or its text")
    try:
        value = Decimal(price)
    except InvalidOperation as error:
        raise ValueError("the price is no number") from error
    if not value.is_finite() or value <= 0:
        raise ValueError("the price is not positive")
    return value


def _instant(time: object) -> datetime | None:
    """Seconds since 1970 or ISO 8601; None when it is neither, for a price without time is one."""
    try:
        if isinstance(time, str) and not time.isdecimal():
            parsed = datetime.fromisoformat(time)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(time, (int, str)) and not isinstance(time, bool):
            return datetime.fromtimestamp(int(time), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
