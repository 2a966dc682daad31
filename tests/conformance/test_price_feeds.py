"""The public sources of a bitcoin price: their shapes, and what they must not get past us."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import HttpClient
from gateways.prices import PriceFeed
from gateways.prices.feeds import FEED_SECONDS, KNOWN_SOURCES, known_feeds
from tests.conformance.scripted_server import (
    HANG,
    LONG_BEFORE_THE_SERVER,
    Say,
    ScriptedServer,
    answer,
    dripping_body,
    json_answer,
)

WHEN = datetime(2026, 11, 21, 0, 0, 0, tzinfo=UTC)
EPOCH = int(WHEN.timestamp())

# name → (an answer with this price in it, the time that the source tells)
SHAPES: dict[str, tuple[Callable[[Any], Any], datetime | None]] = {
    "coingecko": (lambda price: {"bitcoin": {"usd": price, "last_updated_at": EPOCH}}, WHEN),
    "kraken": (
        lambda price: {
            "error": [],
            "result": {"XXBTZUSD": {"a": ["1", "2"], "b": ["1", "2"], "c": [price, "0.01"]}},
        },
        None,
    ),
    "coinbase": (
        lambda price: {"trade_id": 1, "price": price, "time": "2026-11-21T00:00:00.000000Z"},
        WHEN,
    ),
    "bitstamp": (lambda price: {"timestamp": str(EPOCH), "last": price, "bid": "1"}, WHEN),
    "mempool": (lambda price: {"time": EPOCH, "USD": price, "EUR": 1}, WHEN),
}


def feed(name: str, server: ScriptedServer, http: HttpClient) -> PriceFeed:
    [only] = known_feeds((f"{name}={server.url}/feeds/{name}",), http)
    return only


def trouble(feed: PriceFeed) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        feed.fetch()
    return caught.value


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("price", ["97123.10000", 97123.1, 97123])
def test_each_source_is_read_in_its_own_shape_as_an_exact_decimal(
    server: ScriptedServer, http: HttpClient, name: str, price: object
) -> None:
    shape, when = SHAPES[name]
    server.says(json_answer(shape(price)))

    found = feed(name, server, http).fetch()

    assert found.feed == name
    assert found.usd == Decimal(str(price))
    assert found.quoted_at == when
    assert server.heard[0].path == f"/feeds/{name}"


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "price", [0, "0", -1, "-97000", "NaN", "Infinity", "97,123", "", "x", None, True, [], {}]
)
def test_a_price_that_is_no_positive_number_is_no_price(
    server: ScriptedServer, http: HttpClient, name: str, price: object
) -> None:
    server.says(json_answer(SHAPES[name][0](price)))

    error = trouble(feed(name, server, http))

    assert isinstance(error, Unavailable)
    assert error.code == "bad_answer"


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("say", "code"),
    [
        (json_answer({}), "bad_answer"),
        (json_answer({"bitcoin": None, "result": {}, "error": []}), "bad_answer"),
        (json_answer({"bitcoin": [], "result": {"X": {"c": []}}, "error": []}), "bad_answer"),
        (json_answer({"error": ["EService:Unavailable"]}), "bad_answer"),
        (json_answer([]), "not_an_object"),
        (answer(200, '{"USD": NaN}'), "not_json"),
        (answer(200, "<html>Just a moment...</html>"), "not_json"),
        (answer(200, " " * 70_000), "too_large"),
        (answer(429, ""), "http_429"),
        (answer(503, "<html></html>"), "http_503"),
    ],
)
def test_garbage_is_unavailable(
    server: ScriptedServer, http: HttpClient, name: str, say: Say, code: str
) -> None:
    server.says(say)

    error = trouble(feed(name, server, http))

    assert isinstance(error, Unavailable)
    assert error.code == code


def test_krakens_error_comes_with_status_200_and_may_even_have_a_price(
    server: ScriptedServer, http: HttpClient
) -> None:
    body = SHAPES["kraken"][0]("97123.1") | {"error": ["EGeneral:Internal error"]}
    server.says(json_answer(body))

    assert trouble(feed("kraken", server, http)).code == "bad_answer"


@pytest.mark.parametrize("when", ["yesterday", -(10**20), 10**20, "9" * 5000, None, [], True])
def test_a_price_with_an_unreadable_time_is_a_price_without_time(
    server: ScriptedServer, http: HttpClient, when: object
) -> None:
    server.says(json_answer({"USD": 97_000, "time": when}))

    found = feed("mempool", server, http).fetch()

    assert found.usd == 97_000
    assert found.quoted_at is None


def test_a_source_that_refuses_us_is_refused(server: ScriptedServer, http: HttpClient) -> None:
    server.says(answer(451, ""))

    assert isinstance(trouble(feed("kraken", server, http)), Refused)


@pytest.mark.parametrize(
    "say", [HANG, dripping_body(b"{" + b" " * 1000, seconds_a_byte=0.05)], ids=["hangs", "drips"]
)
def test_a_feed_has_a_total_deadline(
    server: ScriptedServer, http: HttpClient, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateways.prices.feeds.FEED_SECONDS", 0.4)
    server.says(say)
    began = time.monotonic()

    assert trouble(feed("kraken", server, http)).code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER


def test_the_deadline_of_a_feed_is_five_seconds() -> None:
    assert FEED_SECONDS == 5


def test_by_its_name_alone_a_feed_is_asked_at_its_public_address(http: HttpClient) -> None:
    feeds = known_feeds(tuple(KNOWN_SOURCES), http)

    assert [found.name for found in feeds] == list(SHAPES)
    assert {urlsplit(source.url).scheme for source in KNOWN_SOURCES.values()} == {"https"}


def test_an_address_may_hold_further_equal_signs(server: ScriptedServer, http: HttpClient) -> None:
    server.says(json_answer({"USD": 97_000}))
    [only] = known_feeds((f"mempool={server.url}/p?a=b&c=d",), http)

    only.fetch()

    assert server.heard[0].query == {"a": ["b"], "c": ["d"]}


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (("kracken",), "PRICE_FEEDS names 'kracken'; known are coingecko, kraken,"),
        (("",), "PRICE_FEEDS names ''"),
        (("kraken", "Kraken"), "PRICE_FEEDS names 'Kraken'"),
        (("kraken=",), "PRICE_FEEDS gives kraken the address '', which is no http URL."),
        (("kraken=file:///x",), "which is no http URL."),
        (("kraken", "kraken=http://127.0.0.1/x"), "PRICE_FEEDS names kraken more than once."),
    ],
)
def test_a_selection_that_makes_no_sense_is_a_value_error_in_one_sentence(
    http: HttpClient, selection: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match="PRICE_FEEDS") as caught:
        known_feeds(selection, http)

    assert sentence in str(caught.value)
