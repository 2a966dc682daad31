"""What LNbits takes off money that comes in is our cost: the books know it as the wallet does."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways.http import HttpClient
from gateways.lightning import IssuedInvoice
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.lnbits import PAYOUTS_ADMIN_KEY, PAYOUTS_INVOICE_KEY
from models.invoice import InvoiceKind, Receipt
from models.ledger import Account, LedgerEntry
from models.lifecycle import JobState
from models.money import Sats
from models.payout import Payout, PayoutState
from models.reconciliation import Verdict
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.jobs.intake import JobView
from services.money import owner_moves, payments, reconcile
from services.operate import invariants
from services.proof import Proof
from services.toolbox import Toolbox
from tests.conftest import empty
from tests.support import audit, rows
from tests.support.life import Life
from tests.support.owing import claim, owing


def by_hand(life: Life, sats: int, invoice_key: str = STAND_IN_INVOICE_KEY) -> IssuedInvoice:
    """An invoice in a wallet of ours that we did not make."""
    income = LnbitsIncome(life.stand_in.url, invoice_key, HttpClient())
    return income.create_invoice(Sats(sats), memo="by hand", lifetime=timedelta(hours=1))


def paying(life: Life, key: str) -> LnbitsPayouts:
    return LnbitsPayouts(life.stand_in.url, key, HttpClient())


def two_wallets(life: Life) -> Toolbox:
    """Paying from a wallet of its own, which is known since before anything was done."""
    tools = life.tools.with_(payouts=paying(life, PAYOUTS_ADMIN_KEY), proof=Proof())
    life.complete()
    reconcile.run(tools)
    return tools


def evaluation_paid(life: Life, *, fee_msats: int = 0) -> JobView:
    """A job whose evaluation was paid for; nobody has noticed yet."""
    view = life.create()
    life.stand_in.take_fee(hash_of(view), fee_msats)
    life.pay(view, InvoiceKind.EVAL)
    return view


def hash_of(view: JobView) -> str:
    return view.invoices[InvoiceKind.EVAL].payment_hash


def fees_booked(life: Life) -> list[int]:
    """What was booked as taken off income, in order."""
    entries: list[LedgerEntry] = rows.all_of(life.tools, LedgerEntry)
    return [entry.amount_msats for entry in entries if "_fee:" in entry.event_key]


def assert_sound(life: Life, tools: Toolbox | None = None) -> None:
    """By the wallet, by our own rules and by the auditor."""
    assert reconcile.run(tools or life.tools).verdict is Verdict.CLEAN
    assert invariants.sweep_everything(life.tools) == 0
    assert audit.complaints(life.tools) == []


@pytest.mark.parametrize("told", [1500, -1500])
def test_a_fee_that_comes_with_the_payment_is_our_cost_by_either_sign(
    life: Life, told: int
) -> None:
    view = evaluation_paid(life, fee_msats=told)

    assert life.poll() == 1

    assert life.state(view) is JobState.EVALUATING
    receipt = rows.only(life.tools, Receipt)
    assert (receipt.amount_msats, receipt.fee_msats) == (10_000, 1500)
    balances = life.balances()
    assert (balances[Account.HELD], balances[Account.ROUTING_FEES]) == (10_000, 1500)
    assert balances[Account.WALLET] == 8500 == life.tools.income.balance()
    assert [entry.job_id for entry in rows.all_of(life.tools, LedgerEntry)] == [view.job.id] * 2
    assert_sound(life)


def test_a_fee_changes_neither_what_a_caller_pays_nor_what_is_owed_back(life: Life) -> None:
    untouched = life.complete()
    view = life.awaiting_work_payment()
    life.stand_in.take_fee(view.invoices[InvoiceKind.WORK].payment_hash, 2500)
    life.pay(view, InvoiceKind.WORK)
    life.poll()
    life.work()

    assert life.view(view).job.actual_amount_sats == untouched.job.actual_amount_sats
    assert life.debts(view) == life.debts(untouched)
    claim(life, view)
    life.work()
    assert rows.only(life.tools, Payout).state is PayoutState.PAID
    assert fees_booked(life) == [2500]
    assert_sound(life)


def test_a_payment_that_is_owed_back_is_owed_whole_whatever_it_has_cost(life: Life) -> None:
    view = owing(life)
    life.stand_in.take_fee(hash_of(view), 10_000)
    life.poll()

    assert life.debts(view) == [("late", 10, "owed")]
    assert life.balances()[Account.WALLET] == 0
    assert_sound(life)


def test_a_fee_that_lnbits_learns_later_is_booked_by_the_next_poll_and_once(life: Life) -> None:
    view = evaluation_paid(life)
    life.poll()
    life.stand_in.take_fee(hash_of(view), 1000)

    assert [life.poll() for _ in range(3)] == [0, 0, 0]
    assert fees_booked(life) == [1000]
    life.stand_in.take_fee(hash_of(view), -1700)
    assert [life.poll() for _ in range(2)] == [0, 0]

    assert fees_booked(life) == [1000, 700]
    assert rows.only(life.tools, Receipt).fee_msats == 1700
    assert_sound(life)


def test_a_fee_that_no_poll_has_read_yet_is_no_shortfall(life: Life) -> None:
    view = evaluation_paid(life)
    life.poll()
    life.stand_in.take_fee(hash_of(view), 1000)

    assert reconcile.run(life.tools).verdict is Verdict.CLEAN

    life.poll()
    assert_sound(life)


def test_a_fee_is_never_taken_back_by_what_is_read_later(life: Life) -> None:
    """Else an older page, or a row that cannot be read, would say that there is more in the wallet
    than there is. What LNbits does give back alarms, and a person states it.
    """
    view = evaluation_paid(life, fee_msats=1500)
    life.poll()
    life.stand_in.take_fee(hash_of(view), 500)

    assert life.poll() == 0

    assert fees_booked(life) == [1500]
    assert reconcile.run(life.tools).verdict is Verdict.SURPLUS
    owner_moves.state(life.tools, 1000, note="given back by LNbits")
    assert_sound(life)


def test_a_payment_that_the_feed_forgets_is_booked_with_its_fee_by_the_sweep(life: Life) -> None:
    view = evaluation_paid(life, fee_msats=1500)

    state = life.tools.income.invoice_states([hash_of(view)])[hash_of(view)]
    assert state.payment is not None
    assert payments.settle(life.tools, state.payment)

    assert fees_booked(life) == [1500]
    assert life.poll() == 0
    assert_sound(life)


def test_a_late_fee_of_an_old_payment_is_found_by_a_full_comparison(life: Life) -> None:
    """As after an upgrade from before fees were known: polls read the newest rows only."""
    view = evaluation_paid(life)
    life.poll()
    life.stand_in.take_fee(hash_of(view), 1500)
    life.stand_in.arm(Fault(target="lnbits.feed", kind=FaultKind.MISSING_ROW, text=hash_of(view)))
    life.poll()
    assert fees_booked(life) == []

    reconcile.run(life.tools, everything=True)

    assert fees_booked(life) == [1500]
    assert_sound(life)


def test_a_fee_that_is_more_than_what_came_is_not_believed_and_a_person_is_told(life: Life) -> None:
    owner_moves.state(life.tools, 20_000, note="float")
    life.stand_in.top_up(20)
    view = evaluation_paid(life, fee_msats=10_001)

    assert life.poll() == 1

    assert life.state(view) is JobState.EVALUATING
    assert fees_booked(life) == []
    assert reconcile.run(life.tools).verdict is Verdict.SHORTFALL
    owner_moves.state(life.tools, -10_001, note="taken by LNbits")
    assert_sound(life)


def test_the_fee_of_money_for_nobody_is_ours_and_the_whole_amount_the_owners(life: Life) -> None:
    invoice = by_hand(life, 50)
    life.stand_in.take_fee(invoice.payment_hash, 400)
    life.stand_in.pay(invoice.payment_hash)
    life.poll()
    assert_sound(life)
    (waits,) = owner_moves.waiting(life.tools)
    owner_moves.book(life.tools, waits.reference, note="float")
    life.stand_in.take_fee(invoice.payment_hash, 600)
    life.poll()

    balances = life.balances()
    assert (waits.amount, balances[Account.OWNER], balances[Account.UNMATCHED]) == (50_000,) * 2 + (
        0,
    )
    assert balances[Account.ROUTING_FEES] == 600
    assert_sound(life)


def test_a_refund_to_an_invoice_of_our_own_wallet_costs_what_lnbits_takes_off_it(
    life: Life,
) -> None:
    life.complete()
    view, invoice = owing(life), by_hand(life, 10)
    life.stand_in.take_fee(invoice.payment_hash, 300)
    claim(life, view, invoice.payment_request)
    life.work()
    life.poll()

    assert rows.only(life.tools, Payout).state is PayoutState.PAID
    balances = life.balances()
    assert (balances[Account.UNMATCHED], balances[Account.ROUTING_FEES]) == (10_000, 300)
    assert_sound(life)


def test_a_top_up_of_the_paying_wallet_is_booked_whole_and_its_fee_as_our_cost(life: Life) -> None:
    tools = two_wallets(life)
    invoice = by_hand(life, 40, PAYOUTS_INVOICE_KEY)
    life.stand_in.pay(invoice.payment_hash)
    assert reconcile.run(tools).verdict is Verdict.SURPLUS
    life.stand_in.take_fee(invoice.payment_hash, 900)
    assert reconcile.run(tools).verdict is Verdict.SURPLUS, "the fee is known before it is booked"

    (waits,) = owner_moves.waiting(tools)
    owner_moves.book(tools, waits.reference, note="float")

    balances = life.balances()
    assert (balances[Account.OWNER], balances[Account.ROUTING_FEES]) == (40_000, 900)
    assert_sound(life, tools)


@pytest.mark.parametrize("fee", [0, 300])
def test_a_transfer_between_our_wallets_explains_itself_whatever_is_taken_off_it(
    life: Life, fee: int
) -> None:
    tools = two_wallets(life)
    there = by_hand(life, 20, PAYOUTS_INVOICE_KEY)
    back = by_hand(life, 5)
    for invoice in (there, back):
        life.stand_in.take_fee(invoice.payment_hash, fee)
    paying(life, STAND_IN_ADMIN_KEY).send(there.payment_request)
    assert_sound(life, tools)
    paying(life, PAYOUTS_ADMIN_KEY).send(back.payment_request)
    life.poll()

    assert_sound(life, tools)
    assert {move.state for move in rows.all_of(life.tools, WalletMove)} == {MoveState.TRANSFER}
    assert owner_moves.waiting(tools) == []
    balances = life.balances()
    assert (balances[Account.UNMATCHED], balances[Account.ROUTING_FEES]) == (0, 2 * fee)
    empty(life.tools)
    life.stand_in.reset()


def test_the_fee_of_a_top_up_that_is_known_after_it_was_booked_is_a_shortfall_to_be_stated(
    life: Life,
) -> None:
    tools = two_wallets(life)
    invoice = by_hand(life, 40, PAYOUTS_INVOICE_KEY)
    life.stand_in.pay(invoice.payment_hash)
    reconcile.run(tools)
    (waits,) = owner_moves.waiting(tools)
    owner_moves.book(tools, waits.reference, note="float")
    life.stand_in.take_fee(invoice.payment_hash, 900)

    assert reconcile.run(tools).verdict is Verdict.SHORTFALL

    move = select(WalletMove.fee_msats).where(WalletMove.kind == MoveKind.TOPPED_UP)
    with life.tools.database.reading("test.fee") as session:
        assert session.scalars(move).one() == 0, "what was booked stays as it was"
    owner_moves.state(tools, -900, note="taken off the float")
    assert_sound(life, tools)
