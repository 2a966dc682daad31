"""A doorbell that writes down who was rung for, and answers when the test says so."""

from collections import deque
from collections.abc import Callable
from typing import Any

from config.queues import QUEUE_OF, QueueName, TaskName
from services.toolbox import Toolbox
from tasks import base, instant, jobs, money

ANSWERS: dict[TaskName, Callable[..., Any]] = {
    TaskName.EVALUATE_JOB: jobs.evaluate_job,
    TaskName.EXECUTE_JOB: jobs.execute_job,
    TaskName.RUN_DEMO: jobs.run_demo,
    TaskName.SEND_PAYOUT: money.send_payout,
    TaskName.RETURN_MONEY: money.return_money,
    TaskName.EXECUTE_RUN: instant.execute_run,
    TaskName.SETTLE_RUN: instant.settle_run,
}


class RecordingDoorbell:
    """Nothing runs until it is answered: a test decides when workers are quick."""

    def __init__(self) -> None:
        self.rung: deque[tuple[TaskName, int | None]] = deque()

    def ring(self, task: TaskName, row_id: int | None = None) -> None:
        self.rung.append((task, row_id))

    def unanswered(self, queue: QueueName) -> int:
        return sum(QUEUE_OF[task] is queue for task, _ in self.rung)

    def answer_all(self, tools: Toolbox) -> int:
        """Run everything that was rung for, and what that rings for, until it is quiet."""
        base.install(tools)
        answered = 0
        while self.rung:
            task, row_id = self.rung.popleft()
            ANSWERS[task](row_id)
            answered += 1
        return answered
