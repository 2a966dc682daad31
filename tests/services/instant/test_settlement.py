"""The money for a result: moved once or not at all, and never guessed."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn

import pytest
from flask.testing import FlaskClient

from app import context
from gateways.x402 import Facilitator, Moved, PaymentKey, Settlement, SettlementOutcome
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models import schema
from models.run import Run, RunCall, RunState
from services import room
from services.errors import NotBooked
from services.instant import doubts, runs, settlement
from services.operate import health, invariants
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.market import NETWORK, PAYEE, Buyer, Market, open_market
from tests.support.operator import Done, Operator
from tests.support.x402_payer import decoded

LAPSED = timedelta(minutes=20)
TRANSACTION = "0x" + "1d" * 32


@pytest.fixture
def market(tools: Toolbox, stand_in: StandInClient) -> Market:
    return open_market(tools, stand_in)


@pytest.fixture
def buyer(client: FlaskClient) -> Buyer:
    return Buyer(client)


@pytest.fixture
def alone(tools: Toolbox, client: FlaskClient) -> Toolbox:
    """A deployment that can ask no chain."""
    without = tools.with_(chain=None)
    context.install(client.application, without)
    return without


def _made(market: Market, buyer: Buyer) -> dict[str, str]:
    """A run whose result is sealed, and the payment for it."""
    payment = buyer.payment(market.publish())
    buyer.show(market.path(), payment)
    runs.execute(market.tools, market.run().id)
    assert market.run().state is RunState.SETTLING
    return payment


def _settle(tools: Toolbox, market: Market, run_id: int | None = None) -> Run:
    """What the money worker does when a run, or the only one, is due."""
    number = run_id or market.run().id
    market.make_due()
    settlement.settle(tools, number)
    return next(run for run in market.runs() if run.id == number)


def _lapse(market: Market) -> None:
    """Let the payment be too old for the token, by the clocks of the chain and of everybody."""
    market.age_runs(valid_before=LAPSED)
    market.stand_in.advance_chain(int(LAPSED.total_seconds()) + 60)


def test_a_result_is_sealed_until_the_money_has_moved(market: Market, buyer: Buyer) -> None:
    payment = _made(market, buyer)

    before = buyer.show(market.path(), payment)
    _settle(market.tools, market)
    after = buyer.show(market.path(), payment)

    assert before.status_code == 202
    assert before.get_json()["state"] == "settling"
    assert "response" not in before.get_json()
    assert after.status_code == 200
    assert decoded(after.headers["PAYMENT-RESPONSE"])["success"] is True


def test_a_wallet_emptied_after_verifying_gets_no_result(
    market: Market, buyer: Buyer, stand_in: StandInClient
) -> None:
    payment = _made(market, buyer)
    stand_in.set_tokens(buyer.payer.address, 0)

    run = _settle(market.tools, market)

    assert (run.state, run.error_code) == (RunState.FAILED, "settlement_failed")
    answer = buyer.show(market.path(), payment)
    assert answer.status_code == 402
    said = decoded(answer.headers["PAYMENT-RESPONSE"])
    assert said["success"] is False
    assert said["errorReason"] == "invalid_exact_evm_insufficient_balance"
    assert run.result is not None
    assert run.result["response"] not in answer.get_data(as_text=True)


@pytest.mark.parametrize("has_moved", [True, False], ids=["after", "before"])
@pytest.mark.parametrize(
    "kind", [FaultKind.RESET, FaultKind.STATUS, FaultKind.BODY, FaultKind.TRUNCATED]
)
def test_a_facilitator_that_breaks_around_the_transfer_charges_once_and_delivers(
    market: Market, buyer: Buyer, kind: FaultKind, *, has_moved: bool
) -> None:
    _made(market, buyer)
    market.stand_in.arm(Fault(target="x402.settle", kind=kind, status=502, after_effect=has_moved))

    first = _settle(market.tools, market)
    last = first if first.state is RunState.SUCCEEDED else _settle(market.tools, market)

    assert last.state is RunState.SUCCEEDED
    (moved,) = market.moved()
    assert moved.details["transaction"] == last.transaction


def test_a_pending_transfer_is_waited_for_with_the_same_payment(
    market: Market, buyer: Buyer, stand_in: StandInClient
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.SETTLEMENT_PENDING))

    waiting = _settle(market.tools, market)
    done = _settle(market.tools, market)

    assert (waiting.state, done.state) == (RunState.SETTLING, RunState.SUCCEEDED)
    assert done.settle_posts == 2
    assert len(market.moved()) == 1


def test_a_refusal_after_an_unknown_outcome_proves_nothing(
    market: Market, buyer: Buyer, stand_in: StandInClient, alone: Toolbox
) -> None:
    """The wallet may be empty because the first request moved the money."""
    _made(market, buyer)
    stand_in.set_tokens(buyer.payer.address, 12_000)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET, after_effect=True))
    empty = "invalid_exact_evm_insufficient_balance"
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.DECLINED, text=empty))

    _settle(alone, market)
    run = _settle(alone, market)

    assert (run.state, run.settle_posts) == (RunState.SETTLING, 2)
    assert stand_in.tokens_of(buyer.payer.address) == 0


def test_money_that_is_proved_not_to_have_moved_and_never_will_ends_the_run(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET, times=9))
    assert _settle(tools, market).state is RunState.SETTLING

    _lapse(market)
    run = _settle(tools, market)

    assert (run.state, run.error_code) == (RunState.FAILED, "facilitator_away")
    assert market.moved() == []


def test_a_facilitator_that_is_away_is_told_to_the_creator_and_the_buyer_pays_anew(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    payment = _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.STATUS, status=502, times=2))
    stand_in.arm(Fault(target="x402.rpc", kind=FaultKind.STATUS, status=503, times=2))
    _settle(tools, market)  # nobody can be asked for anything
    stand_in.disarm()

    _lapse(market)
    run = _settle(tools, market)

    assert (run.state, run.error_code) == (RunState.FAILED, "facilitator_away")
    answer = buyer.show(market.path(), payment)
    assert answer.status_code == 402
    assert decoded(answer.headers["PAYMENT-RESPONSE"])["success"] is False


def test_a_payment_taken_back_while_the_facilitator_is_away_is_the_payers_doing(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.STATUS, status=503))
    _settle(tools, market)

    stand_in.cancel_authorization(buyer.payer.address, market.run().nonce or "")
    stand_in.advance_chain(120)
    run = _settle(tools, market)

    assert (run.state, run.error_code) == (RunState.FAILED, "settlement_failed")


def test_one_answer_of_the_facilitator_is_enough_to_be_no_outage(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.STATUS, status=503))
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.DECLINED, text="transaction_failed"))
    _settle(tools, market)
    _settle(tools, market)

    _lapse(market)
    run = _settle(tools, market)

    assert (run.state, run.error_code) == (RunState.FAILED, "settlement_failed")


def test_a_lapsed_payment_is_not_given_up_before_the_chain_says_so(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    """Our clock is ahead: a block before the payment's end may still hold the transfer."""
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET))
    _settle(tools, market)

    market.age_runs(valid_before=timedelta(minutes=11))
    stand_in.arm(Fault(target="x402.rpc", kind=FaultKind.STATUS, status=503, times=9))
    run = _settle(tools, market)

    assert run.state is RunState.SETTLING
    assert run.settle_posts == 1


def test_what_the_chain_has_not_told_within_a_day_is_for_the_operator(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET))
    _settle(tools, market)

    market.age_runs(valid_before=timedelta(days=1, minutes=11))
    stand_in.arm(Fault(target="x402.rpc", kind=FaultKind.STATUS, status=503, times=9))
    run = _settle(tools, market)

    assert run.state is RunState.DOUBTFUL


def test_a_payment_that_lapsed_before_it_was_ever_asked_for_is_not_charged(
    market: Market, buyer: Buyer, alone: Toolbox
) -> None:
    _made(market, buyer)
    market.age_runs(valid_before=LAPSED)

    run = _settle(alone, market)

    assert (run.state, run.settle_posts) == (RunState.FAILED, 0)
    assert run.error_code == "facilitator_away"


def _doubtful(market: Market, buyer: Buyer, alone: Toolbox) -> dict[str, str]:
    payment = _made(market, buyer)
    market.stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET, times=9))
    _settle(alone, market)
    market.age_runs(valid_before=LAPSED)
    assert _settle(alone, market).state is RunState.DOUBTFUL
    return payment


def test_without_a_chain_a_doubt_waits_for_the_operator(
    market: Market, buyer: Buyer, alone: Toolbox
) -> None:
    payment = _doubtful(market, buyer, alone)

    answer = buyer.show(market.path(), payment)
    (doubt,) = doubts.waiting(alone)

    assert answer.status_code == 202
    assert answer.get_json()["state"] == "settling"
    assert doubt.payer == buyer.payer.address


def test_an_operator_who_found_the_money_releases_the_result(
    market: Market, buyer: Buyer, alone: Toolbox
) -> None:
    payment = _doubtful(market, buyer, alone)

    doubts.book_settled(alone, market.run().id, TRANSACTION)

    answer = buyer.show(market.path(), payment)
    assert answer.status_code == 200
    assert answer.get_json()["receipt"]["transaction"] == TRANSACTION
    assert doubts.waiting(alone) == []


def test_an_operator_who_found_none_ends_the_run_uncharged(
    market: Market, buyer: Buyer, alone: Toolbox
) -> None:
    payment = _doubtful(market, buyer, alone)

    doubts.book_not_settled(alone, market.run().id)

    assert buyer.show(market.path(), payment).status_code == 402
    assert market.run().paid_usd_micros == 0
    assert market.run().error_code == "facilitator_away"  # it was never heard of


def test_only_a_doubtful_run_is_booked(market: Market, buyer: Buyer, tools: Toolbox) -> None:
    _made(market, buyer)
    run_id = market.run().id

    with pytest.raises(NotBooked, match="not doubtful"):
        doubts.book_settled(tools, run_id, TRANSACTION)
    with pytest.raises(NotBooked, match="not doubtful"):
        doubts.book_not_settled(tools, run_id)
    with pytest.raises(NotBooked, match="64 hex digits"):
        doubts.book_settled(tools, run_id, "0x12")
    with pytest.raises(NotBooked, match="not doubtful"):
        doubts.book_not_settled(tools, run_id + 999)

    assert market.run().state is RunState.SETTLING


def test_a_success_that_the_chain_knows_nothing_of_is_not_believed(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    payment = _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.LIE))

    run = _settle(tools, market)

    assert run.state is RunState.SETTLING
    assert buyer.show(market.path(), payment).status_code == 202


def test_a_refusal_of_what_the_chain_has_seen_is_not_believed(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.DECLINED, after_effect=True))

    run = _settle(tools, market)

    (moved,) = market.moved()
    assert (run.state, run.transaction) == (RunState.SUCCEEDED, moved.details["transaction"])


def test_a_cancelled_authorization_ends_the_run_uncharged(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.cancel_authorization(buyer.payer.address, market.run().nonce or "")
    assert _settle(tools, market).state is RunState.SETTLING

    stand_in.advance_chain(120)  # until the cancellation is in a final block
    run = _settle(tools, market)

    assert run.state is RunState.FAILED
    assert market.moved() == []


@dataclass(frozen=True)
class Meanwhile:
    """A facilitator that does what it is asked, if it is a real one, and then this."""

    then: Callable[[], Settlement]
    facilitator: Facilitator | None = None

    def settle(self, payment: Mapping[str, Any], requirement: Mapping[str, Any]) -> Settlement:
        if self.facilitator is not None:
            self.facilitator.settle(payment, requirement)
        return self.then()

    def verify(self, *_: object) -> NoReturn:
        raise NotImplementedError


def _die() -> NoReturn:
    raise SystemExit


def test_every_request_to_settle_is_counted_before_it_is_made(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    _made(market, buyer)
    market.make_due()

    with pytest.raises(SystemExit):
        settlement.settle(tools.with_(facilitator=Meanwhile(_die)), market.run().id)

    assert market.run().settle_posts == 1
    assert market.calls()[-1] == ("settle", None)


def test_the_transfer_of_a_worker_that_died_with_the_answer_is_ours(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    _made(market, buyer)
    market.make_due()
    with pytest.raises(SystemExit):
        settlement.settle(
            tools.with_(facilitator=Meanwhile(_die, tools.facilitator)), market.run().id
        )

    run = _settle(tools, market)

    (moved,) = market.moved()
    assert (run.state, run.transaction) == (RunState.SUCCEEDED, moved.details["transaction"])


def _settled_elsewhere(market: Market, buyer: Buyer, *, seconds_ago: int = 60) -> str:
    """Another shop, where the creator is paid the same, has settled this authorization."""
    run = market.run()
    market.stand_in.advance_chain(-seconds_ago)
    transaction = market.stand_in.use_authorization(
        buyer.payer.address, run.nonce or "", pay_to=PAYEE, micros=run.price_usd_micros
    )
    market.stand_in.advance_chain(seconds_ago)
    return transaction


def _repeat_the_answer(transaction: str) -> Settlement:
    return Settlement(outcome=SettlementOutcome.SETTLED, transaction=transaction)


def test_what_another_shop_has_settled_is_no_sale_of_ours(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    payment = _made(market, buyer)
    transaction = _settled_elsewhere(market, buyer)

    run = _settle(tools, market)

    (doubt,) = doubts.waiting(tools)
    assert (run.state, run.paid_usd_micros) == (RunState.DOUBTFUL, 0)
    assert (doubt.last_answer, doubt.transaction) == ("moved_unasked", transaction)
    assert market.calls()[-1] == ("settle", "doubtful")
    assert buyer.show(market.path(), payment).status_code == 202


def test_a_facilitator_that_repeats_what_it_told_another_shop_is_not_believed(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    _made(market, buyer)
    repeats = Meanwhile(partial(_repeat_the_answer, _settled_elsewhere(market, buyer)))

    run = _settle(tools.with_(facilitator=repeats), market)

    assert run.state is RunState.DOUBTFUL


def test_a_repeated_answer_is_not_believed_when_the_transfer_is_too_old_to_be_found(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    """Nodes search few blocks at a time: we look where a transfer of ours would be."""
    _made(market, buyer)
    transaction = _settled_elsewhere(market, buyer, seconds_ago=3 * 3600)
    repeats = tools.with_(facilitator=Meanwhile(partial(_repeat_the_answer, transaction)))

    run = _settle(repeats, market)
    market.age_runs(valid_before=2 * settlement.CHAIN_DECIDES_WITHIN)
    ended = _settle(repeats, market)

    (doubt,) = doubts.waiting(tools)
    assert (run.state, ended.state) == (RunState.SETTLING, RunState.DOUBTFUL)
    assert (doubt.last_answer, doubt.transaction) == ("chain_differs", transaction)


def test_a_payment_that_was_used_some_time_is_not_called_unpaid_though_no_request_is_on_record(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    """A restored database may have forgotten it, and the transfer is too old to be found."""
    _made(market, buyer)
    _settled_elsewhere(market, buyer, seconds_ago=3 * 3600)
    market.age_runs(valid_before=2 * settlement.CHAIN_DECIDES_WITHIN)

    run = _settle(tools, market)

    assert (run.state, run.settle_posts) == (RunState.DOUBTFUL, 0)


def test_a_worker_that_died_after_it_had_asked_leaves_another_shops_transfer_in_doubt(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    _made(market, buyer)
    _settled_elsewhere(market, buyer)
    market.make_due()
    with pytest.raises(SystemExit):
        settlement.settle(tools.with_(facilitator=Meanwhile(_die)), market.run().id)

    run = _settle(tools, market)

    assert (run.state, run.settle_posts) == (RunState.DOUBTFUL, 1)


def test_a_payment_that_was_used_elsewhere_is_its_payers_failure_though_the_facilitator_was_away(
    market: Market, buyer: Buyer, stand_in: StandInClient, tools: Toolbox, alone: Toolbox
) -> None:
    _made(market, buyer)
    _settled_elsewhere(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET, times=9))
    _settle(alone, market)
    assert _settle(tools, market).state is RunState.DOUBTFUL

    doubts.book_not_settled(tools, market.run().id)

    assert market.run().error_code == "settlement_failed"


def test_whoever_cannot_look_at_the_chain_does_not_end_what_it_put_in_doubt(
    market: Market, buyer: Buyer, tools: Toolbox, alone: Toolbox
) -> None:
    """One worker sees the transfer and its time while another waits for the facilitator."""
    _made(market, buyer)
    transaction = _settled_elsewhere(market, buyer)

    def look_then_repeat() -> Settlement:
        assert _settle(tools, market).state is RunState.DOUBTFUL
        return _repeat_the_answer(transaction)

    _settle(alone.with_(facilitator=Meanwhile(look_then_repeat)), market)

    assert market.run().state is RunState.DOUBTFUL


@pytest.mark.parametrize(
    ("later", "state"),
    [
        (settlement.CLOCKS_DIFFER, RunState.SUCCEEDED),
        (settlement.CLOCKS_DIFFER + timedelta(seconds=1), RunState.DOUBTFUL),
    ],
    ids=["as clocks differ", "too early"],
)
def test_a_transfer_may_be_dated_a_little_before_the_request(
    market: Market, buyer: Buyer, tools: Toolbox, later: timedelta, state: RunState
) -> None:
    _made(market, buyer)
    market.stand_in.arm(Fault(target="x402.settle", kind=FaultKind.RESET, after_effect=True))
    market.stand_in.arm(Fault(target="x402.rpc", kind=FaultKind.STATUS, status=503))
    assert _settle(tools, market).state is RunState.SETTLING
    rows.change(tools, RunCall, started_at=_moved_at(tools, market.run()) + later)

    assert _settle(tools, market).state is state


def _moved_at(tools: Toolbox, run: Run) -> datetime:
    assert tools.chain is not None
    key = PaymentKey(
        network=NETWORK, asset=run.asset or "", payer=run.payer or "", nonce=run.nonce or ""
    )
    finding = tools.chain.authorization(
        key, pay_to=PAYEE, amount=run.price_usd_micros, since=run.created_at
    )
    assert isinstance(finding, Moved)
    return finding.at


def test_a_restored_run_whose_request_is_forgotten_waits_for_the_operator(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    """The backup is of before the request that moved the money, and the payment has lapsed."""
    payment = _made(market, buyer)
    transaction = _settled_elsewhere(market, buyer)
    market.age_runs(valid_before=LAPSED)

    run = _settle(tools, market)
    (doubt,) = doubts.waiting(tools)
    doubts.book_settled(tools, run.id, transaction)

    assert (run.state, run.settle_posts, doubt.asked_at) == (RunState.DOUBTFUL, 0, None)
    answer = buyer.show(market.path(), payment)
    assert answer.get_json()["receipt"]["transaction"] == transaction
    assert set(decoded(answer.headers["PAYMENT-RESPONSE"])) == {
        *("success", "transaction", "network", "payer")
    }
    assert invariants.sweep_everything(tools) == 0


def test_the_platforms_fee_is_rounded_down_to_a_micro_dollar(
    market: Market, buyer: Buyer, tools: Toolbox
) -> None:
    changed = tools.settings.model_copy(update={"platform_fee_pct": Decimal("3.33")})
    _made(market, buyer)

    run = _settle(tools.with_(settings=changed), market)

    assert run.paid_usd_micros == 12_000
    assert run.fee_usd_micros == 399  # of 399.6


def test_a_run_in_doubt_is_shown_to_the_operator(
    market: Market, buyer: Buyer, alone: Toolbox
) -> None:
    _doubtful(market, buyer, alone)

    part = health.check(alone, schema_revision=schema.HEAD).parts["runs"]

    assert part["doubtful"] == 1
    assert part["ok"] is False


def test_a_facilitator_that_hangs_leaves_threads_for_lightning(
    market: Market, client: FlaskClient, stand_in: StandInClient, tools: Toolbox
) -> None:
    path = market.publish()
    for _ in range(room.SETTLEMENTS_AT_ONCE + 1):
        Buyer(client).buy(path)
    numbers = [run.id for run in market.runs()]
    for number in numbers:
        runs.execute(tools, number)
    market.make_due()
    stand_in.hold("x402.settle", times=room.SETTLEMENTS_AT_ONCE)

    with ThreadPoolExecutor(room.SETTLEMENTS_AT_ONCE) as workers:
        for number in numbers[:-1]:
            workers.submit(settlement.settle, tools, number)
        stand_in.wait_until_held(room.SETTLEMENTS_AT_ONCE)
        settlement.settle(tools, numbers[-1])  # comes back at once
        stand_in.release()

    states = [run.state for run in market.runs()]
    assert states == [RunState.SUCCEEDED] * room.SETTLEMENTS_AT_ONCE + [RunState.SETTLING]
    assert _settle(tools, market, numbers[-1]).state is RunState.SUCCEEDED


def test_an_operator_lists_doubts_and_books_one(
    market: Market, buyer: Buyer, alone: Toolbox
) -> None:
    _doubtful(market, buyer, alone)
    number = str(market.run().id)

    listed = _doubtful_runs(alone)
    senseless = _doubtful_runs(alone, "settled", number, "0x12")
    booked = _doubtful_runs(alone, "settled", number, TRANSACTION)

    assert f"run {number} of haiku: 12000 micro-dollars" in listed.stdout
    assert buyer.payer.address in listed.stdout
    assert (senseless.returncode, booked.returncode) == (1, 0)
    assert booked.stdout.endswith("0 doubtful\n")
    assert market.run().state is RunState.SUCCEEDED


def test_a_transaction_once_told_is_shown_to_the_operator(
    market: Market, buyer: Buyer, stand_in: StandInClient, alone: Toolbox
) -> None:
    _made(market, buyer)
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.SETTLEMENT_PENDING, after_effect=True))
    _settle(alone, market)
    assert _settle(alone, market).state is RunState.SETTLING
    market.age_runs(valid_before=LAPSED)
    assert _settle(alone, market).state is RunState.DOUBTFUL

    (doubt,) = doubts.waiting(alone)
    listed = _doubtful_runs(alone)

    (moved,) = market.moved()
    told = f"last answer transaction_failed, transaction {moved.details['transaction']}\n"
    assert told in listed.stdout
    assert f"first asked for {doubt.asked_at:%Y-%m-%d %H:%M:%SZ}, " in listed.stdout


def _doubtful_runs(tools: Toolbox, *arguments: str) -> Done:
    return Operator(tools=tools)("workers.doubtful_runs", *arguments)
