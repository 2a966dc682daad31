"""Whether our two keys open the wallets that they should: mistakes that fail no request.

A key of another wallet works perfectly well. It only sees none of our payments, or pays a second
time what the first wallet has sent.
"""

from dataclasses import dataclass, replace

import structlog
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.errors import Refused
from gateways.lightning import Payouts
from models.invoice import Invoice
from models.job import Job
from models.payout import Payout, PayoutState
from models.tick import Tick
from services.errors import NotBooked
from services.money.payments import LATE_GRACE
from services.proof import Incarnation, incarnation_of
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

_PROOF = Tick.name == TaskName.CHECK_PAYOUTS.value
"""The duty's row, whose cursor is what is on record of the paying wallet."""


@dataclass(frozen=True, kw_only=True)
class _OnRecord:
    """Which wallet pays. The ids and marks are without colons."""

    wallet: str
    key: str
    """Mark of the key that was seen to open it."""
    compared: str
    """Incarnation of the database in which a comparison missed nothing; empty = none so far."""

    @classmethod
    def read(cls, cursor: str) -> "_OnRecord":
        wallet, key, compared = (*cursor.split(":", 2), "")[:3]
        return cls(wallet=wallet, key=key, compared=compared)

    def written(self) -> str:
        return f"{self.wallet}:{self.key}:{self.compared}"


def check_income(tools: Toolbox) -> None:
    """Prove that the invoice key cannot pay and opens the wallet that our invoices are in.

    Two requests at most. Raises Unavailable, or Refused with ``wrong_key``, ``key_can_pay`` or
    ``other_wallet``.
    """
    tools.income.check_key()
    ours = _invoices_that_must_be_there(tools)
    missing = set(ours) - tools.income.invoice_states(ours).keys()
    if missing:
        raise Refused("LNbits does not know an open invoice of ours", code="other_wallet")


def _invoices_that_must_be_there(tools: Toolbox) -> list[str]:
    """The newest if it can be paid, whoever issued it, and the one that has been open the longest.

    Not any invoice: LNbits may tidy away what has expired, and of those that nobody can pay any
    more one that LNbits has lost would look like a wrong key for ever.
    """
    newest = select(func.max(Invoice.id)).scalar_subquery()
    # not the first one in order: a planner may look for it among all that were ever issued
    open_longest = (
        select(func.min(Invoice.id))
        .join(Job, Job.id == Invoice.job_id)
        .where(Job.payable_until.is_not(None), func.now() < Invoice.expires_at + LATE_GRACE)
        .scalar_subquery()
    )
    asked_about = or_(
        and_(Invoice.id == newest, Invoice.expires_at > func.now()), Invoice.id == open_longest
    )
    with tools.database.transaction("wallets.invoices") as session:
        return list(session.scalars(select(Invoice.payment_hash).where(asked_about)))


def check_payouts(tools: Toolbox) -> None:
    """Prove that the admin key may pay, and put on record which wallet it pays from.

    One request. While a payout is in doubt only the wallet that it was handed to can tell what
    became of it, and only the wallet that paid can tell what a restored database has forgotten.
    Raises Unavailable, or Refused with ``wrong_key``, ``key_cannot_pay``, ``other_wallet`` or
    ``left_unread``.
    """
    assert tools.payouts is not None, "only the money worker pays"
    wallet, mark = tools.payouts.wallet_id(), tools.payouts.key_mark()
    with tools.database.transaction("wallets.paying") as session:
        known = _on_record(session) or _OnRecord(wallet=wallet, key=mark, compared="")
        is_new = known.wallet != wallet
        if is_new:
            _check_may_be_left(session, known)
        _put_on_record(session, replace(known, wallet=wallet, key=mark))
    if is_new:
        logger.warning("paying from another wallet now")


def _check_may_be_left(session: Session, known: _OnRecord) -> None:
    """Raise Refused if only the wallet on record can tell what became of some money."""
    if _is_any_payout_in_doubt(session):
        raise Refused("payouts of another wallet are in doubt", code="other_wallet")
    if known.compared != str(incarnation_of(session)):
        raise Refused("another wallet may have paid what nobody remembers", code="left_unread")


def note_comparison(session: Session, wallet: str, incarnation: Incarnation) -> None:
    """Put on record that this incarnation of the database knows all that this wallet has paid.

    Does nothing if another wallet is on record by now. Safe to repeat.
    """
    known = _on_record(session)
    if known is not None and known.wallet == wallet and known.compared != str(incarnation):
        _put_on_record(session, replace(known, compared=str(incarnation)))


def leave(tools: Toolbox, wallet: str) -> None:
    """A person's word that this database knows all that the wallet on record has paid.

    Then another may take its place. Safe to repeat. Raises NotBooked if it is not on record.
    """
    with tools.database.transaction("wallets.left") as session:
        known = _on_record(session)
        if known is None or known.wallet != wallet:
            on_record = "none" if known is None else known.wallet
            raise NotBooked(f"That is not the wallet on record, which is {on_record}.")
        _put_on_record(session, replace(known, compared=str(incarnation_of(session))))
    logger.warning("a person says that the paying wallet may be left")


def _on_record(session: Session) -> _OnRecord | None:
    """None = no wallet so far. Nobody else changes it before this transaction ends."""
    cursor = session.scalar(select(Tick.cursor).where(_PROOF).with_for_update())
    return None if cursor is None else _OnRecord.read(cursor)


def _put_on_record(session: Session, known: _OnRecord) -> None:
    session.execute(update(Tick).where(_PROOF).values(cursor=known.written()))


def _is_any_payout_in_doubt(session: Session) -> bool:
    """Those of which a person has said that they failed end with the wallet that comes."""
    handed_over = select(Payout.id).where(
        Payout.state == PayoutState.SENDING,
        Payout.posts > 0,
        Payout.vouched_posts < Payout.posts,
    )
    return session.scalar(handed_over.limit(1)) is not None


def is_paying_wallet_proved(tools: Toolbox, lightning: Payouts) -> bool:
    """Whether this very key was seen to open the wallet on record, or none is on record so far."""
    with tools.database.reading("wallets.proved") as session:
        proof = session.scalar(select(Tick.cursor).where(_PROOF))
    return _is_of(proof, lightning.key_mark())


def holds_paying_wallet(session: Session, key_mark: str) -> bool:
    """The same, and it stays so until this transaction ends: no other wallet is taken meanwhile."""
    proof = select(Tick.cursor).where(_PROOF).with_for_update(read=True)
    return _is_of(session.scalar(proof), key_mark)


def _is_of(proof: str | None, key_mark: str) -> bool:
    return proof is None or _OnRecord.read(proof).key == key_mark
