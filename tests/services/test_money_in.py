"""What LNbits tells of payments: in any order, twice, late, or of nobody we know."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from config.queues import TaskName
from gateways.errors import Refused
from gateways.lightning import Income, SettledPayment
from local.stand_in.faults import Fault
from models.invoice import Invoice, InvoiceKind, Receipt
from models.ledger import Account
from models.lifecycle import JobState
from models.money import Msats, Sats
from services.jobs import expiry, intake
from services.money import payments
from services.toolbox import Toolbox
from tests.conftest import empty
from tests.support import rows
from tests.support.life import Life

FEED = "GET /api/v1/payments/paginated"


@dataclass
class SmallPages:
    """The real income with a page of its own size: paging without a hundred payments."""

    income: Income
    size: int
    pages: list[int] = field(default_factory=list)

    def settled_payments(self, *, page: int, page_size: int) -> list[SettledPayment]:
        self.pages.append(page)
        return self.income.settled_payments(page=page, page_size=self.size)


@dataclass
class PlayedFeed:
    """The real income with a feed that was written down before."""

    feed: list[SettledPayment]
    income: Income
    sizes: list[int] = field(default_factory=list)

    def settled_payments(self, *, page: int, page_size: int) -> list[SettledPayment]:
        self.sizes.append(page_size)
        return self.feed[page * page_size : (page + 1) * page_size]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.income, name)


def _fault(kind: str, **details: object) -> Fault:
    return Fault.model_validate({"target": "lnbits.feed", "kind": kind, **details})


def _paid_to_nobody(life: Life, sats: int) -> str:
    """An invoice of our wallet that no job knows, paid."""
    issued = life.tools.income.create_invoice(
        Sats(sats), memo="somebody else's", lifetime=timedelta(hours=1)
    )
    assert life.stand_in.pay(issued.payment_hash)
    return issued.payment_hash


def _small(life: Life, size: int) -> tuple[Life, SmallPages]:
    income = SmallPages(life.tools.income, size)
    return Life(life.tools.with_(income=income), life.doorbell, life.stand_in), income


def test_given_no_payment_then_a_poll_costs_one_request(life: Life) -> None:
    life.create()

    life.poll()

    assert life.stand_in.counts().requests[FEED] == 1


def test_given_only_payments_that_are_known_then_a_poll_costs_one_request(life: Life) -> None:
    life.evaluating()
    before = life.stand_in.counts().requests[FEED]

    life.poll()

    assert life.stand_in.counts().requests[FEED] == before + 1


def test_a_poll_reads_on_until_a_page_holds_only_what_is_known(life: Life) -> None:
    views = [life.create() for _ in range(5)]
    for view in views:
        life.pay(view, InvoiceKind.EVAL)
    small, income = _small(life, 2)

    assert small.poll() == 5

    assert income.pages == [0, 1, 2, 3]
    assert {life.state(view) for view in views} == {JobState.EVALUATING}


def test_a_payment_behind_a_known_page_is_found_by_reading_back(life: Life) -> None:
    hidden, known = life.create(), life.create()
    life.pay(hidden, InvoiceKind.EVAL)
    life.pay(known, InvoiceKind.EVAL)
    gone = hidden.invoices[InvoiceKind.EVAL].payment_hash
    life.stand_in.arm(_fault("missing_row", text=gone))
    small, _ = _small(life, 1)
    assert payments.settle(life.tools, life.tools.income.settled_payments(page=0, page_size=1)[0])
    life.stand_in.disarm()

    assert small.poll() == 0
    assert life.state(hidden) is JobState.AWAITING_EVAL_PAYMENT
    assert payments.read_back(small.tools, payments.OVERLAP) == 1

    assert life.state(hidden) is JobState.EVALUATING


def test_reading_back_stops_where_it_was_told_to(life: Life) -> None:
    for _ in range(4):
        _paid_to_nobody(life, 1)
    small, income = _small(life, 1)

    payments.read_back(small.tools, timedelta(0))

    assert income.pages == [0, 1]


def test_a_payment_behind_others_that_a_wrong_clock_dated_ahead_is_found_by_reading_back(
    life: Life,
) -> None:
    """They stand before all that comes until the time is there that LNbits took it for."""
    hidden = life.create()
    life.pay(hidden, InvoiceKind.EVAL)
    paid = life.tools.income.settled_payments(page=0, page_size=1)
    ahead = [
        SettledPayment(
            payment_hash=f"{number:064x}",
            amount=Msats(1000),
            settled_at=paid[0].settled_at + timedelta(days=1, seconds=-number),
        )
        for number in range(500)
    ]
    small, _ = _small(life, 100)
    feed = PlayedFeed([*ahead, *paid], small.tools.income)
    tools = small.tools.with_(income=feed)
    with tools.database.transaction("test.known") as session:
        session.add_all(
            Receipt(
                payment_hash=payment.payment_hash,
                amount_msats=payment.amount,
                settled_at=payment.settled_at,
            )
            for payment in ahead
        )

    assert payments.poll(tools) == 0
    assert payments.read_back(tools, payments.OVERLAP) == 1
    empty(life.tools)  # that money never came
    life.stand_in.reset()


def test_a_feed_without_an_end_is_trouble_and_not_read_to_its_end(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        _paid_to_nobody(life, 1)
    small, income = _small(life, 1)
    monkeypatch.setattr(payments, "FEED_PAGES_MAX", 2)

    with pytest.raises(Refused):
        payments.read_back(small.tools, timedelta(days=1))

    assert income.pages == [0, 1]


def test_after_a_pause_the_feed_is_read_in_pages_as_large_as_they_come(life: Life) -> None:
    feed = PlayedFeed([], life.tools.income)

    payments.read_back(life.tools.with_(income=feed), payments.OVERLAP)
    payments.read_back(life.tools.with_(income=feed), payments.START_UP_OVERLAP)

    assert feed.sizes == [100, 1000]


@pytest.mark.parametrize("kind", ["duplicated_rows", "reordered_rows"])
def test_a_feed_in_disorder_changes_nothing(life: Life, kind: str) -> None:
    views = [life.create() for _ in range(3)]
    for view in views:
        life.pay(view, InvoiceKind.EVAL)
    life.stand_in.arm(_fault(kind))

    assert life.poll() == 3

    assert {life.state(view) for view in views} == {JobState.EVALUATING}
    assert life.balances()[Account.HELD] == 30_000


def test_a_payment_that_the_feed_forgets_is_found_by_the_sweep(life: Life) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL)
    gone = view.invoices[InvoiceKind.EVAL].payment_hash
    life.stand_in.arm(_fault("missing_row", text=gone, times=5))
    life.poll()
    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT

    life.age_invoices(view, timedelta(seconds=31))
    expiry.sweep(life.tools)

    assert life.state(view) is JobState.EVALUATING


def test_money_for_no_invoice_of_ours_is_booked_as_nobodys(life: Life) -> None:
    _paid_to_nobody(life, 123)

    assert life.poll() == 1
    assert life.poll() == 0

    receipt = rows.only(life.tools, Receipt)
    assert (receipt.invoice_id, receipt.job_id, receipt.amount_msats) == (None, None, 123_000)
    assert life.balances()[Account.UNMATCHED] == 123_000
    assert life.balances()[Account.EARNED] == 0


def test_payments_of_a_page_are_taken_in_some_at_a_time(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [life.create() for _ in range(2 * payments.SETTLED_AT_ONCE)]
    for view in views:
        life.pay(view, InvoiceKind.EVAL)
    together = threading.Barrier(payments.SETTLED_AT_ONCE)
    settle = payments.settle

    def beside_others(tools: Toolbox, payment: SettledPayment) -> bool:
        together.wait(timeout=60)
        assert structlog.contextvars.get_contextvars()["task"] == "payments.poll"
        return settle(tools, payment)

    monkeypatch.setattr(payments, "settle", beside_others)

    with structlog.contextvars.bound_contextvars(task="payments.poll"):
        assert life.poll() == len(views)

    assert {life.state(view) for view in views} == {JobState.EVALUATING}
    assert life.poll() == 0


def test_trouble_with_a_payment_ends_the_page_and_the_others_are_found_again(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [life.create() for _ in range(3 * payments.SETTLED_AT_ONCE)]
    for view in views:
        life.pay(view, InvoiceKind.EVAL)
    settle, tried = payments.settle, list[str]()
    is_over = threading.Event()

    def breaks_off(tools: Toolbox, payment: SettledPayment) -> bool:
        tried.append(payment.payment_hash)
        if len(tried) != payments.SETTLED_AT_ONCE:
            assert is_over.wait(60)
        raise OperationalError("INSERT", {}, Exception("the connection is gone"))

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *args: Any, **kwargs: Any) -> None:
            super().shutdown(*args, **{**kwargs, "wait": False})
            is_over.set()
            super().shutdown(*args, **kwargs)

    monkeypatch.setattr(payments, "settle", breaks_off)
    monkeypatch.setattr(payments, "ThreadPoolExecutor", Pool)
    with pytest.raises(OperationalError):
        life.poll()
    assert len(tried) <= payments.SETTLED_AT_ONCE + 1, "no more are begun"

    monkeypatch.setattr(payments, "settle", settle)
    assert life.poll() == len(views)
    assert {life.state(view) for view in views} == {JobState.EVALUATING}


def test_a_payment_rings_for_the_worker_after_it_is_committed(life: Life) -> None:
    view = life.evaluating()

    assert life.doorbell.rung.pop() == (TaskName.EVALUATE_JOB, view.job.id)


def test_an_overpaid_work_invoice_is_delivered_and_the_excess_is_owed(life: Life) -> None:
    view = life.awaiting_work_payment()
    price = view.invoices[InvoiceKind.WORK].amount_sats
    life.pay(view, InvoiceKind.WORK, amount_msats=price * 1000 + 1)
    life.poll()
    life.work()

    causes = [(cause, sats) for cause, sats, _ in life.debts(view)]
    assert ("duplicate", 1) in causes  # a thousandth of a sat is rounded up for the caller
    assert life.view(view).job.work_amount_sats == price
    assert life.balances()[Account.ROUNDING] == 999


def test_a_work_payment_within_the_grace_revives_the_job_at_its_locked_price(life: Life) -> None:
    view = life.awaiting_work_payment()
    locked = (view.job.estimated_cost_usd, view.job.btc_price_usd)
    life.age_invoices(view, timedelta(seconds=3600 + 300))
    expiry.sweep(life.tools)
    assert life.view(view).job.expired_reason == "unpaid"

    life.pay(view, InvoiceKind.WORK)
    life.poll()
    assert life.state(view) is JobState.EXECUTING
    life.work()

    job = life.view(view).job
    assert job.state is JobState.COMPLETE
    assert (job.estimated_cost_usd, job.btc_price_usd) == locked
    assert job.expired_reason is None
    assert rows.history(life.tools, view)[-3:] == ["lapsed", "work_paid", "delivered"]


def test_a_work_payment_after_the_grace_is_owed_back_and_the_job_stays_expired(life: Life) -> None:
    view = life.awaiting_work_payment()
    life.age_invoices(view, timedelta(seconds=3600 + 610))
    expiry.sweep(life.tools)

    life.pay(view, InvoiceKind.WORK)
    life.poll()

    assert life.state(view) is JobState.EXPIRED
    price = view.invoices[InvoiceKind.WORK].amount_sats
    assert life.debts(view) == [("late", price, "owed")]
    assert life.balances()[Account.EARNED] == 10_000  # the verdict was delivered


def test_a_work_payment_for_a_cancelled_job_is_owed_back_even_at_once(life: Life) -> None:
    view = life.awaiting_work_payment()
    intake.cancel(life.tools, view.job.public_id)

    life.pay(view, InvoiceKind.WORK)
    life.poll()

    assert life.state(view) is JobState.EXPIRED
    assert [cause for cause, _, _ in life.debts(view)] == ["late"]


def test_the_deadline_of_the_work_begins_with_its_payment(life: Life) -> None:
    view = life.executing()
    *_, receipt = rows.all_of(life.tools, Receipt)

    assert view.job.give_up_at is not None
    assert view.job.give_up_at - receipt.received_at == timedelta(hours=1)


def test_a_payment_says_how_much_came_not_what_was_asked_for(life: Life) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL)
    (told,) = life.tools.income.settled_payments(page=0, page_size=10)

    payments.settle(life.tools, replace(told, settled_at=told.settled_at - timedelta(days=400)))

    assert rows.only(life.tools, Receipt).amount_msats == told.amount
    assert rows.only(life.tools, Invoice).amount_sats * 1000 == told.amount
    assert life.state(view) is JobState.EVALUATING  # their clock decides about nothing
