"""Execution: do the paid work, deliver it with its ledger, and owe the unused part back."""

from typing import TypeVar

from sqlalchemy import func

from gateways.llms import Answer, Question, Stop
from gateways.prices import TokenRates
from models import moves
from models.attempt import Step
from models.debt import DebtCause
from models.invoice import InvoiceKind
from models.job import IncompleteReason, Job
from models.lifecycle import JobEvent, JobState
from models.money import Sats, Usd, msats
from services.jobs import failure, prompts, steps, terms
from services.jobs.failure import Failure
from services.jobs.steps import Assignment
from services.money import ledger, pricing
from services.money.pricing import Charge, CostTerms, Quote, TokenBound
from services.toolbox import Toolbox

T = TypeVar("T")


def execute(tools: Toolbox, job_id: int) -> None:
    """Take a paid job through its work. Safe to call any number of times, anywhere, at once."""
    assignment = steps.take(
        tools, job_id, Step.EXECUTE, prompt_version=prompts.load("worker").version
    )
    if assignment is None:
        return
    with tools.leases.hold(Job, job_id, assignment.claim):
        answer = steps.ask(tools, assignment, _question(tools, assignment.job))
        if answer is not None:
            _act_on(tools, assignment, answer)


def _question(tools: Toolbox, job: Job) -> Question:
    """The call as it was priced: its cap is the one that the caller paid for."""
    asked = terms.work_question(tools.settings, job.request)
    assert job.work_model is not None
    assert job.output_tokens_bound is not None
    return Question(
        model=job.work_model,
        system=asked.system,
        user=asked.user,
        max_output_tokens=job.output_tokens_bound,
    )


def _act_on(tools: Toolbox, assignment: Assignment, answer: Answer) -> None:
    why = why_undeliverable(answer)
    if why is None:
        _deliver(tools, assignment, answer)
        return
    with tools.database.transaction("jobs.fail") as session:
        failure.give_up(session, assignment.job, assignment.claim, why)


def why_undeliverable(answer: Answer) -> Failure | None:
    """A refusal or an empty answer is no work. An answer that was cut is."""
    if answer.stop is Stop.REFUSED:
        return failure.REFUSED
    return None if answer.text.strip() else failure.EMPTY


def locked_quote(job: Job) -> Quote:
    """The price that was locked when the work invoice was issued."""
    return Quote(
        bound=TokenBound(input=job.input_tokens_bound or 0, output=job.output_tokens_bound or 0),
        rates=TokenRates(
            input=_present(job.input_usd_per_million), output=_present(job.output_usd_per_million)
        ),
        terms=CostTerms(infra=Usd(_present(job.infra_usd)), margin_pct=_present(job.margin_pct)),
        estimated_cost=Usd(_present(job.estimated_cost_usd)),
        btc_price=Usd(_present(job.btc_price_usd)),
        amount=Sats(_present(job.work_amount_sats)),
    )


def _present(value: T | None) -> T:
    assert value is not None, "a job in execution has a locked price"
    return value


def _deliver(tools: Toolbox, assignment: Assignment, answer: Answer) -> None:
    """Hand the work over, keep what it cost, owe the rest: one transaction."""
    charge = pricing.charge(
        locked_quote(assignment.job),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
    )
    with tools.database.transaction("jobs.deliver") as session:
        job = moves.advance(
            session,
            assignment.job.id,
            expect=JobState.EXECUTING,
            on=JobEvent.DELIVERED,
            claim=assignment.claim,
            result=answer.text.replace("\x00", ""),
            incomplete_reason=_incomplete(answer),
            completed_at=func.now(),
            **_actuals(answer, charge),
        )
        if job is None:
            return
        receipt, _ = failure.receipt_of(session, job.id, InvoiceKind.WORK)
        ledger.earn(session, receipt, charge.kept)
        ledger.owe(session, receipt, DebtCause.UNUSED_WORK, msats(charge.unused))


def _incomplete(answer: Answer) -> IncompleteReason | None:
    return IncompleteReason.MAX_OUTPUT_TOKENS if answer.stop is Stop.CUT else None


def _actuals(answer: Answer, charge: Charge) -> dict[str, object]:
    return {
        "actual_input_tokens": answer.input_tokens,
        "actual_output_tokens": answer.output_tokens,
        "actual_cost_usd": charge.actual_cost,
        "actual_charge_usd": charge.charge,
        "actual_amount_sats": charge.kept,
    }
