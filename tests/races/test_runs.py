"""One payment, one run, one settlement, however many copies of anything come at once."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from gateways.x402 import wire
from local.stand_in.testing import StandInClient
from models import run_moves
from models.creator import Provider
from models.resource import Resource
from models.run import Run, RunState
from models.run_lifecycle import RUN_ARROWS, RunArrow, RunEvent
from services.errors import NotFound
from services.instant import creators, intake, keys, limits, resources, runs, settlement
from services.instant.preflight import CannotSell
from services.toolbox import Toolbox
from tests.app.contract import client_of
from tests.support.doorbell import RecordingDoorbell
from tests.support.market import BODY, Buyer, Market, open_market
from tests.support.together import all_at_once, together

COPIES = 50


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


def _without_its_key(tools: Toolbox, creator_id: int, slug: str) -> None:
    assert keys.delete(tools, creator_id, Provider.OPENROUTER) == [slug]


def test_fifty_copies_of_a_payment_are_one_run(
    market: Market, web: Flask, doorbell: RecordingDoorbell
) -> None:
    path = market.publish()
    payment = Buyer(client_of(web)).payment(path)

    def show() -> int:
        return int(client_of(web).post(path, json=BODY, headers=payment).status_code)

    statuses = together(*[show] * COPIES)
    doorbell.answer_all(market.tools)

    assert Counter(statuses) == {202: COPIES}
    assert market.run().state is RunState.SUCCEEDED
    assert market.model_calls() == len(market.moved()) == 1


def test_many_payments_of_one_payer_begin_as_many_runs_as_may_be_unsettled(
    market: Market, web: Flask, stand_in: StandInClient
) -> None:
    """At many creators, too."""
    others = [open_market(market.tools, stand_in, f"creator-{n}") for n in range(7)]
    paths = [of.publish() for of in (market, *others)] * 2
    buyer = Buyer(client_of(web))
    payments = [buyer.payment(path) for path in paths]

    def show(path: str, payment: dict[str, str]) -> int:
        return int(client_of(web).post(path, json=BODY, headers=payment).status_code)

    statuses = together(*map(partial, [show] * 16, paths, payments))

    assert Counter(statuses) == {202: 2, 429: 14}
    assert len(market.runs()) == 2


def test_buyers_of_one_creator_do_not_wait_for_each_other(market: Market, web: Flask) -> None:
    """Else a resource that many want would hold up every thread of a door."""
    path = market.publish()

    with market.tools.database.transaction("test.slow_buyer") as session:
        limits.hold_still(session, market.creator, "0x" + "51" * 20)
        answer = Buyer(client_of(web)).buy(path)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("taken_off", "answer"),
    [
        pytest.param(resources.pause, CannotSell, id="paused"),
        pytest.param(resources.archive, NotFound, id="archived"),
        pytest.param(_without_its_key, CannotSell, id="without its key"),
    ],
)
def test_what_goes_off_sale_while_a_payment_is_looked_at_is_not_sold(
    market: Market,
    web: Flask,
    taken_off: Callable[[Toolbox, int, str], object],
    answer: type[Exception],
) -> None:
    path = market.publish()
    payment = wire.payment_of(Buyer(client_of(web)).payment(path)[wire.SIGNATURE_HEADER], None)
    assert payment is not None
    seen = market.sale()

    taken_off(market.tools, market.creator.id, "haiku")

    with pytest.raises(answer):
        intake.buy(market.tools, seen, payment, BODY, key=None, url=f"http://localhost{path}")
    assert market.runs() == []


def test_nothing_is_taken_off_sale_in_the_middle_of_a_purchase(market: Market) -> None:
    """Or a run could be on record that began after its creator was told of the pause."""
    market.publish()

    with market.tools.database.transaction("test.purchase") as session:
        intake.require_still_on_sale(session, market.sale())
        with pytest.raises(OperationalError, match="lock timeout"):
            _archived_without_patience(market)


def _archived_without_patience(market: Market) -> None:
    with market.tools.database.transaction("test.archive") as session:
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        session.execute(update(Resource).values(archived_at=func.now()))


def test_two_payments_under_one_identifier_are_one_run(
    market: Market, web: Flask, doorbell: RecordingDoorbell
) -> None:
    path = market.publish()
    buyer = Buyer(client_of(web))
    payments = [buyer.payment(path, identifier="one-request-of-mine") for _ in range(8)]

    def show(payment: dict[str, str]) -> int:
        return int(client_of(web).post(path, json=BODY, headers=payment).status_code)

    statuses = together(*[partial(show, payment) for payment in payments])
    doorbell.answer_all(market.tools)

    assert Counter(statuses) == {202: 8}
    assert len(market.runs()) == len(market.moved()) == 1


def test_a_run_is_executed_by_one_of_many_workers(market: Market, web: Flask) -> None:
    Buyer(client_of(web)).buy(market.publish())
    run_id = market.run().id

    all_at_once(lambda: runs.execute(market.tools, run_id))

    assert market.run().state is RunState.SETTLING
    assert market.model_calls() == 1


def test_a_run_is_settled_by_one_request(market: Market, web: Flask) -> None:
    Buyer(client_of(web)).buy(market.publish())
    run_id = market.run().id
    runs.execute(market.tools, run_id)

    all_at_once(lambda: settlement.settle(market.tools, run_id))

    run = market.run()
    assert (run.state, run.settle_posts) == (RunState.SUCCEEDED, 1)
    assert len(market.moved()) == 1


@pytest.mark.parametrize(
    "arrow",
    [arrow for arrow in RUN_ARROWS if arrow.source is RunState.RECEIVED],
    ids=lambda arrow: arrow.event.value,
)
def test_a_move_is_made_once(market: Market, web: Flask, arrow: RunArrow) -> None:
    Buyer(client_of(web)).buy(market.publish())
    run_id, event = market.run().id, arrow.event

    def move() -> Run | None:
        with market.tools.database.transaction("test.move") as session:
            return run_moves.advance(
                session,
                run_id,
                expect=RunState.RECEIVED,
                on=event,
                error_code=None if event is RunEvent.VERIFIED else "x",
            )

    moved = [run for run in all_at_once(move) if run is not None]

    assert len(moved) == 1


def test_whoever_lost_a_run_moves_it_no_more(market: Market, web: Flask) -> None:
    Buyer(client_of(web)).buy(market.publish())
    run = market.run()

    with market.tools.database.transaction("test.move") as session:
        moved = run_moves.advance(
            session,
            run.id,
            expect=RunState.RECEIVED,
            on=RunEvent.VERIFIED,
            claim=run.claim + 1,
            lease=timedelta(minutes=1),
        )

    assert moved is None
    assert market.run().state is RunState.RECEIVED


def test_the_database_itself_refuses_a_second_run_of_a_payment(market: Market, web: Flask) -> None:
    """Were the lock at the door ever to fail."""
    Buyer(client_of(web)).buy(market.publish())
    known = market.run()
    copied = {
        column.key: getattr(known, column.key)
        for column in Run.__table__.columns
        if column.key not in {"id", "public_id", "state", "due_at"}
    }

    with (
        pytest.raises(IntegrityError, match="uq_runs_payment"),
        market.tools.database.transaction("test.copy") as session,
    ):
        run_moves.begin(session, Run(**copied, public_id=uuid4()))


def test_limits_of_a_creator_are_counted_one_at_a_time(market: Market, web: Flask) -> None:
    """The day's cap has room for one run of many that come at once."""
    path = market.publish()
    Buyer(client_of(web)).buy(path)
    market.age_runs(created_at=-timedelta(hours=1))  # of today all the same if midnight comes now
    worst = market.run().worst_cost_usd
    assert worst is not None
    creators.change(
        market.tools, market.creator.id, caps={"cost_cap_per_day_usd": worst * Decimal("2.5")}
    )
    sale = market.sale()
    owners = [lambda: intake.try_out(market.tools, sale, BODY)] * 6

    ended = together(*owners)

    assert len([run for run in ended if isinstance(run, Run)]) == 1
    assert len(market.runs()) == 2
