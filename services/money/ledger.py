"""Posting to the ledger, always inside the transaction of what the entry describes.

Event keys are ``what:id`` and unique: posting the same thing twice is refused by the database.
"""

from sqlalchemy.orm import Session

from models import return_moves
from models.debt import Debt, DebtCause
from models.invoice import Receipt
from models.ledger import Account, LedgerEntry
from models.money import Msats, Sats, msats, sats_owed_for
from models.payout import Payout


def post(
    session: Session,
    event_key: str,
    *,
    debit: Account,
    credit: Account,
    amount: Msats,
    job_id: int | None,
) -> None:
    """Write one pair row; nothing for an amount of zero."""
    if amount == 0:
        return
    session.add(
        LedgerEntry(
            event_key=event_key, debit=debit, credit=credit, amount_msats=amount, job_id=job_id
        )
    )


def receive(session: Session, receipt: Receipt) -> None:
    """Money arrived: it is the caller's until we deliver, or nobody's."""
    post(
        session,
        f"receipt:{receipt.payment_hash}",
        debit=Account.WALLET,
        credit=Account.HELD if receipt.job_id else Account.UNMATCHED,
        amount=receipt.amount_msats,
        job_id=receipt.job_id,
    )
    take_fee(session, receipt, receipt.fee_msats)


def take_fee(session: Session, receipt: Receipt, fee: Msats) -> None:
    """LNbits took so much off a receipt, or so much more: our cost, whatever is owed of it.

    The receipt has all that was taken so far, which only grows: no event key comes twice.
    """
    post(
        session,
        f"income_fee:{receipt.payment_hash}:{receipt.fee_msats}",
        debit=Account.ROUTING_FEES,
        credit=Account.WALLET,
        amount=fee,
        job_id=receipt.job_id,
    )


def take_top_up_fee(session: Session, move_id: int, fee: Msats) -> None:
    """The same of a top-up of the paying wallet, once it is explained."""
    post(
        session,
        f"top_up_fee:{move_id}",
        debit=Account.ROUTING_FEES,
        credit=Account.WALLET,
        amount=fee,
        job_id=None,
    )


def earn(session: Session, receipt: Receipt, amount: Sats) -> None:
    """We delivered what this receipt paid for: so much of it is ours."""
    post(
        session,
        f"earned:{receipt.id}",
        debit=Account.HELD,
        credit=Account.EARNED,
        amount=msats(amount),
        job_id=receipt.job_id,
    )


def owe(session: Session, receipt: Receipt, cause: DebtCause, amount: Msats) -> Debt | None:
    """Owe so much of a receipt back; a fraction of a sat is rounded up in the caller's favour.

    None for an amount of zero.
    """
    if amount == 0:
        return None
    assert receipt.job_id is not None
    owed = sats_owed_for(amount)
    debt = Debt(job_id=receipt.job_id, receipt_id=receipt.id, cause=cause, amount_sats=owed)
    session.add(debt)
    key = f"{cause.value}:{receipt.id}"
    post(
        session,
        f"owed:{key}",
        debit=Account.HELD,
        credit=Account.OWED,
        amount=amount,
        job_id=receipt.job_id,
    )
    post(
        session,
        f"rounding:{key}",
        debit=Account.ROUNDING,
        credit=Account.OWED,
        amount=Msats(msats(owed) - amount),
        job_id=receipt.job_id,
    )
    return_moves.start_return(session, receipt.job_id)
    return debt


def send(session: Session, payout: Payout) -> None:
    """What was owed is in flight. A payout that failed may be sent again: each send is counted."""
    post(
        session,
        f"sending:{payout.id}:{payout.sends}",
        debit=Account.OWED,
        credit=Account.IN_FLIGHT,
        amount=msats(payout.amount_sats),
        job_id=payout.job_id,
    )


def take_back(session: Session, payout: Payout) -> None:
    """This send came to nothing: what was in flight is owed again."""
    post(
        session,
        f"failed:{payout.id}:{payout.sends}",
        debit=Account.IN_FLIGHT,
        credit=Account.OWED,
        amount=msats(payout.amount_sats),
        job_id=payout.job_id,
    )
