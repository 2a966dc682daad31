"""Instant resources over HTTP: a program asks the price, pays, and gets what it paid for."""

import pytest

from local.stand_in.testing import StandInClient
from models.run import RunState
from services.toolbox import Toolbox
from tests.app.conftest import Build, BusyDoorbell
from tests.app.contract import CheckedClient
from tests.support.market import PAYEE, PRICE_MICROS, Buyer, Market, open_market
from tests.support.x402_payer import decoded


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def client(client_with: Build, busy_workers: BusyDoorbell) -> CheckedClient:
    """Beside workers that are quick."""
    return client_with(collaborators={"doorbell": busy_workers}, instant_wait_seconds=3)


@pytest.mark.parametrize("version", [2, 1])
def test_a_caller_pays_in_the_request_and_gets_the_result(
    market: Market, client: CheckedClient, version: int
) -> None:
    path = market.publish()
    buyer = Buyer(client)

    response = buyer.buy(path, version=version)

    assert response.status_code == 200
    answer = response.get_json()
    assert answer["response"]
    assert answer["usage"]["output_tokens"] > 0
    assert answer["receipt"]["paidUsdc"] == 0.012
    name = "PAYMENT-RESPONSE" if version == 2 else "X-PAYMENT-RESPONSE"
    receipt = decoded(response.headers[name])
    assert receipt["success"]
    assert receipt["transaction"] == answer["receipt"]["transaction"]
    (moved,) = market.moved()
    assert moved.details["payTo"] == PAYEE
    assert moved.details["amountMicros"] == PRICE_MICROS
    assert market.run().state is RunState.SUCCEEDED
