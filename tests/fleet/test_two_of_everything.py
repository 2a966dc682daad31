"""Hundreds of jobs at once through two of every process: each is done, paid and refunded once."""

from functools import partial

from local.stand_in.effects import EffectKind
from local.stand_in.rows import Wallet
from models.lifecycle import JobState
from tests.fleet.__main__ import SECOND
from tests.fleet.crowd import JOBS, gather
from tests.fleet.fleet import Fleet
from tests.journeys.books import Books
from tests.journeys.waiting import wait_until

WORKED = {
    "worker-money": "payout posted",
    "worker-models": "job moved",
    "beat": "beat ready",
}
"""What each process writes into the log when it is at work."""


def test_two_of_everything_do_each_job_once(fleet: Fleet, books: Books, measure: list[str]) -> None:
    crowd = gather(fleet, books)
    created = crowd.create()
    crowd.pay(created, "evalInvoice")
    quoted = crowd.wait_until_all_are(JobState.AWAITING_WORK_PAYMENT, created)
    crowd.pay(quoted, "workInvoice")
    done = crowd.wait_until_all_are(JobState.COMPLETE, quoted)
    crowd.claim_all(done)
    crowd.wait_until_all_are_refunded()
    measure.append(f"{JOBS} jobs, two of everything: {crowd.seconds}")

    assert all(job["costLedger"]["refundState"] == "paid" for job in crowd.read(done))
    assert len(crowd.effects(EffectKind.MODEL_CALL_BEGIN)) == 2 * JOBS
    assert len(crowd.effects(EffectKind.INVOICE_CREATED, Wallet.SERVICE)) == 2 * JOBS
    crowd.assert_money_moved_once()
    assert crowd.most_calls_of_one_step_at_once() == 1
    for process, text in WORKED.items():
        for each in (process, process + SECOND):
            # the supervisor passes lines on, a moment after they were written
            wait_until(f"{each} says: {text}", partial(fleet.lines_of, each, text))
