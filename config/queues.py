"""The names that join doorbell, beat and workers.

A typo is an AttributeError, not a queue nobody reads.
"""

from datetime import timedelta
from enum import StrEnum


class QueueName(StrEnum):
    """Queues, named for what waits in them; which process serves which is in the Procfile."""

    TICKS = "ticks"
    MONEY = "money"
    MODELS = "models"
    HOOKS = "hooks"


class TaskName(StrEnum):
    """Tasks, ``area.verb``. Every argument list is one internal number, or empty."""

    EVALUATE_JOB = "jobs.evaluate"
    EXECUTE_JOB = "jobs.execute"
    RUN_DEMO = "demo.run"
    EXECUTE_RUN = "runs.execute"
    SETTLE_RUN = "runs.settle"
    SEND_PAYOUT = "payouts.send"
    RETURN_MONEY = "refunds.return"
    POLL_PAYMENTS = "payments.poll"
    DISPATCH = "dispatch"
    REREAD_PAYMENTS = "payments.reread"
    SWEEP_INVOICES = "invoices.sweep"
    REFRESH_PRICE = "price.refresh"
    CHECK_INCOME = "lightning.income"
    CHECK_PAYOUTS = "lightning.payouts"
    RECONCILE = "books.reconcile"
    CHECK_BOOKS = "books.check"
    SYNC_CATALOGUE = "catalogue.sync"
    VERIFY_KEYS = "keys.verify"
    PROBE_BREAKERS = "breakers.probe"
    PRUNE_RUNS = "runs.prune"


QUEUE_OF: dict[TaskName, QueueName] = {
    TaskName.EVALUATE_JOB: QueueName.MODELS,
    TaskName.EXECUTE_JOB: QueueName.MODELS,
    TaskName.RUN_DEMO: QueueName.MODELS,
    TaskName.EXECUTE_RUN: QueueName.MODELS,
    TaskName.SETTLE_RUN: QueueName.MONEY,
    TaskName.SEND_PAYOUT: QueueName.MONEY,
    TaskName.RETURN_MONEY: QueueName.HOOKS,
    TaskName.POLL_PAYMENTS: QueueName.TICKS,
    TaskName.DISPATCH: QueueName.TICKS,
    TaskName.REREAD_PAYMENTS: QueueName.TICKS,
    TaskName.SWEEP_INVOICES: QueueName.TICKS,
    TaskName.REFRESH_PRICE: QueueName.TICKS,
    TaskName.CHECK_INCOME: QueueName.TICKS,
    TaskName.CHECK_PAYOUTS: QueueName.TICKS,
    TaskName.RECONCILE: QueueName.TICKS,
    TaskName.CHECK_BOOKS: QueueName.TICKS,
    TaskName.SYNC_CATALOGUE: QueueName.TICKS,
    TaskName.VERIFY_KEYS: QueueName.MODELS,
    TaskName.PROBE_BREAKERS: QueueName.MODELS,
    TaskName.PRUNE_RUNS: QueueName.TICKS,
}

EVERY: dict[TaskName, timedelta] = {
    TaskName.DISPATCH: timedelta(seconds=1),
    TaskName.POLL_PAYMENTS: timedelta(seconds=2),
    TaskName.SWEEP_INVOICES: timedelta(seconds=5),
    TaskName.REFRESH_PRICE: timedelta(seconds=30),
    TaskName.REREAD_PAYMENTS: timedelta(seconds=60),
    TaskName.CHECK_INCOME: timedelta(seconds=60),
    TaskName.CHECK_PAYOUTS: timedelta(seconds=60),
    TaskName.RECONCILE: timedelta(seconds=60),
    TaskName.CHECK_BOOKS: timedelta(seconds=60),
    TaskName.SYNC_CATALOGUE: timedelta(seconds=60),
    TaskName.VERIFY_KEYS: timedelta(seconds=30),
    TaskName.PROBE_BREAKERS: timedelta(seconds=10),
    TaskName.PRUNE_RUNS: timedelta(seconds=60),
}
"""The duties that come round, and how often."""

HOSTS_CLOCKS_DIFFER = timedelta(seconds=60)
"""No message expires sooner: the sender's clock says when, and the receiver's judges.

One that is late costs a claim, which finds its row taken; one thrown away by a clock that is ahead
is followed by others that are thrown away.
"""
