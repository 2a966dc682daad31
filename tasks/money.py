"""Money going out, and the invoices it goes out to."""

from celery import shared_task

from config.queues import TaskName
from services.money import payouts, returns
from tasks.base import OnRecord, tools


@shared_task(name=TaskName.SEND_PAYOUT.value, base=OnRecord)
def send_payout(payout_id: int) -> None:
    payouts.send(tools(), payout_id)


@shared_task(name=TaskName.RETURN_MONEY.value, base=OnRecord)
def return_money(destination_id: int) -> None:
    returns.attempt(tools(), destination_id)
