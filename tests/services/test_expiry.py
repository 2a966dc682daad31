"""Nothing expires on our word alone: LNbits is asked once more, and an outage expires nothing."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from config.settings import STAND_IN_INVOICE_KEY
from gateways.errors import OutsideError, Unavailable
from gateways.http import HttpClient
from gateways.lightning import InvoiceState
from gateways.lightning.lnbits import LnbitsIncome
from local.stand_in.faults import Fault
from models import moves
from models.database import ago
from models.invoice import Invoice, InvoiceKind
from models.job import ExpiredReason, Job
from models.lifecycle import JobState
from models.money import Sats
from services.jobs import expiry, intake
from services.jobs.intake import JobView
from services.jobs.invoices import CHECKS, LATE_CHECKS
from services.money.payments import LATE_GRACE
from tests.support import rows
from tests.support.deadlines import wait_shortly_for
from tests.support.life import Life

FEED = "GET /api/v1/payments/paginated"
PAST = timedelta(seconds=3601)


def _asked(life: Life) -> int:
    return life.stand_in.counts().requests.get(FEED, 0)


def _outage(kind: str = "status", **details: object) -> Fault:
    return Fault.model_validate({"target": "lnbits.states", "kind": kind, **details})


@pytest.mark.parametrize("make", [Life.create, Life.awaiting_work_payment], ids=["eval", "work"])
def test_given_a_deadline_that_passed_unpaid_then_the_job_expires(
    life: Life, make: Callable[[Life], JobView]
) -> None:
    view = make(life)
    life.age_invoices(view, PAST)

    assert expiry.sweep(life.tools) == 1

    job = life.view(view).job
    assert (job.state, job.expired_reason) == (JobState.EXPIRED, ExpiredReason.UNPAID)
    assert life.debts(view) == []


def test_given_a_deadline_that_has_not_passed_then_nothing_expires(life: Life) -> None:
    view = life.create()
    life.age_invoices(view, timedelta(seconds=3500))

    assert expiry.sweep(life.tools) == 0
    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT


def test_given_a_payment_at_the_last_moment_then_the_question_before_expiry_finds_it(
    life: Life,
) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL)
    life.age_invoices(view, PAST)

    assert expiry.sweep(life.tools) == 0

    assert life.state(view) is JobState.EVALUATING


@pytest.mark.parametrize(
    "outage",
    [
        _outage(status=503, times=9),
        _outage(status=429, times=9),
        _outage("reset", times=9),
        _outage("body", times=9),
        _outage("truncated", times=9),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.status}",
)
def test_an_outage_expires_nothing(life: Life, outage: Fault) -> None:
    view = life.create()
    life.age_invoices(view, PAST)
    life.stand_in.arm(outage)

    for _ in range(3):
        with pytest.raises(OutsideError):
            expiry.sweep(life.tools)
        life.age_invoices(view, timedelta(minutes=2))
    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT

    life.stand_in.disarm()
    assert expiry.sweep(life.tools) == 1


def test_an_outage_does_not_make_us_ask_without_a_pause(life: Life) -> None:
    view = life.create()
    life.age_invoices(view, PAST)
    life.stand_in.arm(_outage(status=503))
    with pytest.raises(OutsideError):
        expiry.sweep(life.tools)

    assert expiry.sweep(life.tools) == 0
    assert _asked(life) == 1


def test_an_invoice_that_lnbits_does_not_answer_for_does_not_expire(life: Life) -> None:
    view = life.create()
    life.age_invoices(view, PAST)
    life.stand_in.arm(_outage("missing_row"))

    assert expiry.sweep(life.tools) == 0

    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT


def test_an_invoice_that_lnbits_calls_failed_was_not_paid(life: Life) -> None:
    """LNbits says so of every invoice that has expired."""
    view = life.create()
    life.stand_in.expire(view.invoices[InvoiceKind.EVAL].payment_hash)
    life.age_invoices(view, PAST)

    assert expiry.sweep(life.tools) == 1


def test_an_open_invoice_is_asked_about_a_few_times_and_then_at_its_deadline(life: Life) -> None:
    view = life.create()

    for elapsed in (*CHECKS, timedelta(seconds=3600)):
        assert expiry.sweep(life.tools) == 0, "not before its time"
        before = _asked(life)
        created = rows.only(life.tools, Invoice).created_at
        life.age_invoices(view, elapsed - (view.job.created_at - created))
        expiry.sweep(life.tools)
        assert _asked(life) == before + 1, elapsed

    assert life.state(view) is JobState.EXPIRED
    assert rows.only(life.tools, Invoice).checks == len(CHECKS) + 1


def test_what_is_open_no_longer_is_asked_about_no_more(life: Life) -> None:
    view = life.evaluating()
    before = _asked(life)
    life.age_invoices(view, timedelta(seconds=31))

    expiry.sweep(life.tools)
    expiry.sweep(life.tools)

    assert _asked(life) == before
    assert rows.only(life.tools, Invoice).check_at is None


@pytest.mark.parametrize("ending", ["cancelled", "unpaid"])
def test_money_that_comes_late_is_found_although_lnbits_never_told_of_it(
    life: Life, ending: str
) -> None:
    """LNbits may learn of a payment only by being asked, and only while its BOLT11 lives."""
    view = life.create()
    if ending == "cancelled":
        intake.cancel(life.tools, view.job.public_id)
    life.age_invoices(view, PAST)
    expiry.sweep(life.tools)
    assert life.state(view) is JobState.EXPIRED
    life.pay(view, InvoiceKind.EVAL)  # and nobody polls

    life.age_invoices(view, LATE_GRACE - timedelta(seconds=30))
    expiry.sweep(life.tools)

    found = {"cancelled": JobState.EXPIRED, "unpaid": JobState.EVALUATING}
    assert life.state(view) is found[ending]
    assert life.debts(view) == ([("late", 10, "owed")] if ending == "cancelled" else [])


@pytest.mark.parametrize(
    "outage", [_outage(status=503, times=99), _outage("missing_row", times=99)]
)
def test_an_outage_around_the_last_questions_loses_no_money(life: Life, outage: Fault) -> None:
    """After the BOLT11 has ended LNbits calls it failed for good, paid or not."""
    view = life.create()
    intake.cancel(life.tools, view.job.public_id)
    life.age_invoices(view, PAST)
    expiry.sweep(life.tools)
    life.pay(view, InvoiceKind.EVAL)  # and nobody polls
    life.stand_in.arm(outage)
    for late in (*LATE_CHECKS, LATE_CHECKS[-1] + timedelta(seconds=25)):
        so_far = rows.now(life.tools) - rows.only(life.tools, Invoice).expires_at
        life.age_invoices(view, late - so_far)
        with suppress(OutsideError):
            expiry.sweep(life.tools)
    assert life.debts(view) == []

    life.stand_in.disarm()
    so_far = rows.now(life.tools) - rows.only(life.tools, Invoice).expires_at
    life.age_invoices(view, LATE_CHECKS[-1] + timedelta(seconds=46) - so_far)
    expiry.sweep(life.tools)

    assert life.debts(view) == [("late", 10, "owed")]


def test_what_has_expired_is_asked_about_a_few_times_more_and_never_after_its_bolt11_ended(
    life: Life,
) -> None:
    view = life.create()
    life.age_invoices(view, PAST)
    assert expiry.sweep(life.tools) == 1
    before = _asked(life)

    for _ in range(20):
        life.age_invoices(view, timedelta(seconds=60))
        expiry.sweep(life.tools)

    assert 2 <= _asked(life) - before <= 3
    assert rows.only(life.tools, Invoice).check_at is None


def test_a_sweep_asks_about_one_page_the_longest_waiting_first(life: Life) -> None:
    _insert_open_jobs(life, [f"{number:064x}" for number in range(expiry.PAGE + 3)])

    expiry.sweep(life.tools)
    first = [invoice.checks for invoice in rows.all_of(life.tools, Invoice)]
    expiry.sweep(life.tools)
    second = [invoice.checks for invoice in rows.all_of(life.tools, Invoice)]

    assert sum(first) == expiry.PAGE
    assert first[: expiry.PAGE] == [1] * expiry.PAGE
    assert second == [1] * (expiry.PAGE + 3)


def _insert_open_jobs(
    life: Life, payment_hashes: list[str], left: timedelta = timedelta(seconds=1000)
) -> None:
    """Jobs with so much time left and with these invoices, each due a little after the one before.

    What is made up LNbits never heard of.
    """
    with life.tools.database.transaction("test.insert") as session:
        for number, payment_hash in enumerate(payment_hashes):
            until = func.now() + left
            job = moves.create(
                session,
                Job(
                    public_id=uuid4(),
                    request="x",
                    client_key="192.0.2.1",
                    payable_until=until,
                ),
            )
            session.add(
                Invoice(
                    job_id=job.id,
                    kind=InvoiceKind.EVAL,
                    payment_hash=payment_hash,
                    payment_request="lnbcrt1",
                    amount_sats=10,
                    expires_at=until,
                    check_at=func.now() - timedelta(seconds=len(payment_hashes) - number),
                )
            )
            session.flush()


class Listening(LnbitsIncome):
    """The income, and about how many invoices LNbits was asked at once."""

    def __init__(self, life: Life) -> None:
        super().__init__(life.stand_in.url, STAND_IN_INVOICE_KEY, HttpClient())
        self.asked: list[int] = []

    def invoice_states(self, payment_hashes: list[str]) -> dict[str, InvoiceState]:
        self.asked.append(len(payment_hashes))
        return super().invoice_states(payment_hashes)


def _overdue(life: Life, count: int) -> list[str]:
    """So many jobs whose deadline has passed; the hashes of their invoices, oldest first."""
    invoices = [
        life.tools.income.create_invoice(Sats(10), memo="x", lifetime=timedelta(hours=1))
        for _ in range(count)
    ]
    hashes = [invoice.payment_hash for invoice in invoices]
    _insert_open_jobs(life, hashes, left=timedelta(seconds=-1))
    return hashes


def _slow_node(seconds: float) -> Fault:
    return _outage("slow_node", seconds=seconds, times=999)


def test_given_many_overdue_invoices_and_a_slow_node_then_all_expire_a_few_at_a_time(
    life: Life,
) -> None:
    """LNbits answers for all or for none, and nobody else while its node is asked about them."""
    _overdue(life, expiry.PAGE + 20)
    life.stand_in.arm(_slow_node(seconds=0.005))
    income = Listening(life)
    tools = life.tools.with_(income=income)

    expired = [expiry.sweep(tools) for _ in range(3)]

    assert expired == [expiry.PAGE, 20, 0]
    assert max(income.asked) == expiry.CHUNK
    assert income.asked == [1, 2, 4, 8, 16, 20, 20, 20, 9, 1, 2, 4, 8, 5]


def test_where_lnbits_allows_few_requests_a_sweep_makes_fewer(life: Life) -> None:
    _overdue(life, 4)
    income = Listening(life)
    few = life.tools.settings.model_copy(update={"lnbits_requests_per_minute": 40})

    assert expiry.sweep(life.tools.with_(income=income, settings=few)) == 3

    assert income.asked == [1, 2]


def test_the_slower_the_answers_the_less_is_asked_at_once(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tiring(Listening):
        def invoice_states(self, payment_hashes: list[str]) -> dict[str, InvoiceState]:
            if len(payment_hashes) == 8:
                monkeypatch.setattr(expiry, "QUICK_SECONDS", 0.0)
            return super().invoice_states(payment_hashes)

    _overdue(life, 25)
    income = Tiring(life)

    assert expiry.sweep(life.tools.with_(income=income)) == 25

    assert income.asked == [1, 2, 4, 8, 4, 2, 1, 1, 1, 1]


def test_a_sweep_asks_for_a_few_seconds_and_the_next_one_goes_on(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LNbits has others to serve, and makes no invoice while its node is asked."""
    _overdue(life, 6)
    life.stand_in.arm(_slow_node(seconds=0.05))
    monkeypatch.setattr(expiry, "SWEEP_SECONDS", 0.05)
    income = Listening(life)
    tools = life.tools.with_(income=income)

    expired = [expiry.sweep(tools) for _ in range(7)]

    assert expired == [1] * 6 + [0]
    assert income.asked == [1] * 6


def test_an_invoice_that_is_asked_about_in_vain_keeps_no_other_from_being_asked_about(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, *_ = _overdue(life, 4)
    life.stand_in.arm(_outage("hang", match=oldest, times=999))
    with monkeypatch.context() as patch:
        wait_shortly_for("lnbits.states", 0.4, patch)
        with pytest.raises(Unavailable):
            expiry.sweep(life.tools)

    assert expiry.sweep(life.tools) == 3

    assert [job.state for job in rows.all_of(life.tools, Job)] == [
        JobState.AWAITING_EVAL_PAYMENT,
        *[JobState.EXPIRED] * 3,
    ]


def test_what_was_found_out_before_lnbits_fell_silent_counts(life: Life) -> None:
    *_, newest = _overdue(life, 4)
    life.stand_in.arm(_outage(status=503, match=newest))

    with pytest.raises(Unavailable):
        expiry.sweep(life.tools)

    assert [job.state for job in rows.all_of(life.tools, Job)] == [
        *[JobState.EXPIRED] * 3,
        JobState.AWAITING_EVAL_PAYMENT,
    ]


def _forgotten(life: Life, since: timedelta) -> JobView:
    """A job whose deadline passed so long ago and whose invoice LNbits knows no longer."""
    view = life.create()
    life.age_invoices(view, timedelta(seconds=3600) + since)
    life.stand_in.arm(_outage("missing_row"))
    expiry.sweep(life.tools)
    return view


def _asked_again_in(life: Life) -> timedelta:
    with life.tools.database.transaction("test.asked_again") as session:
        return -session.scalars(select(ago(Invoice.check_at))).one()


@pytest.mark.parametrize(
    ("since", "rest"),
    [
        (timedelta(seconds=1), timedelta(minutes=1)),
        (timedelta(hours=1), timedelta(minutes=7, seconds=30)),
        (timedelta(hours=4), timedelta(minutes=30)),
        (timedelta(days=30), timedelta(hours=1)),
    ],
    ids=str,
)
def test_an_invoice_that_lnbits_knows_no_longer_is_asked_about_less_and_less(
    life: Life, since: timedelta, rest: timedelta
) -> None:
    view = _forgotten(life, since)

    assert abs(_asked_again_in(life) - rest) < timedelta(seconds=30)
    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT


def test_an_invoice_that_lnbits_knows_again_expires_after_all(life: Life) -> None:
    view = _forgotten(life, timedelta(days=1))
    life.stand_in.disarm()
    life.age_invoices(view, timedelta(hours=1))

    assert expiry.sweep(life.tools) == 1


def test_the_caller_of_a_forgotten_invoice_can_cancel(life: Life) -> None:
    view = _forgotten(life, timedelta(days=1))

    assert intake.cancel(life.tools, view.job.public_id).job.state is JobState.EXPIRED


def test_after_an_outage_the_next_question_is_a_minute_away(life: Life) -> None:
    view = life.create()
    life.age_invoices(view, timedelta(days=1))
    life.stand_in.arm(_outage(status=503))
    with pytest.raises(OutsideError):
        expiry.sweep(life.tools)

    assert _asked_again_in(life) <= timedelta(minutes=1)
