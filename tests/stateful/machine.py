"""The machine: callers, payers, receivers, workers, beat, weather and clock, each a rule."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlsplit

import hypothesis.strategies as st
import pytest
from flask import Flask
from hypothesis import note
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
)
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from app import context
from config.queues import EVERY, TaskName
from gateways import bolt11
from gateways.llms import LanguageModel
from local.stand_in.effects import EffectKind
from local.stand_in.faults import FaultKind
from local.stand_in.testing import Effect, StandInClient
from models.job import Job
from models.payout import Payout, PayoutState
from models.tick import Tick
from services.money.claim_pace import FREE_FAILURES, LONGEST_PAUSE
from services.operate import ticks
from services.proof import Proof
from services.toolbox import Toolbox
from tasks import base
from tests.app.contract import client_of
from tests.conftest import empty
from tests.stateful.caller import (
    AWAITING,
    ENDED,
    WORKING,
    Caller,
    Claimed,
    Excuses,
    Fate,
    bill_of,
)
from tests.stateful.returning import Offer, Receiver
from tests.stateful.world import (
    HASTY_SECONDS,
    TROUBLES,
    Killed,
    MortalDatabase,
    let_time_pass,
    lies_about,
    make_everything_due,
    offering,
)
from tests.support.books import assert_balanced
from tests.support.canary import Listener
from tests.support.confidential import confidential_in
from tests.support.deadlines import wait_shortly_for
from tests.support.doorbell import ANSWERS, RecordingDoorbell

JOBS_MAX = 3
OPENING_SATS = 1_000
INVOICE_SECONDS = 3600
SHORTEST_LIFE_SECONDS = 120
SPANS = {
    "5 s": 5,
    "a minute": 61,
    "ten minutes": 605,
    "half an hour": 1800,
    "an hour": 3605,
    "three hours": 10_805,
    "a day": 86_405,
}
CLAIMS = ("again", "wrong amount", "of ours", "no invoice", "of another job", "another")
POLLING = (TaskName.POLL_PAYMENTS, TaskName.REREAD_PAYMENTS, TaskName.SWEEP_INVOICES)
ROUNDS_TO_FINISH = 40
FATES = (Fate.DONE, Fate.DONE, Fate.DECLINED, Fate.REFUSED)
A_MINUTE = 61
LIES = ("failed", "unknown")
LATENESS = {"a little": 180, "much": 720}
_NEEDED = {
    "awaiting_eval_payment": ("anthropic", "lnbits.create", "lnbits.feed"),
    "evaluating": ("anthropic", "lnbits.create"),
    "awaiting_work_payment": ("anthropic", "lnbits.feed"),
    "executing": ("anthropic",),
}
"""Whose help the next step of a job needs, by its state."""
_NEEDED_TO_PAY = ("lnbits.pay", "lnbits.read")
_NEEDED_TO_RETURN = ("lnurl.terms", "lnurl.invoice", *_NEEDED_TO_PAY)
OFFERS = ("of ours", "about to expire", "somebody else's", "the one before", "of another job")
"""What a strange receiver may answer with, besides what ``TROUBLES`` has."""


@dataclass(frozen=True)
class Opening:
    """How an example begins: what chance would seldom do with the first job, in fair weather."""

    steps: tuple[str, ...]
    leads_to: str
    """What is seen then, in one example at least."""
    by_itself: bool | None = None
    """Whether the first job has a receiver; None = in some examples."""


OPENINGS = {
    "is new": Opening((), "awaiting_eval_payment -> expired"),
    "is paid for": Opening(("_pay", "_poll"), "awaiting_eval_payment -> evaluating"),
    "is quoted": Opening(("_go_on",), "evaluating -> awaiting_work_payment"),
    "is paid for twice": Opening(("_go_on", "_pay", "_poll"), "awaiting_work_payment -> executing"),
    "is done": Opening(("_go_on", "_go_on"), "executing -> complete"),
    "is refunded": Opening(
        ("_go_on", "_go_on", "_go_on"), "paid back unused_work", by_itself=False
    ),
    "failed at once": Opening(("_fail",), "paid back failed_evaluation"),
    "failed when it was executed": Opening(("_go_on", "_fail"), "paid back failed_work"),
    "is paid for in the grace": Opening(("_be_a_little_late",), "expired -> evaluating"),
    "is paid for twice, in the grace": Opening(
        ("_go_on", "_be_a_little_late"), "expired -> executing"
    ),
    "is paid for in time and found past the deadline": Opening(
        ("_pay", "_let_the_deadline_pass"), "awaiting_eval_payment -> evaluating"
    ),
    "is paid for long after the grace": Opening(("_be_much_too_late",), "paid back late"),
    "is refunded by an LNbits that lies": Opening(
        ("_go_on", "_go_on", "_claim_and_hear_lies"), "paid back unused_work", by_itself=False
    ),
    "is refunded by an LNbits that forgets": Opening(
        ("_go_on", "_go_on", "_claim_and_be_forgotten"), "paid back unused_work", by_itself=False
    ),
    "is refunded and nobody hears of it": Opening(
        ("_go_on", "_go_on", "_claim_and_hear_nothing"), "paid back unused_work"
    ),
    "is paid for when it was cancelled": Opening(("_cancel", "_pay", "_poll"), "paid back late"),
    "is paid for with too much": Opening(("_overpay", "_poll"), "paid back duplicate"),
    "returns by itself": Opening(
        ("_go_on", "_go_on", "_go_on"), "returned unused_work", by_itself=True
    ),
    "returns by itself through a receiver that is down for an hour": Opening(
        ("_go_on", "_go_on", "_be_down_for_an_hour", "_go_on"),
        "returned after trouble",
        by_itself=True,
    ),
    "gives up after three days and is claimed": Opening(
        ("_go_on", "_go_on", "_be_down_for_three_days", "_go_on"),
        "claimed unused_work",
        by_itself=True,
    ),
    "is returned by an LNbits that lies": Opening(
        ("_go_on", "_go_on", "_return_and_hear_lies"), "returned unused_work", by_itself=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all machines share; each finds it empty and leaves it so."""

    tools: Toolbox
    web: Flask
    stand_in: StandInClient
    hasty_models: Callable[[str], LanguageModel]
    """The same models, but they are not waited for."""
    log: Listener
    seen: Counter[str] = field(default_factory=Counter)
    """What happened in all examples: whether the machine gets around."""


class Lifecycle(RuleBasedStateMachine):
    """Up to three jobs, and a clock that stands still but for ``time_passes``."""

    bench: ClassVar[Bench]
    begins: ClassVar[str]
    """With which of ``OPENINGS``."""
    jobs: Bundle[Caller] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        bench = self.bench
        self.stand_in = bench.stand_in
        self.doorbell = RecordingDoorbell()
        self.database = MortalDatabase(bench.tools.database)
        self.callers: list[Caller] = []
        self.excuses = Excuses()
        self.now = 0.0
        self.orphans_max = 0
        self.effects_seen = 0
        self.sent: Counter[str] = Counter()
        self.patched = pytest.MonkeyPatch()
        self.is_hasty = False
        self.stand_in.reset()
        self.stand_in.top_up(OPENING_SATS)
        self._use(bench.tools.with_(proof=self._new_proof()))
        self.client = client_of(bench.web)

    def _use(self, tools: Toolbox) -> None:
        self.tools = tools.with_(doorbell=self.doorbell, database=self.database)
        context.install(self.bench.web, self.tools)
        base.install(self.tools)

    def _new_proof(self) -> Proof:
        """What a process that has just started knows of its database: nothing."""
        return Proof(clock=lambda: self.now)

    # --- callers

    @initialize(target=jobs, fate=st.sampled_from(FATES), by_itself=st.booleans())
    def opening(self, fate: Fate, by_itself: bool) -> Caller | MultipleResults[Caller]:
        opening = OPENINGS[self.begins]
        self._do_duty(TaskName.REFRESH_PRICE)
        made = self._create(fate, by_itself if opening.by_itself is None else opening.by_itself)
        for step in opening.steps:
            getattr(self, step)(self.callers[0])
        return made

    @precondition(lambda self: len(self.callers) < JOBS_MAX)
    @rule(target=jobs, fate=st.sampled_from(FATES), by_itself=st.booleans())
    def create(self, fate: Fate, by_itself: bool) -> Caller | MultipleResults[Caller]:
        """``by_itself``: what is owed shall go to a Lightning address."""
        return self._create(fate, by_itself)

    @rule(job=jobs, more=st.sampled_from([0, 0, 0, 0, 1, 1000, 1999, -1]))
    def pay(self, job: Caller, more: int) -> None:
        """Pay the newest invoice, whatever has become of the job, with ``more`` msats."""
        self._pay(job, more)

    @rule(job=jobs)
    def cancel(self, job: Caller) -> None:
        self._cancel(job)

    def _cancel(self, job: Caller) -> None:
        kills = self.excuses.kills
        with self._a_process():
            answer = self.client.post(f"/api/jobs/{job.job_id}/cancel")
            self._say(f"{job!r} cancelled: {_short(answer)}")
            may = job.state in AWAITING
            assert answer.status_code == (200 if may else 409)
            job.has_cancelled |= may
        if self.excuses.kills > kills:  # nobody was told whether it was cancelled
            job.has_cancelled |= self._read(job).get("expiredReason") == "cancelled"
        self._look()

    @rule(job=jobs)
    def claim(self, job: Caller) -> None:
        """Claim what is owed, as a caller does who reads the documentation."""
        self._claim(job)

    @rule(job=jobs, how=st.sampled_from(CLAIMS))
    def claim_strangely(self, job: Caller, how: str) -> None:
        text = self._strange_invoice(job, how)
        if text is None:
            return
        known = next((claimed for claimed in job.claims if claimed.text == text), None)
        answer = self._send_claim(job, text, "the same again" if known else how)
        if answer is None:
            return
        if known is not None or how == "another":
            self._check_claim(job, text, answer)
            return
        assert answer.status_code in {400, 409}

    @rule(job=jobs)
    def go_on(self, job: Caller) -> None:
        """Whatever comes next for a job, by everybody: payer, beat, workers, caller."""
        self._go_on(job)

    def _go_on(self, job: Caller) -> None:
        if job.state in AWAITING:
            self._pay(job)
            self._poll(job)
        elif job.state in ENDED and job.owed_sats and not job.goes_by_itself:
            self._claim(job)
        self._make_due()
        if job.goes_by_itself:
            self._do_duty(TaskName.DISPATCH)
        self._work()

    @rule(job=jobs, number=st.integers(0, 999))
    def go_on_in_trouble(self, job: Caller, number: int) -> None:
        """As ``go_on``, while something goes wrong that is needed for it."""
        to_end = _NEEDED_TO_RETURN if job.goes_by_itself else _NEEDED_TO_PAY
        targets = _NEEDED.get(job.state, to_end)
        fitting = [name for name in TROUBLES if TROUBLES[name].target in targets]
        trouble = fitting[number % len(fitting)]
        self._say(trouble)
        self._arm(trouble, 1)
        self._go_on(job)

    @rule(job=jobs, late=st.sampled_from(sorted(LATENESS)))
    def miss_the_deadline(self, job: Caller, late: str) -> None:
        """Pay an open invoice when it is late, be it in time for the grace or not."""
        self._be_late(job, LATENESS[late])

    def _be_a_little_late(self, job: Caller) -> None:
        self._be_late(job, LATENESS["a little"])

    def _be_much_too_late(self, job: Caller) -> None:
        self._be_late(job, LATENESS["much"])

    def _let_the_deadline_pass(self, job: Caller) -> None:
        self._pass(max(0, round(job.newest_bill.deadline - self.now)) + A_MINUTE)
        self._do_duty(TaskName.SWEEP_INVOICES)

    def _be_late(self, job: Caller, seconds: int) -> None:
        if job.state not in AWAITING:
            return
        self._let_the_deadline_pass(job)
        self._pay(job)
        self._pass(seconds)
        self._poll(job)

    # --- workers and beat

    @rule()
    def workers_answer(self) -> None:
        self._work()

    @rule()
    def everything_is_due(self) -> None:
        kills = self.excuses.kills
        moves = {job.number: len(job.receiver.trace) for job in self.callers if job.receiver}
        self._do_all_that_is_due()
        for job in self.callers:
            if job.receiver and self.excuses.kills == kills and not job.claims:
                has_moved = len(job.receiver.trace) > moves[job.number]
                is_stuck = job.receiver.is_overdue(self.now) and not has_moved
                assert not is_stuck, f"{job!r} is tried for more than three days"

    def _do_all_that_is_due(self) -> None:
        self._make_due()
        self._do_duty(TaskName.DISPATCH)
        self._work()

    @rule(twice=st.booleans())
    def rings_are_lost_or_doubled(self, twice: bool) -> None:
        if twice:
            self.doorbell.rung.extend(list(self.doorbell.rung))
        else:
            self.doorbell.rung.clear()

    @rule(duty=st.sampled_from(POLLING))
    def payments_are_looked_for(self, duty: TaskName) -> None:
        self._do_duty(duty)

    @rule(duty=st.sampled_from(sorted(EVERY)))
    def duty_comes_round(self, duty: TaskName) -> None:
        self._do_duty(duty)

    # --- the world

    @rule(trouble=st.sampled_from(sorted(TROUBLES)), times=st.integers(1, 3))
    def trouble_begins(self, trouble: str, times: int) -> None:
        self._arm(trouble, times)

    def _arm(self, trouble: str, times: int) -> None:
        fault = TROUBLES[trouble]
        is_hanging = fault.kind is FaultKind.HANG
        if is_hanging:
            self._hurry(fault.target)
        self.excuses.models_failed |= fault.target == "anthropic"
        self.excuses.receivers_failed |= fault.target.startswith("lnurl")
        self.stand_in.arm(fault.model_copy(update={"times": 1 if is_hanging else times}))

    @rule()
    def troubles_end(self) -> None:
        self._clear_up()

    @rule(span=st.sampled_from(sorted(SPANS)))
    def time_passes(self, span: str) -> None:
        self._pass(SPANS[span])

    @rule(commits=st.integers(1, 5), commits_the_last=st.booleans())
    def next_process_is_killed(self, commits: int, commits_the_last: bool) -> None:
        self.database.doom(commits, commits_the_last=commits_the_last)

    @rule(job=jobs, what=st.sampled_from(LIES))
    def lnbits_lies_about_a_payout(self, job: Caller, what: str) -> None:
        """It does so for a while, never beyond the last moment at which it could be paid."""
        if job.goes_by_itself:
            self._return_and_hear(job, what)
        elif job.state in ENDED and job.owed_sats and not job.claims:
            self._claim_and_hear(job, what)
        elif job.claims and job.claims[-1].expires > self.now + SHORTEST_LIFE_SECONDS:
            with self._lies(job.claims[-1].payment_hash, job.claims[-1].sats, what):
                self._do_all_that_is_due()

    @rule(job=jobs, what=st.sampled_from(OFFERS))
    def receiver_offers_strangely(self, job: Caller, what: str) -> None:
        text = self._strange_offer(job, what)
        if text is None or job.receiver is None:
            return
        self._say(f"the receiver of {job!r} offers an invoice: {what}")
        if what == "somebody else's":
            job.receiver.offers.append(self._offer(text, job.owed_sats))
        else:
            self.excuses.receivers_failed = True
        self.stand_in.arm(offering(job.receiver.name, text))
        self._do_all_that_is_due()

    @rule(job=jobs)
    def lnbits_calls_an_invoice_expired(self, job: Caller) -> None:
        if self.now > job.newest_bill.deadline:
            self.stand_in.expire(job.newest_bill.payment_hash)

    @rule(usd=st.sampled_from([99_000, 101_500]))
    def the_price_changes(self, usd: int) -> None:
        self.stand_in.set_btc_price(Decimal(usd))

    # --- what must hold at every moment

    def check_invariants(self, *_: object) -> None:
        """Ours, and not each a line of the steps that Hypothesis prints."""
        self.the_books_balance()
        self.nobody_is_paid_twice()

    def the_books_balance(self) -> None:
        assert_balanced(self.bench.tools, self.stand_in)

    def nobody_is_paid_twice(self) -> None:
        self._watch_the_world()
        payees = set().union(*(job.payees for job in self.callers))
        assert payees >= set(self.sent), "money went where nobody had claimed it, or issued for it"
        for job in self.callers:
            returned = self._returned(job)
            owed = sum(sats for _, sats, _ in job.debts) * 1000
            told = sum(sats for _, sats, state in job.debts if state == "paid") * 1000
            assert told <= returned <= owed, f"{job!r}: {told=} {returned=} {owed=}"

    # --- how it is done

    def _create(self, fate: Fate, by_itself: bool) -> Caller | MultipleResults[Caller]:
        before = self._jobs_on_record()
        receiver = self._new_receiver() if by_itself else None
        wanted = {} if receiver is None else {"refundTo": receiver.address}
        with self._a_process():
            is_fair = self._is_fair()
            answer = self.client.post("/api/jobs", json={"request": fate.value, **wanted})
            self._say(f"create: {_short(answer)}")
            if answer.status_code == 201:
                return self._welcome(fate, receiver, answer)
            assert answer.status_code == 503
            assert self._jobs_on_record() == before, "no job is left behind"
            code = (answer.json or {})["code"]
            assert code in {"lightning_unavailable", "price_unavailable"}
            assert not is_fair or code == "price_unavailable"
        return multiple()

    def _new_receiver(self) -> Receiver:
        name = f"caller{len(self.callers) + 1}"
        return Receiver(name=name, address=f"{name}@{urlsplit(self.stand_in.url).netloc}")

    def _welcome(self, fate: Fate, receiver: Receiver | None, answer: TestResponse) -> Caller:
        told = answer.json or {}
        caller = Caller(
            number=len(self.callers) + 1,
            job_id=told["jobId"],
            fate=fate,
            excuses=self.excuses,
            told=told,
            bills={"eval": bill_of(told["evalInvoice"], self.now)},
            moved_at=self.now,
            receiver=receiver,
        )
        self.callers.append(caller)
        return caller

    def _jobs_on_record(self) -> int:
        with self.bench.tools.database.transaction("test.jobs_on_record") as session:
            return session.scalar(select(func.count()).select_from(Job)) or 0

    def _poll(self, _: Caller) -> None:
        self._do_duty(TaskName.POLL_PAYMENTS)

    def _fail(self, job: Caller) -> None:
        """Its model refuses the next step of a job for good."""
        self._arm("anthropic answers 400", 1)
        self._go_on(job)

    def _overpay(self, job: Caller) -> None:
        self._pay(job, 1999)

    def _pay(self, job: Caller, more: int = 0) -> None:
        bill = job.newest_bill
        if bill.paid_msats is not None:
            self.stand_in.pay(bill.payment_hash)  # LNbits takes no second payment
            return
        bill.paid_msats = bill.sats * 1000 + more
        assert self.stand_in.pay(bill.payment_hash, amount_msats=bill.paid_msats)
        self.bench.seen["payments"] += 1

    def _claim(self, job: Caller) -> None:
        text = self._payer_invoice(job.owed_sats or 1)
        answer = self._send_claim(job, text, "right")
        if answer is not None:
            self._check_claim(job, text, answer)

    def _send_claim(self, job: Caller, text: str, how: str) -> TestResponse | None:
        """None: the process died over it, and nobody knows whether the claim was taken."""
        taken = self._taken(job, text)
        is_closed = job.goes_by_itself and taken not in job.claims
        with self._a_process():
            path = f"/api/jobs/{job.job_id}/refund"
            answer = self.client.post(path, json={"invoice": text})
            self._say(f"{job!r} claims, {how}: {_short(answer)}")
            self.bench.seen[f"claim {how}: {answer.status_code}"] += 1
            if answer.status_code in {200, 202} and taken not in job.claims:
                assert not is_closed, f"{job!r} is claimed while it goes by itself"
                job.claims.append(taken)
            self._look()
            return answer
        if taken not in job.claims:
            job.claims.append(taken)
        self._look()
        return None

    def _claim_and_hear_lies(self, job: Caller) -> None:
        self._claim_and_hear(job, "failed")

    def _claim_and_be_forgotten(self, job: Caller) -> None:
        self._claim_and_hear(job, "unknown")

    def _claim_and_hear_nothing(self, job: Caller) -> None:
        self._arm("lnbits.pay does it and resets the connection", 1)
        self._arm("lnbits.read resets the connection", 2)
        self._go_on(job)

    def _claim_and_hear(self, job: Caller, what: str) -> None:
        if not job.owed_sats:
            return
        text = self._payer_invoice(job.owed_sats)
        with self._lies(bolt11.read(text).payment_hash, job.owed_sats, what):
            answer = self._send_claim(job, text, f"while LNbits says {what}")
            if answer is not None:
                self._check_claim(job, text, answer)
            self._work()

    def _return_and_hear_lies(self, job: Caller) -> None:
        self._return_and_hear(job, "failed")

    def _return_and_hear(self, job: Caller, what: str) -> None:
        """Let the receiver be asked, and LNbits lie of what it answered with."""
        if job.receiver is None or not job.goes_by_itself:
            return
        self._make_due()
        self._do_duty(TaskName.DISPATCH)
        self._work(until=lambda: job.returning == "paying")
        offer = job.receiver.offers[-1] if job.receiver.offers else None
        if offer is None or offer.expires < self.now + SHORTEST_LIFE_SECONDS:
            return
        with self._lies(offer.payment_hash, offer.sats, what):
            self._do_all_that_is_due()
            self._claim(job)

    def _be_down_for_an_hour(self, job: Caller) -> None:
        self._be_down(job, "half an hour", times=2)

    def _be_down_for_three_days(self, job: Caller) -> None:
        self._be_down(job, "a day", times=3)
        self._do_all_that_is_due()

    def _be_down(self, job: Caller, span: str, *, times: int) -> None:
        for _ in range(times):
            if job.goes_by_itself:
                self._arm("lnurl.terms answers 503", 1)
                self._do_all_that_is_due()
                self._claim(job)
                self._pass(SPANS[span])

    def _strange_offer(self, job: Caller, what: str) -> str | None:
        if job.receiver is None or not job.goes_by_itself:
            return None
        if what == "of ours":
            return job.bills["eval"].payment_request
        if what == "the one before":
            return job.receiver.offers[-1].text if job.receiver.offers else None
        if what == "of another job":
            others = [other for other in self.callers if other is not job]
            return next((claim.text for other in others for claim in other.claims), None)
        is_sound = what == "somebody else's"
        life = INVOICE_SECONDS if is_sound else SHORTEST_LIFE_SECONDS // 2
        return self._payer_invoice(job.owed_sats, life=life)

    def _offer(self, text: str, sats: int) -> Offer:
        return Offer(
            text=text,
            payment_hash=bolt11.read(text).payment_hash,
            sats=sats,
            expires=self.now + INVOICE_SECONDS,
        )

    @contextmanager
    def _lies(self, payment_hash: str, sats: int, what: str) -> Iterator[None]:
        """Once, and no later than this lasts."""
        self._say(f"LNbits says {what}")
        lie = lies_about(payment_hash, sats)[what]
        self.stand_in.arm(lie)
        yield
        others = [fault for fault in self.stand_in.armed() if fault.match != payment_hash]
        self.stand_in.disarm()
        for fault in others:
            self.stand_in.arm(fault)

    def _payer_invoice(self, sats: int, *, life: int = INVOICE_SECONDS) -> str:
        """An invoice of the caller, whose own Lightning is never in trouble."""
        with self._fair_weather():
            return self.stand_in.payer_invoice(sats, expiry=life)

    @contextmanager
    def _fair_weather(self) -> Iterator[None]:
        armed = self.stand_in.armed()
        self.stand_in.disarm()
        yield
        for fault in armed:
            self.stand_in.arm(fault)

    def _taken(self, job: Caller, text: str) -> Claimed:
        for claimed in job.claims:
            if claimed.text == text:
                return claimed
        try:
            payment_hash = bolt11.read(text).payment_hash
        except bolt11.NotABolt11:
            payment_hash = ""
        return Claimed(
            text=text,
            payment_hash=payment_hash,
            sats=job.owed_sats,
            expires=self.now + INVOICE_SECONDS,
        )

    def _check_claim(self, job: Caller, text: str, answer: TestResponse) -> None:
        """An invoice of the right amount, or one that was claimed with before."""
        body, code = answer.json or {}, (answer.json or {}).get("code")
        earlier = [claimed for claimed in job.claims if claimed.text != text]
        is_known = len(earlier) < len(job.claims) and answer.status_code not in {200, 202}
        if answer.status_code == 200:
            self._watch_the_world()
            assert body["paymentHash"] in self.sent, "what is said to be paid is paid"
        elif answer.status_code == 202:
            assert job.state in ENDED
            assert body["ok"] is False
        elif job.state not in ENDED or not job.debts:
            assert answer.status_code == 409
        elif not job.owed_sats:
            assert (answer.status_code, code) == (409, "refund_already_paid")
            assert body["paymentHash"] in self.sent
        elif answer.status_code == 503 and self._has_failed_often(job):
            assert job.returning not in {"trying", "paying"}
            assert code == "lightning_unavailable"
            assert 1 <= int(answer.headers["Retry-After"]) <= LONGEST_PAUSE.total_seconds()
        elif job.returning == "paying" or (earlier and not is_known and code != "refund_automatic"):
            assert (answer.status_code, code) == (409, "refund_in_progress")
        elif job.returning == "trying":
            assert (answer.status_code, code) == (409, "refund_automatic")
            assert "refundTo" in body["error"]
        else:
            is_open = is_known and code != "refund_automatic"
            assert is_open, f"a good claim was turned away: {_short(answer)}"

    def _has_failed_often(self, job: Caller) -> bool:
        """Whether whoever claims may be put off: nothing is under way, and much has failed."""
        payouts = select(Payout.state, Payout.sends).join(Job, Job.id == Payout.job_id)
        with self.bench.tools.database.transaction("test.failures") as session:
            rows = session.execute(payouts.where(Job.public_id == job.job_id)).all()
        failures = sum(sends for state, sends in rows if state is PayoutState.FAILED)
        under_way = [state for state, _ in rows if state is PayoutState.SENDING]
        return failures >= FREE_FAILURES and not under_way

    def _strange_invoice(self, job: Caller, how: str) -> str | None:
        owed = job.owed_sats
        if how == "again":
            return job.claims[-1].text if job.claims else None
        if how == "of another job":
            texts = [claimed.text for other in self.callers for claimed in other.claims]
            mine = {claimed.text for claimed in job.claims}
            return next((text for text in texts if text not in mine), None)
        if how == "another":
            return self._payer_invoice(owed) if owed and job.claims else None
        if how == "wrong amount":
            return self._payer_invoice(owed + 1)
        return {"of ours": job.bills["eval"].payment_request, "no invoice": "lnbcrt1nothing"}[how]

    def _work(self, until: Callable[[], bool] = lambda: False) -> None:
        while self.doorbell.rung and not until():
            task, row_id = self.doorbell.rung.popleft()
            with self._a_process():
                ANSWERS[task](row_id)
            self._look()

    def _do_duty(self, duty: TaskName) -> None:
        """Let its time come, and do it."""
        with self.bench.tools.database.transaction("test.come_round") as session:
            session.execute(update(Tick).where(Tick.name == duty.value).values(due_at=func.now()))
        is_fair = self._is_fair()
        with self._a_process():
            assert ticks.run(self.tools, duty)
            if is_fair and duty is TaskName.POLL_PAYMENTS:
                self._look()
                self._check_all_noticed()
                return
        self._look()

    def _check_all_noticed(self) -> None:
        """A poll in fair weather finds whatever was paid."""
        for job in self.callers:
            kind = AWAITING.get(job.state)
            assert kind is None or not job.bills[kind].is_paid, f"{job!r} was paid"

    @contextmanager
    def _a_process(self) -> Iterator[None]:
        """What one process does, which may be killed over it."""
        if self.is_hasty:
            self._is_fair()
        try:
            yield
        except Killed as killed:
            self._say(f"killed at {killed}")
            self.bench.seen["kills"] += 1
            self.excuses.kills += 1
            self._use(self.tools.with_(proof=self._new_proof()))
        finally:
            self.database.live_on()

    def _look(self) -> None:
        """Every caller reads their job; what the world did before was done before they knew."""
        self._watch_the_world()
        for job in self.callers:
            before = job.told
            moved = job.hear(self._read(job), self.now)
            if moved:
                self._say(moved)
                self.bench.seen[moved.partition(": ")[2]] += 1
            self._hear_of_the_return(job, before)

    def _read(self, job: Caller) -> dict[str, Any]:
        answer = self.client.get(f"/api/jobs/{job.job_id}")
        assert answer.status_code == 200, _short(answer)
        return answer.json or {}

    def _hear_of_the_return(self, job: Caller, before: dict[str, Any]) -> None:
        moved = job.hear_of_the_return(before, self.now)
        if moved is None or job.receiver is None:
            return
        self._say(f"{job!r}: refundTo: {moved}")
        self.bench.seen[f"refundTo: {moved}"] += 1
        paid = len(job.receiver.hashes & set(self.sent))
        assert paid >= job.receiver.trace.count("paid"), "paid there, and nothing has arrived"

    def _watch_the_world(self) -> None:
        for effect in self.stand_in.effects(since=self.effects_seen):
            self.effects_seen = effect.n
            if effect.kind == EffectKind.PAYMENT_OUT and effect.details["wallet"] == "service":
                payment_hash = effect.details["paymentHash"]
                assert payment_hash not in self.sent, "one invoice was paid twice"
                self.sent[payment_hash] = effect.details["amountMsat"]
            if effect.kind in {EffectKind.RECEIVER_ASKED, EffectKind.RECEIVER_OFFERED}:
                self._watch_a_receiver(effect)

    def _watch_a_receiver(self, effect: Effect) -> None:
        """It is asked only when the caller was told that it will be: never while money is out."""
        job = next(job for job in self.callers if _has_receiver(job, effect.details["name"]))
        assert job.receiver is not None
        if effect.kind == EffectKind.RECEIVER_ASKED:
            assert job.returning == "trying", f"{job!r} is {job.returning}, and its receiver asked"
            return
        job.receiver.offers.append(self._offer(effect.details["paymentRequest"], job.owed_sats))

    def _returned(self, job: Caller) -> int:
        return sum(self.sent[payment_hash] for payment_hash in job.payees)

    def _is_fair(self) -> bool:
        is_fair = not self.stand_in.armed()
        if is_fair and self.is_hasty:
            self._be_patient()
        return is_fair

    def _make_due(self) -> None:
        make_everything_due(self.bench.tools.database)

    def _pass(self, seconds: int) -> None:
        let_time_pass(self.bench.tools.database, timedelta(seconds=seconds))
        self.now += seconds

    def _hurry(self, target: str) -> None:
        """Wait for nothing that is asked of what hangs, until nothing does."""
        wait_shortly_for(target, HASTY_SECONDS, self.patched)
        if target == "anthropic":
            self._use(self.tools.with_(language_model=self.bench.hasty_models))
        self.is_hasty = True

    def _clear_up(self) -> None:
        self.stand_in.disarm()
        self._be_patient()

    def _be_patient(self) -> None:
        """A machine that stands still for a moment is no trouble."""
        self.is_hasty = False
        self.patched.undo()
        self._use(self.tools.with_(language_model=self.bench.tools.language_model))

    def _say(self, what: str) -> None:
        note(f"    # {what}")  # type: ignore[no-untyped-call,unused-ignore]

    # --- the end

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._run_to_the_end()
                self._judge_the_log()
        finally:
            self._clear_up()
            empty(self.bench.tools)

    def _run_to_the_end(self) -> None:
        """Faults off, time passes: everything ends, and everybody has back what they are owed."""
        self._clear_up()
        self.database.live_on()
        self.doorbell.rung.clear()
        self._round(TaskName.REFRESH_PRICE, *POLLING)
        self._until(lambda: not any(job.state in WORKING for job in self.callers), seconds=61)
        self._until(lambda: all(job.state in ENDED for job in self.callers), seconds=1800)
        self._until(self._is_everybody_paid, seconds=1800)
        for job in self.callers:
            self._check_end(job)
        self.the_books_balance()
        self.nobody_is_paid_twice()

    def _judge_the_log(self) -> None:
        tools = self.bench.tools
        self.bench.log.judge(confidential=confidential_in(tools.database, tools.settings))

    def _until(self, done: Callable[[], bool], *, seconds: int) -> None:
        for _ in range(ROUNDS_TO_FINISH):
            if done():
                return
            self._pass(seconds)
            self._round(TaskName.REFRESH_PRICE, TaskName.SWEEP_INVOICES)
        raise AssertionError(f"this never ends: {[job.told for job in self.callers]}")

    def _round(self, *duties: TaskName) -> None:
        for duty in duties:
            self._do_duty(duty)
        self._do_all_that_is_due()

    def _is_everybody_paid(self) -> bool:
        """And whoever is not claims, unless it goes by itself."""
        for job in self.callers:
            if job.owed_sats and not job.goes_by_itself:
                self._claim(job)
        self._work()
        return not any(job.owed_sats for job in self.callers)

    def _check_end(self, job: Caller) -> None:
        """To the millisat, by the world's own record of what was paid and what came back."""
        self._watch_the_world()
        shown = Counter((cause, sats) for cause, sats, _ in job.debts)
        assert shown == job.owed(), f"{job!r}: owed {job.owed()}, but it shows {shown}"
        too_much = self._returned(job) + job.kept_sats * 1000 - job.paid_msats
        assert 0 <= too_much < 1000 * max(1, len(job.debts)), f"{job!r}: {too_much} msats"
        self.bench.seen[f"ended {job.state}"] += 1
        for cause, _, _ in job.debts:
            self.bench.seen[f"paid back {cause}"] += 1
        if job.receiver and job.debts:
            self._note_the_way(job, job.receiver)

    def _note_the_way(self, job: Caller, receiver: Receiver) -> None:
        is_returned = not any(claimed.payment_hash in self.sent for claimed in job.claims)
        for cause, _, _ in job.debts:
            self.bench.seen[f"{'returned' if is_returned else 'claimed'} {cause}"] += 1
        if is_returned and receiver.had_trouble:
            self.bench.seen["returned after trouble"] += 1


def _has_receiver(job: Caller, name: str) -> bool:
    return job.receiver is not None and job.receiver.name == name


def _short(answer: TestResponse) -> str:
    body: dict[str, Any] = answer.json or {}
    said = body.get("code") or body.get("state") or body.get("message") or ""
    return f"{answer.status_code} {said}"
