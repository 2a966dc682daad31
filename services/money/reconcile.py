"""The books against the wallets: what LNbits holds for us, and what left or came unexplained.

The wallets cannot be read in the same instant as the books, so the books are read before and
after, and the wallet must lie between what may have happened at least and at most. Payments are
recorded here only after they happened there, and payouts are committed here before they can.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import and_, delete, func, or_, select, text
from sqlalchemy.orm import Session

from gateways.errors import OutsideError, Refused
from models.database import ago
from models.invoice import Receipt
from models.ledger import Account, LedgerEntry
from models.money import Msats, Sats, msats
from models.payout import Payout, PayoutState
from models.reconciliation import Reconciliation, Verdict
from services.money import adoption, payments, wallet_lists, wallet_moves
from services.money.wallet_lists import ReadTo, Wallets
from services.money.wallet_moves import Open
from services.money.wallets import is_paying_wallet_proved, note_comparison
from services.proof import incarnation_of
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

LEAST_RESERVE = Msats(2000)
RESERVE_SHARE = 100
"""LNbits keeps 1 % of a pending payment back for routing fees, and two sats at least."""
FOLD_AFTER = timedelta(minutes=10)
"""No transaction lives so long: below an older entry no new one can appear any more."""
KEPT_FOR = timedelta(days=30)
ALL_TIME = timedelta(days=36500)
LONG_STATEMENTS = "SET LOCAL statement_timeout = '10min'"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One comparison. The wallet should hold ``least`` to ``most``."""

    verdict: Verdict
    confirmed: bool
    wallets: Wallets
    least: Msats
    most: Msats
    still_open: Open

    @property
    def stops_payouts(self) -> bool:
        return self.verdict is Verdict.SHORTFALL and self.confirmed


@dataclass(frozen=True, kw_only=True)
class _Books:
    """All that ever came into the wallets and left them, by the ledger; both only grow."""

    came: Msats
    left: Msats
    folded_to: int
    folded_came: Msats
    folded_left: Msats


_EMPTY = _Books(
    came=Msats(0), left=Msats(0), folded_to=0, folded_came=Msats(0), folded_left=Msats(0)
)


def run(tools: Toolbox, *, everything: bool = False) -> Result:
    """Compare once and put it on record. Safe to run at any time, also twice at once.

    ``everything`` reads all lists and the whole ledger anew, instead of what is new since the last
    run. Raises Unavailable or Refused when LNbits does not answer, and Refused when the key is not
    known to open the wallet on record: then nothing is concluded.
    """
    assert tools.payouts is not None, "only the money worker sees the paying wallet"
    if not is_paying_wallet_proved(tools, tools.payouts):
        # what came and went in a wallet that is none of ours is not to be explained by our books
        raise Refused("the paying wallet is not the one on record", code="wallet_not_proved")
    with tools.database.transaction("reconcile.start") as session:
        incarnation, began = incarnation_of(session), session.scalars(select(func.now())).one()
        last = newest(session)
        before = _books(session, _EMPTY if everything else _remembered(last))
    if everything:
        payments.read_back(tools, ALL_TIME)
    wallets = wallet_lists.read(
        tools.income,
        tools.payouts,
        read_to=lambda wallet_id: _read_to(last, wallet_id),
        everything=everything,
    )
    wallet_moves.take_note(tools, wallets)
    wallet_moves.explain_our_own(tools)
    if everything:
        wallet_moves.void_what_vanished(tools, wallets)
    wallet_moves.pair_transfers(tools)
    adoption.adopt_what_fits(tools)
    with tools.database.transaction("reconcile.record") as session:
        unrecorded = _unrecorded(session, wallets)
        kept_back = Msats(_under_way(session, since=began) + _unrecorded_fees(session, wallets))
        result = _judged(session, before, wallets, unrecorded, kept_back, last)
        _record(session, result, before)
        if result.verdict is not Verdict.SHORTFALL:
            note_comparison(session, wallets.paying_wallet_id, incarnation)
    _tell(result)
    if result.verdict is not Verdict.SHORTFALL:
        tools.proof.remember(incarnation)
    return result


def prove(tools: Toolbox) -> bool:
    """See to it that the wallet knows of no payout that this database has forgotten.

    Compares if this process has not yet; False = not now. Safe to repeat. Never raises for trouble
    outside.
    """
    if _is_covered(tools):
        return True
    tools.proof.try_once(lambda: _compare(tools))
    return _is_covered(tools)


def _is_covered(tools: Toolbox) -> bool:
    with tools.database.reading("reconcile.incarnation") as session:
        return tools.proof.covers(incarnation_of(session))


def _compare(tools: Toolbox) -> None:
    try:
        run(tools)
    except OutsideError as error:
        logger.warning("nothing is paid before the wallet was read", code=error.code)


def are_payouts_stopped(session: Session) -> bool:
    """Whether the newest comparison found a shortfall and was not the first to find it."""
    last = newest(session)
    return last is not None and last.verdict is Verdict.SHORTFALL and last.confirmed


def newest(session: Session) -> Reconciliation | None:
    """What the last comparison found."""
    return session.scalar(select(Reconciliation).order_by(Reconciliation.id.desc()).limit(1))


def _remembered(last: Reconciliation | None) -> _Books:
    if last is None:
        return _EMPTY
    return _Books(
        came=Msats(0),
        left=Msats(0),
        folded_to=last.folded_to,
        folded_came=last.folded_in_msats,
        folded_left=last.folded_out_msats,
    )


def _read_to(last: Reconciliation | None, wallet_id: str) -> ReadTo:
    """Where to go on; from the start in a wallet that the last run did not read."""
    if last is None or last.paying_wallet_id != wallet_id:
        return ReadTo()
    return ReadTo(
        outgoing=last.outgoing_read_to,
        topped_up=last.topped_up_read_to,
        withdrawn=last.withdrawn_read_to,
    )


def _books(session: Session, remembered: _Books) -> _Books:
    session.execute(text(LONG_STATEMENTS))
    after = LedgerEntry.id > remembered.folded_to
    old = select(func.max(LedgerEntry.id)).where(after, ago(LedgerEntry.at) > FOLD_AFTER)
    fold_to = session.scalar(old) or remembered.folded_to
    is_old = LedgerEntry.id <= fold_to
    came, left = LedgerEntry.debit == Account.WALLET, LedgerEntry.credit == Account.WALLET
    row = session.execute(
        select(
            func.coalesce(func.sum(LedgerEntry.amount_msats).filter(came), 0),
            func.coalesce(func.sum(LedgerEntry.amount_msats).filter(left), 0),
            func.coalesce(func.sum(LedgerEntry.amount_msats).filter(came, is_old), 0),
            func.coalesce(func.sum(LedgerEntry.amount_msats).filter(left, is_old), 0),
        ).where(after)
    ).one()
    came_new, left_new, came_old, left_old = (int(value) for value in row)
    return _Books(
        came=Msats(remembered.folded_came + came_new),
        left=Msats(remembered.folded_left + left_new),
        folded_to=fold_to,
        folded_came=Msats(remembered.folded_came + came_old),
        folded_left=Msats(remembered.folded_left + left_old),
    )


def _unrecorded(session: Session, wallets: Wallets) -> Msats:
    """Income that LNbits lists and that has no receipt yet."""
    amounts = {row.payment_hash: row.amount for row in wallets.newest_income}
    known = session.scalars(
        select(Receipt.payment_hash).where(Receipt.payment_hash.in_(list(amounts)))
    )
    return Msats(sum(amounts.values()) - sum(amounts[payment_hash] for payment_hash in known))


def _unrecorded_fees(session: Session, wallets: Wallets) -> Msats:
    """What LNbits has taken off income since its receipts were written: the next poll books it."""
    fees = {row.payment_hash: row.fee for row in wallets.newest_income if row.fee}
    recorded = session.execute(
        select(Receipt.payment_hash, Receipt.fee_msats).where(Receipt.payment_hash.in_(list(fees)))
    )
    return Msats(sum(max(0, fees[payment_hash] - fee) for payment_hash, fee in recorded))


def _judged(
    session: Session,
    before: _Books,
    wallets: Wallets,
    unrecorded: Msats,
    kept_back: Msats,
    last: Reconciliation | None,
) -> Result:
    after = _books(session, before)
    still_open = wallet_moves.still_open(session)
    least = Msats(before.came - after.left - kept_back + still_open.topped_up)
    most = Msats(after.came - before.left + unrecorded)
    verdict = _verdict(wallets.balance, least, most, still_open)
    return Result(
        verdict=verdict,
        confirmed=last is not None and last.verdict is verdict,
        wallets=wallets,
        least=least,
        most=most,
        still_open=still_open,
    )


def _verdict(balance: Msats, least: Msats, most: Msats, still_open: Open) -> Verdict:
    """Money that left unexplained is a shortfall even if as much came in meanwhile."""
    if balance < least or still_open.left > 0:
        return Verdict.SHORTFALL
    return Verdict.SURPLUS if balance > most else Verdict.CLEAN


def _under_way(session: Session, *, since: datetime) -> Msats:
    """What may have left the wallet for payouts handed over, beyond what the ledger says left.

    Also of those that were decided ``since`` the run began: when the wallet was read LNbits may
    still have kept back their fees, or all of them.
    """
    was_under_way = or_(
        and_(Payout.state == PayoutState.SENDING, Payout.due_at.is_not(None)),
        Payout.settled_at >= since,
    )
    rows = session.execute(
        select(Payout.state, Payout.amount_sats, Payout.fee_msats).where(
            was_under_way, Payout.posts > 0
        )
    )
    return Msats(sum(_kept_back(state, Sats(amount), fee or 0) for state, amount, fee in rows))


def _kept_back(state: PayoutState, amount: Sats, fee: int) -> int:
    reserved = _with_reserve(msats(amount))
    if state is PayoutState.PAID:
        return max(0, reserved - msats(amount) - fee)
    return reserved


def _with_reserve(amount: Msats) -> Msats:
    return Msats(amount + max(LEAST_RESERVE, amount // RESERVE_SHARE))


def _record(session: Session, result: Result, books: _Books) -> None:
    wallets = result.wallets
    session.add(
        Reconciliation(
            verdict=result.verdict,
            confirmed=result.confirmed,
            wallet_msats=wallets.balance,
            least_msats=result.least,
            most_msats=result.most,
            waiting_moves=result.still_open.count,
            paying_wallet_id=wallets.paying_wallet_id,
            outgoing_read_to=wallets.outgoing.read_to,
            topped_up_read_to=wallets.topped_up.read_to if wallets.topped_up else None,
            withdrawn_read_to=wallets.withdrawn.read_to if wallets.withdrawn else None,
            folded_to=books.folded_to,
            folded_in_msats=books.folded_came,
            folded_out_msats=books.folded_left,
        )
    )
    session.execute(delete(Reconciliation).where(Reconciliation.at < func.now() - KEPT_FOR))


def _tell(result: Result) -> None:
    if result.verdict is Verdict.CLEAN:
        return
    log = logger.error if result.confirmed else logger.warning
    log(
        "books and wallets differ",
        verdict=result.verdict.value,
        confirmed=result.confirmed,
        unexplained=result.still_open.count,
    )
