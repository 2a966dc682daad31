"""What is forgotten when: results after some days, and with them all payments that were no good."""

from datetime import timedelta
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, update

from local.stand_in.testing import StandInClient
from models.run import FINAL_RUNS, CallKind, Run, RunCall, RunState
from models.violation import Violation
from services.instant import earnings, limits, retention
from services.instant.earnings import Span
from services.operate import invariants
from services.operate.run_rules import RunRule
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.life import Life
from tests.support.market import Buyer, open_market
from tests.support.run_rows import Shop, open_shop

LONG_AGO = timedelta(days=8)


@pytest.fixture
def shop(tools: Toolbox) -> Shop:
    return open_shop(tools, "text")


def _call(shop: Shop, run: Run) -> None:
    with shop.tools.database.transaction("test.call") as session:
        session.add(RunCall(run_id=run.id, kind=CallKind.VERIFY, claim=1))


def _kept(shop: Shop) -> list[int]:
    return [run.id for run in rows.all_of(shop.tools, Run)]


def test_runs_that_were_refused_long_ago_go_with_their_calls_and_all_others_stay(
    shop: Shop,
) -> None:
    of_old = {state: shop.add_run("text", state, age=LONG_AGO) for state in RunState}
    young = shop.add_run("text", RunState.REFUSED, age=timedelta(days=6))
    for run in (*of_old.values(), young):
        _call(shop, run)

    assert retention.prune(shop.tools) == len(FINAL_RUNS)

    gone = of_old.pop(RunState.REFUSED)
    assert _kept(shop) == sorted(run.id for run in (*of_old.values(), young))
    assert gone.id not in {call.run_id for call in rows.all_of(shop.tools, RunCall)}
    assert len(rows.all_of(shop.tools, RunCall)) == len(of_old) + 1
    assert retention.prune(shop.tools) == 0


def test_a_run_whose_payment_nobody_could_verify_goes_and_one_that_failed_later_stays(
    shop: Shop,
) -> None:
    unjudged = shop.add_run("text", RunState.FAILED, age=LONG_AGO)
    failed = shop.add_run("text", RunState.FAILED, age=LONG_AGO)
    left = limits.what_is_left_of("0x" + "0" * 130)
    with shop.tools.database.transaction("test.unjudged") as session:
        session.execute(update(Run).where(Run.id == unjudged.id).values(payment=left))

    assert retention.prune(shop.tools) == 2

    assert _kept(shop) == [failed.id]


def test_what_creators_earned_is_the_same_when_what_was_refused_is_gone(shop: Shop) -> None:
    for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.REFUSED):
        shop.add_run("text", state, age=LONG_AGO)
    before = earnings.earnings(shop.tools, shop.creator.id, Span()).sales

    retention.prune(shop.tools)
    after = earnings.earnings(shop.tools, shop.creator.id, Span()).sales

    assert (before.refused_calls, after.refused_calls) == (1, 0)
    assert (after.calls, after.failed_calls, after.gross) == (1, 1, before.gross)


def test_a_refused_run_that_broke_a_rule_stays_on_record(shop: Shop) -> None:
    run = shop.add_run("text", RunState.REFUSED, age=LONG_AGO)
    rule = RunRule.LEASE_LOOKED_AFTER.value
    with shop.tools.database.transaction("test.broken") as session:
        session.add(
            Violation(rule=rule, run_id=run.id, last_seen_at=func.now(), mended_at=func.now())
        )

    assert retention.prune(shop.tools) == 1

    assert _kept(shop) == [run.id]
    assert retention.prune(shop.tools) == 0


def test_a_flood_of_refused_runs_goes_faster_than_it_came(shop: Shop) -> None:
    like = shop.add_run("text", RunState.REFUSED, age=LONG_AGO)
    members = {
        column.key: value
        for column in Run.__table__.columns
        if (value := getattr(like, column.key)) is not None and column.key not in {"id"}
    }
    with shop.tools.database.transaction("test.flood") as session:
        session.add_all(
            Run(**members | {"public_id": uuid4()}) for _ in range(retention.PRUNED_AT_ONCE)
        )

    assert retention.prune(shop.tools) == retention.PRUNED_AT_ONCE + 1
    assert _kept(shop) == []


def test_a_payment_whose_refusal_was_forgotten_is_judged_anew(
    tools: Toolbox, stand_in: StandInClient, client: FlaskClient, life: Life
) -> None:
    market, buyer = open_market(tools, stand_in), Buyer(client)
    path = market.publish()
    payment = buyer.payment(path)
    stand_in.set_tokens(buyer.payer.address, 0)
    address = buyer.show(path, payment).get_json()["statusUrl"]
    life.work()
    market.age_runs(ended_at=LONG_AGO)
    assert retention.prune(tools) == 1
    assert client.get(address.removeprefix("http://localhost")).status_code == 404

    stand_in.set_tokens(buyer.payer.address, 12_000)
    assert buyer.show(path, payment).status_code == 202
    life.work()

    assert market.run().state is RunState.SUCCEEDED
    assert market.calls()[0] == ("verify", "answered")
    assert invariants.sweep_everything(tools) == 0
