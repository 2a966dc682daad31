"""Payouts that only a person can end: one who has looked at the node behind LNbits."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models.database import AS_RETURNED, UNLOADED, ago
from models.money import Msats
from models.payout import Payout, PayoutState
from services.errors import NotBooked
from services.money import held_payouts
from services.money.payout_evidence import MISSING_AFTER_EXPIRY
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

_PREIMAGE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_IN_DOUBT = (Payout.state == PayoutState.SENDING, Payout.posts > 0)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What a person needs in order to look the payment up."""

    payout_id: int
    job: int
    """Its number: the public id would open result and refund."""
    amount_sats: int
    payment_hash: str
    posts: int
    last_code: str
    claimed_at: datetime
    expires_at: datetime
    is_lost: bool
    """LNbits has shown a row of it, and there is none any more."""
    is_vouched: bool
    """A person has said that it failed."""


def waiting(tools: Toolbox) -> list[Doubt]:
    """Every payout that was handed over and whose end is not known, the oldest first."""
    with tools.database.reading("payouts.doubts") as session:
        found = session.scalars(select(Payout).where(*_IN_DOUBT).order_by(Payout.id)).all()
    return [
        Doubt(
            payout_id=payout.id,
            job=payout.job_id,
            amount_sats=payout.amount_sats,
            payment_hash=payout.payment_hash,
            posts=payout.posts,
            last_code=payout.last_code or "none",
            claimed_at=payout.created_at,
            expires_at=payout.invoice_expires_at,
            is_lost=payout.row_was_read and payout.last_code == "http_404",
            is_vouched=payout.vouched_posts == payout.posts,
        )
        for payout in found
    ]


def vouch_failed(tools: Toolbox, payout_id: int, posts: int) -> None:
    """Put on record that a person knows it to have failed, and let it be looked at again.

    ``posts`` is how often it had been handed over when that person looked at the node.
    That look opens its debt if the paying wallet calls it failed or knows no such payment; what is
    paid there is paid, and what is pending takes the person's word back. Safe to repeat. Raises
    NotBooked for what is not in doubt, what was handed over meanwhile, and until an hour after its
    invoice has expired: before, something may still be on its way that nobody at the node can see.
    """
    with tools.database.transaction("payouts.vouched") as session:
        payout = _taken_over(session, payout_id)
        since_expiry = select(ago(Payout.invoice_expires_at)).where(Payout.id == payout_id)
        if session.execute(since_expiry).scalar_one() < MISSING_AFTER_EXPIRY:
            raise NotBooked(f"Payout {payout_id}: wait until an hour after its invoice's expiry.")
        if payout.posts != posts:
            raise NotBooked(f"Payout {payout_id} was handed over {payout.posts} times: look again.")
        payout.vouched_posts = posts
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
        held_payouts.book_paid(session, payout_id, payout.claim, fee, preimage)
    logger.warning("a person says that a payout was paid", payout=payout_id)


def distrust_missing_rows(tools: Toolbox) -> int:
    """LNbits was restored from a backup: what it knows of these may be of an earlier time.

    That it has no row of one proves nothing from now on, nor does what it has called failed before.
    Whoever holds one can neither send it any more nor record anything. Returns how many are in
    doubt. Safe to repeat.
    """
    forgotten = {"first_failed_at": None, "posts_at_first_failed": None, "believed_post": 0}
    with tools.database.transaction("payouts.distrusted") as session:
        found = session.scalars(
            update(Payout)
            .where(*_IN_DOUBT)
            .values({"row_was_read": True, **forgotten, **_taken_from_its_worker()})
            .returning(Payout.id)
            .execution_options(**UNLOADED)
        ).all()
    logger.warning("a person says that LNbits was restored", payouts=len(found))
    return len(found)


def _taken_from_its_worker() -> dict[str, object]:
    return {"claim": Payout.claim + 1, "due_at": func.now()}


def _taken_over(session: Session, payout_id: int) -> Payout:
    """The payout, locked; whoever holds it can neither send it any more nor record anything.

    Raises NotBooked if it is not in doubt.
    """
    payout = session.scalar(
        update(Payout)
        .where(Payout.id == payout_id, *_IN_DOUBT)
        .values(_taken_from_its_worker())
        .returning(Payout)
        .execution_options(**AS_RETURNED)
    )
    if payout is None:
        raise NotBooked(f"Payout {payout_id} is not in doubt.")
    return payout
