"""Claiming what is owed: one claim, one payout, whatever is asked how often (CONTRACT.md)."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from config.queues import TaskName
from models.debt import Debt, DebtCause
from models.invoice import InvoiceKind, Receipt
from models.ledger import Account
from models.money import Sats, msats
from models.payout import Payout, PayoutState
from services.errors import Conflict, ErrorCode, InvalidRequest, RuleBroken
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import ledger, refunds
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, owing


def _refused(life: Life, view: JobView, invoice: str) -> RuleBroken:
    with pytest.raises(RuleBroken) as refused:
        refunds.claim(life.tools, life.view(view).job, invoice)
    return refused.value


def test_given_a_claim_then_the_payout_is_committed_and_rung_for_and_nothing_is_sent_yet(
    life: Life,
) -> None:
    view = owing(life)

    made = claim(life, view)

    payout = rows.only(life.tools, Payout)
    assert made.state is PayoutState.SENDING
    assert made.payment_hash == payout.payment_hash
    assert made.amount == payout.amount_sats == 10
    assert life.debts(view) == [("late", 10, "paying")]
    assert life.balances()[Account.IN_FLIGHT] == 10_000
    assert life.doorbell.rung[-1] == (TaskName.SEND_PAYOUT, made.payout_id)
    assert {out.details["wallet"] for out in life.stand_in.effects("payment_out")} == {"payer"}


def test_given_a_claim_that_was_sent_then_it_is_paid_and_the_books_say_so(life: Life) -> None:
    view = owing(life)
    made = claim(life, view)

    life.work()

    assert refunds.look(life.tools, made.payout_id).state is PayoutState.PAID
    assert life.debts(view) == [("late", 10, "paid")]
    assert life.balances()[Account.WALLET] == 0
    assert refunds.owed(life.view(view).debts) == 0


def test_the_same_invoice_again_is_the_same_claim_before_and_after_it_is_paid(life: Life) -> None:
    view = owing(life)
    invoice = life.stand_in.payer_invoice(10)
    first = claim(life, view, invoice)

    assert claim(life, view, invoice) == first
    assert claim(life, view, "LIGHTNING:" + invoice.upper()) == first
    life.work()
    again = claim(life, view, invoice)

    assert again.payout_id == first.payout_id
    assert again.state is PayoutState.PAID
    assert len(rows.all_of(life.tools, Payout)) == 1


def test_given_a_payout_under_way_then_another_invoice_is_a_conflict(life: Life) -> None:
    view = owing(life)
    claim(life, view)

    refused = _refused(life, view, life.stand_in.payer_invoice(10))

    assert isinstance(refused, Conflict)
    assert refused.code is ErrorCode.REFUND_IN_PROGRESS
    assert len(rows.all_of(life.tools, Payout)) == 1


def test_given_a_refund_that_was_paid_then_another_invoice_is_a_conflict_that_names_the_payment(
    life: Life,
) -> None:
    view = owing(life)
    made = claim(life, view)
    life.work()

    refused = _refused(life, view, life.stand_in.payer_invoice(10))

    assert refused.code is ErrorCode.REFUND_ALREADY_PAID
    assert refused.members == {"paymentHash": made.payment_hash}


@pytest.mark.parametrize(
    "open_job",
    [Life.create, Life.evaluating, Life.awaiting_work_payment, Life.executing],
    ids=lambda make: make.__name__,
)
def test_given_an_open_job_then_a_claim_is_a_conflict_whatever_the_invoice(
    life: Life, open_job: Callable[[Life], JobView]
) -> None:
    view = open_job(life)

    for invoice in (life.stand_in.payer_invoice(10), "no invoice"):
        refused = _refused(life, view, invoice)
        assert isinstance(refused, Conflict)
        assert refused.code is ErrorCode.INVALID_STATE


def test_given_nothing_owed_then_a_claim_is_a_conflict_whatever_the_invoice(life: Life) -> None:
    view = life.evaluating("Please REJECT this.")
    life.work()

    assert _refused(life, view, "no invoice").code is ErrorCode.REFUND_NOT_APPLICABLE


def test_an_invoice_for_another_amount_is_refused_with_the_right_one(life: Life) -> None:
    view = owing(life)

    for sats in (9, 11):
        refused = _refused(life, view, life.stand_in.payer_invoice(sats))
        assert isinstance(refused, InvalidRequest)
        assert refused.code is ErrorCode.INVOICE_AMOUNT_MISMATCH
        assert refused.members == {"refundAmountSats": 10}
    assert rows.all_of(life.tools, Payout) == []
    assert life.debts(view) == [("late", 10, "owed")]


def test_an_invoice_that_is_about_to_expire_by_the_databases_clock_is_refused(life: Life) -> None:
    view = owing(life)

    refused = _refused(life, view, life.stand_in.payer_invoice(10, expiry=60))

    assert refused.code is ErrorCode.INVOICE_EXPIRED


def test_what_is_no_invoice_is_refused(life: Life) -> None:
    view = owing(life)

    for text in ("", "lnbc1", "satoshi@example.com", "x" * 5000):
        assert _refused(life, view, text).code is ErrorCode.INVALID_INVOICE


def test_an_invoice_of_ours_is_refused_paid_or_not(life: Life) -> None:
    """Paying it would move the money into another job."""
    view, other, paid = owing(life), life.create(), life.create()
    life.pay(paid, InvoiceKind.EVAL)
    life.poll()

    for ours in (other, paid):
        invoice = ours.invoices[InvoiceKind.EVAL].payment_request
        assert _refused(life, view, invoice).code is ErrorCode.INVOICE_ALREADY_USED


def test_an_invoice_that_another_job_was_refunded_with_is_refused(life: Life) -> None:
    first, second = owing(life), owing(life)
    invoice = life.stand_in.payer_invoice(10)
    claim(life, first, invoice)
    life.work()

    assert _refused(life, second, invoice).code is ErrorCode.INVOICE_ALREADY_USED


def test_one_claim_covers_everything_that_is_owed(life: Life) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL, amount_msats=12_001)
    life.poll()
    life.work()
    view = life.view(view)
    life.pay(view, InvoiceKind.WORK)
    life.poll()
    life.work()
    (_, excess, _), (_, unused, _) = life.debts(view)
    assert excess == 3

    made = claim(life, view)
    life.work()

    assert made.amount == excess + unused
    assert {state for _, _, state in life.debts(view)} == {"paid"}


def test_a_debt_that_comes_while_a_payout_is_under_way_is_claimed_after_it(life: Life) -> None:
    view = owing(life)
    claim(life, view)
    debt = rows.only(life.tools, Debt)
    _owe_more(life, view, debt, Sats(7))

    assert _refused(life, view, life.stand_in.payer_invoice(7)).code is (
        ErrorCode.REFUND_IN_PROGRESS
    )
    life.work()
    assert life.debts(view) == [("late", 10, "paid"), ("duplicate", 7, "owed")]
    made = claim(life, view)
    life.work()

    assert made.amount == 7
    assert {state for _, _, state in life.debts(view)} == {"paid"}


def _owe_more(life: Life, view: JobView, debt: Debt, sats: Sats) -> None:
    """As if LNbits had told of a second payment: a receipt of its own, and all of it owed."""
    issued = life.tools.income.create_invoice(sats, memo="more", lifetime=timedelta(hours=1))
    assert life.stand_in.pay(issued.payment_hash)

    with life.tools.database.transaction("test.owe_more") as session:
        receipt = Receipt(
            payment_hash=issued.payment_hash,
            amount_msats=msats(sats),
            invoice_id=view.invoices[InvoiceKind.EVAL].id,
            job_id=debt.job_id,
            settled_at=view.job.created_at,
        )
        session.add(receipt)
        session.flush()
        ledger.receive(session, receipt)
        ledger.owe(session, receipt, DebtCause.DUPLICATE, msats(sats))


def test_a_debt_that_comes_between_the_look_and_the_claim_is_told(life: Life) -> None:
    view = owing(life)
    invoice = life.stand_in.payer_invoice(10)
    _owe_more(life, view, rows.only(life.tools, Debt), Sats(7))

    refused = _refused(life, view, invoice)

    assert refused.code is ErrorCode.INVOICE_AMOUNT_MISMATCH
    assert refused.members == {"refundAmountSats": 17}


def test_what_nobody_claims_stays_owed(life: Life) -> None:
    view = owing(life)
    rows.let_pass(life.tools, Payout, timedelta(days=400))

    life.make_due()
    life.work()

    assert life.debts(view) == [("late", 10, "owed")]
    assert life.balances()[Account.EARNED] == 0


def test_a_job_that_was_cancelled_without_being_paid_is_owed_nothing(life: Life) -> None:
    view = life.create()
    intake.cancel(life.tools, view.job.public_id)

    assert _refused(life, view, "x").code is ErrorCode.REFUND_NOT_APPLICABLE
