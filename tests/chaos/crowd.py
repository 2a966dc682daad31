"""Callers by the hundred: they create, pay, look, claim, and write down what they are told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from config.settings import STAND_IN_INVOICE_KEY
from local.stand_in.lnbits import PAYER_INVOICE_KEY
from tests.chaos.buyers import Buyer
from tests.chaos.http import Answer, ask
from tests.chaos.plans import Claim, Payment, Plan, draw, draw_purchase
from tests.chaos.shop import Shop
from tests.chaos.visitor import (
    GET_PATIENCE_SECONDS,
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    GaveUp,
    Json,
    Street,
    Visitor,
    wish,
)

MSATS = 1000
ARRIVALS_A_SECOND = 25
INVOICES = "/api/v1/payments"
CALLERS_TO_A_STRANGER = 50
STRANGERS_SATS = 7
REFUND_INVOICE_SECONDS = 130
"""Ten more than the least that is accepted: what failed is proved to have failed soon after."""
FINAL = frozenset({"rejected", "complete", "failed"})


@dataclass
class Crowd:
    """``at_a_time`` callers are busy at once; whoever waits for long is not."""

    street: Street
    seed: int
    jobs: int
    buys: int
    """How many come for an instant resource, evenly among the others."""
    shop: Shop | None
    receivers: str | None
    """The host of Lightning addresses; None = nobody has one."""
    at_a_time: int
    invoice_seconds: float
    begun: int = 0
    served: int = 0
    """Callers who have seen their job end, or who have walked away."""
    done: int = 0
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.at_a_time)

    @property
    def callers(self) -> int:
        return self.jobs + self.buys

    async def come(self) -> None:
        """Every caller's whole life. Returns when all are done or have given up."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.callers):
                await self._slots.acquire()
                await asyncio.sleep(1 / ARRIVALS_A_SECOND)
                self.begun += 1
                group.create_task(self._live(self._visitor(number), number))
                if number % CALLERS_TO_A_STRANGER == 0:
                    group.create_task(self._pay_as_a_stranger())

    def _visitor(self, number: int) -> Visitor:
        """The ``number``-th to come."""
        buyers, buyers_then = (n * self.buys // self.callers for n in (number, number + 1))
        if buyers_then > buyers and self.shop is not None:
            plan = draw_purchase(self.seed, buyers)
            return Buyer(
                street=self.street, door=plan.door, leave=self.left, shop=self.shop, plan=plan
            )
        job = draw(self.seed, number - buyers)
        return Caller(street=self.street, door=job.door, leave=self.left, crowd=self, plan=job)

    async def _live(self, visitor: Visitor, number: int) -> None:
        log = self.street.log
        try:
            await visitor.live()
            log.write("caller_done", job=visitor.its_id, number=number)
        except GaveUp:
            log.write("caller_gave_up", job=visitor.its_id, number=number, seen=visitor.state)
        finally:
            visitor.leave_the_counter()
            self.done += 1

    async def _pay_as_a_stranger(self) -> None:
        """Money for an invoice of the wallet that the product knows nothing of."""
        body = {"out": False, "amount": STRANGERS_SATS, "memo": "a stranger's"}
        key, world = {"X-Api-Key": STAND_IN_INVOICE_KEY}, self.street.world
        made = await ask(world, "POST", INVOICES, body, headers=key, patience=PATIENCE_SECONDS)
        if made.ok:
            path = f"/stand-in/pay/{made.body['payment_hash']}"
            await ask(world, "POST", path, patience=PATIENCE_SECONDS)

    def left(self) -> None:
        self.served += 1
        self._slots.release()


@dataclass(kw_only=True)
class Caller(Visitor):
    crowd: Crowd = field(repr=False)
    plan: Plan
    job: Json = field(default_factory=dict)
    is_being_paid: bool = False
    """Its last claim was told that a payout is under way: it may be in doubt."""

    @property
    def is_excused(self) -> bool:
        """It waits for time to pass, for a payout or for its receiver.

        If those stand still without a reason, the judge sees it in the tables.
        """
        is_over = self.state == "expired" and not _is_owed(self.job)
        waits_for_time = self.state.startswith("awaiting") or is_over
        return waits_for_time or self.is_being_paid or _is_returning(self.job)

    async def live(self) -> None:
        await self._create()
        if not await self._pay("evalInvoice", self.plan.evaluation):
            return
        await self._wait(lambda job: job["state"] not in {"awaiting_eval_payment", "evaluating"})
        if self.state == "awaiting_work_payment":
            if not await self._pay("workInvoice", self.plan.work):
                return
            await self._wait(_has_ended)
        self.leave_the_counter()
        if _is_owed(self.job) and self.plan.claim is not Claim.NEVER:
            await self._claim()

    # --- creating and looking

    async def _create(self) -> None:
        while True:
            answer = await self.ask_door(
                "POST", "/api/jobs", self._wanted(), patience=PATIENCE_SECONDS
            )
            if answer.status == 201:
                self.its_id, self.job = answer.body["jobId"], answer.body
                self.state = answer.body["state"]
                self.street.log.write("created", job=self.its_id, number=self.plan.number)
                return
            await self.rest(wish(answer))

    def _wanted(self) -> Json:
        wanted = {"request": self.plan.request}
        if self.plan.has_receiver and self.crowd.receivers:
            wanted["refundTo"] = f"caller{self.plan.number}@{self.crowd.receivers}"
        return wanted

    async def _look(self) -> None:
        """Read the job until somebody answers."""
        while True:
            answer = await self.ask_door(
                "GET", f"/api/jobs/{self.its_id}", patience=GET_PATIENCE_SECONDS
            )
            if answer.status == 200:
                self._seen(answer)
                return
            await self.rest(wish(answer))

    def _seen(self, answer: Answer) -> None:
        body = answer.body
        refund = body.get("refundState")
        told = (body["state"], refund, body.get("refundAmountSats"))
        before = (self.state, self.job.get("refundState"), self.job.get("refundAmountSats"))
        self.job, self.state = body, body["state"]
        if told != before:
            debts = [[d["cause"], d["amountSats"], d["state"]] for d in body.get("debts", [])]
            self.street.log.write_at(
                answer.began, "saw", job=self.its_id, state=told[0], refund=refund, debts=debts
            )

    async def _wait(self, done: Callable[[Json], bool]) -> None:
        pause = LOOK_SECONDS
        while not done(self.job):
            await self.rest(pause)
            pause = self.street.next_pause(pause)
            await self._look()

    # --- paying

    async def _pay(self, name: str, way: Payment) -> bool:
        """False = that was all that this caller wanted."""
        invoice = self.job[name]
        await self.rest(self.plan.pause)
        if way is Payment.NEVER:
            self.leave_the_counter()
            await self._wait(lambda job: job["state"] == "expired")
            return False
        if way is Payment.LATE:
            self.leave_the_counter()
            await self.rest(self.crowd.invoice_seconds + 5)
        if way is Payment.AFTER_CANCELLING:
            await self._cancel()
        await self._send(invoice, self.plan.extra_msats if way is Payment.TOO_MUCH else 0)
        if self.state == "expired" and way is Payment.AFTER_CANCELLING:
            self.leave_the_counter()
            await self._wait(_was_owed)
            if self.plan.claim is not Claim.NEVER:
                await self._claim()
            return False
        return True

    async def _send(self, invoice: Json, extra_msats: int) -> None:
        amount = invoice["amountSats"] * MSATS + extra_msats
        self.street.log.write("pays", job=self.its_id, hash=invoice["paymentHash"], msats=amount)
        path = f"/stand-in/pay/{invoice['paymentHash']}?amountMsat={amount}"
        await self.ask_world("POST", path)

    async def _cancel(self) -> None:
        while self.state.startswith("awaiting"):
            path = f"/api/jobs/{self.its_id}/cancel"
            answer = await self.ask_door("POST", path, {}, patience=PATIENCE_SECONDS)
            if answer.status in {200, 409}:
                await self._look()
                return
            await self.rest(1.0)

    # --- claiming

    async def _claim(self) -> None:
        """Until nothing is owed any more."""
        await self._wait(lambda job: not _is_owed(job) or not _goes_by_itself(job))
        invoice, amount, pause = "", 0, LOOK_SECONDS
        while _is_owed(self.job):
            if amount != self.job["refundAmountSats"]:
                amount = self.job["refundAmountSats"]
                invoice = await self._new_invoice(amount)
            answer = await self._claim_once(invoice, amount)
            if answer.status == 400 or _is_under_way(answer):
                amount = 0  # next time with a new invoice
            await self.rest(pause)
            pause = self.street.next_pause(pause)
            await self._look()

    async def _claim_once(self, invoice: str, amount: int) -> Answer:
        path = f"/api/jobs/{self.its_id}/refund"
        doors, invoices = [self.plan.door], [invoice]
        if self.plan.claim is Claim.BOTH_DOORS:
            doors, invoices = [0, 1], [invoice, invoice]
        if self.plan.claim is Claim.TWO_INVOICES:
            doors, invoices = [0, 1], [invoice, await self._new_invoice(amount)]
        answers = await asyncio.gather(
            *(
                self.ask_at(door, "POST", path, {"invoice": text}, patience=PATIENCE_SECONDS)
                for door, text in zip(doors, invoices, strict=True)
            )
        )
        self.is_being_paid = any(a.status == 202 or _is_under_way(a) for a in answers)
        for answer in answers:
            if answer.status == 200:
                paid = answer.body["paymentHash"]
                told = answer.began + answer.seconds
                self.street.log.write_at(told, "refunded", job=self.its_id, hash=paid)
        return answers[0]

    async def _new_invoice(self, sats: int) -> str:
        body = {"out": False, "amount": sats, "memo": "refund", "expiry": REFUND_INVOICE_SECONDS}
        key = {"X-Api-Key": PAYER_INVOICE_KEY}
        answer = await self.ask_world("POST", INVOICES, body, headers=key)
        return str(answer.body["bolt11"])


def _has_ended(job: Json) -> bool:
    """Whether nothing moves it any more; one that expired is moved by its payment."""
    return job["state"] in FINAL or (job["state"] == "expired" and _was_owed(job))


def _was_owed(job: Json) -> bool:
    """Also when it has gone back by itself since."""
    return bool(job.get("debts"))


def _is_owed(job: Json) -> bool:
    return bool(job.get("refundAmountSats"))


def _goes_by_itself(job: Json) -> bool:
    return job.get("refundTo", {}).get("state") in {"waiting", "trying", "paying"}


def _is_returning(job: Json) -> bool:
    """To a receiver, who may fail and be asked again later."""
    return job.get("refundTo", {}).get("state") in {"trying", "paying"}


def _is_under_way(answer: Answer) -> bool:
    return answer.status == 409 and answer.body.get("code") == "refund_in_progress"
