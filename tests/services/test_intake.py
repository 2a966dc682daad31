"""Taking a job in, finding it, giving it up: no job without an invoice, no limit without a word."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, func

from config.queues import TaskName
from gateways import bolt11
from local.stand_in.faults import Fault
from models.admission import Admission
from models.debt import DebtState
from models.event import JobEventRow
from models.invoice import Invoice, InvoiceKind
from models.job import Job
from models.lifecycle import JobState
from models.tick import Tick
from services.errors import Conflict, ErrorCode, NotFound, NotNow, TooManyRequests
from services.jobs import admission, intake
from services.jobs.intake import JobView
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, owing


def _with(life: Life, **settings: Any) -> Life:
    changed = life.tools.settings.model_copy(update=settings)
    return Life(life.tools.with_(settings=changed), life.doorbell, life.stand_in)


def _create_from(life: Life, client: str) -> JobView:
    return intake.create(life.tools, "Hello?", client_key=client)


def test_a_new_job_waits_for_its_evaluation_fee_until_its_deadline(life: Life) -> None:
    view = life.create()

    invoice = view.invoices[InvoiceKind.EVAL]
    assert view.job.state is JobState.AWAITING_EVAL_PAYMENT
    assert invoice.amount_sats == 10
    assert invoice.expires_at == view.job.payable_until
    assert (invoice.expires_at - view.job.created_at).total_seconds() == 3600
    assert rows.history(life.tools, view) == ["created"]


def test_the_bolt11_outlives_our_deadline_by_ten_minutes(life: Life) -> None:
    invoice = life.create().invoices[InvoiceKind.EVAL]

    left = bolt11.read(invoice.payment_request).expires_at - invoice.expires_at
    assert abs(left.total_seconds() - 600) < 30


def test_a_memo_names_the_first_eight_digits_of_the_job_and_no_more(life: Life) -> None:
    view = life.create()

    memo = bolt11.read(view.invoices[InvoiceKind.EVAL].payment_request).description
    assert memo is not None
    assert str(view.job.public_id)[:8] in memo
    assert str(view.job.public_id)[:9] not in memo


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 520},
        {"kind": "status", "status": 429},
        {"kind": "reset"},
        {"kind": "reset", "after_effect": True},
        {"kind": "truncated"},
        {"kind": "body"},
    ],
    ids=str,
)
def test_given_no_lightning_then_no_job_is_left_behind_and_the_next_one_works(
    life: Life, trouble: dict[str, object]
) -> None:
    life.stand_in.arm(Fault.model_validate({"target": "lnbits.create", **trouble}))

    with pytest.raises(NotNow) as refused:
        life.create()

    assert refused.value.code is ErrorCode.LIGHTNING_UNAVAILABLE
    assert refused.value.retry_after is not None
    for table in (Job, Invoice, JobEventRow):
        assert rows.all_of(life.tools, table) == []
    assert life.create().job.state is JobState.AWAITING_EVAL_PAYMENT


def test_open_invoices_are_limited_per_client_and_closing_one_makes_room(life: Life) -> None:
    small = _with(life, open_invoices_per_client=2)
    first = _create_from(small, "192.0.2.1")
    _create_from(small, "192.0.2.1")

    with pytest.raises(TooManyRequests) as refused:
        _create_from(small, "192.0.2.1")
    _create_from(small, "192.0.2.2")
    intake.cancel(small.tools, first.job.public_id)
    _create_from(small, "192.0.2.1")

    assert refused.value.code is ErrorCode.TOO_MANY_OPEN_INVOICES
    assert refused.value.retry_after is not None


def test_open_invoices_are_limited_in_all(life: Life) -> None:
    small = _with(life, open_invoices_max=2)
    _create_from(small, "192.0.2.1")
    _create_from(small, "192.0.2.2")

    with pytest.raises(TooManyRequests):
        _create_from(small, "192.0.2.3")


@pytest.fixture
def ten_a_minute(life: Life) -> Life:
    """A service on an LNbits that leaves room for ten new jobs a minute."""
    return _with(
        life,
        lnbits_requests_per_minute=20,
        lnbits_url=life.stand_in.url,
        lnbits_invoice_key="stand-in-invoice-key",
    )


def test_creating_jobs_uses_at_most_half_of_the_requests_that_lnbits_allows(
    ten_a_minute: Life,
) -> None:
    for number in range(10):
        _create_from(ten_a_minute, f"192.0.2.{number}")

    with pytest.raises(NotNow) as refused:
        _create_from(ten_a_minute, "192.0.2.10")

    assert refused.value.code is ErrorCode.LIGHTNING_UNAVAILABLE


def test_creations_of_a_clock_that_was_set_back_count_for_nothing(ten_a_minute: Life) -> None:
    for number in range(10):
        _create_from(ten_a_minute, f"192.0.2.{number}")
    rows.let_pass(ten_a_minute.tools, Admission, timedelta(hours=-1))

    assert _create_from(ten_a_minute, "192.0.2.10").job.state is JobState.AWAITING_EVAL_PAYMENT


def test_one_client_can_use_up_half_of_the_creations_and_others_find_room(
    ten_a_minute: Life,
) -> None:
    """Also one who cancels at once, and so has no open invoice."""
    for _ in range(5):
        intake.cancel(ten_a_minute.tools, ten_a_minute.create().job.public_id)

    with pytest.raises(TooManyRequests) as refused:
        ten_a_minute.create()

    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert len(rows.all_of(ten_a_minute.tools, Admission)) == 5, "a refusal counts against nobody"
    for _ in range(2):
        _create_from(ten_a_minute, "192.0.2.200")
    with pytest.raises(TooManyRequests):
        _create_from(ten_a_minute, "192.0.2.200")


@pytest.fixture
def statements(life: Life) -> Iterator[list[str]]:
    """Every statement that is sent to the database while the test lasts."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(life.tools.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(life.tools.database.engine, "before_cursor_execute", note)


def test_reading_a_job_is_one_statement_and_so_shows_one_moment(
    life: Life, statements: list[str]
) -> None:
    view = owing(life)
    claim(life, view, life.stand_in.payer_invoice(10))
    statements.clear()

    found = intake.find(life.tools, view.job.public_id)

    assert len(statements) == 1
    assert [debt.state for debt in found.debts] == [DebtState.PAYING]
    assert set(found.invoices) == {InvoiceKind.EVAL}


def test_a_job_is_read_with_all_its_invoices_and_each_debt_once(life: Life) -> None:
    view = life.create()
    for kind in InvoiceKind:
        price = life.view(view).invoices[kind].amount_sats
        life.pay(life.view(view), kind, amount_msats=(price + 7) * 1000)
        life.poll()
        life.work()

    found = intake.find(life.tools, view.job.public_id)

    assert {kind: invoice.kind for kind, invoice in found.invoices.items()} == {
        kind: kind for kind in InvoiceKind
    }
    ids = [debt.id for debt in found.debts]
    assert len(ids) == 3
    assert ids == sorted(set(ids))


def test_a_job_that_is_not_there_is_not_found(life: Life) -> None:
    for ask in (intake.find, intake.cancel):
        with pytest.raises(NotFound) as refused:
            ask(life.tools, uuid4())
        assert refused.value.code is ErrorCode.JOB_NOT_FOUND


@pytest.mark.parametrize("make", [Life.create, Life.awaiting_work_payment], ids=["eval", "work"])
def test_a_job_that_waits_for_money_can_be_cancelled_once(
    life: Life, make: Callable[[Life], JobView]
) -> None:
    view = make(life)

    cancelled = intake.cancel(life.tools, view.job.public_id)

    assert cancelled.job.state is JobState.EXPIRED
    assert cancelled.job.expired_reason == "cancelled"
    with pytest.raises(Conflict):
        intake.cancel(life.tools, view.job.public_id)


@pytest.mark.parametrize("make", [Life.evaluating, Life.executing, Life.complete])
def test_a_job_that_was_paid_cannot_be_cancelled(
    life: Life, make: Callable[[Life], JobView]
) -> None:
    view = make(life)

    with pytest.raises(Conflict) as refused:
        intake.cancel(life.tools, view.job.public_id)

    assert refused.value.code is ErrorCode.INVALID_STATE
    assert life.state(view) is view.job.state


def _last_poll(life: Life, *, error: str | None, due_in: timedelta) -> None:
    """Put on record how the last poll fared, and when the next is due."""
    poll = Tick(name=TaskName.POLL_PAYMENTS.value, due_at=func.now() + due_in, last_error=error)
    with life.tools.database.transaction("test.last_poll") as session:
        session.add(poll)


def test_given_an_lnbits_that_does_not_answer_then_nobody_is_made_to_wait_for_it(
    life: Life,
) -> None:
    _last_poll(life, error="timeout", due_in=timedelta(seconds=5))

    with pytest.raises(NotNow) as refused:
        life.create()

    assert refused.value.code is ErrorCode.LIGHTNING_UNAVAILABLE
    assert "POST /api/v1/payments" not in life.stand_in.counts().requests


@pytest.mark.parametrize(
    ("error", "due_in"),
    [
        (None, timedelta(seconds=1)),
        ("too_old", timedelta(seconds=5)),
        ("http_500", timedelta(seconds=5)),
        ("timeout", timedelta(seconds=-20)),
    ],
    ids=["polls well", "cannot poll but may invoice", "answers at once", "nobody polls any more"],
)
def test_given_an_lnbits_that_may_answer_then_it_is_asked(
    life: Life, error: str | None, due_in: timedelta
) -> None:
    _last_poll(life, error=error, due_in=due_in)

    assert life.create().job.state is JobState.AWAITING_EVAL_PAYMENT


def test_an_invoice_that_could_not_be_had_is_open_no_longer(life: Life) -> None:
    small = _with(life, open_invoices_per_client=1)
    life.stand_in.arm(Fault.model_validate({"target": "lnbits.create", "kind": "reset"}))
    with pytest.raises(NotNow):
        small.create()

    assert small.create().job.state is JobState.AWAITING_EVAL_PAYMENT


def test_an_admission_whose_process_died_counts_for_a_minute(life: Life) -> None:
    small = _with(life, open_invoices_per_client=1)
    with life.tools.database.transaction("test.died") as session:
        admission.apply(session, "192.0.2.1")

    with pytest.raises(TooManyRequests):
        small.create()
    rows.let_pass(life.tools, Admission, timedelta(seconds=61))

    assert small.create().job.state is JobState.AWAITING_EVAL_PAYMENT
