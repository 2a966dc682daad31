"""Money that is less than its invoice: Lightning forbids it, an LNbits of another mind may not."""

from datetime import timedelta

from models.invoice import InvoiceKind
from models.lifecycle import JobState
from services.jobs import expiry
from tests.support.life import Life


def test_given_an_invoice_paid_in_part_then_its_job_expires_and_the_money_is_owed_once(
    life: Life,
) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL, amount_msats=4_000)
    life.poll()
    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT
    assert life.debts(view) == [("duplicate", 4, "owed")]

    life.age_invoices(view, timedelta(seconds=3700))
    expiry.sweep(life.tools)

    assert life.state(view) is JobState.EXPIRED
    assert life.debts(view) == [("duplicate", 4, "owed")]
