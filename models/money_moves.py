"""The only code that changes a state of a payout, of a debt, or of a row of the wallet.

As in ``models.moves``: a move is one guarded UPDATE, in one transaction with what it tells.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import ColumnElement, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models import return_moves
from models.database import AS_RETURNED, UNLOADED
from models.debt import Debt, DebtState
from models.money import Sats
from models.payout import Payout, PayoutState
from models.wallet_move import MoveState, WalletMove

logger = structlog.get_logger(__name__)


def settle_payout(
    session: Session, payout_id: int, claim: int, *, state: PayoutState, **values: Any
) -> Payout | None:
    """End a payout as PAID or FAILED, and its debts with it. None = it was ours no longer."""
    payout = session.scalar(
        update(Payout)
        .where(
            Payout.id == payout_id,
            Payout.state == PayoutState.SENDING,
            Payout.claim == claim,
        )
        .values({"due_at": None, "settled_at": func.now(), **values, "state": state})
        .returning(Payout)
        .execution_options(**AS_RETURNED)
    )
    if payout is None:
        return None
    if state is PayoutState.PAID:
        _move_debts(session, payout_id, DebtState.PAID, paid_at=func.now())
    if state is PayoutState.FAILED:
        _move_debts(session, payout_id, DebtState.OWED, payout_id=None)
    return_moves.settle_return(session, payout)
    logger.info("payout moved", payout=payout.id, job=payout.job_id, state=state.value)
    return payout


def _move_debts(session: Session, of_payout: int, state: DebtState, **values: Any) -> None:
    session.execute(
        update(Debt)
        .where(Debt.payout_id == of_payout)
        .values({"state": state, **values})
        .execution_options(**UNLOADED)
    )


def cover_debts(session: Session, payout: Payout) -> Sats:
    """Put all that is owed on a job under this payout; returns the sats that it now covers."""
    amounts = session.scalars(
        update(Debt)
        .where(Debt.job_id == payout.job_id, Debt.state == DebtState.OWED)
        .values(state=DebtState.PAYING, payout_id=payout.id)
        .returning(Debt.amount_sats)
        .execution_options(**UNLOADED)
    )
    return Sats(sum(amounts))


def reopen_payout(session: Session, payout_id: int) -> Payout | None:
    """Try the same BOLT11 again after a proved failure: the one safe way to repeat a payout.

    Evidence is gathered anew; only that LNbits has shown a row of it stays true. None = it is not
    failed.
    """
    payout = session.scalar(
        update(Payout)
        .where(Payout.id == payout_id, Payout.state == PayoutState.FAILED)
        .values(
            state=PayoutState.SENDING,
            due_at=func.now(),
            settled_at=None,
            sends=Payout.sends + 1,
            posts=0,
            refusals=0,
            candid_posts=0,
            believed_post=0,
            vouched_posts=0,
            last_post_at=None,
            posts_at_first_failed=None,
            first_failed_at=None,
            first_missing_at=None,
            last_code=None,
        )
        .returning(Payout)
        .execution_options(**AS_RETURNED)
    )
    if payout is not None:
        logger.info(
            "payout moved",
            payout=payout.id,
            job=payout.job_id,
            state=payout.state.value,
        )
    return payout


def adopt_payout(session: Session, payout: Payout, debts: list[int]) -> Payout:
    """Take in a payout that the wallet knows and this database has forgotten.

    It counts as handed over once, so that only readings of the wallet decide what became of it.
    The caller holds the job's row, so that nobody claims these debts meanwhile.
    """
    payout.posts, payout.row_was_read = 1, True
    session.add(payout)
    session.flush()  # the debts need the number
    session.execute(
        update(Payout)
        .where(Payout.id == payout.id)
        .values(last_post_at=func.now(), due_at=func.now())
    )
    _cover(session, payout.id, debts)
    session.refresh(payout)
    logger.warning("payout adopted", payout=payout.id, job=payout.job_id)
    return payout


def readopt_payout(
    session: Session, payout_id: int, debts: list[int], amount_sats: Sats
) -> Payout | None:
    """The same for a payout that is known here as failed. None = it is not failed.

    ``amount_sats`` is what these debts make; what it was opened for may have been paid otherwise.
    """
    payout = reopen_payout(session, payout_id)
    if payout is None:
        return None
    payout.amount_sats = amount_sats
    payout.posts, payout.row_was_read = 1, True
    payout.last_post_at = payout.due_at
    session.flush()
    _cover(session, payout_id, debts)
    return payout


def _cover(session: Session, payout_id: int, debts: list[int]) -> None:
    session.execute(
        update(Debt)
        .where(Debt.id.in_(debts), Debt.state == DebtState.OWED)
        .values(state=DebtState.PAYING, payout_id=payout_id)
    )


def withdraw_unsent_payout(session: Session, job_id: int) -> Payout | None:
    """End the live payout of a job as FAILED if it was never handed over: nothing was sent.

    Whoever holds it loses it. None = the job has no such payout.
    """
    payout = session.scalar(
        update(Payout)
        .where(Payout.job_id == job_id, Payout.state == PayoutState.SENDING, Payout.posts == 0)
        .values(
            state=PayoutState.FAILED,
            claim=Payout.claim + 1,
            due_at=None,
            settled_at=func.now(),
            last_code="never_sent",
        )
        .returning(Payout)
        .execution_options(**AS_RETURNED)
    )
    if payout is not None:
        _move_debts(session, payout.id, DebtState.OWED, payout_id=None)
        return_moves.settle_return(session, payout)
        logger.info("payout moved", payout=payout.id, job=job_id, state=payout.state.value)
    return payout


OPEN_WALLET_MOVES = (MoveState.PENDING, MoveState.WAITING)


def note_wallet_move(session: Session, state: MoveState, values: Mapping[str, Any]) -> None:
    """Write down a row of a wallet that nothing of ours explains, or what has become of it."""
    row = insert(WalletMove).values(state=state, **values)
    told = {name: row.excluded[name] for name in ("state", "amount_msats", "fee_msats")}
    session.execute(
        row.on_conflict_do_update(
            index_elements=["payment_hash", "kind", "wallet_id"],
            set_=told,
            where=WalletMove.state.in_([*OPEN_WALLET_MOVES, MoveState.VOID]),
        )
    )


def void_wallet_moves(session: Session, *guard: ColumnElement[bool]) -> list[int]:
    """Nothing has moved after all; returns which. Those that were explained stay as they are."""
    return list(
        session.scalars(
            update(WalletMove)
            .where(WalletMove.state.in_(OPEN_WALLET_MOVES), *guard)
            .values(state=MoveState.VOID)
            .returning(WalletMove.id)
        )
    )


def end_wallet_moves(session: Session, ids: list[int], state: MoveState) -> None:
    """They were explained. What a person has booked stays as it is."""
    session.execute(
        update(WalletMove)
        .where(
            WalletMove.id.in_(ids),
            WalletMove.state.in_([*OPEN_WALLET_MOVES, MoveState.VOID]),
        )
        .values(state=state, ended_at=func.now())
    )


def book_wallet_move(session: Session, move_id: int, note: str) -> WalletMove | None:
    """A person says that it was the owner's. None = it does not wait for that."""
    return session.scalar(
        update(WalletMove)
        .where(WalletMove.id == move_id, WalletMove.state == MoveState.WAITING)
        .values(state=MoveState.BOOKED, ended_at=func.now(), note=note)
        .returning(WalletMove)
        .execution_options(**AS_RETURNED)
    )


def add_booked_wallet_move(session: Session, move: WalletMove, note: str) -> WalletMove:
    """The same for what was not written down before. Sets ``move.id``."""
    move.state, move.note = MoveState.BOOKED, note
    session.add(move)
    session.flush()  # the ledger needs the number
    return move
