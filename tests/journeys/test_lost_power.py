"""Every process dies at once, in the middle of everything; started again, it finishes all of it.

The world outside goes on meanwhile: it remembers what it was paid, and takes payments.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from gateways import bolt11
from local.servers.temporary import temporary_folder
from local.stand_in.effects import EffectKind
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient, running_stand_in
from models.attempt import AttemptOutcome, Step
from models.payout import Payout
from tests.journeys.books import Books, books_of
from tests.journeys.caller import Caller, Json
from tests.journeys.product import started_product
from tests.journeys.waiting import PATIENCE_SECONDS
from tests.support.books import assert_balanced
from tests.support.ports import free_port
from tests.support.rows import let_pass

A_MINUTE = timedelta(seconds=61)
"""A refund of which LNbits knows nothing is handed over again after one."""
JOBS = 6
HELD = 4
"""Calls that are under way when the lights go out."""

EVALUATED = (Step.EVALUATE, AttemptOutcome.ANSWERED)
EXECUTED = (Step.EXECUTE, AttemptOutcome.ANSWERED)
Calls = list[tuple[Step, AttemptOutcome | None]]


@dataclass(frozen=True, kw_only=True)
class Work:
    """Six jobs, each as its caller was told of it last, by how far it has come."""

    unpaid: Json
    """Nobody has paid for anything."""
    payable: Json
    """Its work is paid for while nobody is there to notice."""
    evaluating: Json
    """In the call for its evaluation."""
    executing: Json
    """In the call for its work."""
    refunded: Json
    """LNbits has paid its refund, and has not said so yet."""
    refunding: Json
    """Its refund is on its way to LNbits, and will not arrive."""
    fees: dict[str, int]
    """What each evaluation costs, in sats."""
    claimed: dict[str, str]
    """The invoices for refunds, by job."""

    @property
    def job_ids(self) -> list[str]:
        return list(self.fees)

    @property
    def recalled(self) -> dict[str, Calls]:
        """Every model call, when all is done: only what was under way is asked again."""
        calls: dict[str, Calls] = {job_id: [EVALUATED, EXECUTED] for job_id in self.job_ids}
        calls[self.evaluating["jobId"]] = [(Step.EVALUATE, None), EVALUATED, EXECUTED]
        calls[self.executing["jobId"]] = [EVALUATED, (Step.EXECUTE, None), EXECUTED]
        return calls


@pytest.fixture
def world(tmp_path: Path) -> Iterator[StandInClient]:
    """The stand-in for all that is outside: no process of ours, and nothing happens to it."""
    with running_stand_in(tmp_path / "world") as running:
        yield running


@pytest.fixture
def settings(world: StandInClient) -> dict[str, str]:
    return {
        "PORT": str(free_port()),
        "STAND_IN_URL": world.url,
        # Long enough that nobody is thought dead on a busy machine.
        "LEASE_SECONDS": "5",
        "REFUND_WAIT_SECONDS": "0",
    }


def set_to_work(caller: Caller) -> Work:
    """Bring each job to its place; four calls are under way then."""
    texts = [f"Say something kind about {uuid4()}." for _ in range(JOBS)]
    created = [caller.create(text) for text in texts]
    unpaid, evaluating, *others = created
    for job in others:
        caller.pay(job["evalInvoice"])
    payable, executing, *ended = [
        caller.wait_for(job["jobId"], "awaiting_work_payment") for job in others
    ]
    for job in ended:
        caller.pay(job["workInvoice"])
    refunded, refunding = [caller.wait_for(job["jobId"], "complete") for job in ended]

    caller.wallet.hold(match=texts[1])
    caller.pay(evaluating["evalInvoice"])
    caller.wallet.hold(match=texts[3])
    caller.pay(executing["workInvoice"])
    claimed = {
        refunded["jobId"]: claim_and_hold(caller, refunded, is_paid=True),
        refunding["jobId"]: claim_and_hold(caller, refunding, is_paid=False),
    }
    caller.wallet.wait_until_held(HELD, seconds=PATIENCE_SECONDS)
    return Work(
        unpaid=unpaid,
        payable=payable,
        evaluating=evaluating,
        executing=executing,
        refunded=refunded,
        refunding=refunding,
        fees={job["jobId"]: job["evalInvoice"]["amountSats"] for job in created},
        claimed=claimed,
    )


def claim_and_hold(caller: Caller, job: Json, *, is_paid: bool) -> str:
    """Claim a refund whose POST is held by LNbits, before or after it is paid; its invoice."""
    invoice = caller.wallet.payer_invoice(job["refundAmountSats"])
    fault = Fault(target="lnbits.pay", kind=FaultKind.HOLD, match=invoice, after_effect=is_paid)
    caller.wallet.arm(fault)
    assert caller.claim(job, invoice).status_code == 202
    return invoice


def finish(caller: Caller, books: Books, work: Work) -> list[Json]:
    """Pay what is still to be paid and wait for everything; the jobs, with their refunds owed."""
    let_pass(books.tools, Payout, A_MINUTE)
    caller.pay(work.unpaid["evalInvoice"])
    for job in (work.unpaid, work.evaluating):
        quoted = caller.wait_for(job["jobId"], "awaiting_work_payment")
        caller.pay(quoted["workInvoice"])
    for job_id in work.claimed:
        caller.wait_for(job_id, "complete", refundState="paid")
    return [caller.wait_for(job_id, "complete") for job_id in work.job_ids]


def refund(caller: Caller, work: Work, done: list[Json]) -> None:
    """Claim all that is still owed, and wait until it is paid."""
    for job in done:
        if job["jobId"] not in work.claimed:
            invoice = caller.wallet.payer_invoice(job["refundAmountSats"])
            work.claimed[job["jobId"]] = invoice
            assert caller.claim(job, invoice).status_code in {200, 202}
    for job in done:
        caller.wait_for(job["jobId"], "complete", refundState="paid")


def paid_refunds(world: StandInClient) -> Counter[str]:
    """How often each invoice was paid from the product's wallet, by the word of Lightning."""
    effects = world.effects(EffectKind.PAYMENT_OUT)
    ours = [effect.details for effect in effects if effect.details["wallet"] == "service"]
    return Counter(details["paymentHash"] for details in ours)


def assert_told_the_same(caller: Caller, work: Work) -> None:
    """Whoever comes back with a job's id is answered, and an open refund goes nowhere else."""
    assert all(caller.job(job_id)["jobId"] == job_id for job_id in work.job_ids)
    for job in (work.refunded, work.refunding):
        again = caller.claim(job, work.claimed[job["jobId"]])
        other = caller.claim(job, caller.wallet.payer_invoice(job["refundAmountSats"]))
        assert again.status_code in {200, 202}, again.text
        assert other.status_code == 409, other.text


def assert_nothing_is_missing(caller: Caller, books: Books, work: Work) -> None:
    """Each refund was paid once, each call made once that was not cut off, every sat is there."""
    world = caller.wallet
    hashes = [bolt11.read(invoice).payment_hash for invoice in work.claimed.values()]
    assert paid_refunds(world) == dict.fromkeys(hashes, 1)
    assert {job_id: books.attempts(job_id) for job_id in work.job_ids} == work.recalled
    assert world.counts().model_calls == sum(map(len, work.recalled.values()))
    assert books.wallet_msats() == caller.service_balance_msats()
    assert_balanced(books.tools, world)


def test_given_the_whole_machine_loses_power_then_every_job_ends_and_each_refund_is_paid_once(
    world: StandInClient, settings: dict[str, str]
) -> None:
    with temporary_folder() as folder:
        with started_product(folder, **settings) as product:
            had = Caller(product).balance_msats()
            work = set_to_work(Caller(product))
            product.lose_power()

        assert world.pay(work.payable["workInvoice"]["paymentHash"])
        assert len(paid_refunds(world)) == 1

        with started_product(folder, **settings) as again:
            again.confidential.extend(product.confidential)
            caller = Caller(again)
            assert_told_the_same(caller, work)
            with books_of(again) as books:
                done = finish(caller, books, work)
                refund(caller, work, done)
                assert_nothing_is_missing(caller, books, work)
            kept = [job["costLedger"]["actualAmountSats"] for job in done]
            assert had - caller.balance_msats() == 1000 * (sum(work.fees.values()) + sum(kept))
            assert again.stop() == 0
