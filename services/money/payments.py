"""Money in: read LNbits' feed of settled payments, and let every payment move its job once."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.errors import Refused
from gateways.lightning import SettledPayment
from models import moves
from models.database import ago
from models.debt import DebtCause
from models.invoice import Invoice, InvoiceKind, Receipt
from models.job import Job
from models.lifecycle import JobEvent, JobState
from models.money import Msats, msats
from models.tick import Tick
from services.money import ledger
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

FEED_PAGE = 100
FEED_PAGE_OF_A_DAY = 1000
"""As large as LNbits allows: it may be asked 200 times a minute, by all duties together."""
FEED_PAGES_MAX = 1000
SETTLED_AT_ONCE = 4
LATE_GRACE = timedelta(seconds=600)
"""A payment found this long after the deadline still revives its job; the BOLT11 lives as long."""
OVERLAP = timedelta(minutes=2)
START_UP_OVERLAP = timedelta(hours=24)
SILENCE_COUNTS_FOR = timedelta(seconds=15)
"""How long after the next poll was due its last trouble still tells something."""

_WAITS_FOR = {
    InvoiceKind.EVAL: (JobState.AWAITING_EVAL_PAYMENT, JobEvent.EVAL_PAID, TaskName.EVALUATE_JOB),
    InvoiceKind.WORK: (JobState.AWAITING_WORK_PAYMENT, JobEvent.WORK_PAID, TaskName.EXECUTE_JOB),
}


def poll(tools: Toolbox) -> int:
    """Read the newest settled payments until a page holds nothing new; returns how many were new.

    One LNbits request when nothing was paid, and one more per hundred payments made.
    """
    found = 0
    for page in range(FEED_PAGES_MAX):
        payments = tools.income.settled_payments(page=page, page_size=FEED_PAGE)
        new = _settle_unknown(tools, payments)
        found += new
        if new == 0:  # not: a short page; rows that make no sense were left out of it
            break
    return found


def is_lnbits_silent(session: Session) -> bool:
    """Whether the last poll waited for LNbits in vain: asking now would only cost the same wait.

    False while nobody polls: then nobody knows.
    """
    silent = session.scalar(
        select(Tick.last_error == "timeout").where(
            Tick.name == TaskName.POLL_PAYMENTS.value, ago(Tick.due_at) < SILENCE_COUNTS_FOR
        )
    )
    return bool(silent)


def read_back(tools: Toolbox, overlap: timedelta) -> int:
    """Read the feed once more as far back as ``overlap`` before its newest entry.

    Returns how many were new. Raises Refused for a feed that has no end.

    Catches what a poll can miss: entries that LNbits re-ordered between two pages, or dated so far
    ahead, while its clock was wrong, that a page of them stands before all that came later.
    """
    found = 0
    size = FEED_PAGE if overlap < START_UP_OVERLAP else FEED_PAGE_OF_A_DAY
    far_enough: datetime | None = None
    for page in range(FEED_PAGES_MAX):
        payments = tools.income.settled_payments(page=page, page_size=size)
        found += _settle_unknown(tools, payments)
        if not payments:
            return found
        far_enough = far_enough or min(payments[0].settled_at, _now(tools)) - overlap
        if payments[-1].settled_at < far_enough:
            return found
    raise Refused("the feed of payments has no end", code="feed_without_end")


def _now(tools: Toolbox) -> datetime:
    with tools.database.reading("payments.now") as session:
        return session.scalars(select(func.now())).one()


def _settle_unknown(tools: Toolbox, payments: list[SettledPayment]) -> int:
    """Settle the payments of a page that have no receipt yet; returns how many those were.

    Fees that have grown since are booked, too: a row that changes is among the newest again.
    """
    if not payments:
        return 0
    hashes = [payment.payment_hash for payment in payments]
    with tools.database.reading("payments.known") as session:
        known = session.execute(
            select(Receipt.payment_hash, Receipt.fee_msats).where(Receipt.payment_hash.in_(hashes))
        )
        fees = {row.payment_hash: row.fee_msats for row in known}
    unknown = [each for each in payments if each.payment_hash not in fees]
    dearer = [each for each in payments if each.fee > fees.get(each.payment_hash, each.fee)]
    _settle_all(tools, [*unknown, *dearer])
    return len(unknown)


def _settle_all(tools: Toolbox, payments: list[SettledPayment]) -> None:
    """Some at a time, each in a transaction of its own; after the first trouble no more are begun.

    One after the other, a busy service would see its payments ever later: each takes a dozen
    round trips to the database.
    """
    if len(payments) < 2:
        for payment in payments:
            settle(tools, payment)
        return
    with ThreadPoolExecutor(SETTLED_AT_ONCE, thread_name_prefix="settle") as pool:
        begun = [pool.submit(copy_context().run, settle, tools, each) for each in payments]
        done, _ = wait(begun, return_when=FIRST_EXCEPTION)
        pool.shutdown(wait=False, cancel_futures=True)
        for each in begun:
            if each in done:
                each.result()


def settle(tools: Toolbox, payment: SettledPayment) -> bool:
    """Take one payment in, in one transaction: receipt, ledger, move. False = it was in already.

    Then only its fee may be news.
    """
    with tools.database.transaction("payments.settle") as session:
        invoice = session.scalar(
            select(Invoice).where(Invoice.payment_hash == payment.payment_hash)
        )
        receipt = _receive(session, payment, invoice)
        if receipt is None:
            _raise_fee(session, payment)
            return False
        ledger.receive(session, receipt)
        moved = _spend(session, tools, receipt, invoice) if invoice else None
    if invoice is None:
        logger.error("payment for no invoice of ours", payment_hash=payment.payment_hash[:8])
    if invoice is not None and moved is not None:
        tools.doorbell.ring(_WAITS_FOR[invoice.kind][2], moved.id)
    return True


def _receive(session: Session, payment: SettledPayment, invoice: Invoice | None) -> Receipt | None:
    """Insert the receipt; None = this payment hash has one already."""
    return session.scalar(
        insert(Receipt)
        .values(
            payment_hash=payment.payment_hash,
            amount_msats=payment.amount,
            fee_msats=payment.fee,
            settled_at=payment.settled_at,
            invoice_id=invoice.id if invoice else None,
            job_id=invoice.job_id if invoice else None,
        )
        .on_conflict_do_nothing(index_elements=[Receipt.payment_hash])
        .returning(Receipt)
    )


def _raise_fee(session: Session, payment: SettledPayment) -> None:
    """Book what LNbits has taken off a payment since it was taken in.

    Never less than before: that may be an older page, or a row that cannot be read. If LNbits does
    give some of it back, it is a surplus that a person states.
    """
    receipt = session.scalars(
        select(Receipt)
        .where(Receipt.payment_hash == payment.payment_hash)
        .with_for_update(key_share=True)  # who owes some of it back need not wait
    ).one()
    more = Msats(payment.fee - receipt.fee_msats)
    if more > 0:
        receipt.fee_msats = payment.fee
        ledger.take_fee(session, receipt, more)


def _spend(session: Session, tools: Toolbox, receipt: Receipt, invoice: Invoice) -> Job | None:
    """Let a payment move its job; what the job cannot use is owed back. None = nothing moved."""
    price = msats(invoice.amount_sats)
    if receipt.amount_msats < price:  # Lightning forbids it; an LNbits of another mind may not
        logger.error("invoice paid in part", job=invoice.job_id, msats=receipt.amount_msats)
        ledger.owe(session, receipt, DebtCause.DUPLICATE, receipt.amount_msats)
        return None
    moved = _move_on(session, tools, invoice)
    if moved is None:
        ledger.owe(session, receipt, DebtCause.LATE, receipt.amount_msats)
        return None
    ledger.owe(session, receipt, DebtCause.DUPLICATE, Msats(receipt.amount_msats - price))
    return moved


def _move_on(session: Session, tools: Toolbox, invoice: Invoice) -> Job | None:
    awaiting, event, _ = _WAITS_FOR[invoice.kind]
    values: dict[str, Any] = {"give_up_at": func.now() + tools.settings.job_deadline}
    if invoice.kind is InvoiceKind.WORK:
        values["work_amount_sats"] = invoice.amount_sats
    moved = moves.advance(session, invoice.job_id, expect=awaiting, on=event, **values)
    if moved is not None or not _within_grace(session, invoice):
        return moved
    return moves.advance(session, invoice.job_id, expect=JobState.EXPIRED, on=event, **values)


def _within_grace(session: Session, invoice: Invoice) -> bool:
    return bool(session.scalar(select(func.now() <= invoice.expires_at + LATE_GRACE)))
