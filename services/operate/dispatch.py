"""Dispatch: ring for every row that is due. Redis may lose everything: it costs a second."""

from collections import defaultdict
from collections.abc import Callable
from itertools import islice, zip_longest

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from config.queues import EVERY, QUEUE_OF, QueueName, TaskName
from models import due
from models.demo_run import DemoRun
from models.job import Job
from models.lifecycle import JobState
from models.payout import Payout
from models.refund_destination import RefundDestination
from models.run import EXECUTED_RUNS, Run, RunState
from models.tick import Tick
from services.room import RUNS_OF_ONE_CREATOR
from services.toolbox import Toolbox

RINGS_PER_KIND = 200
"""At a time, so that a backlog does not become a storm; the longest waiting come first."""
ENOUGH_RINGS = {QueueName.MONEY: 40, QueueName.MODELS: 200, QueueName.HOOKS: 100}
"""So many wait in a queue at most: about twice what its workers take on at once. Of receivers they
ask ten at once, who mostly answer soon: there, what they get done in some seconds.

More would grow too old in it to count when workers are slow; and workers that find nothing but
rings grown old, made faster than they throw them away, do no work.
"""

Ring = tuple[TaskName, int]

_WORK: tuple[tuple[TaskName, due.DueRow, Callable[[], ColumnElement[bool]]], ...] = (
    (TaskName.SEND_PAYOUT, Payout, true),
    (TaskName.EVALUATE_JOB, Job, lambda: Job.state == JobState.EVALUATING),
    (TaskName.EXECUTE_JOB, Job, lambda: Job.state == JobState.EXECUTING),
    (TaskName.RUN_DEMO, DemoRun, true),
    (TaskName.RETURN_MONEY, RefundDestination, true),
    (TaskName.EXECUTE_RUN, Run, lambda: Run.state.in_(EXECUTED_RUNS)),
    (TaskName.SETTLE_RUN, Run, lambda: Run.state == RunState.SETTLING),
)
_SHARES = {TaskName.EXECUTE_RUN: due.Share(of=Run.creator_id, each=RUNS_OF_ONE_CREATOR)}
"""More of one creator find no place in a worker, and are due for as long as its server hangs."""


def ring_for_due_rows(tools: Toolbox) -> int:
    """Read what is due and ring for it; returns how many rings. Takes nothing, changes nothing.

    Also for duties that were turned away and have rested: beat rings for some once a minute only.
    """
    with tools.database.transaction("dispatch") as session:
        due_rows = [_due(session, *work) for work in _WORK]
        duties = _to_try_again(session)
    by_queue: defaultdict[QueueName, list[list[Ring]]] = defaultdict(list)
    for of_kind in filter(None, due_rows):
        by_queue[QUEUE_OF[of_kind[0][0]]].append(of_kind)
    rings = [ring for queue, kinds in by_queue.items() for ring in _fitting(tools, queue, kinds)]
    for task, row_id in rings:
        tools.doorbell.ring(task, row_id)
    for duty in duties:
        tools.doorbell.ring(duty)
    return len(rings) + len(duties)


def _to_try_again(session: Session) -> list[TaskName]:
    rested = select(Tick.name).where(
        Tick.name.in_([duty.value for duty in EVERY]),
        Tick.last_error.is_not(None),
        Tick.due_at <= func.now(),
    )
    return [TaskName(name) for name in session.scalars(rested)]


def _fitting(tools: Toolbox, queue: QueueName, kinds: list[list[Ring]]) -> list[Ring]:
    """As many as a queue has room for, taken from every kind in turn."""
    room = max(0, ENOUGH_RINGS[queue] - tools.doorbell.unanswered(queue))
    in_turn = (ring for turn in zip_longest(*kinds) for ring in turn if ring is not None)
    return list(islice(in_turn, room))


def _due(
    session: Session,
    task: TaskName,
    model: due.DueRow,
    where: Callable[[], ColumnElement[bool]],
) -> list[Ring]:
    ids = due.due_ids(session, model, where=where(), limit=RINGS_PER_KIND, share=_SHARES.get(task))
    return [(task, row_id) for row_id in ids]
