"""Runs of instant resources: doing the work, and moving the money for it."""

from celery import shared_task

from config.queues import TaskName
from services.instant import runs, settlement
from tasks.base import OnRecord, tools


@shared_task(name=TaskName.EXECUTE_RUN.value, base=OnRecord)
def execute_run(run_id: int) -> None:
    runs.execute(tools(), run_id)


@shared_task(name=TaskName.SETTLE_RUN.value, base=OnRecord)
def settle_run(run_id: int) -> None:
    settlement.settle(tools(), run_id)
