"""The only code that changes a state, but for a run's (``models.run_moves``).

A move is one guarded UPDATE; 0 rows = somebody was first.
A move and what it tells (event, ledger, debts) belong into one transaction: the caller's.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Interval, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.database import ago
from models.debt import Debt, DebtState
from models.demo_run import DemoRun, DemoState
from models.event import JobEventRow
from models.job import ExpiredReason, Job
from models.lifecycle import AWAITING, WORKING, JobEvent, JobState, target_of
from models.money import Sats
from models.payout import Payout, PayoutState
from models.refund_destination import (
    LONGEST_DELAY,
    WINDOW,
    DestinationState,
    RefundDestination,
)
from models.wallet_move import MoveState, WalletMove

logger = structlog.get_logger(__name__)


def create(session: Session, job: Job) -> Job:
    """Insert a new job with its first event. Sets ``job.id``."""
    job.state = target_of(None, JobEvent.CREATED)
    session.add(job)
    session.flush()  # the event and the invoice need the number
    _remember(session, job, JobEvent.CREATED, source=None)
    return job


def advance(
    session: Session,
    job_id: int,
    *,
    expect: JobState,
    on: JobEvent,
    claim: int | None = None,
    **values: Any,
) -> Job | None:
    """Make one move, if the job still is where we expect it (and still ours, with ``claim``).

    ``values`` are written in the same UPDATE. Working states become due at once, awaiting ones
    need ``payable_until`` in ``values``. None = the job was elsewhere; nothing was written.
    Raises NoSuchMove for an arrow that the lifecycle lacks.
    """
    target = target_of(expect, on)
    guard = [Job.id == job_id, Job.state == expect]
    if claim is not None:
        guard.append(Job.claim == claim)
    if expect is JobState.EXPIRED:
        guard.append(Job.expired_reason == ExpiredReason.UNPAID)
    job = session.scalar(
        update(Job)
        .where(*guard)
        .values(
            {
                "state": target,
                "version": Job.version + 1,
                "moved_at": func.now(),
                "due_at": func.now() if target in WORKING else None,
                "payable_until": None,
                "expired_reason": None,
                **values,
            }
        )
        .returning(Job)
        .execution_options(populate_existing=True)
    )
    if job is not None:
        _remember(session, job, on, source=expect)
        if target not in AWAITING | WORKING:
            start_return(session, job.id)
    return job


def _remember(session: Session, job: Job, event: JobEvent, *, source: JobState | None) -> None:
    session.add(
        JobEventRow(
            job_id=job.id,
            version=job.version,
            event=event,
            source=source,
            target=job.state,
        )
    )
    logger.info("job moved", job=job.id, on=event.value, state=job.state.value)


def expire(session: Session, job_id: int, *, expect: JobState, reason: ExpiredReason) -> Job | None:
    """End a job that waits for money: unpaid, or cancelled by its caller."""
    assert expect in AWAITING
    on = JobEvent.CANCELLED if reason is ExpiredReason.CANCELLED else JobEvent.LAPSED
    return advance(session, job_id, expect=expect, on=on, expired_reason=reason)


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
        .values({"state": state, "due_at": None, "settled_at": func.now(), **values})
        .returning(Payout)
        .execution_options(populate_existing=True)
    )
    if payout is None:
        return None
    if state is PayoutState.PAID:
        _move_debts(session, payout_id, DebtState.PAID, paid_at=func.now())
    if state is PayoutState.FAILED:
        _move_debts(session, payout_id, DebtState.OWED, payout_id=None)
    _settle_return(session, payout)
    logger.info("payout moved", payout=payout.id, job=payout.job_id, state=state.value)
    return payout


def _move_debts(session: Session, of_payout: int, state: DebtState, **values: Any) -> None:
    session.execute(
        update(Debt).where(Debt.payout_id == of_payout).values({"state": state, **values})
    )


def cover_debts(session: Session, payout: Payout) -> Sats:
    """Put all that is owed on a job under this payout; returns the sats that it now covers."""
    amounts = session.scalars(
        update(Debt)
        .where(Debt.job_id == payout.job_id, Debt.state == DebtState.OWED)
        .values(state=DebtState.PAYING, payout_id=payout.id)
        .returning(Debt.amount_sats)
    )
    return Sats(sum(amounts))


def reopen_payout(session: Session, payout_id: int) -> Payout | None:
    """Try the same BOLT11 again after a proved failure: the one safe way to repeat a payout.

    Evidence is gathered anew. None = it is not failed.
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
            first_failed_at=None,
            first_missing_at=None,
            last_code=None,
        )
        .returning(Payout)
        .execution_options(populate_existing=True)
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
    payout.posts = 1
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
    payout.posts = 1
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
        .execution_options(populate_existing=True)
    )
    if payout is not None:
        _move_debts(session, payout.id, DebtState.OWED, payout_id=None)
        _settle_return(session, payout)
        logger.info("payout moved", payout=payout.id, job=job_id, state=payout.state.value)
    return payout


OPEN_WALLET_MOVES = (MoveState.PENDING, MoveState.WAITING)


def note_wallet_move(session: Session, state: MoveState, values: Mapping[str, Any]) -> None:
    """Write down a row of a wallet that nothing of ours explains, or what has become of it."""
    session.execute(
        insert(WalletMove)
        .values(state=state, **values)
        .on_conflict_do_update(
            index_elements=["payment_hash", "kind", "wallet_id"],
            set_={"state": state, "amount_msats": values["amount_msats"]},
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
        .execution_options(populate_existing=True)
    )


def add_booked_wallet_move(session: Session, move: WalletMove, note: str) -> WalletMove:
    """The same for what was not written down before. Sets ``move.id``."""
    move.state, move.note = MoveState.BOOKED, note
    session.add(move)
    session.flush()  # the ledger needs the number
    return move


def move_demo(
    session: Session, run_id: int, *, expect: DemoState, to: DemoState, **values: Any
) -> DemoRun | None:
    """Move a demo run on. None = it was elsewhere.

    ``due_at`` must be in ``values`` unless ``to`` is final.
    """
    return session.scalar(
        update(DemoRun)
        .where(DemoRun.id == run_id, DemoRun.state == expect)
        .values({"state": to, "due_at": None, **values})
        .returning(DemoRun)
        .execution_options(populate_existing=True)
    )


AFTER_FAILED_PAYOUT = timedelta(seconds=30)
"""Asked for another invoice no sooner: what failed at once will fail at once again."""


def start_return(session: Session, job_id: int) -> None:
    """Begin to pay what is owed on a job that has ended, if its caller said where to.

    Call it in the transaction of whatever makes a debt or ends a job; safe to call at any time.
    """
    # The lock comes before the look at the debts: whoever stops the returning does it in the same
    # order, so that of a debt and a stop at once neither goes unseen.
    destination = session.scalar(
        select(RefundDestination).where(RefundDestination.job_id == job_id).with_for_update()
    )
    rests = {DestinationState.WAITING, DestinationState.PAID, DestinationState.GIVEN_UP}
    if destination is None or destination.state not in rests or not is_owed(session, job_id):
        return
    session.execute(
        update(RefundDestination)
        .where(RefundDestination.id == destination.id)
        .values(
            state=DestinationState.TRYING,
            due_at=func.now(),
            trying_since=func.now(),
            failures=0,
            last_error=None,
        )
    )
    logger.info("returning begins", destination=destination.id, job=job_id)


def is_owed(session: Session, job_id: int) -> bool:
    """Whether the job has ended and something is owed that no payout covers."""
    owed = (
        select(Debt.id)
        .join(Job, Job.id == Debt.job_id)
        .where(
            Debt.job_id == job_id,
            Debt.state == DebtState.OWED,
            Job.state.not_in(AWAITING | WORKING),
        )
    )
    return session.scalar(owed.limit(1)) is not None


def end_return(
    session: Session,
    destination_id: int,
    claim: int,
    *,
    to: DestinationState,
    **values: Any,
) -> RefundDestination | None:
    """Move a destination that we try on. None = it was ours no longer."""
    destination = session.scalar(
        update(RefundDestination)
        .where(
            RefundDestination.id == destination_id,
            RefundDestination.state == DestinationState.TRYING,
            RefundDestination.claim == claim,
        )
        .values({"state": to, "due_at": None, **values})
        .returning(RefundDestination)
        .execution_options(populate_existing=True)
    )
    if destination is not None:
        logger.info("returning moved", destination=destination.id, state=to.value)
    return destination


def note_failed_return(session: Session, destination_id: int, *, error: str) -> None:
    """Count a failed try of a destination whose row this transaction holds. Moves nothing."""
    session.execute(
        update(RefundDestination)
        .where(RefundDestination.id == destination_id)
        .values(failures=RefundDestination.failures + 1, last_error=error, last_tried_at=func.now())
    )


def _settle_return(session: Session, payout: Payout) -> None:
    """A payout to a destination has ended: paid there, or to be tried again."""
    is_paid = payout.state is PayoutState.PAID
    an_eighth = ago(RefundDestination.trying_since).op("/", precedence=8, return_type=Interval())(8)
    delay = func.greatest(AFTER_FAILED_PAYOUT, func.least(an_eighth, LONGEST_DELAY))
    end = func.greatest(RefundDestination.trying_since + WINDOW, func.now())
    later = func.least(func.now() + delay, end)  # not past when the caller was told to claim
    again = {
        "state": DestinationState.TRYING,
        "due_at": later,
        "failures": RefundDestination.failures + 1,
        "last_error": "payment_failed",
    }
    done = {"state": DestinationState.PAID, "last_error": None}
    settled = session.scalar(
        update(RefundDestination)
        .where(
            RefundDestination.payout_id == payout.id,
            RefundDestination.state == DestinationState.PAYING,
        )
        .values(done if is_paid else again)
        .returning(RefundDestination.id)
    )
    if settled is not None and is_paid:
        start_return(session, payout.job_id)  # a debt may have come meanwhile
