"""Two moves that exclude each other, at the same moment: one is made, and the books follow it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from config.queues import TaskName
from gateways.lightning import PayoutOutcome, PayoutReading, SettledPayment
from models import money_moves
from models.demo_run import DemoRun, DemoState
from models.invoice import Invoice, InvoiceKind, Receipt
from models.job import Job
from models.lifecycle import JobEvent, JobState
from models.payout import Payout, PayoutState
from models.tick import Tick
from services.errors import Conflict, ErrorCode, InvalidRequest
from services.jobs import demo, evaluation, execution, expiry, intake, steps
from services.jobs.demo import Client
from services.jobs.intake import JobView
from services.jobs.steps import Assignment
from services.money import held_payouts, payments, payouts, refunds
from services.money.refunds import Claim
from services.operate import ticks
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, claimed
from tests.support.together import all_at_once, together

ROUNDS = range(3)
CLIENT = Client(key="2001:db8::/64", network="2001:db8::/48")
DAY = timedelta(days=1)


def _waiting(life: Life, kind: InvoiceKind) -> JobView:
    return life.create() if kind is InvoiceKind.EVAL else life.awaiting_work_payment()


def _paid_unnoticed(life: Life, view: JobView, kind: InvoiceKind) -> SettledPayment:
    life.pay(view, kind)
    (payment, *_) = life.tools.income.settled_payments(page=0, page_size=10)
    return payment


def _errors(results: list[object]) -> list[object]:
    return [result for result in results if isinstance(result, Exception)]


def _question(life: Life, assignment: Assignment) -> Callable[[], object]:
    """The model call of an assignment, and what follows from its answer."""
    evaluates = assignment.job.state is JobState.EVALUATING
    tools, job = life.tools, assignment.job
    asked = (
        evaluation.eval_question(tools.settings, job.request)
        if evaluates
        else execution._question(tools, job)
    )

    def work() -> None:
        answer = steps.ask(tools, assignment, asked)
        if answer is not None:
            (evaluation if evaluates else execution)._act_on(tools, assignment, answer)

    return work


def _taken(life: Life, view: JobView) -> Assignment:
    step = next(step for step, state in steps.STATE_OF.items() if state is life.state(view))
    assignment = steps.take(life.tools, view.job.id, step, model="m", prompt_version="p@1")
    assert assignment is not None
    return assignment


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_cancel_that_meets_the_payment_of_the_work_either_moves_on_or_owes_it_back(
    life: Life, round_: int
) -> None:
    view = life.awaiting_work_payment()
    price = view.invoices[InvoiceKind.WORK].amount_sats
    payment = _paid_unnoticed(life, view, InvoiceKind.WORK)

    both: list[Callable[[], object]] = [
        lambda: payments.settle(life.tools, payment),
        lambda: intake.cancel(life.tools, view.job.public_id),
    ]
    together(*(both if round_ % 2 else reversed(both)))

    if life.state(view) is JobState.EXECUTING:
        assert life.debts(view) == []
    else:
        assert life.state(view) is JobState.EXPIRED
        assert life.debts(view) == [("late", price, "owed")]


@pytest.mark.parametrize("kind", list(InvoiceKind))
def test_a_payment_that_poll_reading_back_and_sweep_find_at_once_is_taken_in_once(
    life: Life, kind: InvoiceKind
) -> None:
    view = _waiting(life, kind)
    life.pay(view, kind)
    life.age_invoices(view, timedelta(hours=1, seconds=5))
    receipts = len(rows.all_of(life.tools, Receipt))

    results = together(
        lambda: payments.poll(life.tools),
        lambda: payments.read_back(life.tools, DAY),
        lambda: expiry.sweep(life.tools),
        lambda: expiry.sweep(life.tools),
    )

    assert not _errors(list(results))
    assert len(rows.all_of(life.tools, Receipt)) == receipts + 1
    assert life.state(view) in {JobState.EVALUATING, JobState.EXECUTING}
    assert life.debts(view) == []


def test_a_work_payment_that_meets_the_sweep_is_executed_or_owed(life: Life) -> None:
    view = life.awaiting_work_payment()
    price = view.invoices[InvoiceKind.WORK].amount_sats
    payment = _paid_unnoticed(life, view, InvoiceKind.WORK)
    life.age_invoices(view, timedelta(hours=1, seconds=700))
    invoice = life.view(view).invoices[InvoiceKind.WORK]

    results = together(
        lambda: expiry._expire(life.tools, invoice),
        lambda: payments.settle(life.tools, payment),
    )

    assert not _errors(list(results))
    if life.state(view) is JobState.EXPIRED:
        assert life.debts(view) == [("late", price, "owed")]
    else:
        assert (life.state(view), life.debts(view)) == (JobState.EXECUTING, [])


@pytest.mark.parametrize("kind", list(InvoiceKind))
def test_a_cancel_that_meets_the_sweep_ends_a_job_once(life: Life, kind: InvoiceKind) -> None:
    view = _waiting(life, kind)
    life.age_invoices(view, timedelta(hours=2))

    together(
        lambda: intake.cancel(life.tools, view.job.public_id),
        lambda: expiry.sweep(life.tools),
        lambda: intake.cancel(life.tools, view.job.public_id),
        lambda: expiry.sweep(life.tools),
    )

    ends = [event for event in rows.history(life.tools, view) if event in {"cancelled", "lapsed"}]
    assert len(ends) == 1
    reason = life.view(view).job.expired_reason
    assert reason is not None
    assert reason.value == {"cancelled": "cancelled", "lapsed": "unpaid"}[ends[0]]


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_delivery_that_meets_giving_up_delivers_or_owes_and_never_both(
    life: Life, round_: int
) -> None:
    view = life.executing()
    finish = _question(life, _taken(life, view))
    rows.change(life.tools, Job, give_up_at=Job.created_at, due_at=Job.created_at)
    give_up = lambda: execution.execute(life.tools, view.job.id)  # noqa: E731

    results = together(*([finish, give_up] if round_ % 2 else [give_up, finish]))

    assert not _errors(list(results))
    life.make_due()
    life.work()  # an answer that was stored is delivered, by whoever comes
    ends = [event for event in rows.history(life.tools, view) if event in {"delivered", "gave_up"}]
    causes = [cause for cause, _, _ in life.debts(view)]
    assert (ends, causes) in [(["delivered"], ["unused_work"]), (["gave_up"], ["failed_work"])]


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_verdict_that_meets_giving_up_is_given_or_the_fee_is_owed(
    life: Life, round_: int
) -> None:
    view = life.evaluating()
    finish = _question(life, _taken(life, view))
    rows.change(life.tools, Job, give_up_at=Job.created_at, due_at=Job.created_at)
    give_up = lambda: evaluation.evaluate(life.tools, view.job.id)  # noqa: E731

    results = together(*([finish, give_up] if round_ % 2 else [give_up, finish]))

    assert not _errors(list(results))
    life.make_due()
    life.work()
    if life.state(view) is JobState.FAILED:
        assert life.debts(view) == [("failed_evaluation", 10, "owed")]
        assert InvoiceKind.WORK not in life.view(view).invoices
    else:
        assert (life.state(view), life.debts(view)) == (JobState.AWAITING_WORK_PAYMENT, [])


@pytest.mark.parametrize("request_text", ["Write a haiku.", "REJECT this."])
def test_a_verdict_that_many_act_on_is_given_once(life: Life, request_text: str) -> None:
    view = life.evaluating(request_text)
    assignment = _taken(life, view)
    question = evaluation.eval_question(life.tools.settings, request_text)
    answer = steps.ask(life.tools, assignment, question)
    assert answer is not None

    results = all_at_once(lambda: evaluation._act_on(life.tools, assignment, answer))

    assert results == [None] * 8
    events = rows.history(life.tools, view)
    assert len([event for event in events if event in {"accepted", "declined"}]) == 1
    offered = len(rows.all_of(life.tools, Invoice)) - 1
    assert offered == events.count(JobEvent.ACCEPTED)


def test_a_job_that_is_put_off_and_taken_over_at_once_is_one_of_both(life: Life) -> None:
    view = life.executing()
    first = _taken(life, view)
    rows.change(life.tools, Job, due_at=Job.created_at)

    results: list[object] = list(
        together(
            lambda: steps.put_off(life.tools, first, at_least=DAY),
            lambda: steps.take(
                life.tools, view.job.id, first.step, model="m", prompt_version="p@1"
            ),
        )
    )

    assert not _errors(results)
    assert life.view(view).job.claim == first.claim + 1
    journal = [None] if results[1] is None else [None, None]
    assert [end for end in rows.outcomes(life.tools, view) if end is None] == journal


def test_a_demo_that_many_workers_take_costs_one_call(life: Life) -> None:
    run_id, _ = demo.admit(life.tools, "Hello?", CLIENT)

    results = all_at_once(lambda: demo.run(life.tools, run_id))

    assert results == [None] * 8
    assert rows.only(life.tools, DemoRun).state is DemoState.DONE
    assert life.stand_in.counts().model_calls == 1


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_demo_that_ends_while_it_is_given_up_has_one_end(life: Life, round_: int) -> None:
    run_id, _ = demo.admit(life.tools, "Hello?", CLIENT)
    life.stand_in.hold()

    def second() -> None:
        life.stand_in.wait_until_held()
        rows.change(life.tools, DemoRun, due_at=DemoRun.created_at)
        (life.stand_in.release if round_ % 2 else lambda: None)()
        demo.run(life.tools, run_id)
        ends.append(rows.only(life.tools, DemoRun).state)
        life.stand_in.release()

    ends: list[DemoState] = []
    results = together(lambda: demo.run(life.tools, run_id), second)

    assert results == [None, None]
    run = rows.only(life.tools, DemoRun)
    assert run.state in {DemoState.DONE, DemoState.FAILED}
    assert DemoState.FAILED not in ends or run.state is DemoState.FAILED, "an end is final"
    assert (run.result is not None) is (run.state is DemoState.DONE)
    assert life.stand_in.counts().model_calls == 1


def _failed_payout(life: Life) -> tuple[JobView, str]:
    """A job whose payout is proved to have failed, and the invoice of that payout."""
    view = claimed(life)
    payout = rows.only(life.tools, Payout)
    rows.let_pass(life.tools, Payout, timedelta(hours=3))  # its BOLT11 has expired for us
    payouts.send(life.tools, payout.id)
    assert rows.only(life.tools, Payout).state is PayoutState.FAILED
    rows.change(life.tools, Payout, invoice_expires_at=payout.invoice_expires_at)
    return life.view(view), payout.payment_request


def test_a_failed_payout_that_many_claim_again_with_its_invoice_is_reopened_once(
    life: Life,
) -> None:
    view, invoice = _failed_payout(life)

    results = all_at_once(lambda: claim(life, view, invoice))

    assert [isinstance(result, Claim) for result in results] == [True] * 8, results
    payout = rows.only(life.tools, Payout)
    assert (payout.state, payout.sends) == (PayoutState.SENDING, 2)
    life.make_due()
    life.work()
    assert life.debts(view) == [("late", 10, "paid")]


def test_a_failed_payout_that_is_reopened_and_replaced_at_once_is_one_of_both(life: Life) -> None:
    view, invoice = _failed_payout(life)
    others = [life.stand_in.payer_invoice(10) for _ in range(3)]

    def claiming(text: str) -> Callable[[], Claim]:
        return lambda: claim(life, view, text)

    results = together(*[claiming(text) for text in [invoice, *others]])

    won = [result for result in results if isinstance(result, Claim)]
    refused = [result for result in results if not isinstance(result, Claim)]
    assert len(won) == 1, results
    assert all(isinstance(error, Conflict) for error in refused), refused
    assert {getattr(error, "code", None) for error in refused} == {ErrorCode.REFUND_IN_PROGRESS}
    life.make_due()
    life.work()
    assert life.debts(view) == [("late", 10, "paid")]


def test_a_failed_payout_that_many_reopen_is_reopened_by_one(life: Life) -> None:
    _failed_payout(life)
    payout_id = rows.only(life.tools, Payout).id

    def reopen() -> bool:
        with life.tools.database.transaction("test.reopen") as session:
            payout = money_moves.reopen_payout(session, payout_id)
            if payout is not None:
                refunds._cover(session, payout)
            return payout is not None

    results = all_at_once(reopen)

    assert sorted(results, key=str) == [False] * 7 + [True]
    assert rows.only(life.tools, Payout).sends == 2


def test_a_payout_that_many_record_as_failed_gives_its_debt_back_once(life: Life) -> None:
    view = claimed(life)
    held = held_payouts.claim(life.tools, rows.only(life.tools, Payout).id)
    assert held is not None
    missing = PayoutReading(outcome=PayoutOutcome.UNKNOWN, code="not_sent")

    results = all_at_once(lambda: held_payouts.end_as_failed(life.tools, held, missing))

    assert results == [None] * 8
    assert life.debts(view) == [("late", 10, "owed")]


def test_a_payout_that_many_read_back_as_paid_is_booked_once(life: Life) -> None:
    view = claimed(life)
    held = held_payouts.claim(life.tools, rows.only(life.tools, Payout).id)
    assert held is not None
    assert life.tools.payouts is not None
    posted = payouts._post(life.tools, life.tools.payouts, held)
    assert posted is not None
    reading = life.tools.payouts.read(held.payment_hash)

    results = all_at_once(lambda: held_payouts.end_as_paid(life.tools, posted, reading))

    assert results == [None] * 8
    assert life.debts(view) == [("late", 10, "paid")]


def test_of_many_nudges_at_once_one_poll_comes(life: Life) -> None:
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    rows.change(life.tools, Tick, ran_at=Tick.ran_at - timedelta(seconds=0.7))
    before = _polls(life)

    results = all_at_once(lambda: ticks.hurry(life.tools, TaskName.POLL_PAYMENTS))

    assert not _errors(list(results))
    together(*[lambda: ticks.run(life.tools, TaskName.POLL_PAYMENTS)] * 8)
    assert _polls(life) == before + 1


def test_a_nudge_that_meets_a_poll_does_not_start_another_beside_it(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "HURRY_AT_MOST_EVERY", timedelta(minutes=1))
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    rows.change(life.tools, Tick, due_at=Tick.ran_at, ran_at=Tick.ran_at - timedelta(minutes=2))
    before = _polls(life)

    def nudge() -> bool:
        ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)
        return ticks.run(life.tools, TaskName.POLL_PAYMENTS)

    results = together(*[nudge] * 4, *[lambda: ticks.run(life.tools, TaskName.POLL_PAYMENTS)] * 4)

    assert sorted(results, key=str) == [False] * 7 + [True]
    assert _polls(life) == before + 1


def _polls(life: Life) -> int:
    return life.stand_in.counts().requests["GET /api/v1/payments/paginated"]


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_claim_that_meets_a_new_debt_pays_what_its_invoice_says_or_is_told_the_new_sum(
    life: Life, round_: int
) -> None:
    view = _owed_five_and_cancelled(life)
    price = view.invoices[InvoiceKind.WORK].amount_sats
    payment = _paid_unnoticed(life, view, InvoiceKind.WORK)
    invoice = life.stand_in.payer_invoice(5)
    claim_it: Callable[[], object] = lambda: claim(life, view, invoice)  # noqa: E731
    settle: Callable[[], object] = lambda: payments.settle(life.tools, payment)  # noqa: E731

    results = together(*([claim_it, settle] if round_ % 2 else [settle, claim_it]))

    claimed_ = results[0 if round_ % 2 else 1]
    if isinstance(claimed_, Claim):
        assert life.debts(view) == [("duplicate", 5, "paying"), ("late", price, "owed")]
        life.work()
        assert life.debts(view) == [("duplicate", 5, "paid"), ("late", price, "owed")]
    else:
        assert isinstance(claimed_, InvalidRequest)
        assert claimed_.code is ErrorCode.INVOICE_AMOUNT_MISMATCH
        assert life.debts(view) == [("duplicate", 5, "owed"), ("late", price, "owed")]
        assert refunds.owed(life.view(view).debts) == 5 + price


def _owed_five_and_cancelled(life: Life) -> JobView:
    """A job whose evaluation was overpaid by five sats, and which was cancelled when quoted."""
    view = life.create()
    life.pay(view, InvoiceKind.EVAL, amount_msats=15_000)
    life.poll()
    life.work()
    intake.cancel(life.tools, view.job.public_id)
    return life.view(view)
