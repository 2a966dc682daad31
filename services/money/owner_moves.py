"""The owner's moves: what a person books, with a note, because nothing else explains it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import locks, money_moves
from models.invoice import Receipt
from models.ledger import Account
from models.locks import Lock
from models.money import MSATS_PER_SAT, SATS_PER_BITCOIN, Msats
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.errors import NotBooked
from services.money import adoption, ledger, wallet_moves
from services.toolbox import Toolbox

ALL_BITCOIN = Msats(21_000_000 * SATS_PER_BITCOIN * MSATS_PER_SAT)
_SHOWN_MAX = 1000


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One thing that waits. ``reference`` names it when it is booked: ``m12`` or ``r7``."""

    reference: str
    what: str
    amount: Msats
    """Below zero for money that left."""
    at: datetime | None
    payment_hash: str | None
    job_id: int | None
    """The job that it says it was paid for."""
    is_over: bool
    """Whether it may be booked: what is on its way out may come back."""


def waiting(tools: Toolbox) -> list[Waiting]:
    """What waits to be booked, oldest first; a thousand of either kind at most."""
    with tools.database.transaction("owner_moves.waiting") as session:
        unexplained = session.scalars(
            select(WalletMove)
            .where(WalletMove.state.in_(money_moves.OPEN_WALLET_MOVES))
            .order_by(WalletMove.id)
            .limit(_SHOWN_MAX)
        ).all()
        receipts = session.scalars(
            select(Receipt).where(wallet_moves.is_nobodys()).order_by(Receipt.id).limit(_SHOWN_MAX)
        ).all()
    return [*map(_of_move, unexplained), *map(_of_receipt, receipts)]


def _of_move(move: WalletMove) -> Waiting:
    what = "on its way out" if move.state is MoveState.PENDING else move.kind.value
    return Waiting(
        reference=f"m{move.id}",
        what=what.replace("_", " "),
        amount=move.amount_msats,
        at=move.changed_at,
        payment_hash=move.payment_hash,
        job_id=move.marked_job_id,
        is_over=move.state is not MoveState.PENDING,
    )


def _of_receipt(receipt: Receipt) -> Waiting:
    return Waiting(
        reference=f"r{receipt.id}",
        what="received for no invoice",
        amount=receipt.amount_msats,
        at=receipt.settled_at,
        payment_hash=receipt.payment_hash,
        job_id=None,
        is_over=True,
    )


def book(tools: Toolbox, reference: str, *, note: str) -> None:
    """Book one of ``waiting`` as the owner's. Raises NotBooked, also when it was booked before."""
    number = _number(reference)
    _want_note(note)
    with tools.database.transaction("owner_moves.book") as session:
        if reference.startswith("m"):
            _book_move(session, number, note)
        else:
            _book_receipt(session, number, note)


def book_as_payout(tools: Toolbox, reference: str) -> None:
    """Decide that money which left was the refund of the job that its mark names.

    It pays the oldest debts of that job, as many as it is enough for; the rest is the owner's.
    Raises NotBooked.
    """
    if not reference.startswith("m"):
        raise NotBooked("Only money that left can have been a refund.")
    if not adoption.adopt(tools, _number(reference), rest_is_the_owners=True):
        raise NotBooked(
            "It is none that left, or names no job of ours that is owed something and has no other"
            " payout, or it is more than is owed there and still on its way."
        )


def state(tools: Toolbox, amount: Msats | int, *, note: str) -> None:
    """Book what no row of a wallet shows; below zero for what was taken out.

    Raises NotBooked, also for the same amount in the same words: what is said twice, because the
    first answer was lost, is booked once.
    """
    _want_note(note)
    if amount == 0:
        raise NotBooked("Nothing moved.")
    if abs(amount) > ALL_BITCOIN:
        raise NotBooked("There are not so many bitcoin.")
    with tools.database.transaction("owner_moves.state") as session:
        locks.take(session, Lock.OWNERS_STATEMENT)
        _check_unsaid(session, amount, note.strip())
        move = WalletMove(kind=MoveKind.STATED, wallet_id="", amount_msats=amount)
        money_moves.add_booked_wallet_move(session, move, note.strip())
        _post(session, f"owner:move:{move.id}", Msats(int(amount)), wallet=Account.WALLET)


def _check_unsaid(session: Session, amount: int, note: str) -> None:
    said = session.scalar(
        select(WalletMove.id).where(
            WalletMove.kind == MoveKind.STATED,
            WalletMove.amount_msats == amount,
            WalletMove.note == note,
        )
    )
    if said is not None:
        raise NotBooked(f"m{said} says so already. If as much moved again, give it another note.")


def _number(reference: str) -> int:
    kind, digits = reference[:1], reference[1:]
    if kind not in {"m", "r"} or not digits.isdecimal() or len(digits) > 18:
        raise NotBooked(f"{reference} is no reference: they look like m12 or r7.")
    return int(digits)


def _want_note(note: str) -> None:
    if not note.strip():
        raise NotBooked("A note is needed: what was it?")


def _book_move(session: Session, number: int, note: str) -> None:
    move = money_moves.book_wallet_move(session, number, note.strip())
    if move is None:
        raise NotBooked(f"m{number} does not wait to be booked.")
    _post(session, f"owner:move:{number}", move.amount_msats, wallet=Account.WALLET)
    ledger.take_top_up_fee(session, number, move.fee_msats)


def _book_receipt(session: Session, number: int, note: str) -> None:
    session.execute(select(Receipt.id).where(Receipt.id == number).with_for_update())
    # read once it is ours: who held it before may have explained it
    receipt = session.scalar(select(Receipt).where(Receipt.id == number, wallet_moves.is_nobodys()))
    if receipt is None:
        raise NotBooked(f"r{number} does not wait to be booked.")
    move = WalletMove(
        kind=MoveKind.RECEIVED,
        wallet_id="",
        payment_hash=receipt.payment_hash,
        amount_msats=receipt.amount_msats,
    )
    money_moves.add_booked_wallet_move(session, move, note.strip())
    _post(
        session,
        f"owner:receipt:{number}",
        receipt.amount_msats,
        wallet=Account.UNMATCHED,
    )


def _post(session: Session, key: str, amount: Msats, *, wallet: Account) -> None:
    debit, credit = (wallet, Account.OWNER) if amount > 0 else (Account.OWNER, wallet)
    ledger.post(session, key, debit=debit, credit=credit, amount=Msats(abs(amount)), job_id=None)
