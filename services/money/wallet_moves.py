"""What moved in our wallets without a receipt or a payout: seen, paired, waiting, booked.

Reconcile writes it down. It explains itself (a forgotten payout, a transfer between our own
wallets) or waits for a person, who books it as the owner's with a note. It is never guessed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from gateways.lightning import Movement, MovementState
from models import money_moves
from models.database import ago
from models.invoice import Invoice, Receipt
from models.ledger import Account
from models.money import Msats
from models.payout import Payout, PayoutState
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.money import ledger
from services.money.wallet_lists import OVERLAP, Listed, Wallets
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

_OPEN = WalletMove.state.in_(money_moves.OPEN_WALLET_MOVES)
_STATE_OF = {
    MovementState.SETTLED: MoveState.WAITING,
    MovementState.PENDING: MoveState.PENDING,
    MovementState.FAILED: MoveState.VOID,
}
LOOKUP = 1000


def take_note(tools: Toolbox, wallets: Wallets) -> None:
    """Write down every row of the lists that is not ours, or is no longer what it was."""
    _take_note(tools, MoveKind.SENT, wallets.outgoing)
    if wallets.withdrawn is not None:
        _take_note(tools, MoveKind.SENT, wallets.withdrawn)
    if wallets.topped_up is not None:
        _take_note(tools, MoveKind.TOPPED_UP, wallets.topped_up)


def _take_note(tools: Toolbox, kind: MoveKind, listed: Listed) -> None:
    recognise = _recognise_payouts if kind is MoveKind.SENT else _recognise_income
    ours = recognise(tools, listed.movements)
    failed = [m for m in listed.movements if m.state is MovementState.FAILED]
    for movement in _strangers(listed, ours):
        if movement.state is MovementState.FAILED and movement.mark is None:
            continue
        with tools.database.transaction("wallet_moves.note") as session:
            money_moves.note_wallet_move(
                session, _STATE_OF[movement.state], _values(kind, movement)
            )
    if failed:
        with tools.database.transaction("wallet_moves.void") as session:
            for wallet_id in {movement.wallet_id for movement in failed}:
                its_own = [m.payment_hash for m in failed if m.wallet_id == wallet_id]
                _void(
                    session,
                    WalletMove.kind == kind,
                    WalletMove.wallet_id == wallet_id,
                    WalletMove.payment_hash.in_(its_own),
                )


def explain_our_own(tools: Toolbox) -> None:
    """Let go of what was written down as unexplained and is a payout of ours. Safe to repeat.

    It was when this database did not know the payout, or from a list that was read before.
    """
    known = select(Payout.id).where(
        Payout.payment_hash == WalletMove.payment_hash,
        or_(
            Payout.state == PayoutState.PAID,
            and_(Payout.state == PayoutState.SENDING, Payout.posts > 0),
        ),
    )
    with tools.database.transaction("wallet_moves.explain") as session:
        sent = WalletMove.kind == MoveKind.SENT
        explained = money_moves.void_wallet_moves(session, sent, known.exists())
    if explained:
        logger.info("moves of a wallet are payouts of ours", moves=explained)


def void_what_vanished(tools: Toolbox, wallets: Wallets) -> None:
    """What was on its way and is in the paying wallet no more: the owner has deleted the row.

    Wants the whole list. A row that was only overlooked is written down anew when it changes.
    """
    listed = {movement.payment_hash for movement in wallets.outgoing.movements}
    with tools.database.transaction("wallet_moves.vanished") as session:
        pending = session.execute(
            select(WalletMove.id, WalletMove.payment_hash).where(
                WalletMove.kind == MoveKind.SENT,
                WalletMove.state == MoveState.PENDING,
                WalletMove.wallet_id == wallets.paying_wallet_id,
                ago(WalletMove.seen_at) > OVERLAP,  # by another run, after this one had read
            )
        )
        vanished = [row.id for row in pending if row.payment_hash not in listed]
        _void(session, WalletMove.id.in_(vanished))


def _void(session: Session, *guard: ColumnElement[bool]) -> None:
    """Money that was on its way out and came back is no loss any more."""
    voided = money_moves.void_wallet_moves(session, *guard)
    if voided:
        logger.warning("moves of a wallet came to nothing", moves=voided)


def _recognise_payouts(tools: Toolbox, movements: list[Movement]) -> set[str]:
    """Which outgoing rows are payouts as we know them; that these were sent is put on record.

    A row proves that its payout was handed over, whatever a restored database says. A payout that
    is failed for us and not for the wallet is not one that we know.
    """
    hashes = [movement.payment_hash for movement in movements]
    failed = {m.payment_hash for m in movements if m.state is MovementState.FAILED}
    known: set[str] = set()
    for start in range(0, len(hashes), LOOKUP):
        part = hashes[start : start + LOOKUP]
        # else perhaps by another wallet of ours
        is_shown = Payout.payment_hash.not_in(failed.intersection(part))
        with tools.database.transaction("wallet_moves.payouts") as session:
            session.execute(
                update(Payout)
                .where(
                    Payout.payment_hash.in_(part),
                    Payout.state == PayoutState.SENDING,
                    or_(Payout.posts == 0, ~Payout.row_was_read & is_shown),
                )
                .values(
                    row_was_read=Payout.row_was_read | is_shown,
                    posts=func.greatest(Payout.posts, 1),
                    last_post_at=func.coalesce(Payout.last_post_at, func.now()),
                )
            )
            rows = session.execute(
                select(Payout.payment_hash, Payout.state).where(Payout.payment_hash.in_(part))
            )
            known |= {h for h, state in rows if state is not PayoutState.FAILED or h in failed}
    return known


def _recognise_income(tools: Toolbox, movements: list[Movement]) -> set[str]:
    """Which incoming rows are income, paid to an invoice of ours or on record as a receipt.

    One wallet is taken for two when LNbits shows no income for a moment; it is no top-up then.
    """
    hashes = [movement.payment_hash for movement in movements]
    known: set[str] = set()
    for start in range(0, len(hashes), LOOKUP):
        part = hashes[start : start + LOOKUP]
        with tools.database.transaction("wallet_moves.income") as session:
            for column in (Invoice.payment_hash, Receipt.payment_hash):
                known |= set(session.scalars(select(column).where(column.in_(part))))
    return known


def _strangers(listed: Listed, ours: set[str]) -> Iterable[Movement]:
    """Rows that are not ours; of a wallet read for the first time only those since we use it."""
    is_ours = [row.payment_hash in ours or row.mark is not None for row in listed.movements]
    since = len(is_ours)
    if listed.is_first_reading:
        since = max((number for number, known in enumerate(is_ours) if known), default=-1) + 1
    return [row for row in listed.movements[:since] if row.payment_hash not in ours]


def _values(kind: MoveKind, movement: Movement) -> dict[str, object]:
    mark = movement.mark
    return {
        "kind": kind,
        "wallet_id": movement.wallet_id,
        "payment_hash": movement.payment_hash,
        "payment_request": movement.payment_request or None,
        "amount_msats": movement.amount - (movement.fee if movement.amount < 0 else 0),
        "fee_msats": movement.fee if movement.amount > 0 else 0,
        "changed_at": movement.changed_at,
        "marked_job_id": mark.job_id if mark else None,
        "marked_job_digits": mark.job_digits if mark else None,
    }


def pair_transfers(tools: Toolbox) -> None:
    """Tell transfers between our two wallets from money that left us. Safe to repeat."""
    with tools.database.transaction("wallet_moves.pair") as session:
        _pair_with_top_ups(session)
        _pair_with_receipts(session)


def _pair_with_top_ups(session: Session) -> None:
    """From the income wallet to the paying one: both ends are rows here, a fee is in no other."""
    sent, arrived = aliased(WalletMove), aliased(WalletMove)
    pairs = session.execute(
        select(sent.id, arrived.id, arrived.fee_msats)
        .join(arrived, and_(arrived.payment_hash == sent.payment_hash, arrived.id != sent.id))
        .where(
            sent.kind == MoveKind.SENT,
            arrived.kind == MoveKind.TOPPED_UP,
            sent.state == MoveState.WAITING,
            arrived.state == MoveState.WAITING,
            sent.amount_msats + arrived.amount_msats == 0,
        )
        .order_by(sent.id)
        .with_for_update()  # whom a person books meanwhile is looked at again, and left out
    ).all()
    ids = [number for sent_id, arrived_id, _ in pairs for number in (sent_id, arrived_id)]
    money_moves.end_wallet_moves(session, ids, MoveState.TRANSFER)
    for move_id, fee in {arrived_id: fee for _, arrived_id, fee in pairs}.items():
        ledger.take_top_up_fee(session, move_id, fee)


def _pair_with_receipts(session: Session) -> None:
    """Into the income wallet: the arriving end is a receipt without an invoice, booked as such."""
    pairs = (
        select(WalletMove.id, Receipt)
        .join(Receipt, Receipt.payment_hash == WalletMove.payment_hash)
        .where(
            WalletMove.kind == MoveKind.SENT,
            WalletMove.state == MoveState.WAITING,
            Receipt.amount_msats + WalletMove.amount_msats == 0,
            is_nobodys(),
        )
        .order_by(WalletMove.id)
    )
    locked = {move_id for move_id, _ in session.execute(pairs.with_for_update())}
    # read anew: while it waited for the lock, a person may have booked the receipt
    for move_id, receipt in session.execute(pairs.where(WalletMove.id.in_(locked))).all():
        ledger.post(
            session,
            f"transfer:{receipt.id}",
            debit=Account.UNMATCHED,
            credit=Account.WALLET,
            amount=receipt.amount_msats,
            job_id=None,
        )
        money_moves.end_wallet_moves(session, [move_id], MoveState.TRANSFER)


def is_nobodys() -> ColumnElement[bool]:
    """Whether a receipt is for no invoice of ours, and was not booked as anything else since."""
    explained = aliased(WalletMove)
    return Receipt.invoice_id.is_(None) & ~(
        select(explained.id)
        .where(
            explained.payment_hash == Receipt.payment_hash,
            or_(
                explained.kind == MoveKind.RECEIVED,
                and_(explained.kind == MoveKind.SENT, explained.state == MoveState.TRANSFER),
            ),
        )
        .exists()
    )


@dataclass(frozen=True, kw_only=True)
class Open:
    """What is not explained so far, in msats; ``count`` has the receipts without an invoice.

    Of what was topped up, as much as is in the wallet: less its fees.
    """

    count: int
    left: Msats
    topped_up: Msats


def still_open(session: Session) -> Open:
    in_the_wallet = WalletMove.amount_msats - WalletMove.fee_msats
    count, left, topped_up = session.execute(
        select(
            func.count(),
            func.coalesce(
                func.sum(case((WalletMove.kind == MoveKind.SENT, -WalletMove.amount_msats))), 0
            ),
            func.coalesce(
                func.sum(case((WalletMove.kind == MoveKind.TOPPED_UP, in_the_wallet))), 0
            ),
        ).where(_OPEN)
    ).one()
    receipts = session.scalars(select(func.count(Receipt.id)).where(is_nobodys())).one()
    return Open(count=count + receipts, left=Msats(int(left)), topped_up=Msats(int(topped_up)))
