"""Addresses and headers of every bad kind, at every route: never a 500, and nothing is written."""

import re
from typing import Any
from uuid import uuid4

import pytest

from local.stand_in.testing import StandInClient
from services.toolbox import Toolbox
from tests.app.conftest import Build
from tests.app.contract import CheckedClient
from tests.app.test_anything import as_a_server_tells
from tests.app.test_every_body import contents
from tests.architecture.test_routes import ROUTES
from tests.support.life import REQUEST, Life
from tests.support.market import BODY, Market, open_market

NO_NAMES = (
    *(
        "%00",
        "a%00b",
        "%ff%fe",
        "%ed%a0%80",
        "%F0%9F%A7%BF",
        "%E2%80%AE",
        "%20",
        "%09",
        "%0d%0aX:1",
    ),
    *(
        "..",
        "%2e%2e",
        "..%2f..%2fetc",
        "%2F",
        "%5c",
        ".",
        "*",
        "null",
        "-1",
        "0",
        "{id}",
        "%7Bid%7D",
    ),
    *("'%20OR%201=1--", '"', "<script>", "$(id)", "%25", "%", "a" * 3000, "9" * 400, "1e9", "NaN"),
    *("urn:uuid:" + str(uuid4()), "{" + str(uuid4()) + "}", uuid4().hex, f"{uuid4()}%00"),
    *(
        f"%20{uuid4()}",
        str(uuid4())[:-1],
        f"{uuid4()}0",
        str(uuid4()).replace("-", "_"),
        str(uuid4()),
    ),
    *("\u0660" * 8 + "-", "0x" + "ab" * 32, "%EF%BC%91" * 8),
)
NAMED = sorted((method, path) for method, path in ROUTES if "<" in path)


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


def let_in(market: Market, path: str) -> dict[str, str]:
    """What opens an address that is not everybody's."""
    is_creators = path.startswith("/api/creator")
    return {"Authorization": f"Bearer {market.api_key}"} if is_creators else {}


@pytest.mark.parametrize(("method", "path"), NAMED)
def test_what_nothing_has_as_its_name_is_a_400_or_a_404(
    client: CheckedClient, market: Market, method: str, path: str
) -> None:
    """An id, a slug, a token, a hash: whatever stands in an address."""
    market.publish("haiku")
    headers = let_in(market, path)
    before = contents(market.tools)

    for name in NO_NAMES:
        spelled = name.join(re.split(r"<\w+:\w+>", path))
        answer = client.open(
            "/",
            method=method,
            json={},
            headers=headers,
            environ_overrides=as_a_server_tells(spelled),
        )

        # Half of a name may lead to another address, which does not know the method.
        assert answer.status_code in {400, 404, 405}, f"{spelled[:200]}: {answer.text[:200]}"
        assert answer.json["error"]
    assert contents(market.tools) == before


OF_EVERY_KIND = (
    *(
        "",
        " ",
        "x",
        "0",
        "-1",
        "*",
        "*/*;q=2",
        "q=",
        ";;;",
        ",,,",
        '"',
        '"x',
        "W/",
        "a=b;c",
        "null",
    ),
    *(
        "\xff\xfe",
        "ü" * 100,
        "%00%ff",
        "=?utf-8?b?AA==?=",
        "x" * 7000,
        "9" * 4000,
        "1" * 500 + "/2",
    ),
    *(
        "bytes=0-0,5-",
        "bytes=9-1",
        "Thu, 99 Foo 9999 99:99:99 GMT",
        "{}",
        "[1",
        "eyJ4IjoxfQ==",
        "W10=",
    ),
    *(
        "Bearer",
        "Bearer ",
        "Bearer \xff",
        "Bearer " + "x" * 6000,
        "Basic Og==",
        "Digest x",
        "bearer x",
    ),
    *(
        "javascript:alert(1)",
        "//evil.example",
        "::1",
        "[::",
        "1.2.3.4:99999",
        "unix:",
        "chunked, gzip",
    ),
    *(
        "${jndi:ldap://x}",
        "<b>",
        "../..",
        "application/json;charset=\xff",
        "text/html",
        "100-continue",
    ),
)
NEUTRAL = (
    *(
        "Accept",
        "Accept-Charset",
        "Accept-Encoding",
        "Accept-Language",
        "Content-Language",
        "Cookie",
    ),
    *(
        "Date",
        "DNT",
        "Expect",
        "Forwarded",
        "From",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
    ),
    *(
        "If-Range",
        "Last-Event-ID",
        "Max-Forwards",
        "Origin",
        "Prefer",
        "Pragma",
        "Range",
        "Referer",
    ),
    *("TE", "Traceparent", "Upgrade", "User-Agent", "X-Api-Key", "X-Forwarded-For", "X-Real-IP"),
    *("X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto"),
    *("X-HTTP-Method-Override", "X-Original-URL", "X-Request-Id", "Access-Control-Request-Headers"),
    "Access-Control-Request-Method",
)
"""They let nobody in and keep nobody out, whatever they say: all of them are sent at once."""


def as_environ(name: str, value: str) -> dict[str, str]:
    """As a server tells of a header, which takes bytes that a client would refuse to send."""
    key = name.upper().replace("-", "_")
    return {key if key == "CONTENT_TYPE" else f"HTTP_{key}": value}


ASKED: dict[str, tuple[str, str, Any]] = {
    "a new job": ("POST", "/api/jobs", {"request": REQUEST}),
    "a job": ("GET", "/api/jobs/{id}", None),
    "the demo": ("GET", "/api/demo?request=hello", None),
    "an account": ("GET", "/api/creator", None),
    "a change": ("PATCH", "/api/creator", {"costCapPerDayUsd": 1}),
    "a run": ("POST", "/api/instant/ada/haiku", BODY),
    "a price": ("GET", "/api/instant/ada/haiku", None),
    "what is allowed": ("OPTIONS", "/api/jobs", None),
    "the page": ("GET", "/api/docs", None),
}


@pytest.fixture
def job_id(life: Life) -> str:
    return str(life.create().job.public_id)


@pytest.mark.parametrize("hops", [0, 2])
@pytest.mark.parametrize("what", ASKED)
def test_headers_that_decide_nothing_are_no_trouble_whatever_they_say(
    client_with: Build, market: Market, job_id: str, what: str, hops: int
) -> None:
    market.publish("haiku")
    client = client_with(trusted_proxy_hops=hops, demo_wait_seconds=0)
    method, path, body = ASKED[what]
    expected = client.open(
        path.replace("{id}", job_id), method=method, json=body, headers=let_in(market, path)
    ).status_code

    for value in OF_EVERY_KIND:
        environ: dict[str, str] = {}
        for name in NEUTRAL:
            environ |= as_environ(name, value)
        answer = client.open(
            path.replace("{id}", job_id),
            method=method,
            json=body,
            headers=let_in(market, path),
            environ_overrides=environ,
        )

        told = f"{value[:60]!r}: {answer.text[:200]}"
        assert answer.status_code in {expected, 429}, told


DECISIVE = {
    "a new job": ("Content-Type", "Content-Encoding", "Idempotency-Key"),
    "an account": ("Authorization",),
    "a change": ("Authorization", "Content-Type"),
    "a run": ("PAYMENT-SIGNATURE", "X-PAYMENT", "X-Owner-Test", "Idempotency-Key", "Content-Type"),
    "a price": ("PAYMENT-SIGNATURE", "X-PAYMENT"),
}


@pytest.mark.parametrize(
    ("what", "name"), [(what, name) for what, names in DECISIVE.items() for name in names]
)
def test_a_header_that_decides_is_refused_in_words_when_it_makes_no_sense(
    client: CheckedClient, market: Market, what: str, name: str
) -> None:
    market.publish("haiku")
    method, path, body = ASKED[what]
    headers = {} if name == "Authorization" else let_in(market, path)

    for value in OF_EVERY_KIND:
        answer = client.open(
            path,
            method=method,
            json=body,
            headers=headers,
            environ_overrides=as_environ(name, value),
        )

        told = f"{value[:60]!r}: {answer.text[:200]}"
        assert answer.status_code < 500, told
        if name == "Authorization":
            assert answer.status_code == 401, told
    assert market.runs() == []
