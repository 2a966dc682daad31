"""What is forgotten: results after some days. The log of runs stays."""

from datetime import timedelta

from sqlalchemy import func, null, select, update

from models.run import Run
from services.toolbox import Toolbox

PRUNED_AT_ONCE = 500


def prune(tools: Toolbox) -> int:
    """Forget inputs and results of runs that ended long enough ago; returns how many."""
    kept_for = timedelta(days=tools.settings.instant_retention_days)
    with tools.database.transaction("runs.prune") as session:
        old = (
            select(Run.id)
            .where(Run.pruned_at.is_(None), Run.ended_at < func.now() - kept_for)
            .order_by(Run.ended_at)
            .limit(PRUNED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        pruned = session.scalars(
            update(Run)
            .where(Run.id.in_(old))
            .values(inputs=null(), result=null(), pruned_at=func.now())
            .returning(Run.id)
        )
        return len(pruned.all())
