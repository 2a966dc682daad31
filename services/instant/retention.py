"""What is forgotten: results after some days. The log of runs stays.

But for payments that nobody found good: nothing was done or moved for them, and anybody can show
them.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import delete, func, null, select, update
from sqlalchemy.orm import Session

from models.run import Run, RunCall
from models.violation import Violation
from services.instant import limits
from services.toolbox import Toolbox

PRUNED_AT_ONCE = 500
BATCHES_MAX = 10
"""In a minute: more than a facilitator answers in one, so that what is refused does not pile up."""


def prune(tools: Toolbox) -> int:
    """Forget inputs and results of runs that ended long enough ago, and what was refused then.

    Returns how many runs that were.
    """
    pruned = 0
    for _ in range(BATCHES_MAX):
        batch = _prune_some(tools)
        pruned += batch
        if batch < PRUNED_AT_ONCE:
            break
    return pruned


def _prune_some(tools: Toolbox) -> int:
    kept_for = timedelta(days=tools.settings.instant_retention_days)
    with tools.database.transaction("runs.prune") as session:
        old = session.execute(
            select(Run.id, limits.is_all_that_is_left().label("was_no_good"))
            .where(Run.pruned_at.is_(None), Run.ended_at < func.now() - kept_for)
            .order_by(Run.ended_at)
            .limit(PRUNED_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        gone = _not_on_record(session, {run.id for run in old if run.was_no_good})
        _delete(session, gone)
        session.execute(
            update(Run)
            .where(Run.id.in_({run.id for run in old} - gone))
            .values(inputs=null(), result=null(), pruned_at=func.now())
        )
        return len(old)


def _not_on_record(session: Session, run_ids: set[int]) -> set[int]:
    """Without those that broke a rule once: that is told of them for ever."""
    broken = select(Violation.run_id).where(Violation.run_id.in_(run_ids))
    return run_ids - set(session.scalars(broken))


def _delete(session: Session, run_ids: Collection[int]) -> None:
    session.execute(delete(RunCall).where(RunCall.run_id.in_(run_ids)))
    session.execute(delete(Run).where(Run.id.in_(run_ids)))
