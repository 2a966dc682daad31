"""Whoever claims in vain again and again is put off, before it costs LNbits or the ledger more."""

from datetime import timedelta

import pytest

from local.stand_in.faults import Fault, FaultKind
from models.ledger import LedgerEntry
from models.payout import Payout, PayoutState
from models.refund_destination import WINDOW, DestinationState, RefundDestination
from services.errors import ErrorCode, NotNow, RuleBroken
from services.jobs.intake import JobView
from services.money import refunds
from services.money.claim_pace import FIRST_PAUSE, FREE_FAILURES, LONGEST_PAUSE, pause_after
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, owing, owing_to

A_SECOND = timedelta(seconds=1)


def unpayable(life: Life) -> JobView:
    """A job that is owed ten sats, beside an empty wallet: LNbits refuses before it sends."""
    view = owing(life)
    life.stand_in.top_up(-10)
    return view


def fail(life: Life, view: JobView, invoice: str | None = None, *, times: int = 1) -> None:
    """Claim in vain; nobody is put off."""
    for _ in range(times):
        made = claim(life, view, invoice)
        life.work()
        assert refunds.look(life.tools, made.payout_id).state is PayoutState.FAILED


def put_off(life: Life, view: JobView, invoice: str | None = None) -> timedelta:
    """Claim, and be told when to come again."""
    with pytest.raises(NotNow) as told:
        claim(life, view, invoice)
    assert told.value.code is ErrorCode.LIGHTNING_UNAVAILABLE
    assert told.value.retry_after is not None
    return told.value.retry_after


def posts(life: Life) -> int:
    """How often LNbits was asked to pay; an invoice is made by the same request."""
    counts = life.stand_in.counts().requests["POST /api/v1/payments"]
    return counts - len(life.stand_in.effects("invoice_created"))


def test_the_first_failures_may_be_claimed_again_at_once_whatever_the_invoice(life: Life) -> None:
    view = unpayable(life)
    invoice = life.stand_in.payer_invoice(10)

    fail(life, view, invoice, times=FREE_FAILURES - 1)
    life.stand_in.top_up(10)
    claim(life, view)
    life.work()

    assert life.debts(view) == [("late", 10, "paid")]


def test_after_three_failures_a_claim_is_put_off_and_nothing_is_sent_or_written(life: Life) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)
    invoice = life.stand_in.payer_invoice(10)
    before = posts(life), len(rows.all_of(life.tools, LedgerEntry))
    rung = len(life.doorbell.rung)

    wait = put_off(life, view, invoice)
    life.work()

    assert FIRST_PAUSE - 20 * A_SECOND < wait <= FIRST_PAUSE
    assert (posts(life), len(rows.all_of(life.tools, LedgerEntry))) == before
    assert len(life.doorbell.rung) == rung
    assert len(rows.all_of(life.tools, Payout)) == FREE_FAILURES
    assert life.debts(view) == [("late", 10, "owed")]


def test_the_same_invoice_again_and_again_is_put_off_alike(life: Life) -> None:
    view = unpayable(life)
    invoice = life.stand_in.payer_invoice(10)
    fail(life, view, invoice, times=FREE_FAILURES)

    put_off(life, view, invoice)

    payout = rows.only(life.tools, Payout)
    assert (payout.state, payout.sends) == (PayoutState.FAILED, FREE_FAILURES)


def test_given_the_pause_is_over_then_the_claim_is_taken_and_paid(life: Life) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)
    life.stand_in.top_up(10)
    wait = put_off(life, view)

    rows.let_pass(life.tools, Payout, wait)
    claim(life, view)
    life.work()

    assert life.debts(view) == [("late", 10, "paid")]


def test_given_another_failure_after_the_pause_then_the_next_one_is_longer(life: Life) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)
    rows.let_pass(life.tools, Payout, FIRST_PAUSE)
    fail(life, view)

    assert FIRST_PAUSE < put_off(life, view) <= 2 * FIRST_PAUSE


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (2, 0), (3, 30), (4, 60), (5, 120), (8, 960), (9, 1800), (10_000, 1800)],
)
def test_the_pause_doubles_from_half_a_minute_to_half_an_hour(failures: int, seconds: int) -> None:
    assert pause_after(failures) == timedelta(seconds=seconds)
    assert pause_after(failures) <= LONGEST_PAUSE


def test_whoever_is_put_off_has_first_been_told_what_is_wrong_with_the_invoice(life: Life) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)

    def code(invoice: str) -> ErrorCode:
        with pytest.raises(RuleBroken) as refused:
            claim(life, view, invoice)
        return refused.value.code

    assert code("no invoice") is ErrorCode.INVALID_INVOICE
    assert code(life.stand_in.payer_invoice(9)) is ErrorCode.INVOICE_AMOUNT_MISMATCH
    assert code(life.stand_in.payer_invoice(10, expiry=60)) is ErrorCode.INVOICE_EXPIRED
    assert code(life.stand_in.payer_invoice(10)) is ErrorCode.LIGHTNING_UNAVAILABLE


def test_a_claim_under_way_is_shown_however_many_have_failed_before_it(life: Life) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)
    rows.let_pass(life.tools, Payout, FIRST_PAUSE)
    invoice = life.stand_in.payer_invoice(10)
    under_way = claim(life, view, invoice)

    assert claim(life, view, invoice) == under_way


def test_each_job_has_a_pace_of_its_own(life: Life) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)
    other = owing(life)

    assert claim(life, other).state is PayoutState.SENDING
    put_off(life, view)


def test_given_a_clock_that_was_set_back_then_failures_of_its_future_hold_nobody_up(
    life: Life,
) -> None:
    view = unpayable(life)
    fail(life, view, times=FREE_FAILURES)
    rows.let_pass(life.tools, Payout, -timedelta(hours=1))

    assert claim(life, view).state is PayoutState.SENDING


def given_up(life: Life) -> JobView:
    """A job whose ``refundTo`` was paid in vain, more often than a claim may be, and is gone."""
    view = owing_to(life)
    life.stand_in.top_up(-10)
    for _ in range(FREE_FAILURES + 1):
        life.make_due()
        life.work()
    life.stand_in.arm(Fault(target="lnurl", kind=FaultKind.STATUS, status=404))
    life.make_due()
    life.work()
    assert rows.only(life.tools, RefundDestination).state is DestinationState.GIVEN_UP
    return view


def test_returns_keep_their_own_pace_and_their_failures_are_none_of_the_claimers(
    life: Life,
) -> None:
    view = given_up(life)
    assert len(rows.all_of(life.tools, Payout)) == FREE_FAILURES + 1

    fail(life, view, times=FREE_FAILURES)

    put_off(life, view)


def test_when_the_days_of_returning_are_over_the_first_claim_is_taken_at_once(life: Life) -> None:
    view = owing_to(life)
    life.stand_in.top_up(-10)
    for _ in range(FREE_FAILURES + 1):
        life.make_due()
        life.work()
    rows.change(life.tools, Payout, sends=FREE_FAILURES + 9)
    rows.let_pass(life.tools, RefundDestination, WINDOW)
    life.make_due()
    life.work()
    assert rows.only(life.tools, RefundDestination).state is DestinationState.GIVEN_UP

    assert claim(life, view).state is PayoutState.SENDING


def test_an_invoice_of_a_return_that_is_claimed_with_again_and_again_is_put_off_too(
    life: Life,
) -> None:
    view = given_up(life)
    invoice = rows.all_of(life.tools, Payout)[0].payment_request
    fail(life, view, invoice, times=FREE_FAILURES - 1)

    put_off(life, view, invoice)
