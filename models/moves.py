"""The only code that changes a state of a job or a demo run.

Its like are ``models.money_moves``, ``models.return_moves`` and ``models.run_moves``.

A move is one guarded UPDATE; 0 rows = somebody was first.
A move and what it tells (event, ledger, debts) belong into one transaction: the caller's.
"""

from typing import Any

import structlog
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from models import return_moves
from models.database import AS_RETURNED
from models.demo_run import DemoRun, DemoState
from models.event import JobEventRow
from models.job import ExpiredReason, Job
from models.lifecycle import AWAITING, WORKING, JobEvent, JobState, target_of

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
                "due_at": func.now() if target in WORKING else None,
                "payable_until": None,
                "expired_reason": None,
                **values,
                "state": target,
                "version": Job.version + 1,
                "moved_at": func.now(),
            }
        )
        .returning(Job)
        .execution_options(**AS_RETURNED)
    )
    if job is not None:
        _remember(session, job, on, source=expect)
        if target not in AWAITING | WORKING:
            return_moves.start_return(session, job.id)
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


def move_demo(
    session: Session, run_id: int, *, expect: DemoState, to: DemoState, **values: Any
) -> DemoRun | None:
    """Move a demo run on. None = it was elsewhere.

    ``due_at`` must be in ``values`` unless ``to`` is final.
    """
    return session.scalar(
        update(DemoRun)
        .where(DemoRun.id == run_id, DemoRun.state == expect)
        .values({"due_at": None, **values, "state": to})
        .returning(DemoRun)
        .execution_options(**AS_RETURNED)
    )
