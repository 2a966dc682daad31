"""Duties that come round: one task each, all alike."""

from celery import shared_task

from config.queues import TaskName
from services.operate import ticks
from tasks.base import OnRecord, tools


@shared_task(name=TaskName.DISPATCH.value, base=OnRecord)
def ring_for_due_rows() -> None:
    ticks.run(tools(), TaskName.DISPATCH)


@shared_task(name=TaskName.POLL_PAYMENTS.value, base=OnRecord)
def poll_payments() -> None:
    ticks.run(tools(), TaskName.POLL_PAYMENTS)


@shared_task(name=TaskName.REREAD_PAYMENTS.value, base=OnRecord)
def reread_payments() -> None:
    ticks.run(tools(), TaskName.REREAD_PAYMENTS)


@shared_task(name=TaskName.SWEEP_INVOICES.value, base=OnRecord)
def sweep_invoices() -> None:
    ticks.run(tools(), TaskName.SWEEP_INVOICES)


@shared_task(name=TaskName.REFRESH_PRICE.value, base=OnRecord)
def refresh_price() -> None:
    ticks.run(tools(), TaskName.REFRESH_PRICE)


@shared_task(name=TaskName.CHECK_INCOME.value, base=OnRecord)
def check_income() -> None:
    ticks.run(tools(), TaskName.CHECK_INCOME)


@shared_task(name=TaskName.CHECK_PAYOUTS.value, base=OnRecord)
def check_payouts() -> None:
    ticks.run(tools(), TaskName.CHECK_PAYOUTS)


@shared_task(name=TaskName.RECONCILE.value, base=OnRecord)
def reconcile() -> None:
    ticks.run(tools(), TaskName.RECONCILE)


@shared_task(name=TaskName.CHECK_BOOKS.value, base=OnRecord)
def check_books() -> None:
    ticks.run(tools(), TaskName.CHECK_BOOKS)


@shared_task(name=TaskName.SYNC_CATALOGUE.value, base=OnRecord)
def sync_catalogue() -> None:
    ticks.run(tools(), TaskName.SYNC_CATALOGUE)


@shared_task(name=TaskName.VERIFY_KEYS.value, base=OnRecord)
def verify_keys() -> None:
    ticks.run(tools(), TaskName.VERIFY_KEYS)


@shared_task(name=TaskName.PROBE_BREAKERS.value, base=OnRecord)
def probe_breakers() -> None:
    ticks.run(tools(), TaskName.PROBE_BREAKERS)


@shared_task(name=TaskName.PRUNE_RUNS.value, base=OnRecord)
def prune_runs() -> None:
    ticks.run(tools(), TaskName.PRUNE_RUNS)
