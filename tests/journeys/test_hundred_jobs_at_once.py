"""A hundred jobs paid at once: each is done once, and Lightning is asked hardly more often."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TypeVar
from uuid import uuid4

from celery import Celery
from redis import Redis

from config.broker import KEY_PREFIX, make_celery
from config.queues import QUEUE_OF, TaskName
from config.settings import Settings
from local.stand_in.effects import EffectKind
from local.stand_in.rows import Wallet
from models.lifecycle import JobState
from tests.journeys.books import Books
from tests.journeys.caller import Caller, Json
from tests.journeys.product import Product
from tests.journeys.waiting import wait_until

JOBS = 100
AT_A_TIME = 12
FEED = "GET /api/v1/payments/paginated"
ASKS_LIGHTNING = (
    TaskName.POLL_PAYMENTS,
    TaskName.REREAD_PAYMENTS,
    TaskName.SWEEP_INVOICES,
    TaskName.CHECK_INCOME,
    TaskName.CHECK_PAYOUTS,
    TaskName.RECONCILE,
)

QUEUE = QUEUE_OF[TaskName.POLL_PAYMENTS].value
"""Of all of them."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PlayedBeat:
    """Beat, played by the test: a duty comes round when the test says so, and no other does."""

    celery: Celery
    redis: Redis
    caller: Caller
    books: Books

    def requests_of_one_poll(self) -> int:
        """Let payments be polled once; how often Lightning was asked for it."""
        before = [self.books.runs(duty).turns for duty in ASKS_LIGHTNING]
        asked = self._feed_requests()
        self.books.make_due(TaskName.POLL_PAYMENTS)
        self.celery.send_task(TaskName.POLL_PAYMENTS.value, queue=QUEUE)
        wait_until("payments were polled", lambda: self._has_run(before[0] + 2))
        assert [self.books.runs(duty).turns for duty in ASKS_LIGHTNING] == [
            before[0] + 2,
            *before[1:],
        ]
        return self._feed_requests() - asked

    def wait_for_rest(self) -> None:
        """Until what beat sent before it stood still is done."""
        seen: list[list[int]] = []

        def is_quiet() -> bool:
            runs = [self.books.runs(duty) for duty in ASKS_LIGHTNING]
            seen.append([run.turns for run in runs])
            is_heard = not self.redis.llen(KEY_PREFIX + QUEUE)
            return is_heard and all(run.is_resting for run in runs) and seen[-1:] == seen[-2:-1]

        wait_until("nobody asks Lightning", is_quiet, every=0.3)

    def _has_run(self, turns: int) -> bool:
        runs = self.books.runs(TaskName.POLL_PAYMENTS)
        return runs.turns >= turns and runs.is_resting

    def _feed_requests(self) -> int:
        return self.caller.wallet.counts().requests.get(FEED, 0)


@contextmanager
def played_beat(product: Product, caller: Caller, books: Books) -> Iterator[PlayedBeat]:
    settings = Settings.load(product.environ("web"))
    celery = make_celery(settings)
    try:
        with product.frozen("beat"), Redis.from_url(settings.redis_url) as redis:
            beat = PlayedBeat(celery, redis, caller, books)
            beat.wait_for_rest()
            yield beat
    finally:
        celery.close()


def at_once(act: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        return list(threads.map(act, items))


def pay_unnoticed(caller: Caller, invoices: list[Json]) -> None:
    """Pay them all, without the nudge that the bench's own way of paying gives."""
    paid = at_once(lambda invoice: caller.wallet.pay(invoice["paymentHash"]), invoices)
    assert all(paid)


def most_requests(newly_settled: int) -> int:
    """What one tick may cost, however many invoices are open."""
    return 1 + ceil(newly_settled / 100)


def test_given_a_hundred_jobs_paid_at_once_then_each_costs_two_calls_and_two_invoices(
    product: Product, caller: Caller, books: Books
) -> None:
    already_complete = books.jobs_in(JobState.COMPLETE)
    witness = caller.wallet.effects()[-1].n if caller.wallet.effects() else 0
    texts = [f"Name a virtue, number {n} of {uuid4()}." for n in range(JOBS)]
    created = at_once(caller.create, texts)

    with played_beat(product, caller, books) as beat:
        assert beat.requests_of_one_poll() == 1
        pay_unnoticed(caller, [job["evalInvoice"] for job in created])
        received = books.receipts()
        requests = beat.requests_of_one_poll()
        assert books.receipts() - received == JOBS
        assert requests <= most_requests(JOBS)
    quoted = at_once(lambda job: caller.wait_for(job["jobId"], "awaiting_work_payment"), created)

    with played_beat(product, caller, books) as beat:
        pay_unnoticed(caller, [job["workInvoice"] for job in quoted])
        received = books.receipts()
        requests = beat.requests_of_one_poll()
        assert books.receipts() - received == JOBS
        assert requests <= most_requests(JOBS)
        assert beat.requests_of_one_poll() == 1
    wait_until(
        "all jobs are complete",
        lambda: books.jobs_in(JobState.COMPLETE) - already_complete,
        lambda complete: complete == JOBS,
    )

    effects = caller.wallet.effects(since=witness)
    calls = [effect for effect in effects if effect.kind == EffectKind.MODEL_CALL_BEGIN]
    invoices = [effect for effect in effects if effect.kind == EffectKind.INVOICE_CREATED]
    assert len(calls) == 2 * JOBS
    assert len({call.details["label"] for call in calls}) == 2 * JOBS
    assert [invoice.details["wallet"] for invoice in invoices] == [Wallet.SERVICE] * (2 * JOBS)
