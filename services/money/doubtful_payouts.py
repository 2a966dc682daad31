"""Payouts that only a person can end: one who has looked at the node behind LNbits."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models.database import AS_RETURNED, ago
from models.job import Job
from models.money import Msats
from models.payout import Payout, PayoutState
from services.errors import NotBooked
from services.money import payouts
from services.money.payout_evidence import MISSING_AFTER_EXPIRY
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

_PREIMAGE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_IN_DOUBT = (Payout.state == PayoutState.SENDING, Payout.posts > 0)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What a person needs in order to look the payment up."""

    payout_id: int
    job: str
    """The public name of its job."""
    amount_sats: int
    payment_hash: str
    posts: int
    last_code: str
    claimed_at: datetime
    expires_at: datetime
    is_lost: bool
    """LNbits has shown a row of it, and an hour after its expiry there is none."""
    is_vouched: bool
    """A person has said that it failed."""


def waiting(tools: Toolbox) -> list[Doubt]:
    """Every payout that was handed over and whose end is not known, the oldest first."""
    with tools.database.reading("payouts.doubts") as session:
        rows = session.execute(
            select(Payout, Job.public_id)
            .join(Job, Job.id == Payout.job_id)
            .where(*_IN_DOUBT)
            .order_by(Payout.id)
        ).all()
    return [
        Doubt(
            payout_id=payout.id,
            job=str(public_id),
            amount_sats=payout.amount_sats,
            payment_hash=payout.payment_hash,
            posts=payout.posts,
            last_code=payout.last_code or "none",
            claimed_at=payout.created_at,
            expires_at=payout.invoice_expires_at,
            is_lost=payout.row_was_read and payout.first_missing_at is not None,
            is_vouched=payout.vouched_posts == payout.posts,
        )
        for payout, public_id in rows
    ]


def vouch_failed(tools: Toolbox, payout_id: int) -> None:
    """Put on record that a person knows it to have failed, and let it be looked at again.

    That look opens its debt if the paying wallet calls it failed or knows no such payment; what is
    paid there is paid, and what is pending takes the person's word back. Safe to repeat. Raises
    NotBooked for what is not in doubt, and until an hour after its invoice has expired: before,
    something may still be on its way that nobody at the node can see.
    """
    with tools.database.transaction("payouts.vouched") as session:
        payout = _taken_over(session, payout_id)
        since_expiry = select(ago(Payout.invoice_expires_at)).where(Payout.id == payout_id)
        if session.execute(since_expiry).scalar_one() < MISSING_AFTER_EXPIRY:
            raise NotBooked(f"Payout {payout_id}: wait until an hour after its invoice's expiry.")
        payout.vouched_posts = payout.posts
    logger.warning("a person says that a payout failed", payout=payout_id)


def book_paid(tools: Toolbox, payout_id: int, preimage: str, fee: Msats) -> None:
    """Book it as paid, as the node says and the paying wallet does not. Raises NotBooked.

    The preimage is the proof: only who was paid can have told it.
    """
    if _PREIMAGE.fullmatch(preimage) is None or fee < 0:
        raise NotBooked("A preimage is 64 small hex digits, and a fee is not negative.")
    with tools.database.transaction("payouts.paid_by_word") as session:
        payout = _taken_over(session, payout_id)
        if hashlib.sha256(bytes.fromhex(preimage)).hexdigest() != payout.payment_hash:
            raise NotBooked(f"That is not the preimage of payout {payout_id}.")
        payouts.book_paid(session, payout_id, payout.claim, fee, preimage)
    logger.warning("a person says that a payout was paid", payout=payout_id)


def distrust_missing_rows(tools: Toolbox) -> int:
    """LNbits was restored from a backup: of none of these it proves anything that it has no row.

    Returns how many are in doubt. Safe to repeat.
    """
    with tools.database.transaction("payouts.distrusted") as session:
        found = session.scalars(
            update(Payout).where(*_IN_DOUBT).values(row_was_read=True).returning(Payout.id)
        ).all()
    logger.warning("a person says that LNbits was restored", payouts=len(found))
    return len(found)


def _taken_over(session: Session, payout_id: int) -> Payout:
    """The payout, locked; whoever holds it can neither send it any more nor record anything.

    Raises NotBooked if it is not in doubt.
    """
    payout = session.scalar(
        update(Payout)
        .where(Payout.id == payout_id, *_IN_DOUBT)
        .values(claim=Payout.claim + 1, due_at=func.now())
        .returning(Payout)
        .execution_options(**AS_RETURNED)
    )
    if payout is None:
        raise NotBooked(f"Payout {payout_id} is not in doubt.")
    return payout
