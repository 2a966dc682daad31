"""Ending a paid job badly: failed and the debt, in one transaction.

The database refuses the one without the other.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import moves
from models.debt import DebtCause
from models.invoice import Invoice, InvoiceKind, Receipt
from models.job import Job
from models.lifecycle import JobEvent, JobState
from models.money import Sats, msats
from services.money import ledger


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job ends. ``message`` is shown to the caller, ``code`` to the operator."""

    code: str
    message: str


DEADLINE = Failure(
    code="deadline",
    message="The work could not be finished in time. What was paid for it is owed back.",
)
CRASHED = Failure(
    code="crashed", message="The work broke off three times. What was paid for it is owed back."
)
SPENT = Failure(
    code="attempts_spent",
    message="The model gave no usable answer. What was paid for it is owed back.",
)
REFUSED = Failure(
    code="refused", message="The model declined this work. What was paid for it is owed back."
)
EMPTY = Failure(
    code="empty", message="The model gave an empty answer. What was paid for it is owed back."
)

_PAID_BY = {
    JobState.EVALUATING: (InvoiceKind.EVAL, DebtCause.FAILED_EVALUATION),
    JobState.EXECUTING: (InvoiceKind.WORK, DebtCause.FAILED_WORK),
}


def receipt_of(session: Session, job_id: int, kind: InvoiceKind) -> tuple[Receipt, Sats]:
    """The receipt that paid for a step, and the price it paid (anything above is owed already)."""
    receipt, price = session.execute(
        select(Receipt, Invoice.amount_sats)
        .join(Invoice, Receipt.invoice_id == Invoice.id)
        .where(Invoice.job_id == job_id, Invoice.kind == kind)
    ).one()
    return receipt, Sats(price)


def give_up(session: Session, job: Job, claim: int, why: Failure) -> Job | None:
    """Fail a working job that we hold and owe its payment back. None = it was ours no longer."""
    kind, cause = _PAID_BY[job.state]
    nothing_kept = {"actual_amount_sats": 0} if kind is InvoiceKind.WORK else {}
    failed = moves.advance(
        session,
        job.id,
        expect=job.state,
        on=JobEvent.GAVE_UP,
        claim=claim,
        error_message=why.message,
        error_code=why.code,
        completed_at=func.now(),
        **nothing_kept,
    )
    if failed is not None:
        receipt, price = receipt_of(session, job.id, kind)
        ledger.owe(session, receipt, cause, msats(price))
    return failed
