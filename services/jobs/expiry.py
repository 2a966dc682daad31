"""The sweep over open invoices: finds what the feed missed, and expires what was never paid.

Nothing expires on our word alone: LNbits is asked once more, and while it cannot say, nothing ends.
What has ended is asked about until its BOLT11 has: LNbits may learn of a payment by that alone, and
calls it failed for good when it is asked for the first time after that.

LNbits asks its node about one invoice after the other, holds up all that others want of it for so
long, and goes on when nobody waits any more. So it is asked about few at once.
"""

import time
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Select, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from config.queues import EVERY, TaskName
from gateways.lightning import InvoiceReading, InvoiceState
from models import moves
from models.database import ago
from models.invoice import Invoice, InvoiceKind, Receipt
from models.job import ExpiredReason, Job
from models.lifecycle import JobState
from services.jobs.invoices import CHECKS, LATE_CHECKS
from services.money import payments
from services.toolbox import Toolbox

PAGE = 100
"""Nine requests while LNbits is quick."""
OF_LISTS = 0.6
"""Of the lists that LNbits allows in a minute; the feed takes thirty."""
SWEEP_SECONDS = 3.0
"""Then no more is asked: LNbits belongs to the others until the next sweep."""
CHUNK = 20
"""Asked about at once at most: a node that comes to take 0.4 s for each is in time with so many."""
QUICK_SECONDS = 1.0
"""Whoever answers so soon is asked about twice as many at once, anybody else about half."""
ASK_AGAIN = timedelta(minutes=1)
"""While LNbits does not answer."""
ASK_BEFORE_IT_IS_TOO_LATE = timedelta(seconds=20)
"""While LNbits does not answer for the last time that somebody may have paid."""
ASK_RARELY = timedelta(hours=1)
"""At least so often about an invoice of which LNbits has known nothing for hours."""

_IS_OPEN = or_(
    and_(Invoice.kind == InvoiceKind.EVAL, Job.state == JobState.AWAITING_EVAL_PAYMENT),
    and_(Invoice.kind == InvoiceKind.WORK, Job.state == JobState.AWAITING_WORK_PAYMENT),
)
_MAY_BE_PAID_LATE = and_(
    Job.state == JobState.EXPIRED,
    func.now() < Invoice.expires_at + payments.LATE_GRACE,
    ~select(Receipt.id).where(Receipt.invoice_id == Invoice.id).exists(),
)
"""The BOLT11 of a job that has expired lives on, and its money is owed back or revives the job."""


def sweep(tools: Toolbox) -> int:
    """Ask about payable invoices whose time has come, a page at most; returns how many expired.

    What it does not come to is the next sweep's, which begins with what has waited the longest.
    Raises Unavailable or Refused when LNbits does not answer: then nothing has expired of what it
    was just asked about, and that waits for a while, so that it keeps no other from being asked.
    """
    _let_go(tools)
    began = time.monotonic()
    asked, expired, chunk = 0, 0, 1
    for _ in range(_requests(tools)):
        if asked >= PAGE or time.monotonic() - began >= SWEEP_SECONDS:
            break
        invoices = _claim_due(tools, min(chunk, PAGE - asked))
        if not invoices:
            break
        asked_at = time.monotonic()
        states = tools.income.invoice_states([invoice.payment_hash for invoice in invoices])
        is_quick = time.monotonic() - asked_at < QUICK_SECONDS
        chunk = min(2 * chunk, CHUNK) if is_quick else max(chunk // 2, 1)
        asked += len(invoices)
        expired += _conclude(tools, invoices, states)
    return expired


def _requests(tools: Toolbox) -> int:
    """How many a sweep makes at most. At least one."""
    sweeps_a_minute = timedelta(minutes=1) / EVERY[TaskName.SWEEP_INVOICES]
    return max(1, int(tools.settings.lnbits_requests_per_minute * OF_LISTS / sweeps_a_minute))


def _conclude(tools: Toolbox, invoices: list[Invoice], states: dict[str, InvoiceState]) -> int:
    """Do what follows from the answers; returns how many jobs expired."""
    answered = {row.id for row in invoices if _is_answer(states.get(row.payment_hash))}
    _plan_on(tools, answered, {row.id for row in invoices} - answered)
    return sum(_act_on(tools, invoice, states.get(invoice.payment_hash)) for invoice in invoices)


def _let_go(tools: Toolbox) -> None:
    """What nobody can pay any more is asked about no more."""
    with tools.database.transaction("expiry.let_go") as session:
        due = _due(session, PAGE)
        if not due:
            return
        can_be_paid = (
            select(Invoice.id)
            .join(Job, Job.id == Invoice.job_id)
            .where(Invoice.id.in_(due), or_(_IS_OPEN, _MAY_BE_PAID_LATE))
        )
        session.execute(
            update(Invoice)
            .where(Invoice.id.in_(due), Invoice.id.not_in(can_be_paid))
            .values(check_at=None)
        )


def _due(session: Session, at_most: int) -> list[int]:
    """What has waited the longest comes first; what another sweep is at is left to it."""
    return list(
        session.scalars(
            select(Invoice.id)
            .where(Invoice.check_at <= func.now())
            .order_by(Invoice.check_at)
            .limit(at_most)
            .with_for_update(skip_locked=True)
        )
    )


def _claim_due(tools: Toolbox, at_most: int) -> list[Invoice]:
    """Take the invoices to ask about and set when each is asked about next, before asking."""
    with tools.database.transaction("expiry.claim") as session:
        due = _due(session, at_most)
        return _reschedule(session, due) if due else []


def _reschedule(session: Session, due: list[int]) -> list[Invoice]:
    """Put the next look on record."""
    is_open = Invoice.id.in_(_open(due))
    planned = [
        (func.now() < Invoice.created_at + check, Invoice.created_at + check) for check in CHECKS
    ]
    at_deadline = func.least(case(*planned, else_=Invoice.expires_at), Invoice.expires_at)
    late = [
        (func.now() < Invoice.expires_at + check, Invoice.expires_at + check)
        for check in LATE_CHECKS
    ]
    next_check = case(
        (func.now() < Invoice.expires_at, at_deadline),
        (is_open, func.now() + ASK_AGAIN),
        *late,
        else_=func.now() + ASK_BEFORE_IT_IS_TOO_LATE,  # an answer ends it
    )
    return list(
        session.scalars(
            update(Invoice)
            .where(Invoice.id.in_(due))
            .values(checks=Invoice.checks + 1, check_at=next_check)
            .returning(Invoice)
        )
    )


def _is_answer(state: InvoiceState | None) -> bool:
    """Whether LNbits has said anything from which something follows."""
    return state is not None and state.reading is not InvoiceReading.UNKNOWN


def _plan_on(tools: Toolbox, answered: set[int], unanswered: set[int]) -> None:
    """Let the answers say when each invoice is asked about next."""
    with tools.database.transaction("expiry.plan_on") as session:
        _ask_no_more(session, answered)
        _ask_later(session, unanswered)


def _ask_no_more(session: Session, answered: set[int]) -> None:
    """What LNbits has answered for when it was asked for the last time."""
    session.execute(
        update(Invoice)
        .where(
            Invoice.id.in_(answered),
            Invoice.id.not_in(_open(answered)),
            Invoice.expires_at + LATE_CHECKS[-1] <= func.now(),
        )
        .values(check_at=None)
    )


def _open(invoices: Collection[int]) -> Select[int]:
    return (
        select(Invoice.id)
        .join(Job, Job.id == Invoice.job_id)
        .where(Invoice.id.in_(invoices), _IS_OPEN)
    )


def _ask_later(session: Session, unanswered: set[int]) -> None:
    """Ask ever more rarely about what LNbits knows nothing of: after an eighth of the time since.

    The job waits on: only LNbits' word ends it, or its caller.
    """
    eighth = func.extract("epoch", ago(Invoice.expires_at)) / 8
    in_seconds = func.make_interval(0, 0, 0, 0, 0, 0, eighth)
    rest = func.least(func.greatest(in_seconds, ASK_AGAIN), ASK_RARELY)
    session.execute(
        update(Invoice)
        .where(Invoice.id.in_(_open(unanswered)), Invoice.expires_at <= func.now())
        .values(check_at=func.now() + rest)
    )


def _act_on(tools: Toolbox, invoice: Invoice, state: InvoiceState | None) -> bool:
    """True when the job of this invoice has expired."""
    if state is None or not _is_answer(state):
        return False
    if state.payment is not None and payments.settle(tools, state.payment):
        return False
    # A payment taken in before that left the job open was less than the price; no more will come.
    return _expire(tools, invoice)


def _expire(tools: Toolbox, invoice: Invoice) -> bool:
    """Expire the job if its deadline is past; LNbits has just said that it is unpaid."""
    with tools.database.transaction("expiry.expire") as session:
        job = session.scalar(
            select(Job)
            .join(Invoice, Invoice.job_id == Job.id)
            .where(Invoice.id == invoice.id, _IS_OPEN, Job.payable_until <= func.now())
        )
        if job is None:
            return False
        expired = moves.expire(session, job.id, expect=job.state, reason=ExpiredReason.UNPAID)
        return expired is not None
