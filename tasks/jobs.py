"""Work on jobs and demo runs."""

from celery import shared_task

from config.queues import TaskName
from services.jobs import demo, evaluation, execution
from tasks.base import OnRecord, tools


@shared_task(name=TaskName.EVALUATE_JOB.value, base=OnRecord)
def evaluate_job(job_id: int) -> None:
    evaluation.evaluate(tools(), job_id)


@shared_task(name=TaskName.EXECUTE_JOB.value, base=OnRecord)
def execute_job(job_id: int) -> None:
    execution.execute(tools(), job_id)


@shared_task(name=TaskName.RUN_DEMO.value, base=OnRecord)
def run_demo(run_id: int) -> None:
    demo.run(tools(), run_id)
