"""Evaluation: a verdict and a price, a rejection, a wait, or the fee owed back."""

from datetime import timedelta
from typing import Any

import pytest

from local.stand_in.faults import Fault, FaultKind
from models.attempt import Step
from models.btc_price import BtcPrice
from models.invoice import InvoiceKind
from models.job import Job
from models.ledger import Account
from models.lifecycle import JobState
from services.jobs import evaluation, steps
from tests.support import rows
from tests.support.life import Life

OPENED = ["created", "eval_paid"]


def _fault(kind: FaultKind = FaultKind.STATUS, **details: object) -> Fault:
    return Fault.model_validate({"target": "anthropic", "kind": kind, **details})


def _try_again(life: Life) -> None:
    life.make_due()
    life.work()


def test_given_an_acceptable_request_then_the_work_is_quoted_and_the_fee_is_earned(
    life: Life,
) -> None:
    view = life.evaluating()

    life.work()

    seen = life.view(view)
    assert seen.job.state is JobState.AWAITING_WORK_PAYMENT
    assert seen.invoices[InvoiceKind.WORK].amount_sats >= 1
    assert seen.job.estimated_cost_usd is not None
    assert seen.job.btc_price_source == "fallback"
    assert rows.outcomes(life.tools, view) == ["answered"]
    assert rows.history(life.tools, view) == [*OPENED, "accepted"]
    assert life.balances()[Account.EARNED] == 10_000
    assert life.debts(view) == []


def test_given_a_declined_request_then_it_is_rejected_with_the_reason_and_the_fee_is_earned(
    life: Life,
) -> None:
    view = life.evaluating("Please REJECT this.")

    life.work()

    job = life.view(view).job
    assert job.state is JobState.REJECTED
    assert job.reason == "The stand-in was asked to decline this request."
    assert job.completed_at is not None
    assert life.balances()[Account.EARNED] == 10_000
    assert life.debts(view) == []


def test_given_a_model_that_refuses_then_that_is_a_verdict_rejected_with_a_reason(
    life: Life,
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(FaultKind.REFUSAL))

    life.work()

    job = life.view(view).job
    assert job.state is JobState.REJECTED
    assert job.reason == "The request was declined by the model's safety policy."
    assert life.balances()[Account.EARNED] == 10_000


def test_given_an_unreadable_answer_then_it_is_asked_for_once_more(life: Life) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(FaultKind.UNREADABLE))

    life.work()
    assert life.state(view) is JobState.EVALUATING
    _try_again(life)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert rows.outcomes(life.tools, view) == ["unreadable", "answered"]


@pytest.mark.parametrize("kind", [FaultKind.UNREADABLE, FaultKind.EMPTY])
def test_given_two_answers_that_cannot_be_read_then_the_job_fails_and_the_fee_is_owed(
    life: Life, kind: FaultKind
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(kind, times=5))

    life.work()
    _try_again(life)
    _try_again(life)

    job = life.view(view).job
    assert job.state is JobState.FAILED
    assert job.error_code == "attempts_spent"
    assert life.debts(view) == [("failed_evaluation", 10, "owed")]
    assert life.stand_in.counts().model_calls == 2


def test_given_a_verdict_that_was_cut_in_its_reason_then_it_counts_and_is_earned(
    life: Life,
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(FaultKind.MAX_TOKENS, times=5))

    life.work()

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert life.debts(view) == []
    assert life.stand_in.counts().model_calls == 1


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_given_an_overloaded_provider_then_the_job_waits_and_no_attempt_is_used_up(
    life: Life, status: int
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(status=status, times=3))

    for _ in range(3):
        with rows.measured_rest(life.tools, Job) as rest:
            _try_again(life)
        assert life.state(view) is JobState.EVALUATING
        assert rest.at_most > timedelta(seconds=1)
        assert rest.at_least <= timedelta(seconds=10)
    _try_again(life)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert rows.outcomes(life.tools, view) == ["unavailable"] * 3 + ["answered"]


def test_given_a_providers_retry_after_then_it_is_honoured(life: Life) -> None:
    life.evaluating()
    life.stand_in.arm(_fault(status=429, retry_after="777"))

    with rows.measured_rest(life.tools, Job) as rest:
        life.work()

    assert rest.at_least <= timedelta(seconds=777) <= rest.at_most


def test_given_a_retry_after_beyond_the_deadline_then_the_job_ends_at_its_deadline(
    life: Life,
) -> None:
    life.evaluating()
    rows.let_pass(life.tools, Job, timedelta(minutes=50))
    life.stand_in.arm(_fault(status=529, retry_after="3600"))

    life.make_due()
    life.work()

    assert rows.due_in(life.tools, Job) <= timedelta(minutes=10)


@pytest.mark.parametrize(
    "refusal",
    [
        *[{"status": status} for status in (401, 402, 403, 404)],
        {"status": 400, "text": "Your credit balance is too low to access the API."},
    ],
    ids=["key", "funds", "model", "name", "funds, in Anthropic's words"],
)
def test_given_trouble_with_our_own_key_then_the_job_waits_for_the_operator(
    life: Life, refusal: dict[str, Any]
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(**refusal))

    life.work()
    assert life.state(view) is JobState.EVALUATING
    _try_again(life)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT


@pytest.mark.parametrize("status", [400, 413, 422])
def test_given_a_provider_that_will_not_take_the_request_then_the_job_fails_at_once(
    life: Life, status: int
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(status=status))

    life.work()

    assert life.state(view) is JobState.FAILED
    assert life.debts(view) == [("failed_evaluation", 10, "owed")]
    assert life.stand_in.counts().model_calls == 1


@pytest.mark.parametrize(
    "kind", [FaultKind.RESET, FaultKind.TRUNCATED, FaultKind.BODY], ids=lambda kind: kind.value
)
def test_given_two_calls_that_may_have_been_billed_then_there_is_no_third(
    life: Life, kind: FaultKind
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(kind, times=5))

    life.work()
    _try_again(life)
    _try_again(life)

    assert life.state(view) is JobState.FAILED
    assert rows.outcomes(life.tools, view) == ["doubtful", "doubtful"]
    assert life.debts(view) == [("failed_evaluation", 10, "owed")]


def test_given_lightning_down_when_the_verdict_is_in_then_the_job_waits_without_a_second_call(
    life: Life,
) -> None:
    view = life.evaluating()
    outage = {"target": "lnbits.create", "kind": "status", "status": 503, "times": 3}
    life.stand_in.arm(Fault.model_validate(outage))

    life.work()
    for _ in range(2):
        _try_again(life)
        assert life.state(view) is JobState.EVALUATING
        assert life.balances()[Account.HELD] == 10_000
    _try_again(life)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert life.stand_in.counts().model_calls == 1
    assert rows.outcomes(life.tools, view) == ["answered"]


def test_given_no_price_when_the_verdict_is_in_then_the_job_waits_without_a_second_call(
    life: Life,
) -> None:
    view = life.evaluating()
    without_price = life.tools.with_(
        settings=life.tools.settings.model_copy(update={"btc_price_usd_fallback": None})
    )

    evaluation.evaluate(without_price, view.job.id)
    assert life.state(view) is JobState.EVALUATING
    with life.tools.database.transaction("test.price") as session:
        session.add(BtcPrice(price_usd=90_000, feeds={"kraken": "90000"}))
    life.make_due()
    evaluation.evaluate(without_price, view.job.id)

    job = life.view(view).job
    assert job.state is JobState.AWAITING_WORK_PAYMENT
    assert job.btc_price_usd == 90_000
    assert job.btc_price_source == "live"
    assert job.btc_price_feeds == {"kraken": "90000"}
    assert life.stand_in.counts().model_calls == 1


def test_given_an_outage_until_the_deadline_then_the_job_fails_and_the_fee_is_owed(
    life: Life,
) -> None:
    view = life.evaluating()
    life.stand_in.arm(_fault(status=529, times=50))
    life.work()

    rows.let_pass(life.tools, Job, timedelta(seconds=3600))
    _try_again(life)

    job = life.view(view).job
    assert (job.state, job.error_code) == (JobState.FAILED, "deadline")
    assert life.debts(view) == [("failed_evaluation", 10, "owed")]
    assert life.stand_in.counts().model_calls == 1


def test_given_a_verdict_that_could_not_be_quoted_until_the_deadline_then_the_fee_is_owed(
    life: Life,
) -> None:
    view = life.evaluating()
    outage = {"target": "lnbits.create", "kind": "status", "status": 503, "times": 50}
    life.stand_in.arm(Fault.model_validate(outage))
    life.work()

    rows.let_pass(life.tools, Job, timedelta(seconds=3600))
    _try_again(life)

    assert life.state(view) is JobState.FAILED
    assert life.debts(view) == [("failed_evaluation", 10, "owed")]


def test_given_three_workers_that_died_in_the_call_then_the_job_fails(life: Life) -> None:
    view = life.evaluating()
    for _ in range(3):
        assert _begin(life, view.job.id) is not None
        life.make_due()

    assert _begin(life, view.job.id) is None

    assert life.view(view).job.error_code == "crashed"
    assert life.debts(view) == [("failed_evaluation", 10, "owed")]


def _begin(life: Life, job_id: int) -> steps.Assignment | None:
    """Do what a worker does before its call, and die."""
    return steps.take(
        life.tools, job_id, Step.EVALUATE, model="claude-haiku-5-5", prompt_version="p@1"
    )


def test_a_stored_verdict_is_used_by_the_worker_that_takes_over(life: Life) -> None:
    view = life.evaluating()
    assignment = _begin(life, view.job.id)
    assert assignment is not None
    question = evaluation.eval_question(life.tools.settings, assignment.job.request)
    assert steps.ask(life.tools, assignment, question) is not None  # stored; then the worker dies

    _try_again(life)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert life.stand_in.counts().model_calls == 1


def test_evaluating_a_job_that_is_elsewhere_does_nothing(life: Life) -> None:
    view = life.awaiting_work_payment()

    evaluation.evaluate(life.tools, view.job.id)
    evaluation.evaluate(life.tools, 987_654)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert life.stand_in.counts().model_calls == 1
