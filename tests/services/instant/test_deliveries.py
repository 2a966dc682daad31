"""Proxies: a creator's server is asked once for a payment, and is paid only for a good answer."""

from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from gateways.http import PublicHttpClient
from gateways.proxied.upstreams import PublicUpstreams
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.resource import ResourceType
from models.run import CallKind, RunCall, RunState
from services.instant import deliveries, resources, runs
from services.toolbox import Toolbox
from tests.support.life import Life
from tests.support.market import Buyer, Market, open_market

TOKEN = "token-of-the-upstream"
GIVEN = {"word": "{other}{/other} $& \\ ü"}


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def buyer(client: FlaskClient) -> Buyer:
    return Buyer(client)


def proxied(market: Market, what: str, **members: Any) -> str:
    """Publish what the stand-in's upstream says; the path to run it at."""
    given = {
        "name": "A server",
        "price_usd": Decimal("0.012"),
        "upstream_url": f"{market.stand_in.url}/upstream/{what}?token={TOKEN}",
        "parameters": [{"name": "word", "required": True}, {"name": "other", "required": False}],
    }
    resources.create(market.tools, market.creator.id, what, ResourceType.PROXY, given | members)
    return market.path(what)


def bought(market: Market, buyer: Buyer, life: Life, path: str) -> Any:
    """What a paid run came to, as its buyer reads it."""
    payment = buyer.payment(path)
    buyer.show(path, payment, GIVEN)
    life.work()
    return buyer.show(path, payment, GIVEN)


def test_json_of_the_upstream_is_sold_as_the_value_it_is(
    market: Market, buyer: Buyer, life: Life
) -> None:
    answer = bought(market, buyer, life, proxied(market, "echo"))

    assert answer.status_code == 200
    sold = answer.get_json()
    assert sold["contentType"] == "application/json"
    assert sold["response"]["method"] == "POST"
    assert sold["response"]["body"] == GIVEN
    assert sold["response"]["query"] == {"token": TOKEN}
    assert sold["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert market.calls() == [("verify", "answered"), ("proxy", "answered"), ("settle", "answered")]
    assert market.run().model_cost_usd in (None, 0)


def test_text_of_the_upstream_is_sold_as_text_with_its_type(
    market: Market, buyer: Buyer, life: Life
) -> None:
    answer = bought(market, buyer, life, proxied(market, "text", upstream_method="GET"))

    assert answer.get_json()["response"] == f"You said: token={TOKEN}, word={GIVEN['word']}"
    assert answer.get_json()["contentType"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(target="upstream", kind=FaultKind.STATUS, status=500, text="a secret"), "http_500"),
        (Fault(target="upstream", kind=FaultKind.STATUS, status=404, text="a secret"), "http_404"),
        (Fault(target="upstream", kind=FaultKind.STATUS, status=204), "empty"),
        (Fault(target="upstream", kind=FaultKind.TRUNCATED), "not_json"),
        (Fault(target="upstream", kind=FaultKind.RESET), "connection"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_upstream_that_fails_is_asked_once_and_nobody_is_charged(
    market: Market, buyer: Buyer, life: Life, fault: Fault, code: str
) -> None:
    path = proxied(market, "echo")
    market.stand_in.arm(fault)

    answer = bought(market, buyer, life, path)

    assert (answer.status_code, answer.get_json()["error"]) == (503, "Resource unavailable")
    assert "secret" not in answer.text
    assert "upstream" not in answer.text
    assert market.run().state is RunState.FAILED
    assert market.run().error_code in ("upstream", "empty_output")
    assert market.moved() == []
    assert market.stand_in.counts().requests["POST /upstream/{what}"] == 1
    with market.tools.database.transaction("test.code") as session:
        call = session.scalars(select(RunCall).where(RunCall.kind == CallKind.PROXY)).one()
    assert call.code == code


def test_an_upstream_that_hangs_is_given_up_in_time(
    market: Market, buyer: Buyer, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MAX_PROXY_SECONDS", 0.3)
    path = proxied(market, "echo")
    market.stand_in.arm(Fault(target="upstream", kind=FaultKind.HANG))

    answer = bought(market, buyer, life, path)

    assert answer.status_code == 503
    assert market.run().error_code == "timeout"
    assert market.moved() == []


def test_a_name_that_leads_into_our_own_network_when_it_is_sold_fails_uncharged(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    path = proxied(market, "echo", upstream_url="https://upstream.example/run")
    rebound = PublicHttpClient(resolve=lambda *_: ["169.254.169.254"], dial=_nobody)
    buyer.show(path, buyer.payment(path), GIVEN)

    runs.execute(tools.with_(upstreams=PublicUpstreams(rebound)), market.run().id)

    assert market.run().state is RunState.FAILED
    assert market.moved() == []


def _nobody(*_: object) -> Any:
    raise AssertionError("it was connected to")


def test_a_run_that_is_asked_again_after_a_crash_says_so_by_its_key(
    market: Market, buyer: Buyer, life: Life, tools: Toolbox
) -> None:
    path = proxied(market, "echo")
    buyer.show(path, buyer.payment(path), GIVEN)
    run, version = market.run(), market.sale("echo").version

    first, again = (deliveries.proxy(tools, run, version, seconds=5) for _ in range(2))

    assert first.response["idempotencyKey"] == again.response["idempotencyKey"]
    assert str(run.public_id) not in first.response["idempotencyKey"]
