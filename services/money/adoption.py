"""Payouts that the wallet knows and the database has forgotten: it was restored.

The mark that LNbits keeps with a payout's row says whose it was. If it fits to what is owed, the
payout is taken in again and read back like any other; no money is sent.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateways import bolt11
from gateways.bolt11 import Bolt11, NotABolt11
from models import money_moves
from models.debt import Debt, DebtState
from models.job import Job
from models.ledger import Account
from models.money import Msats, Sats, msats
from models.payout import Payout, PayoutState
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.money import ledger
from services.toolbox import Toolbox

DIGITS = 8
UNEXPLAINED = (MoveState.WAITING, MoveState.PENDING, MoveState.VOID)


@dataclass(frozen=True, kw_only=True)
class _Covered:
    """Debts that a forgotten payout has paid, and what is left of it."""

    debts: list[int]
    rest: Sats


def adopt_what_fits(tools: Toolbox) -> int:
    """Take in every forgotten payout whose mark and amount fit; returns how many.

    Those that were paid come first, then those that may be, then those that LNbits calls failed.
    """
    with tools.database.transaction("adoption.marked") as session:
        marked = session.execute(
            select(WalletMove.id, WalletMove.state)
            .where(
                WalletMove.kind == MoveKind.SENT,
                WalletMove.marked_job_id.is_not(None),
                WalletMove.state.in_(UNEXPLAINED),
            )
            .order_by(WalletMove.changed_at)
        ).all()
    ranked = sorted(marked, key=lambda row: UNEXPLAINED.index(row.state))
    return sum(adopt(tools, row.id) for row in ranked)


def adopt(tools: Toolbox, move_id: int, *, rest_is_the_owners: bool = False) -> bool:
    """Take in one forgotten payout; False = it does not fit, and nothing was written.

    ``rest_is_the_owners``: a person decided that it paid as many of the debts as it can have paid,
    and that the rest of it is the owner's loss. It covers one debt at least, and is gone for good:
    what is still on its way may come back, the rest with it.
    """
    with tools.database.transaction("adoption.adopt") as session:
        move = session.scalar(select(WalletMove).where(WalletMove.id == move_id).with_for_update())
        if move is None:
            return False
        invoice = _invoice(move)
        job_id = _marked_job(session, move)
        if move.state not in UNEXPLAINED or invoice is None or job_id is None:
            return False
        if _is_under_way(session, job_id) or not _can_be_taken_in(session, job_id, invoice):
            return False
        covered = _covered(session, job_id, Sats(int(invoice.amount or 0) // 1000))
        is_gone = move.state is MoveState.WAITING
        if not covered.debts or (covered.rest and not (rest_is_the_owners and is_gone)):
            return False
        withdraw_unsent(session, job_id)
        payout = _take_in(session, job_id, invoice, covered)
        if payout is None:
            return False
        _book(session, move, payout, covered.rest)
        return True


def _invoice(move: WalletMove) -> Bolt11 | None:
    """The BOLT11 of the row, if it is one and the row is about it."""
    try:
        invoice = bolt11.read(move.payment_request or "")
    except NotABolt11:
        return None
    return invoice if invoice.payment_hash == move.payment_hash else None


def _marked_job(session: Session, move: WalletMove) -> int | None:
    """The job of the mark, locked; None = it is another one that was given the same number.

    Who claims waits for us. Who writes down how a payout of the job has ended does not, for we wait
    for that payout's row: a reference to the job must not meet our lock.
    """
    job = select(Job.id, Job.public_id).where(Job.id == move.marked_job_id)
    row = session.execute(job.with_for_update(key_share=True)).one_or_none()
    if row is None or row.public_id.hex[:DIGITS] != move.marked_job_digits:
        return None
    return int(row.id)


def _is_under_way(session: Session, job_id: int) -> bool:
    """Whether another payout of the job was handed over and is in doubt.

    If not, nobody hands it over until this transaction ends: whoever is about to waits for us.
    """
    live = select(Payout.posts).where(Payout.job_id == job_id, Payout.state == PayoutState.SENDING)
    posts = session.scalar(live.with_for_update())
    return posts is not None and posts > 0


def _can_be_taken_in(session: Session, job_id: int, invoice: Bolt11) -> bool:
    """Whether nobody knows it, or it is known as failed, of this job."""
    known = session.execute(
        select(Payout.job_id, Payout.state).where(Payout.payment_hash == invoice.payment_hash)
    ).one_or_none()
    return known is None or tuple(known) in {
        (job_id, PayoutState.FAILED),
        (job_id, PayoutState.SENDING),  # unsent, and withdrawn before it is taken in
    }


def _covered(session: Session, job_id: int, amount: Sats) -> _Covered:
    """A claim takes all that is owed at that moment, so a payout paid the oldest debts."""
    debts = session.execute(
        select(Debt.id, Debt.amount_sats)
        .where(Debt.job_id == job_id, Debt.state != DebtState.PAID)
        .order_by(Debt.id)
    )
    covered: list[int] = []
    for debt_id, sats in debts:
        if sats > amount:
            break
        covered.append(debt_id)
        amount = Sats(amount - sats)
    return _Covered(debts=covered, rest=amount)


def withdraw_unsent(session: Session, job_id: int) -> None:
    """Take back a claim that nothing was sent for; what it covered is owed again."""
    payout = money_moves.withdraw_unsent_payout(session, job_id)
    if payout is not None:
        ledger.take_back(session, payout)


def _take_in(session: Session, job_id: int, invoice: Bolt11, covered: _Covered) -> Payout | None:
    paid = session.scalars(
        select(func.sum(Debt.amount_sats)).where(Debt.id.in_(covered.debts))
    ).one()
    known = session.scalar(select(Payout).where(Payout.payment_hash == invoice.payment_hash))
    if known is not None:
        return money_moves.readopt_payout(session, known.id, covered.debts, Sats(int(paid)))
    payout = Payout(
        job_id=job_id,
        payment_hash=invoice.payment_hash,
        payment_request=invoice.payment_request,
        amount_sats=int(paid),
        invoice_expires_at=invoice.expires_at,
        due_at=func.now(),
    )
    return money_moves.adopt_payout(session, payout, covered.debts)


def _book(session: Session, move: WalletMove, payout: Payout, rest: Sats) -> None:
    ledger.send(session, payout)
    if rest:
        _book_rest(session, move, Msats(msats(rest)))
    money_moves.end_wallet_moves(session, [move.id], MoveState.ADOPTED)


def _book_rest(session: Session, of: WalletMove, rest: Msats) -> None:
    """A move of its own, so that the books can be told again without the ledger."""
    stated = WalletMove(kind=MoveKind.STATED, wallet_id=of.wallet_id, amount_msats=-rest)
    money_moves.add_booked_wallet_move(session, stated, f"more than was owed: the rest of m{of.id}")
    ledger.post(
        session,
        f"owner:move:{stated.id}",
        debit=Account.OWNER,
        credit=Account.WALLET,
        amount=rest,
        job_id=None,
    )
