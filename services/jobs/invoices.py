"""Issuing invoices, and the schedule by which the safety net asks about them."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert
from sqlalchemy.orm import Session

from gateways.lightning import IssuedInvoice
from models.invoice import Invoice, InvoiceKind
from models.money import Sats
from services.money.payments import LATE_GRACE
from services.toolbox import Toolbox

CHECKS = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10))
"""How long after issue the node is asked whether a payment was missed; then at the deadline."""
LATE_CHECKS = (timedelta(minutes=5), timedelta(minutes=9))
"""How long after the deadline it is asked about what has expired; a minute later nobody can pay."""

_PURPOSE = {InvoiceKind.EVAL: "evaluation", InvoiceKind.WORK: "work"}


def issue(
    tools: Toolbox, kind: InvoiceKind, public_id: UUID, amount: Sats, lifetime: timedelta
) -> IssuedInvoice:
    """Have LNbits make an invoice that outlives our deadline, so that a late payment is seen.

    One whose answer is lost was shown to nobody: call again. Raises Unavailable or Refused.
    """
    memo = f"Honest Work: {_PURPOSE[kind]} of job {str(public_id)[:8]}"
    return tools.income.create_invoice(amount, memo=memo, lifetime=lifetime + LATE_GRACE)


def record(
    session: Session,
    job_id: int,
    kind: InvoiceKind,
    issued: IssuedInvoice,
    amount: Sats,
    *,
    payable_until: ColumnElement[datetime],
) -> Invoice:
    """Insert the row of an invoice, asked about soon, and no later than at its deadline."""
    return session.scalars(
        insert(Invoice)
        .values(
            job_id=job_id,
            kind=kind,
            payment_hash=issued.payment_hash,
            payment_request=issued.payment_request,
            amount_sats=amount,
            expires_at=payable_until,
            check_at=func.least(func.now() + CHECKS[0], payable_until),
        )
        .returning(Invoice)
    ).one()
