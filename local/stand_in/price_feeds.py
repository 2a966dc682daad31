"""Public BTC/USD sources, in the shapes of their own answers, under ``/feeds/<name>``."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from config.settings import DEVELOPMENT_BTC_PRICE_USD
from local.stand_in.faults import Errand, Faults
from local.stand_in.wire import Reply, Request, Route, json_reply


def _coingecko(usd: Decimal, now: datetime) -> dict[str, Any]:
    return {"bitcoin": {"usd": usd, "last_updated_at": int(now.timestamp())}}


def _kraken(usd: Decimal, _: datetime) -> dict[str, Any]:
    trade = [f"{usd:.5f}", "0.01"]
    book = [f"{usd:.5f}", "1", "1.000"]
    return {"error": [], "result": {"XXBTZUSD": {"a": book, "b": book, "c": trade}}}


def _coinbase(usd: Decimal, now: datetime) -> dict[str, Any]:
    price = f"{usd:f}"
    return {
        "trade_id": 1,
        "price": price,
        "size": "0.01",
        "bid": price,
        "ask": price,
        "volume": "1000",
        "time": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def _bitstamp(usd: Decimal, now: datetime) -> dict[str, Any]:
    price = f"{usd:f}"
    return {
        "timestamp": str(int(now.timestamp())),
        "last": price,
        "bid": price,
        "ask": price,
        "vwap": price,
    }


def _mempool(usd: Decimal, now: datetime) -> dict[str, Any]:
    return {"time": int(now.timestamp()), "USD": int(usd), "EUR": int(usd)}


SHAPES: Mapping[str, Callable[[Decimal, datetime], dict[str, Any]]] = {
    "coingecko": _coingecko,
    "kraken": _kraken,
    "coinbase": _coinbase,
    "bitstamp": _bitstamp,
    "mempool": _mempool,
}


class PriceFeeds:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._prices = dict.fromkeys(SHAPES, DEVELOPMENT_BTC_PRICE_USD)

    def set_price(self, usd: Decimal, feed: str | None = None) -> None:
        """Of one feed, or of all."""
        with self._lock:
            self._prices.update(dict.fromkeys([feed] if feed else SHAPES, usd))

    def routes(self) -> list[Route]:
        return [Route("GET /feeds/{name}", self._answer)]

    def _answer(self, request: Request, name: str) -> Reply:
        if name not in SHAPES:
            return json_reply({"error": "No such feed."}, status=404)
        errand = Errand(target=f"feed.{name}", subject=request.as_text, client=request.client)
        return self._faults.run(errand, lambda _: self._quote(name))

    def _quote(self, name: str) -> Reply:
        with self._lock:
            usd = self._prices[name]
        return json_reply(SHAPES[name](usd, datetime.now(UTC)))
