"""How soon a refund may be claimed again whose payouts have failed.

A claim that LNbits refuses at once fails within tenths of a second. Made again and again it would
use up the requests that everybody's invoices and payouts need, and fill the ledger for ever.
"""

from datetime import timedelta

from sqlalchemy import func, select, true
from sqlalchemy.orm import Session

from models.payout import Payout, PayoutState
from models.refund_destination import RefundDestination

FREE_FAILURES = 3
"""Who has not failed so often may claim again at once: the invoice may be put right."""
FIRST_PAUSE = timedelta(seconds=30)
"""As after a failed payout to a ``refundTo``: what failed at once will fail at once again."""
LONGEST_PAUSE = timedelta(minutes=30)
"""Nobody waits longer, once the operator has topped up the wallet."""
AT_ONCE = timedelta(0)


def pause_after(failures: int) -> timedelta:
    """How long no claim is taken after so many failures: 30 s, 1, 2, 4 … 30 min from the third.

    Not jittered: whoever comes again when we have said so must be taken.
    """
    if failures < FREE_FAILURES:
        return AT_ONCE
    doubled: timedelta = FIRST_PAUSE * 2 ** min(failures - FREE_FAILURES, 10)
    return min(doubled, LONGEST_PAUSE)


def still_to_wait(session: Session, job_id: int) -> timedelta:
    """How long until a claim on this job is taken, by the database's clock; 0 = now.

    Who claims holds the job's row, and what is owed then has failed before: so each failure counts.
    Not those on the way to ``refundTo``, which have a pace of their own. A failure of the future,
    after a clock was set back, holds nobody up.
    """
    last_returned = (
        select(RefundDestination.last_tried_at)
        .where(RefundDestination.job_id == job_id)
        .scalar_subquery()
    )
    failures, since = session.execute(
        select(
            func.coalesce(func.sum(Payout.sends), 0),
            func.clock_timestamp() - func.max(Payout.settled_at),
        ).where(
            Payout.job_id == job_id,
            Payout.state == PayoutState.FAILED,
            func.coalesce(Payout.settled_at > last_returned, true()),
        )
    ).one()
    if since is None or since < AT_ONCE:
        return AT_ONCE
    left: timedelta = pause_after(failures) - since
    return max(left, AT_ONCE)
