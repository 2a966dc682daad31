"""Execution: the work is delivered with an exact ledger, or what was paid for it is owed."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from gateways.llms import Answer, Stop
from gateways.prices import TokenRates
from local.stand_in.faults import Fault, FaultKind
from models.attempt import Attempt, AttemptOutcome, Step
from models.invoice import InvoiceKind
from models.job import Job
from models.ledger import Account
from models.lifecycle import JobState
from models.money import Sats, Usd
from services.jobs import execution, steps
from services.money import pricing
from services.money.pricing import CostTerms, Quote, TokenBound
from tests.support import rows
from tests.support.life import Life
from tests.support.recording_model import RecordingModel


def _fault(kind: FaultKind = FaultKind.STATUS, **details: object) -> Fault:
    return Fault.model_validate({"target": "anthropic", "kind": kind, **details})


def _try_again(life: Life) -> None:
    life.make_due()
    life.work()


def _begin(life: Life, job_id: int) -> steps.Assignment | None:
    """Do what a worker does before its call."""
    return steps.take(
        life.tools, job_id, Step.EXECUTE, model="claude-sonnet-5-5", prompt_version="p@1"
    )


def _answer(assignment: steps.Assignment, life: Life) -> Answer | None:
    question = execution._question(life.tools, assignment.job)
    return steps.ask(life.tools, assignment, question)


def _as_locked(job: Job) -> Quote:
    """The quote as the row has it, put together here and not by the service."""
    values = (job.input_usd_per_million, job.output_usd_per_million, job.infra_usd, job.margin_pct)
    assert None not in values
    rate_in, rate_out, infra, margin = (Decimal(str(value)) for value in values)
    return Quote(
        bound=TokenBound(input=job.input_tokens_bound or 0, output=job.output_tokens_bound or 0),
        rates=TokenRates(input=rate_in, output=rate_out),
        terms=CostTerms(infra=Usd(infra), margin_pct=margin),
        estimated_cost=Usd(job.estimated_cost_usd or Decimal(0)),
        btc_price=Usd(job.btc_price_usd or Decimal(0)),
        amount=Sats(job.work_amount_sats or 0),
    )


def test_given_paid_work_then_it_is_delivered_with_its_exact_ledger_and_the_rest_is_owed(
    life: Life,
) -> None:
    view = life.complete()

    job = life.view(view).job
    charge = pricing.charge(
        _as_locked(job),
        input_tokens=job.actual_input_tokens or 0,
        output_tokens=job.actual_output_tokens or 0,
    )
    assert job.state is JobState.COMPLETE
    assert job.result is not None
    assert job.result.startswith("This is a stand-in")
    assert (job.actual_cost_usd, job.actual_charge_usd) == (charge.actual_cost, charge.charge)
    assert job.actual_amount_sats == charge.kept
    assert job.work_amount_sats == view.invoices[InvoiceKind.WORK].amount_sats
    assert life.debts(view) == [("unused_work", charge.unused, "owed")]
    assert life.balances()[Account.EARNED] == (10 + charge.kept) * 1000
    assert rows.history(life.tools, view)[-1] == "delivered"


def test_the_price_that_was_locked_holds_whatever_the_settings_say_later(life: Life) -> None:
    view = life.executing()
    dearer = life.tools.settings.model_copy(
        update={
            "margin_pct": Decimal(900),
            "infra_monthly_cost_usd": Decimal(10**6),
            "work_model": "claude-opus-5",
        }
    )

    execution.execute(life.tools.with_(settings=dearer), view.job.id)

    job = life.view(view).job
    assert job.margin_pct == 25
    assert {call.model for call in rows.all_of(life.tools, Attempt)} == {
        *(life.tools.settings.eval_model, life.tools.settings.work_model)
    }
    assert (job.actual_amount_sats or 0) < (job.work_amount_sats or 0)


def test_given_an_answer_cut_at_the_cap_then_it_is_complete_and_charged_for_what_was_used(
    life: Life,
) -> None:
    view = life.executing()
    life.stand_in.arm(_fault(FaultKind.MAX_TOKENS))

    life.work()

    job = life.view(view).job
    assert job.state is JobState.COMPLETE
    assert job.incomplete_reason == "max_output_tokens"
    assert job.actual_output_tokens == job.output_tokens_bound == 1024
    assert job.result


def test_given_a_whole_answer_then_nothing_is_called_incomplete(life: Life) -> None:
    view = life.complete()

    assert life.view(view).job.incomplete_reason is None


@pytest.mark.parametrize(
    ("kind", "code"), [(FaultKind.REFUSAL, "refused"), (FaultKind.EMPTY, "empty")]
)
def test_given_a_refusal_or_nothing_then_the_job_fails_and_the_whole_work_fee_is_owed(
    life: Life, kind: FaultKind, code: str
) -> None:
    view = life.executing()
    life.stand_in.arm(_fault(kind))

    life.work()

    job = life.view(view).job
    price = view.invoices[InvoiceKind.WORK].amount_sats
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    assert (job.actual_amount_sats, job.work_amount_sats) == (0, price)
    assert life.debts(view) == [("failed_work", price, "owed")]
    assert life.balances()[Account.EARNED] == 10_000
    assert life.stand_in.counts().model_calls == 2  # the evaluation, and one


@pytest.mark.parametrize(
    ("answer", "is_delivered"),
    [
        (Answer(text="Done.", stop=Stop.DONE, input_tokens=1, output_tokens=1), True),
        (Answer(text="Do", stop=Stop.CUT, input_tokens=1, output_tokens=1), True),
        (Answer(text="", stop=Stop.CUT, input_tokens=1, output_tokens=1024), False),
        (Answer(text=" \n\t", stop=Stop.DONE, input_tokens=1, output_tokens=1), False),
        (Answer(text="I won't.", stop=Stop.REFUSED, input_tokens=1, output_tokens=1), False),
    ],
)
def test_what_counts_as_work(answer: Answer, is_delivered: bool) -> None:
    assert (execution.why_undeliverable(answer) is None) is is_delivered


@pytest.mark.parametrize("status", [429, 503, 529])
def test_given_an_overloaded_provider_then_the_work_is_only_later(life: Life, status: int) -> None:
    view = life.executing()
    life.stand_in.arm(_fault(status=status, times=3))

    life.work()
    for _ in range(3):
        assert life.state(view) is JobState.EXECUTING
        _try_again(life)

    assert life.state(view) is JobState.COMPLETE


def test_given_two_calls_that_may_have_been_billed_then_the_job_fails(life: Life) -> None:
    view = life.executing()
    life.stand_in.arm(_fault(FaultKind.RESET, after_effect=True, times=5))

    life.work()
    _try_again(life)
    _try_again(life)

    job = life.view(view).job
    assert (job.state, job.error_code) == (JobState.FAILED, "attempts_spent")
    assert life.debts(view) == [("failed_work", job.work_amount_sats, "owed")]
    assert rows.outcomes(life.tools, view)[1:] == ["doubtful", "doubtful"]


def test_given_one_call_that_may_have_been_billed_then_a_second_is_made(life: Life) -> None:
    view = life.executing()
    life.stand_in.arm(_fault(FaultKind.RESET, after_effect=True))

    life.work()
    _try_again(life)

    assert life.state(view) is JobState.COMPLETE
    assert rows.outcomes(life.tools, view)[1:] == ["doubtful", "answered"]


def test_given_three_workers_that_died_in_the_call_then_the_job_fails(life: Life) -> None:
    view = life.executing()
    for _ in range(3):
        assert _begin(life, view.job.id) is not None
        life.make_due()

    life.work()

    job = life.view(view).job
    assert (job.state, job.error_code) == (JobState.FAILED, "crashed")
    assert life.debts(view) == [("failed_work", job.work_amount_sats, "owed")]


def test_given_two_workers_that_died_then_the_third_delivers(life: Life) -> None:
    view = life.executing()
    for _ in range(2):
        assert _begin(life, view.job.id) is not None
        life.make_due()

    life.work()

    assert life.state(view) is JobState.COMPLETE


DOUBTFUL, CRASHED, OVERTAKEN = AttemptOutcome.DOUBTFUL, None, AttemptOutcome.SUPERSEDED


def _end_last_call(life: Life, outcome: AttemptOutcome | None) -> None:
    """Let the call that was begun last have ended so; None = its worker died in it."""
    with life.tools.database.transaction("test.ended") as session:
        last = session.scalars(select(Attempt).order_by(Attempt.id.desc()).limit(1)).one()
        last.outcome = outcome
        last.ended_at = None if outcome is None else last.started_at


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ((CRASHED, CRASHED, DOUBTFUL), "attempts_spent"),
        ((DOUBTFUL, CRASHED, CRASHED), "attempts_spent"),
        ((CRASHED, DOUBTFUL, CRASHED), "attempts_spent"),
        ((CRASHED, CRASHED, CRASHED), "crashed"),
        ((DOUBTFUL, DOUBTFUL), "attempts_spent"),
        ((CRASHED, DOUBTFUL, DOUBTFUL), "attempts_spent"),
        ((OVERTAKEN, OVERTAKEN), "attempts_spent"),
        ((OVERTAKEN, CRASHED, CRASHED), "attempts_spent"),
    ],
    ids=str,
)
def test_however_calls_end_without_an_answer_no_fourth_that_may_be_billed_is_made(
    life: Life, ends: tuple[AttemptOutcome | None, ...], code: str
) -> None:
    view = life.executing()
    for outcome in ends:
        assert _begin(life, view.job.id) is not None, "one call more is allowed"
        _end_last_call(life, outcome)
        life.make_due()

    assert _begin(life, view.job.id) is None

    job = life.view(view).job
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    assert life.debts(view) == [("failed_work", job.work_amount_sats, "owed")]


def test_given_an_outage_until_the_deadline_then_the_job_fails(life: Life) -> None:
    view = life.executing()
    life.stand_in.arm(_fault(status=529, times=50))
    life.work()

    rows.let_pass(life.tools, Job, timedelta(seconds=3600))
    _try_again(life)

    assert life.view(view).job.error_code == "deadline"
    assert [cause for cause, _, _ in life.debts(view)] == ["failed_work"]


@pytest.mark.parametrize(
    ("passed", "least", "most"),
    [(0, 3590, 3600), (3540, 50, 60), (3598, 5, 5)],
    ids=["at once", "a minute before it", "just before it"],
)
def test_a_call_gets_no_more_time_than_the_job_has_left(
    life: Life, passed: int, least: float, most: float
) -> None:
    """At the deadline the caller's money is owed back: an answer after it would be at our cost."""
    view = life.executing()
    rows.let_pass(life.tools, Job, timedelta(seconds=passed))
    assignment = _begin(life, view.job.id)
    assert assignment is not None
    model = RecordingModel()

    question = execution._question(life.tools, assignment.job)
    steps.ask(life.tools.with_(language_model=model.of), assignment, question)

    assert [least <= (asked.seconds or 0) <= most for asked in model.asked] == [True]


def test_an_answer_that_was_stored_is_delivered_even_after_the_deadline(life: Life) -> None:
    view = life.executing()
    assignment = _begin(life, view.job.id)
    assert assignment is not None
    assert _answer(assignment, life) is not None  # stored; then the worker dies

    rows.let_pass(life.tools, Job, timedelta(seconds=3600))
    _try_again(life)

    assert life.state(view) is JobState.COMPLETE
    assert life.stand_in.counts().model_calls == 2


def test_a_worker_that_takes_over_uses_the_stored_answer_and_does_not_call(life: Life) -> None:
    view = life.executing()
    assignment = _begin(life, view.job.id)
    assert assignment is not None
    stored = _answer(assignment, life)
    assert stored is not None

    _try_again(life)

    assert life.view(view).job.result == stored.text
    assert rows.outcomes(life.tools, view) == ["answered", "answered"]
    assert life.stand_in.counts().model_calls == 2


def test_a_zombie_changes_nothing_and_what_it_cost_is_on_record(life: Life) -> None:
    view = life.executing()
    zombie = _begin(life, view.job.id)
    assert zombie is not None
    _try_again(life)  # its lease ran out; another worker delivers
    delivered = life.view(view).job

    assert _answer(zombie, life) is None

    with life.tools.database.transaction("test.zombie") as session:
        late = session.scalars(select(Attempt).where(Attempt.id == zombie.attempt_id)).one()
    assert late.outcome is AttemptOutcome.SUPERSEDED
    assert late.answer
    assert (late.cost_usd or 0) > 0
    assert life.view(view).job.version == delivered.version
    assert rows.outcomes(life.tools, view) == ["answered", "superseded", "answered"]


def test_a_zombie_that_has_its_answer_already_cannot_deliver_it_twice(life: Life) -> None:
    view = life.executing()
    zombie = _begin(life, view.job.id)
    assert zombie is not None
    answer = _answer(zombie, life)
    assert answer is not None
    _try_again(life)
    delivered = life.view(view).job

    execution._act_on(life.tools, zombie, answer)

    assert life.view(view).job.version == delivered.version
    assert len(life.debts(view)) == 1


def test_a_zombies_failure_does_not_fail_the_job(life: Life) -> None:
    view = life.executing()
    zombie = _begin(life, view.job.id)
    assert zombie is not None
    life.make_due()
    assert _begin(life, view.job.id) is not None
    life.stand_in.arm(_fault(status=400))

    assert _answer(zombie, life) is None

    assert life.state(view) is JobState.EXECUTING
    assert life.debts(view) == []


def test_the_answer_is_on_record_with_its_usage_and_its_price(life: Life) -> None:
    view = life.complete()

    with life.tools.database.transaction("test.journal") as session:
        attempt = session.scalars(select(Attempt).where(Attempt.step == Step.EXECUTE)).one()
    job = life.view(view).job
    assert attempt.answer == job.result
    assert attempt.cost_usd == job.actual_cost_usd
    assert attempt.usage is not None
    assert attempt.usage["output_tokens"] == job.actual_output_tokens
    assert attempt.prompt_version.startswith("worker@")
    assert attempt.request_id is not None


def test_executing_a_job_that_is_elsewhere_does_nothing(life: Life) -> None:
    view = life.complete()

    execution.execute(life.tools, view.job.id)
    execution.execute(life.tools, 987_654)

    assert life.stand_in.counts().model_calls == 2
