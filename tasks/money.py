"""Money going out."""

from celery import shared_task

from config.queues import TaskName
from services.money import payouts
from tasks.base import tools


@shared_task(name=TaskName.SEND_PAYOUT.value)
def send_payout(payout_id: int) -> None:
    payouts.send(tools(), payout_id)
