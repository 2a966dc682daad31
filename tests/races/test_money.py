"""Money in and out, from many hands at once: counted once, paid once."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from gateways.lightning import SettledPayment
from models.invoice import InvoiceKind, Receipt
from models.ledger import LedgerEntry
from models.lifecycle import JobState
from models.payout import Payout, PayoutState
from services.errors import Conflict, ErrorCode, NotNow
from services.jobs import expiry, intake
from services.jobs.intake import JobView
from services.money import payments, payouts, refunds
from services.money.claim_pace import FIRST_PAUSE, FREE_FAILURES
from services.money.refunds import Claim
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, claimed, owing
from tests.support.together import all_at_once, together


def _settlement(life: Life, view: JobView, kind: InvoiceKind) -> SettledPayment:
    life.pay(view, kind)
    (payment, *_) = life.tools.income.settled_payments(page=0, page_size=10)
    assert payment.payment_hash == view.invoices[kind].payment_hash
    return payment


def _sent_by(life: Life) -> list[int]:
    return [
        effect.details["amountMsat"]
        for effect in life.stand_in.effects("payment_out")
        if effect.details["wallet"] == "service"
    ]


@pytest.mark.parametrize("kind", list(InvoiceKind))
def test_one_payment_that_many_settle_is_taken_in_once(life: Life, kind: InvoiceKind) -> None:
    view = life.create() if kind is InvoiceKind.EVAL else life.awaiting_work_payment()
    before = len(rows.all_of(life.tools, LedgerEntry))
    payment = _settlement(life, view, kind)

    results = all_at_once(lambda: payments.settle(life.tools, payment))

    assert sorted(results, key=str) == [False] * 7 + [True]
    assert len(rows.all_of(life.tools, LedgerEntry)) == before + 1
    working = JobState.EVALUATING if kind is InvoiceKind.EVAL else JobState.EXECUTING
    assert life.state(view) is working


def test_a_fee_that_many_pollers_read_at_once_is_booked_once(life: Life) -> None:
    view = life.create()
    settled = _settlement(life, view, InvoiceKind.EVAL)
    payments.settle(life.tools, settled)
    life.stand_in.take_fee(settled.payment_hash, 1500)

    results = all_at_once(life.poll)

    assert results == [0] * 8
    assert rows.only(life.tools, Receipt).fee_msats == 1500
    assert len(rows.all_of(life.tools, LedgerEntry)) == 2


def test_many_pollers_at_once_find_every_payment_once(life: Life) -> None:
    views = [life.create() for _ in range(5)]
    for view in views:
        life.pay(view, InvoiceKind.EVAL)

    results = all_at_once(life.poll)

    assert all(isinstance(found, int) for found in results)
    assert len(rows.all_of(life.tools, Receipt)) == 5
    assert {life.state(view) for view in views} == {JobState.EVALUATING}


def test_many_claims_with_one_invoice_are_one_claim_for_all_of_them(life: Life) -> None:
    view = owing(life)
    invoice = life.stand_in.payer_invoice(10)

    results = all_at_once(lambda: claim(life, view, invoice))

    payout = rows.only(life.tools, Payout)
    assert [isinstance(result, Claim) for result in results] == [True] * 8, results
    assert {result.payout_id for result in results if isinstance(result, Claim)} == {payout.id}
    life.work()
    assert _sent_by(life) == [10_000]


def test_of_many_claims_with_different_invoices_one_wins_and_the_others_are_told(
    life: Life,
) -> None:
    view = owing(life)
    invoices = [life.stand_in.payer_invoice(10) for _ in range(8)]

    def claiming(invoice: str) -> Callable[[], Claim]:
        return lambda: claim(life, view, invoice)

    results = together(*[claiming(invoice) for invoice in invoices])

    assert sum(isinstance(result, Claim) for result in results) == 1
    refused = [result for result in results if not isinstance(result, Claim)]
    assert {type(error) for error in refused} == {Conflict}
    assert {getattr(error, "code", None) for error in refused} == {ErrorCode.REFUND_IN_PROGRESS}
    life.work()
    assert _sent_by(life) == [10_000]


def test_of_many_claims_after_many_failures_one_is_taken_when_the_pause_is_over_and_none_before(
    life: Life,
) -> None:
    view = owing(life)
    life.stand_in.top_up(-10)
    for _ in range(FREE_FAILURES):
        claim(life, view)
        life.work()
    invoices = [life.stand_in.payer_invoice(10) for _ in range(8)]

    def all_claim() -> Counter[type]:
        def claiming(invoice: str) -> Callable[[], Claim]:
            return lambda: claim(life, view, invoice)

        return Counter(map(type, together(*map(claiming, invoices))))

    assert all_claim() == {NotNow: 8}
    rows.let_pass(life.tools, Payout, FIRST_PAUSE)
    assert all_claim() == {Claim: 1, Conflict: 7}
    life.work()
    assert all_claim() == {NotNow: 8}
    assert [payout.sends for payout in rows.all_of(life.tools, Payout)] == [1] * (FREE_FAILURES + 1)
    assert _sent_by(life) == []


def test_two_jobs_that_claim_with_one_invoice_at_once_do_not_share_it(life: Life) -> None:
    views, invoice = [owing(life) for _ in range(4)], life.stand_in.payer_invoice(10)

    def claiming(view: JobView) -> Callable[[], Claim]:
        return lambda: claim(life, view, invoice)

    results = together(*[claiming(view) for view in views])

    assert sum(isinstance(result, Claim) for result in results) == 1
    life.work()
    assert _sent_by(life) == [10_000]


def test_a_payout_that_many_workers_send_is_posted_once(life: Life) -> None:
    claimed(life)
    payout_id = rows.only(life.tools, Payout).id

    all_at_once(lambda: payouts.send(life.tools, payout_id))

    payout = rows.only(life.tools, Payout)
    assert (payout.state, payout.posts, payout.claim) == (PayoutState.PAID, 1, 1)
    assert _sent_by(life) == [10_000]


def test_a_payout_in_doubt_that_many_workers_look_at_is_settled_once(life: Life) -> None:
    claimed(life)
    payout_id = rows.only(life.tools, Payout).id
    rows.change(life.tools, Payout, posts=1, last_post_at=Payout.created_at)
    rows.let_pass(life.tools, Payout, timedelta(seconds=61))

    all_at_once(lambda: payouts.send(life.tools, payout_id))

    assert rows.only(life.tools, Payout).state is PayoutState.PAID
    assert _sent_by(life) == [10_000]


@pytest.mark.parametrize("round_", range(4))
def test_a_cancel_that_meets_a_payment_either_moves_on_or_owes_it_back(
    life: Life, round_: int
) -> None:
    view = life.create()
    payment = _settlement(life, view, InvoiceKind.EVAL)
    cancel = lambda: intake.cancel(life.tools, view.job.public_id)  # noqa: E731
    settle = lambda: payments.settle(life.tools, payment)  # noqa: E731

    order = [cancel, settle] if round_ % 2 else [settle, cancel]
    results: list[object] = list(together(*order))

    assert not [error for error in results if isinstance(error, Exception)] or any(
        isinstance(error, Conflict) for error in results
    )
    state = life.state(view)
    if state is JobState.EVALUATING:
        assert life.debts(view) == []
    else:
        assert state is JobState.EXPIRED
        assert life.debts(view) == [("late", 10, "owed")]


@pytest.mark.parametrize("late", [timedelta(seconds=3900), timedelta(seconds=4300)])
def test_an_expiry_that_meets_a_payment_loses_nothing(life: Life, late: timedelta) -> None:
    view = life.create()
    payment = _settlement(life, view, InvoiceKind.EVAL)
    life.age_invoices(view, late)
    invoice = life.view(view).invoices[InvoiceKind.EVAL]

    expire = lambda: expiry._expire(life.tools, invoice)  # noqa: E731
    settle = lambda: payments.settle(life.tools, payment)  # noqa: E731
    results = together(expire, settle, expire, settle)

    assert not [error for error in results if isinstance(error, Exception)]
    assert [results[1], results[3]].count(True) == 1
    if life.state(view) is JobState.EXPIRED:
        assert late > timedelta(seconds=4200)
        assert life.debts(view) == [("late", 10, "owed")]
    else:
        assert life.state(view) is JobState.EVALUATING
        assert life.debts(view) == []


def test_many_sweeps_at_once_expire_a_job_once(life: Life) -> None:
    view = life.create()
    life.age_invoices(view, timedelta(hours=2))

    results = all_at_once(lambda: expiry.sweep(life.tools))

    assert sorted(results, key=str) == [0] * 7 + [1]
    assert rows.history(life.tools, view) == ["created", "lapsed"]


def test_many_cancels_at_once_cancel_once(life: Life) -> None:
    view = life.create()

    results = all_at_once(lambda: intake.cancel(life.tools, view.job.public_id))

    assert sum(isinstance(result, JobView) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7
    assert rows.history(life.tools, view) == ["created", "cancelled"]


def test_a_claim_that_meets_a_new_debt_never_pays_less_than_it_says(life: Life) -> None:
    view = owing(life)
    made = claim(life, view)

    results = together(
        lambda: payouts.send(life.tools, made.payout_id),
        lambda: refunds.look(life.tools, made.payout_id),
        lambda: claim(life, view, life.stand_in.payer_invoice(10)),
    )

    assert isinstance(results[2], Conflict)
    assert _sent_by(life) == [10_000]
