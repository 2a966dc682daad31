"""Refunds as a caller sees them: what is owed, and claiming it with an invoice.

A claim is one INSERT of a payout with the invoice's payment hash, committed before anything is
sent.
Sending is ``services.money.payouts``, in another process.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.bolt11 import Bolt11
from models import money_moves
from models.debt import Debt, DebtState
from models.invoice import Invoice, Receipt
from models.job import Job
from models.lifecycle import AWAITING, WORKING
from models.money import Sats
from models.payout import Payout, PayoutState
from models.refund_destination import DestinationState, RefundDestination
from services.errors import Conflict, ErrorCode, InvalidRequest, NotNow, RuleBroken
from services.money import claim_pace, ledger, refund_invoice
from services.toolbox import Toolbox


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A payout that answers a claim: a new one, or the one that this invoice already has."""

    payout_id: int
    payment_hash: str
    amount: Sats
    state: PayoutState


@dataclass(frozen=True, kw_only=True)
class _Payable:
    """What an invoice can be paid for, found while the job's row is held."""

    job_id: int
    amount: Sats
    earlier: Payout | None
    """The failed payout of this invoice, to be opened again."""


def owed(debts: list[Debt]) -> Sats:
    """All that is still owed, under way or not: it is paid only when it was read back as paid."""
    return Sats(sum(debt.amount_sats for debt in debts if debt.state is not DebtState.PAID))


def claim(tools: Toolbox, job: Job, invoice_text: str) -> Claim:
    """Answer a claim for everything owed on a job. Safe to repeat with the same invoice.

    Raises Conflict, InvalidRequest or NotNow; then nothing was written.
    """
    known = _known(tools, job, invoice_text)
    if known is not None:
        return known
    try:
        return _claim_anew(tools, job, invoice_text)
    except RuleBroken:
        # The same invoice may have come twice at once: then the other one is its claim, too.
        known = _known(tools, job, invoice_text)
        if known is None:
            raise
        return known


def _claim_anew(tools: Toolbox, job: Job, invoice_text: str) -> Claim:
    _check_state(tools, job)
    invoice = refund_invoice.parse(invoice_text)
    try:
        payout = _open(tools, job, invoice)
    except IntegrityError as error:  # somebody claimed between our look and our INSERT
        raise _in_progress() from error
    tools.doorbell.ring(TaskName.SEND_PAYOUT, payout.payout_id)
    return payout


def look(tools: Toolbox, payout_id: int) -> Claim:
    """Read how a claimed payout stands."""
    with tools.database.reading("refunds.look") as session:
        columns = (Payout.id, Payout.payment_hash, Payout.amount_sats, Payout.state)
        row = session.execute(select(*columns).where(Payout.id == payout_id)).one()
    return _as_claim(row)


def still_to_wait(tools: Toolbox, job: Job) -> timedelta:
    """How long until another claim is taken after one that failed; 0 = at once."""
    with tools.database.reading("refunds.still_to_wait") as session:
        return claim_pace.still_to_wait(session, job.id)


def _as_claim(payout: Payout | Row[int, str, Sats, PayoutState]) -> Claim:
    return Claim(
        payout_id=payout.id,
        payment_hash=payout.payment_hash,
        amount=payout.amount_sats,
        state=payout.state,
    )


def _known(tools: Toolbox, job: Job, invoice_text: str) -> Claim | None:
    """The payout of this job that this very invoice has; one that failed counts no more."""
    try:
        invoice = refund_invoice.parse(invoice_text)
    except InvalidRequest:
        return None
    with tools.database.reading("refunds.known") as session:
        payout = session.scalar(
            select(Payout).where(
                Payout.payment_hash == invoice.payment_hash,
                Payout.job_id == job.id,
                Payout.state != PayoutState.FAILED,
            )
        )
        return _as_claim(payout) if payout else None


def _check_state(tools: Toolbox, job: Job) -> None:
    if job.state in AWAITING | WORKING:
        raise Conflict(
            "The job is still open; a refund can be claimed when it has ended.",
            code=ErrorCode.INVALID_STATE,
        )
    with tools.database.transaction("refunds.check_state") as session:
        debts = list(session.scalars(select(Debt).where(Debt.job_id == job.id)))
        paid = session.scalars(
            select(Payout.payment_hash)
            .where(Payout.job_id == job.id, Payout.state == PayoutState.PAID)
            .order_by(Payout.id.desc())
        ).first()
        returning = session.scalar(
            select(RefundDestination.state).where(RefundDestination.job_id == job.id)
        )
    if not debts:
        raise Conflict("Nothing is owed on this job.", code=ErrorCode.REFUND_NOT_APPLICABLE)
    if any(debt.state is DebtState.PAYING for debt in debts):
        raise _in_progress()
    if all(debt.state is DebtState.PAID for debt in debts):
        raise Conflict(
            "The refund of this job was paid already.",
            code=ErrorCode.REFUND_ALREADY_PAID,
            members={"paymentHash": paid},
        )
    if returning in {DestinationState.TRYING, DestinationState.PAYING}:
        raise Conflict(
            "This refund is being paid to refundTo by itself; it can be claimed when that"
            " has failed. refundTo of the job says how it fares.",
            code=ErrorCode.REFUND_AUTOMATIC,
        )


def _in_progress() -> Conflict:
    return Conflict(
        "A refund of this job to another invoice is under way.",
        code=ErrorCode.REFUND_IN_PROGRESS,
    )


def _open(tools: Toolbox, job: Job, invoice: Bolt11) -> Claim:
    """Commit the payout with its hash, its debts and its ledger entry, all at once."""
    with tools.database.transaction("refunds.open") as session:
        payable = _payable(session, job.id, invoice, network=tools.settings.lightning_network)
        wait = claim_pace.still_to_wait(session, job.id)
        if wait:
            raise NotNow(
                "The refund of this job has failed again and again. Nothing is lost; claim it"
                " later.",
                code=ErrorCode.LIGHTNING_UNAVAILABLE,
                retry_after=wait,
            )
        return _as_claim(_write(session, payable, invoice))


def open_payout(session: Session, job_id: int, invoice: Bolt11, *, network: str) -> Payout:
    """Write the payout of everything owed on a job: hash, debts and ledger, before anything goes.

    Raises Conflict (somebody was first), InvalidRequest, or IntegrityError of the live payout.
    """
    return _write(session, _payable(session, job_id, invoice, network=network), invoice)


def _payable(session: Session, job_id: int, invoice: Bolt11, *, network: str) -> _Payable:
    now = _lock(session, job_id)
    amount = uncovered(session, job_id)
    if amount == 0:  # somebody claimed while we waited for the row
        raise _in_progress()
    refund_invoice.check(invoice, amount=amount, network=network, now=now)
    earlier = session.scalar(select(Payout).where(Payout.payment_hash == invoice.payment_hash))
    can_repeat = earlier is not None and _can_repeat(earlier, job_id, invoice, amount)
    if not can_repeat and (earlier is not None or _is_ours(session, invoice.payment_hash)):
        raise InvalidRequest(
            "The invoice was used here before; make a new one.",
            code=ErrorCode.INVOICE_ALREADY_USED,
        )
    return _Payable(job_id=job_id, amount=amount, earlier=earlier)


def _write(session: Session, payable: _Payable, invoice: Bolt11) -> Payout:
    payout = _payout_for(session, payable, invoice)
    _cover(session, payout)
    return payout


def _lock(session: Session, job_id: int) -> datetime:
    """Be the only one who claims on this job; returns the database's time.

    Who claims at the same moment waits for our commit, but no longer than ``lock_timeout``; then
    it is told to come again. So keep few statements until then: in a busy process each takes long.
    Rows that refer to the job may be written meanwhile, by who concludes an earlier payout of it.
    """
    locked = select(func.now()).select_from(Job).where(Job.id == job_id)
    return session.scalars(locked.with_for_update(of=Job, key_share=True)).one()


def uncovered(session: Session, job_id: int) -> Sats:
    """What is owed on a job and under no payout."""
    return owed(
        list(
            session.scalars(select(Debt).where(Debt.job_id == job_id, Debt.state == DebtState.OWED))
        )
    )


def _payout_for(session: Session, payable: _Payable, invoice: Bolt11) -> Payout:
    """A new payout, or the failed one of this invoice, opened again."""
    if payable.earlier is not None:
        reopened = money_moves.reopen_payout(session, payable.earlier.id)
        if reopened is None:
            raise _in_progress()
        return reopened
    payout = Payout(
        job_id=payable.job_id,
        payment_hash=invoice.payment_hash,
        payment_request=invoice.payment_request,
        amount_sats=payable.amount,
        invoice_expires_at=invoice.expires_at,
        due_at=func.now(),
    )
    session.add(payout)
    session.flush()  # the debts and the ledger need the number
    return payout


def _can_repeat(earlier: Payout, job_id: int, invoice: Bolt11, amount: Sats) -> bool:
    """Whether it is for the same money to the letter: another invoice may have the same hash."""
    return (
        earlier.job_id == job_id
        and earlier.state is not PayoutState.PAID
        and earlier.payment_request == invoice.payment_request
        and earlier.amount_sats == amount
    )


def _is_ours(session: Session, payment_hash: str) -> bool:
    """Whether it is an invoice that we issued: paying it would move money from us to us."""
    issued = select(Invoice.id).where(Invoice.payment_hash == payment_hash).exists()
    received = select(Receipt.id).where(Receipt.payment_hash == payment_hash).exists()
    return session.scalars(select(issued | received)).one()


def _cover(session: Session, payout: Payout) -> None:
    covered = money_moves.cover_debts(session, payout)
    if covered != payout.amount_sats:  # a debt came in between; the caller must see the new amount
        raise InvalidRequest(
            f"The invoice must be for exactly {covered} sats.",
            code=ErrorCode.INVOICE_AMOUNT_MISMATCH,
            members={"refundAmountSats": covered},
        )
    ledger.send(session, payout)
