"""Hundreds of jobs at once through two of every process: each is done, paid and refunded once."""

from concurrent.futures import ThreadPoolExecutor

from local.stand_in.effects import EffectKind
from local.stand_in.rows import Wallet
from models.lifecycle import JobState
from tests.fleet.__main__ import SECOND
from tests.fleet.crowd import JOBS, Crowd, gather
from tests.fleet.fleet import KINDS, Fleet
from tests.journeys.books import Books
from tests.journeys.caller import Json
from tests.journeys.waiting import wait_until

HELD_CALLS = 40
"""Model calls that stand still when a process is killed: some of them are its own."""

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
        assert fleet.lines_of(process, text)
        assert fleet.lines_of(process + SECOND, text)


def killed(crowd: Crowd) -> int:
    """Kill one of each kind without a word; how many model calls were under way just before."""
    under_way = crowd.calls_without_end()
    for kind in KINDS:
        crowd.fleet.kill_second(kind)
    return under_way


def killed_in_the_middle_of_calls(crowd: Crowd, jobs: list[Json], invoice: str) -> int:
    """Pay, and kill one of each while models are thinking."""
    wallet = crowd.fleet.wallet
    wallet.hold(times=HELD_CALLS)
    crowd.pay(jobs, invoice)
    wallet.wait_until_held(HELD_CALLS)
    under_way = killed(crowd)
    wallet.release()
    return under_way


def claimed_while_one_of_each_is_killed(crowd: Crowd, jobs: list[Json]) -> None:
    with ThreadPoolExecutor(1) as background:
        claims = background.submit(crowd.claim_all, jobs)
        wait_until("refunds are being paid", lambda: crowd.refunded() >= JOBS // 10)
        killed(crowd)
        claims.result()
    crowd.wait_until_all_are_refunded()


def test_given_one_of_each_kind_is_killed_again_and_again_then_the_others_finish_every_job(
    fleet: Fleet, books: Books, measure: list[str]
) -> None:
    crowd = gather(fleet, books)
    created = crowd.create()
    under_way = killed_in_the_middle_of_calls(crowd, created, "evalInvoice")
    quoted = crowd.wait_until_all_are(JobState.AWAITING_WORK_PAYMENT, created)
    under_way += killed_in_the_middle_of_calls(crowd, quoted, "workInvoice")
    done = crowd.wait_until_all_are(JobState.COMPLETE, quoted)
    claimed_while_one_of_each_is_killed(crowd, done)

    calls = len(crowd.effects(EffectKind.MODEL_CALL_BEGIN))
    lost = crowd.calls_without_end()
    measure.append(f"{JOBS} jobs, one of each killed thrice: {crowd.seconds}, {lost} calls lost")
    assert 0 < lost <= under_way, "somebody died in the middle of something"
    assert 2 * JOBS <= calls <= 2 * JOBS + lost, "only what was under way is done again"
    assert all(job["costLedger"]["refundState"] == "paid" for job in crowd.read(done))
    crowd.assert_money_moved_once()
