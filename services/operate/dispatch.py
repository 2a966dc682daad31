"""Dispatch: ring for every row that is due. Redis may lose everything: it costs a second."""

from collections.abc import Callable

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import Session

from config.queues import QUEUE_OF, TaskName
from models import due
from models.demo_run import DemoRun
from models.job import Job
from models.lifecycle import JobState
from models.payout import Payout
from models.refund_destination import RefundDestination
from services.toolbox import Toolbox

RINGS_PER_KIND = 200
"""At a time, so that a backlog does not become a storm; the longest waiting come first."""
ENOUGH_RINGS = 200
"""With so many still waiting in a queue no more are added: they would grow too old in it to count.

Workers that find nothing but rings grown old, made faster than they throw them away, do no work.
"""

_WORK: tuple[tuple[TaskName, due.DueRow, Callable[[], ColumnElement[bool]]], ...] = (
    (TaskName.SEND_PAYOUT, Payout, true),
    (TaskName.EVALUATE_JOB, Job, lambda: Job.state == JobState.EVALUATING),
    (TaskName.EXECUTE_JOB, Job, lambda: Job.state == JobState.EXECUTING),
    (TaskName.RUN_DEMO, DemoRun, true),
    (TaskName.RETURN_MONEY, RefundDestination, true),
)


def ring_for_due_rows(tools: Toolbox) -> int:
    """Read what is due and ring for it; returns how many rings. Takes nothing, changes nothing."""
    with tools.database.transaction("dispatch") as session:
        due_rows = [ring for work in _WORK for ring in _due(session, *work)]
    crowded = {
        queue
        for queue in {QUEUE_OF[task] for task, _ in due_rows}
        if tools.doorbell.unanswered(queue) >= ENOUGH_RINGS
    }
    rings = [(task, row_id) for task, row_id in due_rows if QUEUE_OF[task] not in crowded]
    for task, row_id in rings:
        tools.doorbell.ring(task, row_id)
    return len(rings)


def _due(
    session: Session,
    task: TaskName,
    model: due.DueRow,
    where: Callable[[], ColumnElement[bool]],
) -> list[tuple[TaskName, int]]:
    ids = due.due_ids(session, model, where=where(), limit=RINGS_PER_KIND)
    return [(task, row_id) for row_id in ids]
