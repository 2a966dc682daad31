"""The only code that changes a run's state. A move is one guarded UPDATE; 0 rows = too late."""

from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from models.database import AS_RETURNED
from models.run import FINAL_RUNS, WORKING_RUNS, Run, RunState
from models.run_lifecycle import RunEvent, target_of

logger = structlog.get_logger(__name__)


def begin(session: Session, run: Run) -> Run:
    """Insert a new run, due at once. Sets ``run.id``.

    Raises IntegrityError when its payment is on record already.
    """
    event = RunEvent.OWNER_TRIES if run.is_owner_test else RunEvent.PAYMENT_SHOWN
    run.state = target_of(None, event)
    run.due_at = func.now()
    session.add(run)
    session.flush()  # the doorbell needs the number
    logger.info("run moved", run=run.id, on=event.value, state=run.state.value)
    return run


def advance(
    session: Session,
    run_id: int,
    *,
    expect: RunState,
    on: RunEvent,
    claim: int | None = None,
    lease: timedelta | None = None,
    **values: Any,
) -> Run | None:
    """Make one move, if the run still is where we expect it (and still ours, with ``claim``).

    ``values`` are written in the same UPDATE. With ``lease`` its holder goes on with it; without,
    it lets go (the claim goes up, so that no heartbeat holds it), and a working state is due now.
    None = it was elsewhere; nothing was written. Raises NoSuchMove for an arrow that is not there.
    """
    target = target_of(expect, on)
    guard = [Run.id == run_id, Run.state == expect]
    if claim is not None:
        guard.append(Run.claim == claim)
    due_at = func.now() if lease is None else func.now() + lease
    run = session.scalar(
        update(Run)
        .where(*guard)
        .values(
            {
                "ended_at": func.now() if target in FINAL_RUNS else None,
                **values,
                "state": target,
                "claim": Run.claim + (1 if lease is None else 0),
                "due_at": due_at if target in WORKING_RUNS else None,
            }
        )
        .returning(Run)
        .execution_options(**AS_RETURNED)
    )
    if run is not None:
        logger.info("run moved", run=run.id, on=on.value, state=run.state.value)
    return run
