"""A payout in the hands of the worker that claimed it: what is on record of it, and how it ends.

Whatever is written here is written only while the payout is held with the same claim.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Bundle, Session

from config.settings import Settings
from gateways.lightning import PayoutMark, PayoutOutcome, PayoutReading
from models import due, money_moves
from models.database import UNLOADED, ago
from models.job import Job
from models.ledger import Account
from models.money import Msats, msats
from models.payout import Payout, PayoutState
from services import retry
from services.money import adoption, ledger
from services.money.payout_evidence import Evidence
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

FIRST_LOOK = timedelta(seconds=1)
LAST_LOOK = timedelta(minutes=30)
SHARE_OF_LOOKS = 4
"""Looks may use one in so many of the requests that LNbits allows."""
REQUESTS_OF_A_LOOK = 2
"""Reading it back; now and then proving the key, or handing it over and reading once more."""
HELD_BACK = timedelta(seconds=5)
"""Before something that was never sent is looked at again, at first."""
HELD_BACK_AT_MOST = timedelta(seconds=30)
"""Hundreds may wait for LNbits, and looking at them costs what could be done for others."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A payout that this worker holds."""

    id: int
    claim: int
    payment_hash: str
    payment_request: str
    mark: PayoutMark
    since_claim: timedelta
    """Since a caller first asked for it."""
    was_always_candid: bool
    """Each POST went to an LNbits that says "failed" only if its node does."""
    evidence: Evidence


_EVIDENCE: Bundle[Any] = Bundle(
    "evidence",
    Payout.posts,
    Payout.refusals,
    Payout.believed_post,
    Payout.posts_at_first_failed,
    Payout.row_was_read,
    Payout.vouched_posts,
    ago(Payout.last_post_at).label("since_post"),
    ago(Payout.first_failed_at).label("since_first_failed"),
    ago(Payout.invoice_expires_at).label("since_expiry"),
    ago(Payout.first_missing_at).label("since_first_missing"),
)
"""The fields of ``Evidence``, by their names."""


def claim(tools: Toolbox, payout_id: int) -> Held | None:
    """Take a payout for a lease. None = another has it, it is not due, or it has ended."""
    with tools.database.transaction("payouts.claim") as session:
        sending = Payout.state == PayoutState.SENDING
        claimed = due.claim(session, Payout, payout_id, lease=tools.settings.lease, where=sending)
        return None if claimed is None else _load(session, payout_id, claimed.number)


def reload(tools: Toolbox, held: Held) -> Held | None:
    """What is on record by now. None = it is ours no longer."""
    with tools.database.reading("payouts.reload") as session:
        return _load(session, held.id, held.claim)


def _load(session: Session, payout_id: int, claim: int) -> Held | None:
    """Read a payout we hold, every span computed by the database. None = it is ours no longer."""
    row = session.execute(
        select(
            Payout.job_id,
            Job.public_id,
            Payout.payment_hash,
            Payout.payment_request,
            (Payout.candid_posts == Payout.posts).label("was_always_candid"),
            ago(Payout.created_at).label("since_claim"),
            _EVIDENCE,
        )
        .join(Job, Job.id == Payout.job_id)
        .where(Payout.id == payout_id, Payout.claim == claim, Payout.state == PayoutState.SENDING)
    ).one_or_none()
    if row is None:
        return None
    return Held(
        id=payout_id,
        claim=claim,
        payment_hash=row.payment_hash,
        payment_request=row.payment_request,
        mark=PayoutMark(
            job_id=row.job_id,
            job_digits=row.public_id.hex[: adoption.DIGITS],
            payout_id=payout_id,
        ),
        since_claim=row.since_claim,
        was_always_candid=row.was_always_candid,
        evidence=Evidence(**row.evidence._asdict()),
    )


def write(session: Session, held: Held, values: Mapping[str, object]) -> Held | None:
    """Put something on record, and read all again. None = it is ours no longer."""
    session.execute(
        update(Payout)
        .where(Payout.id == held.id, Payout.claim == held.claim)
        .values(values)
        .execution_options(**UNLOADED)
    )
    return _load(session, held.id, held.claim)


def _said(reading: PayoutReading) -> dict[str, str]:
    """What goes on record of a reading. A missing row says less than the answer to the POST."""
    return {} if reading.outcome is PayoutOutcome.MISSING else {"last_code": reading.code}


def end_as_paid(tools: Toolbox, held: Held, reading: PayoutReading) -> None:
    """End it by the wallet's word: the fee and the preimage are those of the row."""
    with tools.database.transaction("payouts.paid") as session:
        book_paid(session, held.id, held.claim, reading.fee, reading.preimage)


def book_paid(
    session: Session, payout_id: int, claim: int, fee: Msats, preimage: str | None
) -> None:
    """End a payout as paid, in the books too. Does nothing if it is not held with this claim."""
    payout = money_moves.settle_payout(
        session,
        payout_id,
        claim,
        state=PayoutState.PAID,
        fee_msats=fee,
        preimage=preimage,
    )
    if payout is None:
        return
    ledger.post(
        session,
        f"paid:{payout.id}",
        debit=Account.IN_FLIGHT,
        credit=Account.WALLET,
        amount=msats(payout.amount_sats),
        job_id=payout.job_id,
    )
    ledger.post(
        session,
        f"routing_fee:{payout.id}",
        debit=Account.ROUTING_FEES,
        credit=Account.WALLET,
        amount=fee,
        job_id=payout.job_id,
    )


def end_as_failed(tools: Toolbox, held: Held, reading: PayoutReading) -> None:
    """What was owed is owed again. Only for what is proved: ``payout_evidence`` says when."""
    is_told = reading.outcome is PayoutOutcome.FAILED
    # why it was refused, or never sent, says more than that there is no row
    why = reading.code if is_told else func.coalesce(Payout.last_code, reading.code)
    with tools.database.transaction("payouts.failed") as session:
        payout = money_moves.settle_payout(
            session, held.id, held.claim, state=PayoutState.FAILED, last_code=why
        )
        if payout is None:
            return
        ledger.take_back(session, payout)
    logger.error(
        "payout failed, the debt is open again",
        payout=held.id,
        job=held.mark.job_id,
        code=payout.last_code,
    )


def look_again(tools: Toolbox, held: Held, reading: PayoutReading) -> None:
    """Let go of it until its next turn: soon at first, then ever less often."""
    logger.info(
        "payout in doubt",
        payout=held.id,
        job=held.mark.job_id,
        outcome=reading.outcome.value,
        code=reading.code,
    )
    with tools.database.transaction("payouts.look_again") as session:
        said = _said(reading)
        if said:
            held_by_us = (Payout.id == held.id, Payout.claim == held.claim)
            session.execute(
                update(Payout).where(*held_by_us).values(said).execution_options(**UNLOADED)
            )
        if held.evidence.posts > 0:
            waited = held.evidence.since_post or timedelta(0)
            delay = retry.patience(waited, at_least=FIRST_LOOK, at_most=LAST_LOOK)
            delay = max(delay, retry.jittered(_turn(session, tools.settings)))
        else:
            delay = retry.patience(held.since_claim, at_least=HELD_BACK, at_most=HELD_BACK_AT_MOST)
        due.put_off(session, Payout, held.id, held.claim, delay=delay)


def _turn(session: Session, settings: Settings) -> timedelta:
    """How long a look has to wait so that those at other payouts in doubt find their time, too.

    Any caller can put payouts in doubt, by invoices that nobody can be reached for: the requests
    that LNbits allows must not be used up by looking at them.
    """
    if settings.lightning_is_stand_in:  # that has no request limit
        return timedelta(0)
    in_doubt = session.scalar(
        select(func.count(Payout.id)).where(Payout.state == PayoutState.SENDING, Payout.posts > 0)
    )
    a_minute = settings.lnbits_requests_per_minute / SHARE_OF_LOOKS / REQUESTS_OF_A_LOOK
    return timedelta(minutes=1) * (max((in_doubt or 0) - 1, 0) / a_minute)
