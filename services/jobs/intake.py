"""Taking a job in: an invoice first, then the job; reading one; cancelling one."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from config.settings import Settings
from gateways.errors import OutsideError, Unavailable
from gateways.lightning import IssuedInvoice
from gateways.lnurl import NotAReceiver
from models import moves
from models.debt import Debt
from models.invoice import Invoice, InvoiceKind
from models.job import ExpiredReason, Job
from models.lifecycle import AWAITING
from models.money import Sats
from models.refund_destination import RefundDestination
from services.errors import Conflict, ErrorCode, InvalidRequest, NotFound, NotNow
from services.jobs import admission, invoices
from services.jobs.admission import LIGHTNING_RETRY
from services.money import btc_price, payments
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)


_WHOLE_JOB = (
    select(Job, Invoice, Debt, RefundDestination)
    .outerjoin(Invoice, Invoice.job_id == Job.id)
    .outerjoin(Debt, Debt.job_id == Job.id)
    .outerjoin(RefundDestination, RefundDestination.job_id == Job.id)
    .where(Job.public_id == bindparam("public_id"))
    .order_by(Debt.id)
)
"""Made once: nothing is asked for as often."""


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as one read of the database saw it."""

    job: Job
    invoices: dict[InvoiceKind, Invoice]
    debts: list[Debt]
    destination: RefundDestination | None = None
    """Where what is owed goes by itself, if the caller has said so."""


def create(
    tools: Toolbox,
    request: str,
    *,
    client_key: str,
    metadata: dict[str, str] | None = None,
    refund_to: str | None = None,
) -> JobView:
    """Issue the evaluation invoice and take the job in. Calling twice makes two jobs.

    ``refund_to`` is judged by its shape alone.
    Raises InvalidRequest, NotNow or TooManyRequests; then no job is left behind.
    """
    refund_to = None if refund_to is None else _receiver(tools, refund_to)
    admission_id = _admit(tools, client_key)
    public_id = uuid4()
    issued = _issue(tools, public_id, admission_id)
    job = Job(public_id=public_id, request=request, caller_metadata=metadata, client_key=client_key)
    with tools.database.transaction("intake.create") as session:
        admission.end(session, admission_id)
        return _take_in(session, tools.settings, job, issued, refund_to)


def _issue(tools: Toolbox, public_id: UUID, admission_id: int) -> IssuedInvoice:
    """The invoice for the evaluation fee. Raises NotNow; then the admission has ended."""
    fee = Sats(tools.settings.eval_fee_sats)
    try:
        if not tools.income.is_awake():
            raise Unavailable("LNbits does not answer", code="silent")
        return invoices.issue(tools, InvoiceKind.EVAL, public_id, fee, _lifetime(tools.settings))
    except OutsideError as error:
        logger.warning("invoice not issued", code=error.code)
        with tools.database.transaction("intake.withdraw") as session:
            admission.end(session, admission_id)
        raise _no_invoice() from error


def _lifetime(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.eval_invoice_expiry_seconds)


def _take_in(
    session: Session, settings: Settings, job: Job, issued: IssuedInvoice, refund_to: str | None
) -> JobView:
    """Write down the job, its invoice, and where its refunds go."""
    payable_until = func.now() + _lifetime(settings)
    job.payable_until = payable_until
    moves.create(session, job)
    fee = Sats(settings.eval_fee_sats)
    invoice = invoices.record(
        session, job.id, InvoiceKind.EVAL, issued, fee, payable_until=payable_until
    )
    destination = _destination(session, job, refund_to)
    session.flush()
    session.refresh(job)
    return JobView(job=job, invoices={InvoiceKind.EVAL: invoice}, debts=[], destination=destination)


def _receiver(tools: Toolbox, text: str) -> str:
    """Who is named, without the blanks around. Raises InvalidRequest(invalid_refund_to)."""
    try:
        tools.receivers.check(text)
    except NotAReceiver as error:
        raise InvalidRequest.at(
            "/refundTo", f"refundTo {error}.", code=ErrorCode.INVALID_REFUND_TO
        ) from error
    return text.strip()


def _destination(session: Session, job: Job, refund_to: str | None) -> RefundDestination | None:
    if refund_to is None:
        return None
    destination = RefundDestination(job_id=job.id, address=refund_to)
    session.add(destination)
    return destination


def _admit(tools: Toolbox, client_key: str) -> int:
    """Leave to ask LNbits for an invoice. Raises NotNow or TooManyRequests."""
    with tools.database.transaction("intake.apply") as session:
        btc_price.current(session, tools.settings)  # what cannot be priced is not taken in
        if payments.is_lnbits_silent(session):
            raise _no_invoice()
        admission.refuse_the_greedy(session, tools.settings, client_key)
        admission_id = admission.apply(session, client_key)
    with tools.database.transaction("intake.admit") as session:
        refusal = admission.refusal(session, tools.settings, admission_id, client_key)
    if refusal is not None:
        raise refusal
    return admission_id


def _no_invoice() -> NotNow:
    return NotNow(
        "Lightning is not available at the moment; no job was made, try again shortly.",
        code=ErrorCode.LIGHTNING_UNAVAILABLE,
        retry_after=LIGHTNING_RETRY,
    )


def find(tools: Toolbox, public_id: UUID) -> JobView:
    """Read a job with its invoices and debts. Raises NotFound(job_not_found).

    One statement, so that what is shown was true at one moment: no debt without its state.
    """
    with tools.database.reading("intake.find") as session:
        rows = session.execute(_WHOLE_JOB, {"public_id": public_id}).all()
    if not rows:
        raise NotFound("Job not found", code=ErrorCode.JOB_NOT_FOUND)
    return JobView(
        job=rows[0][0],
        invoices={invoice.kind: invoice for _, invoice, *_ in rows if invoice is not None},
        debts=list({debt.id: debt for _, _, debt, _ in rows if debt is not None}.values()),
        destination=rows[0][3],
    )


def cancel(tools: Toolbox, public_id: UUID) -> JobView:
    """Give an unpaid job up. Raises NotFound, or Conflict when it waits for no payment.

    A payment that is made all the same is owed back.
    """
    view = find(tools, public_id)
    if view.job.state in AWAITING:
        with tools.database.transaction("intake.cancel") as session:
            cancelled = moves.expire(
                session, view.job.id, expect=view.job.state, reason=ExpiredReason.CANCELLED
            )
        if cancelled is not None:
            return find(tools, public_id)
    raise Conflict(
        "Only a job that waits for a payment can be cancelled.", code=ErrorCode.INVALID_STATE
    )
