"""What a dead key does to sales: they stop before anybody pays, and go on by themselves."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from config.queues import TaskName
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.key_states import KeyState
from local.stand_in.testing import StandInClient
from models.creator import Breaker, ProviderKey
from models.tick import Tick
from services.operate import ticks
from services.toolbox import Toolbox
from tests.app.conftest import Build, BusyDoorbell
from tests.app.contract import CheckedClient
from tests.support.market import KEY, Buyer, Market, open_market

OPENROUTER = "/api/creator/keys/openrouter"


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def client(client_with: Build, busy_workers: BusyDoorbell) -> CheckedClient:
    """Beside workers that are quick."""
    return client_with(collaborators={"doorbell": busy_workers}, instant_wait_seconds=20)


def later(tools: Toolbox) -> None:
    """Let the time of every check and probe come, and the duties run."""
    with tools.database.transaction("test.later") as session:
        past = func.now() - timedelta(seconds=1)
        session.execute(update(ProviderKey).values(due_at=past))
        session.execute(update(Breaker).where(Breaker.due_at.is_not(None)).values(due_at=past))
        session.execute(update(Tick).values(due_at=past))
    ticks.run(tools, TaskName.VERIFY_KEYS)
    ticks.run(tools, TaskName.PROBE_BREAKERS)


def test_a_revoked_key_costs_one_uncharged_run_and_then_nobody_is_asked_to_pay(
    market: Market, client: CheckedClient, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.tell_of_a_key(KEY, KeyState.INVALID)

    failed = Buyer(client).buy(path)
    next_caller = client.post(path)

    assert (failed.status_code, failed.json["error"]) == (503, "Resource unavailable")
    assert (next_caller.status_code, next_caller.json["error"]) == (503, "Resource unavailable")
    assert "PAYMENT-REQUIRED" not in next_caller.headers
    assert market.moved() == []


def test_the_creator_is_told_why_and_nobody_else(
    market: Market, client: CheckedClient, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.tell_of_a_key(KEY, KeyState.INVALID)
    Buyer(client).buy(path)
    later(market.tools)

    headers = {"Authorization": f"Bearer {market.api_key}"}
    account = client.get("/api/creator", headers=headers)

    told = {key["provider"]: key for key in account.json["keys"]}["openrouter"]
    assert (told["isValid"], told["lastErrorCode"]) == (False, "key_invalid")
    assert "key" not in client.post(path).json["error"].lower()


def test_when_the_key_works_again_sales_go_on_by_themselves(
    market: Market, client: CheckedClient, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.tell_of_a_key(KEY, KeyState.INVALID)
    Buyer(client).buy(path)
    later(market.tools)
    assert client.post(path).status_code == 503

    stand_in.tell_of_a_key(KEY, KeyState.VALID)
    later(market.tools)

    assert client.post(path).status_code == 402
    assert Buyer(client).buy(path).status_code == 200


def test_when_the_credits_are_back_sales_go_on_by_themselves(
    market: Market, client: CheckedClient, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.tell_of_a_key(KEY, KeyState.NO_CREDITS)
    Buyer(client).buy(path)
    later(market.tools)
    assert client.post(path).status_code == 503

    stand_in.tell_of_a_key(KEY, KeyState.VALID)
    later(market.tools)

    assert Buyer(client).buy(path).status_code == 200


def test_a_sick_provider_stops_sales_of_that_model_until_a_probe_is_answered(
    market: Market, client: CheckedClient, stand_in: StandInClient
) -> None:
    path, other = market.publish(), market.publish("essay", model="example/small-8b")
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.STATUS, status=408, times=4))
    for _ in range(3):
        assert Buyer(client).buy(path).status_code == 503
    assert client.post(path).status_code == 503
    assert client.post(other).status_code == 402

    later(market.tools)  # the fourth fault hits the probe
    assert client.post(path).status_code == 503
    later(market.tools)

    assert client.post(path).status_code == 402


def test_a_deleted_key_stops_sales_and_another_one_starts_them_again(
    market: Market, client: CheckedClient
) -> None:
    path = market.publish()
    headers = {"Authorization": f"Bearer {market.api_key}"}

    deleted = client.delete(OPENROUTER, headers=headers)
    assert deleted.json["paused"] == ["haiku"]
    assert client.post(path).status_code == 503

    another = {"key": "sk-or-v1-another-key-0007"}
    saved = client.put(OPENROUTER, json=another, headers=headers)
    assert saved.json["resumed"] == ["haiku"]
    assert client.post(path).status_code == 402
