"""What counts against a payer and against a creator's caps, and what does not."""

from datetime import timedelta
from decimal import Decimal

import pytest
from flask.testing import FlaskClient

from local.stand_in.testing import StandInClient
from models.run import RunState
from services.instant import creators, limits
from services.toolbox import Toolbox
from tests.support.life import Life
from tests.support.market import BODY, Buyer, Market, open_market


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


def _bought_while_nobody_verified(market: Market, buyer: Buyer, life: Life, path: str) -> None:
    buyer.buy(path)
    market.age_runs(run_by=timedelta(minutes=8))
    life.work()


def test_payments_that_nobody_could_verify_do_not_stop_their_payer(
    market: Market, client: FlaskClient, life: Life
) -> None:
    """They need not even be the payer's: a smart wallet's signature is not judged here."""
    path, buyer = market.publish(), Buyer(client)
    for _ in range(3):
        _bought_while_nobody_verified(market, buyer, life, path)
    assert {run.error_code for run in market.runs()} == {"facilitator_away"}

    buyer.buy(path)
    life.work()

    assert market.runs()[-1].state is RunState.SUCCEEDED


def test_payments_that_nobody_could_verify_use_up_nothing_of_the_creators_day(
    market: Market, client: FlaskClient, life: Life
) -> None:
    path = market.publish()
    _bought_while_nobody_verified(market, Buyer(client), life, path)
    worst = market.run().worst_cost_usd
    assert worst is not None
    assert market.run().model_cost_usd == 0
    cap = {"cost_cap_per_day_usd": worst * Decimal("1.5")}
    creators.change(market.tools, market.creator.id, caps=cap)

    assert Buyer(client).buy(path).status_code == 202


def test_a_creator_tries_out_so_much_at_once_and_no_more(
    market: Market, client: FlaskClient, life: Life
) -> None:
    """Of all resources together: there may be any number of them."""
    paths = [market.publish(), market.publish("sonnet")]
    headers = {"Authorization": f"Bearer {market.api_key}", "X-Owner-Test": "true"}

    def tried() -> list[int]:
        answers = [
            client.post(paths[n % 2], json=BODY, headers=headers)
            for n in range(limits.TESTS_AT_ONCE + 1)
        ]
        return [answer.status_code for answer in answers]

    assert tried() == [202] * limits.TESTS_AT_ONCE + [429]
    life.work()
    assert tried()[0] == 202


def test_nothing_is_kept_of_what_came_with_a_payment_that_is_no_good(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    path, buyer = market.publish(), Buyer(client)
    payment = buyer.payment(path)
    stand_in.set_tokens(buyer.payer.address, 0)
    buyer.show(path, payment)
    assert market.run().inputs is not None

    life.work()

    assert (market.run().state, market.run().inputs) == (RunState.REFUSED, None)
