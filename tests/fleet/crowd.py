"""Hundreds of callers at once, and what there is to count afterwards."""

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import Select, func, select

from local.stand_in.effects import EffectKind
from local.stand_in.rows import Wallet
from local.stand_in.testing import Effect
from models.invoice import Invoice, Receipt
from models.job import Job
from models.lifecycle import JobState
from models.payout import Payout, PayoutState
from tests.fleet.fleet import Fleet
from tests.journeys.books import Books
from tests.journeys.caller import Json
from tests.journeys.waiting import wait_until
from tests.support.together import together

JOBS = int(os.environ.get("HONESTWORK_FLEET_JOBS", "500"))  # noqa: TID251 - an entry point
AT_A_TIME = 12
PATIENCE_SECONDS = 400.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Crowd:
    """As many callers as jobs. Everything is counted from when they came."""

    fleet: Fleet
    books: Books
    first_effect: int
    last_job_before: int
    seconds: dict[str, float] = field(default_factory=dict)

    def create(self) -> list[Json]:
        texts = [f"Name a virtue, number {n} of {uuid4()}." for n in range(JOBS)]
        return self._timed("create", lambda: at_once(self.fleet.create, texts))

    def pay(self, jobs: list[Json], invoice: str) -> None:
        """Pay on Lightning, where nobody nudges the product."""
        hashes = [job[invoice]["paymentHash"] for job in jobs]
        assert all(at_once(self.fleet.wallet.pay, hashes))

    def wait_until_all_are(self, state: JobState, jobs: list[Json]) -> list[Json]:
        """All as their callers read them then, through both doors."""
        has_come = partial(self.jobs_in, state)
        self._timed(
            state.value,
            lambda: wait_until(
                f"all are {state}", has_come, JOBS.__eq__, seconds=PATIENCE_SECONDS, every=0.5
            ),
        )
        return self.read(jobs)

    def read(self, jobs: list[Json]) -> list[Json]:
        return at_once(self.fleet.job, [job["jobId"] for job in jobs])

    def claim_twice(self, job: Json) -> None:
        """One claim at each door at the same moment, with one invoice."""
        invoice = self.fleet.wallet.payer_invoice(job["refundAmountSats"])
        answers = together(
            lambda: self.fleet.claim(job, invoice, door=0),
            lambda: self.fleet.claim(job, invoice, door=1),
        )
        assert not [answer for answer in answers if isinstance(answer, Exception)], answers

    def claim_all(self, jobs: list[Json]) -> None:
        self._timed("claim", lambda: at_once(self.claim_twice, jobs))

    def wait_until_all_are_refunded(self) -> None:
        self._timed(
            "refunds that took longer",
            lambda: wait_until(
                "all are refunded",
                self.refunded,
                JOBS.__eq__,
                seconds=PATIENCE_SECONDS,
                every=0.5,
            ),
        )

    def jobs_in(self, state: JobState) -> int:
        return self._count(self._of_jobs(Job).where(Job.state == state))

    def refunded(self) -> int:
        return self._count(self._of_jobs(Payout).where(Payout.state == PayoutState.PAID))

    def rows(self, model: Any) -> int:
        return self._count(self._of_jobs(model))

    def unmatched(self) -> int:
        """Payments that belong to no invoice of ours, whoever made them."""
        nobodys = Receipt.invoice_id.is_(None)
        return self._count(select(func.count()).select_from(Receipt).where(nobodys))

    def most_calls_of_one_step_at_once(self) -> int:
        """By the word of the model server, who tells steps apart by what is asked."""
        at_once = self.fleet.wallet.counts().most_concurrent_model_calls_by_label
        begun = self.effects(EffectKind.MODEL_CALL_BEGIN)
        return max(at_once[call.details["label"]] for call in begun)

    def effects(self, kind: EffectKind, wallet: Wallet | None = None) -> list[Effect]:
        seen = self.fleet.wallet.effects(kind, since=self.first_effect)
        return [effect for effect in seen if wallet in {None, effect.details.get("wallet")}]

    def assert_money_moved_once(self) -> None:
        """By the word of Lightning: as many invoices, payments and refunds as there must be."""
        came = self.effects(EffectKind.PAYMENT_IN, Wallet.SERVICE)
        went = self.effects(EffectKind.PAYMENT_OUT, Wallet.SERVICE)
        assert (self.rows(Invoice), self.rows(Receipt)) == (2 * JOBS, 2 * JOBS)
        assert (len(came), self.unmatched()) == (2 * JOBS, 0)
        assert (self.rows(Payout), self.refunded(), len(went)) == (JOBS, JOBS, JOBS)

    def _of_jobs(self, model: Any) -> Select[int]:
        owner = model.id if model is Job else model.job_id
        return select(func.count()).select_from(model).where(owner > self.last_job_before)

    def _count(self, query: Select[int]) -> int:
        with self.books.tools.database.transaction("fleet.count") as session:
            return session.scalar(query) or 0

    def _timed(self, what: str, act: Callable[[], R]) -> R:
        began = time.monotonic()
        try:
            return act()
        finally:
            self.seconds[what] = round(time.monotonic() - began, 1)


def gather(fleet: Fleet, books: Books) -> Crowd:
    effects = fleet.wallet.effects()
    with books.tools.database.transaction("fleet.last_job") as session:
        last_job = session.scalar(select(func.max(Job.id))) or 0
    return Crowd(fleet, books, effects[-1].n if effects else 0, last_job)


def at_once(act: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        return list(threads.map(act, items))
