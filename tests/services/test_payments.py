"""Money in: every payment moves its job once, and what a job cannot use is owed back."""

from datetime import timedelta

from models.invoice import InvoiceKind
from models.ledger import Account
from models.lifecycle import JobState
from services.jobs import expiry, intake
from tests.support.life import Life


def test_given_an_open_evaluation_invoice_when_it_is_paid_then_the_job_is_evaluating(
    life: Life,
) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL)

    life.poll()

    assert life.state(view) is JobState.EVALUATING
    assert life.balances()[Account.HELD] == 10_000


def test_a_payment_that_is_read_twice_moves_nothing_twice(life: Life) -> None:
    view = life.evaluating()

    assert life.poll() == 0
    assert life.state(view) is JobState.EVALUATING
    assert life.balances()[Account.WALLET] == 10_000


def test_given_an_overpaid_invoice_then_the_job_goes_on_and_the_excess_is_owed(life: Life) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL, amount_msats=12_500)

    life.poll()

    assert life.state(view) is JobState.EVALUATING
    assert life.debts(view) == [("duplicate", 3, "owed")]
    assert life.balances()[Account.ROUNDING] == 500


def test_given_an_expired_job_when_money_comes_within_600_seconds_then_it_is_revived(
    life: Life,
) -> None:
    view = life.create()
    life.age_invoices(view, timedelta(seconds=3600 + 300))
    expiry.sweep(life.tools)
    assert life.state(view) is JobState.EXPIRED

    life.pay(view, InvoiceKind.EVAL)
    life.poll()

    assert life.state(view) is JobState.EVALUATING


def test_given_an_expired_job_when_money_comes_later_than_that_then_it_is_owed_back(
    life: Life,
) -> None:
    view = life.create()
    life.age_invoices(view, timedelta(seconds=3600 + 700))
    expiry.sweep(life.tools)

    life.pay(view, InvoiceKind.EVAL)
    life.poll()

    assert life.state(view) is JobState.EXPIRED
    assert life.debts(view) == [("late", 10, "owed")]


def test_given_a_cancelled_job_when_it_is_paid_all_the_same_then_the_money_is_owed_back(
    life: Life,
) -> None:
    view = life.create()
    intake.cancel(life.tools, view.job.public_id)

    life.pay(view, InvoiceKind.EVAL)
    life.poll()

    assert life.state(view) is JobState.EXPIRED
    assert life.debts(view) == [("late", 10, "owed")]
