"""What counts against a payer and against a creator's caps, and what does not."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.resource import ResourceType
from models.run import CallKind, Run, RunCall, RunState
from services.instant import creators, limits, listing, runs, settlement
from services.instant.obstacles import Obstacle
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.life import Life
from tests.support.market import BODY, Buyer, Market, open_market
from tests.support.x402_payer import Payer, decoded, v2_headers

NO_WALLETS = "0x" + "5a" * 64 + "6492" * 16
"""A smart wallet's signature by its end, and nobody's: x402's own facilitator cannot even read it.

Whoever shows it needs no key and no money.
"""


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


def test_payments_that_nobody_can_verify_give_their_places_back_after_a_minute(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    """A facilitator that is away is no reason to keep out those who come when it is back."""
    stand_in.arm(Fault(target="x402.verify", kind=FaultKind.STATUS, status=503, times=2))
    Buyer(client).buy(market.publish())
    life.work()
    life.make_due()
    life.work()
    assert market.run().state is RunState.RECEIVED
    with market.tools.database.transaction("test.age") as session:
        first = select(func.min(RunCall.id)).scalar_subquery()
        earlier = RunCall.ended_at - runs.VERIFYING
        session.execute(update(RunCall).where(RunCall.id == first).values(ended_at=earlier))

    life.make_due()
    life.work()

    run = market.run()
    assert (run.state, run.error_code) == (RunState.FAILED, "facilitator_away")
    assert (run.inputs, run.payment, market.moved()) == (None, {"isOfOneKey": True}, [])


def test_a_facilitator_that_was_away_for_a_moment_is_asked_again_however_late(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    """Workers may have had no time for this run since."""
    stand_in.arm(Fault(target="x402.verify", kind=FaultKind.STATUS, status=503))
    Buyer(client).buy(market.publish())
    life.work()
    rows.change(market.tools, RunCall, ended_at=RunCall.ended_at - 2 * runs.VERIFYING)

    life.make_due()
    life.work()

    assert market.run().state is RunState.SUCCEEDED


def test_a_worker_that_dies_while_it_asks_has_not_asked_in_vain(
    market: Market, client: FlaskClient, life: Life
) -> None:
    """Its run is taken over when its lease ends, and a lease may be as long as the patience."""
    Buyer(client).buy(market.publish())
    run = market.run()
    with market.tools.database.transaction("test.died") as session:
        call = RunCall(run_id=run.id, kind=CallKind.VERIFY, claim=run.claim)
        session.add(call)
    rows.change(market.tools, RunCall, started_at=RunCall.started_at - 2 * runs.VERIFYING)

    life.work()

    assert market.run().state is RunState.SUCCEEDED


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

    run = market.run()
    assert (run.state, run.inputs, run.payment) == (RunState.REFUSED, None, {"isOfOneKey": True})


def _refused(market: Market, buyer: Buyer, life: Life, *, times: int) -> dict[str, str]:
    """A payment that is no good, shown so often; returns it."""
    payment = buyer.payment(market.path())
    market.stand_in.set_tokens(buyer.payer.address, 0)
    assert buyer.show(market.path(), payment).status_code == 202
    life.work()
    assert market.run().state is RunState.REFUSED
    _repeat(market, times=times - 1)
    return payment


def _repeat(market: Market, *, times: int) -> None:
    """So many runs more that are as the only one."""
    (only,) = rows.all_of(market.tools, Run)
    unique = {"id", "public_id"}
    members = {
        column.key: getattr(only, column.key)
        for column in Run.__table__.columns
        if column.key not in unique and getattr(only, column.key) is not None
    }
    with market.tools.database.transaction("test.repeat") as session:
        session.add_all(Run(**members, public_id=uuid4()) for _ in range(times))


def test_a_payer_whose_payments_are_no_good_again_and_again_is_let_in_now_and_then(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    """Signed once by a key without money, and shown for ever: each time costs a question."""
    path, buyer = market.publish(), Buyer(client)
    payment = _refused(market, buyer, life, times=limits.REFUSALS_MAX)
    asked = len(market.calls())

    turned_away = buyer.show(path, payment)
    life.work()

    assert turned_away.status_code == 429
    assert turned_away.get_json()["code"] == "payer_limited"
    assert 0 < int(turned_away.headers["Retry-After"]) <= limits.REFUSALS_REST.total_seconds()
    assert (len(market.runs()), len(market.calls())) == (limits.REFUSALS_MAX, asked)

    stand_in.set_tokens(buyer.payer.address, 12_000)
    market.age_runs(ended_at=limits.REFUSALS_REST)
    assert buyer.show(path, payment).status_code == 202
    life.work()
    assert market.runs()[-1].state is RunState.SUCCEEDED


def test_a_payer_who_fills_up_the_wallet_after_some_refusals_buys_at_once(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    path, buyer = market.publish(), Buyer(client)
    payment = _refused(market, buyer, life, times=limits.REFUSALS_MAX - 1)

    stand_in.set_tokens(buyer.payer.address, 12_000)

    assert buyer.show(path, payment).status_code == 202


def test_refusals_of_more_than_an_hour_ago_are_forgotten(
    market: Market, client: FlaskClient, life: Life
) -> None:
    path, buyer = market.publish(), Buyer(client)
    payment = _refused(market, buyer, life, times=limits.REFUSALS_MAX)

    market.age_runs(created_at=limits.WINDOW)

    assert buyer.show(path, payment).status_code == 202


def test_payments_made_up_in_a_payers_name_and_refused_do_not_keep_the_payer_from_buying(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    path, buyer = market.publish(), Buyer(client)
    stand_in.arm(Fault(target="x402.verify", kind=FaultKind.DECLINED))
    assert _made_up(client, path, buyer.payer.address) == 202
    life.work()
    assert market.run().payment == {"isOfOneKey": False}
    _repeat(market, times=limits.REFUSALS_MAX)

    assert buyer.buy(path).status_code == 202


def _made_up(client: FlaskClient, path: str, payer: str) -> int:
    """Show a payment in the name of ``payer``, who has signed nothing."""
    required = decoded(client.get(path).headers["PAYMENT-REQUIRED"])
    payment = Payer().v2(required, **{"from": payer})
    payment["payload"]["signature"] = NO_WALLETS
    return int(client.post(path, json=BODY, headers=v2_headers(payment)).status_code)


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "declined", "text": "invalid_exact_evm_failed_to_verify_signature"},
        {"kind": "declined", "text": "unexpected_verify_error"},
        {"kind": "status", "status": 400},
        {"kind": "status", "status": 500},
    ],
    ids=str,
)
def test_a_payment_that_no_facilitator_can_judge_keeps_nobody_else_from_buying(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient, answer: Any
) -> None:
    """It costs nothing to make, and would wait for minutes in a place of the resource."""
    path = market.publish()
    stand_in.arm(Fault(target="x402.verify", times=2, **answer))
    assert [_made_up(client, path, Payer().address) for _ in range(2)] == [202, 202]
    assert _is_crowded(market, places=2)

    life.work()

    assert not _is_crowded(market, places=2)
    assert {run.state for run in market.runs()} == {RunState.REFUSED}


def _is_crowded(market: Market, *, places: int) -> bool:
    settings = market.tools.settings.model_copy(update={"max_unsettled_per_resource": places})
    with market.tools.database.reading("test.crowded") as session:
        return limits.is_crowded(session, settings, market.runs()[0].resource_id)


@pytest.mark.parametrize("status", [429, 503])
def test_a_smart_wallet_waits_for_a_facilitator_that_has_no_time(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient, status: int
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="x402.verify", kind=FaultKind.STATUS, status=status))
    _made_up(client, path, Payer().address)

    life.work()

    assert market.run().state is RunState.RECEIVED


def test_payments_made_up_in_a_payers_name_do_not_keep_the_payer_from_buying(
    market: Market, client: FlaskClient
) -> None:
    path, buyer = market.publish(), Buyer(client)
    for _ in range(market.tools.settings.max_unsettled_per_payer):
        assert _made_up(client, path, buyer.payer.address) == 202

    assert _made_up(client, path, buyer.payer.address) == 429
    assert buyer.buy(path).status_code == 202
    assert buyer.buy(path).status_code == 202
    assert buyer.buy(path).status_code == 429


def _emptied(market: Market, client: FlaskClient, path: str, *, costing: str) -> None:
    """One more wallet that was emptied after the model was asked."""
    buyer = Buyer(client)
    buyer.buy(path)
    runs.execute(market.tools, market.runs()[-1].id)
    market.stand_in.set_tokens(buyer.payer.address, 0)
    settlement.settle(market.tools, market.runs()[-1].id)
    assert market.runs()[-1].error_code == "settlement_failed"
    _costing(market, costing)


def _costing(market: Market, costing: str) -> None:
    """So much the last run did cost its creator."""
    with market.tools.database.transaction("test.cost") as session:
        session.execute(
            update(Run).where(Run.id == market.runs()[-1].id).values(model_cost_usd=costing)
        )


def test_empty_wallets_cost_a_creator_so_much_a_day_and_no_more(
    market: Market, client: FlaskClient
) -> None:
    path = market.publish()
    _emptied(market, client, path, costing="0.6")
    assert client.post(path).status_code == 402
    _emptied(market, client, path, costing="0.6")

    assert client.post(path).status_code == 503
    owned = listing.read(market.tools, market.creator.id, "haiku")
    assert owned.obstacles == (Obstacle.UNPAID,)

    market.age_runs(created_at=timedelta(hours=25))
    assert client.post(path).status_code == 402


def _lapsed_unsettled(market: Market, buyer: Buyer, path: str, *, costing: str) -> None:
    """One more run whose money nobody moved: there was no facilitator until its payment lapsed."""
    buyer.buy(path)
    number = market.runs()[-1].id
    runs.execute(market.tools, number)
    market.age_runs(valid_before=timedelta(minutes=20))
    settlement.settle(market.tools.with_(facilitator=None, chain=None), number)
    assert market.runs()[-1].error_code == "facilitator_away"
    _costing(market, costing)


def test_a_facilitator_that_settles_nothing_counts_against_no_payer(
    market: Market, client: FlaskClient
) -> None:
    path, buyer = market.publish(), Buyer(client)
    for _ in range(limits.FAILURES_MAX):
        _lapsed_unsettled(market, buyer, path, costing="0.1")

    assert client.post(path).status_code == 402
    assert buyer.buy(path).status_code == 202


def test_a_facilitator_that_settles_nothing_costs_a_creator_so_much_a_day_and_no_more(
    market: Market, client: FlaskClient
) -> None:
    path, buyer = market.publish(), Buyer(client)
    for _ in range(2):
        _lapsed_unsettled(market, buyer, path, costing="0.6")

    assert client.post(path).status_code == 503
    owned = listing.read(market.tools, market.creator.id, "haiku")
    assert owned.obstacles == (Obstacle.UNPAID,)


def test_money_that_had_moved_before_we_asked_takes_no_place_of_a_resource(
    market: Market, client: FlaskClient
) -> None:
    path = market.publish()
    Buyer(client).buy(path)
    number = market.runs()[-1].id
    said = {"success": False, "errorReason": settlement.MOVED_UNASKED}

    for answer, places in (({"errorReason": "timeout"}, 1), (said, 0)):
        _in_doubt(market, number, answer)
        one = market.tools.settings.model_copy(update={"max_unsettled_per_resource": 1})
        with market.tools.database.reading("test.crowded") as session:
            assert limits.is_crowded(session, one, market.runs()[-1].resource_id) == bool(places)


def _in_doubt(market: Market, number: int, answer: Mapping[str, object]) -> None:
    with market.tools.database.transaction("test.in_doubt") as session:
        session.execute(
            update(Run)
            .where(Run.id == number)
            .values(state=RunState.DOUBTFUL, settlement=answer, due_at=None)
        )


def test_answers_that_cannot_be_sold_cost_a_creator_so_much_a_day_and_no_more(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    """Who asks for an empty answer has it for nothing, and goes on with the same money under
    another address.
    """
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY, times=2))
    for _ in range(2):
        assert client.post(path).status_code == 402
        Buyer(client).buy(path)
        life.work()
        assert market.runs()[-1].error_code == "empty_output"
        _costing(market, "0.6")

    assert client.post(path).status_code == 503
    owned = listing.read(market.tools, market.creator.id, "haiku")
    assert owned.obstacles == (Obstacle.UNPAID,)


def test_what_a_creators_own_tests_cost_stops_no_sales(
    market: Market, client: FlaskClient, life: Life, stand_in: StandInClient
) -> None:
    path = market.publish()
    stand_in.arm(Fault(target="openrouter.chat", kind=FaultKind.EMPTY))
    headers = {"Authorization": f"Bearer {market.api_key}", "X-Owner-Test": "true"}
    client.post(path, json=BODY, headers=headers)
    life.work()
    assert market.run().state is RunState.FAILED
    _costing(market, "5")

    assert client.post(path).status_code == 402


def test_who_earns_more_may_lose_more_to_empty_wallets(market: Market, client: FlaskClient) -> None:
    path = market.publish()
    _emptied(market, client, path, costing="1.2")
    assert client.post(path).status_code == 503

    _sold(market, client, usd=13)

    assert client.post(path).status_code == 402


def _sold(market: Market, client: FlaskClient, *, usd: int) -> None:
    """As much as that came in; what was sold is no model's work, which would not sell now."""
    text = market.publish("text", ResourceType.STATIC)
    Buyer(client).buy(text, {})
    number = market.runs()[-1].id
    runs.execute(market.tools, number)
    settlement.settle(market.tools, number)
    with market.tools.database.transaction("test.price") as session:
        session.execute(update(Run).where(Run.id == number).values(paid_usd_micros=usd * 1_000_000))
