"""The only code that changes a state of a refund's destination, where what is owed goes by itself.

As in ``models.moves``: a move is one guarded UPDATE, in one transaction with what it tells.
"""

from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Interval, and_, func, or_, select, update
from sqlalchemy.orm import Session

from models.database import AS_RETURNED, UNLOADED, ago
from models.debt import Debt, DebtState
from models.job import Job
from models.lifecycle import AWAITING, WORKING
from models.payout import Payout, PayoutState
from models.refund_destination import (
    LONGEST_DELAY,
    WINDOW,
    DestinationState,
    RefundDestination,
)

logger = structlog.get_logger(__name__)

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
    return DebtState.OWED in unpaid(session, job_id)


def unpaid(session: Session, job_id: int) -> set[DebtState]:
    """How those debts of a job stand that want something: owed, if it has ended, or being paid.

    Told by one look: of two, a payout may be opened before the second and after the first.
    """
    is_payable = and_(Debt.state == DebtState.OWED, Job.state.not_in(AWAITING | WORKING))
    return set(
        session.scalars(
            select(Debt.state)
            .join(Job, Job.id == Debt.job_id)
            .where(Debt.job_id == job_id, or_(is_payable, Debt.state == DebtState.PAYING))
        )
    )


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
        .values({"due_at": None, **values, "state": to})
        .returning(RefundDestination)
        .execution_options(**AS_RETURNED)
    )
    if destination is not None:
        logger.info("returning moved", destination=destination.id, state=to.value)
    return destination


def note_try(session: Session, destination_id: int) -> None:
    """Put on record that a receiver is asked now, whatever becomes of who asks. Moves nothing."""
    session.execute(
        update(RefundDestination)
        .where(RefundDestination.id == destination_id)
        .values(last_tried_at=func.now())
        .execution_options(**UNLOADED)
    )


def note_failed_return(session: Session, destination_id: int, *, error: str) -> None:
    """Count a failed try of a destination whose row this transaction holds. Moves nothing."""
    session.execute(
        update(RefundDestination)
        .where(RefundDestination.id == destination_id)
        .values(failures=RefundDestination.failures + 1, last_error=error, last_tried_at=func.now())
    )


def settle_return(session: Session, payout: Payout) -> None:
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
            RefundDestination.job_id == payout.job_id,
            RefundDestination.payout_id == payout.id,
            RefundDestination.state == DestinationState.PAYING,
        )
        .values(done if is_paid else again)
        .returning(RefundDestination.id)
        .execution_options(**UNLOADED)
    )
    if settled is not None and is_paid:
        start_return(session, payout.job_id)  # a debt may have come meanwhile
