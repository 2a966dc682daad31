"""What counts against a payer and against a creator's caps, and what does not."""

from datetime import timedelta
from decimal import Decimal

import pytest
from flask.testing import FlaskClient

from local.stand_in.testing import StandInClient
from models.run import RunState
from services.instant import creators
from services.toolbox import Toolbox
from tests.support.life import Life
from tests.support.market import Buyer, Market, open_market


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
    cap = {"cost_cap_per_day_usd": worst * Decimal("1.5")}
    creators.change(market.tools, market.creator.id, caps=cap)

    assert Buyer(client).buy(path).status_code == 202
