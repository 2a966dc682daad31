"""Evaluation: will we do this job, and for how much? Ends in an invoice, a rejection, or later."""

from contextlib import suppress
from datetime import timedelta

import structlog
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from sqlalchemy import func

from config.settings import Settings
from gateways.errors import OutsideError
from gateways.lightning import IssuedInvoice
from gateways.llms import Answer, Question, Stop
from models import moves
from models.attempt import Step
from models.invoice import InvoiceKind
from models.job import Job
from models.lifecycle import JobEvent, JobState
from services.errors import NotNow
from services.jobs import failure, invoices, prompts, steps, terms
from services.jobs.steps import Assignment
from services.money import btc_price, ledger, pricing
from services.money.btc_price import BtcQuote
from services.money.pricing import Quote
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

REASON_MAX_CHARACTERS = 600
LONGEST_ESCAPE = len(r"\ud83d\ude00")
QUOTE_AGAIN = timedelta(seconds=2)


class Verdict(BaseModel):
    """What the evaluator answers, checked by us: the model's word is not taken for it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    accepted: bool
    reason: str = Field(min_length=1)


ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["accepted", "reason"],
    "additionalProperties": False,
}


def eval_question(settings: Settings, request: str) -> Question:
    """The call that judges a request."""
    return Question(
        model=settings.eval_model,
        system=prompts.load("evaluator").text,
        user=prompts.as_data(request),
        max_output_tokens=terms.EVAL_OUTPUT_TOKENS,
        answer_schema=ANSWER_SCHEMA,
    )


def evaluate(tools: Toolbox, job_id: int) -> None:
    """Take a job through its evaluation. Safe to call any number of times, anywhere, at once."""
    assignment = steps.take(
        tools,
        job_id,
        Step.EVALUATE,
        model=tools.settings.eval_model,
        prompt_version=prompts.load("evaluator").version,
    )
    if assignment is None:
        return
    with tools.leases.hold(Job, job_id, assignment.claim):
        question = eval_question(tools.settings, assignment.job.request)
        answer = steps.ask(tools, assignment, question)
        if answer is not None:
            _act_on(tools, assignment, answer)


def _act_on(tools: Toolbox, assignment: Assignment, answer: Answer) -> None:
    verdict = read_verdict(answer)
    if verdict is None:
        steps.reject_answer(tools, assignment)
        return
    if not verdict.accepted:
        _decline(tools, assignment, verdict.reason)
        return
    _accept(tools, assignment)


def read_verdict(answer: Answer) -> Verdict | None:
    """Read the evaluator's answer; a provider's refusal is a verdict too. None = unreadable."""
    if answer.stop is Stop.REFUSED:
        return Verdict(
            accepted=False, reason="The request was declined by the model's safety policy."
        )
    try:
        verdict = Verdict.model_validate(_parsed(answer))
    except ValueError:  # pydantic's ValidationError is one
        return None
    reason = " ".join(verdict.reason.replace("\x00", "").split())[:REASON_MAX_CHARACTERS]
    return Verdict(accepted=verdict.accepted, reason=reason) if reason else None


def _parsed(answer: Answer) -> object:
    """The JSON of an answer. Raises ValueError.

    One that was cut in the middle of its reason has judged all the same: or a request that makes
    the evaluator talk would have it for nothing.
    """
    if answer.stop is not Stop.CUT:
        return from_json(answer.text)
    for end in range(len(answer.text), max(0, len(answer.text) - LONGEST_ESCAPE), -1):
        with suppress(ValueError):  # cut in the middle of an escape
            return from_json(answer.text[:end], allow_partial="trailing-strings")
    raise ValueError("no JSON, however little is left of it")


def _decline(tools: Toolbox, assignment: Assignment, reason: str) -> None:
    with tools.database.transaction("jobs.decline") as session:
        job = moves.advance(
            session,
            assignment.job.id,
            expect=JobState.EVALUATING,
            on=JobEvent.DECLINED,
            claim=assignment.claim,
            reason=reason,
            completed_at=func.now(),
        )
        if job is not None:
            ledger.earn(session, *failure.receipt_of(session, job.id, InvoiceKind.EVAL))


def _accept(tools: Toolbox, assignment: Assignment) -> None:
    """Price the work and issue its invoice; without price or Lightning, wait with the verdict."""
    try:
        with tools.database.reading("price.current") as session:
            price = btc_price.current(session, tools.settings)
        quote = price_work(tools, assignment.job, price)
        lifetime = timedelta(seconds=tools.settings.work_invoice_expiry_seconds)
        issued = invoices.issue(
            tools, InvoiceKind.WORK, assignment.job.public_id, quote.amount, lifetime
        )
    except (OutsideError, NotNow) as error:
        logger.warning("cannot quote yet", job=assignment.job.id, code=error.code)
        steps.put_off(tools, assignment, at_least=QUOTE_AGAIN)
        return
    _offer(tools, assignment, quote, price, issued)


def price_work(tools: Toolbox, job: Job, price: BtcQuote) -> Quote:
    """Price the worst case of the work at today's rates."""
    question = terms.work_question(tools.settings, job.request)
    return pricing.quote(
        terms.bound_of(question),
        rates=terms.rates_for(tools, question),
        terms=terms.cost_terms(tools.settings),
        btc_price=price.usd,
    )


def _offer(
    tools: Toolbox, assignment: Assignment, quote: Quote, price: BtcQuote, issued: IssuedInvoice
) -> None:
    """Lock the price, show the invoice and earn the evaluation fee, in one transaction."""
    payable_until = func.now() + timedelta(seconds=tools.settings.work_invoice_expiry_seconds)
    with tools.database.transaction("jobs.offer") as session:
        job = moves.advance(
            session,
            assignment.job.id,
            expect=JobState.EVALUATING,
            on=JobEvent.ACCEPTED,
            claim=assignment.claim,
            payable_until=payable_until,
            **_locked(quote, price, tools.settings.work_model),
        )
        if job is None:
            return
        invoices.record(
            session, job.id, InvoiceKind.WORK, issued, quote.amount, payable_until=payable_until
        )
        ledger.earn(session, *failure.receipt_of(session, job.id, InvoiceKind.EVAL))


def _locked(quote: Quote, price: BtcQuote, model: str) -> dict[str, object]:
    return {
        "work_model": model,
        "input_tokens_bound": quote.bound.input,
        "output_tokens_bound": quote.bound.output,
        "input_usd_per_million": quote.rates.input,
        "output_usd_per_million": quote.rates.output,
        "infra_usd": quote.terms.infra,
        "margin_pct": quote.terms.margin_pct,
        "estimated_cost_usd": quote.estimated_cost,
        "btc_price_usd": quote.btc_price,
        "btc_price_source": price.source.value,
        "btc_price_feeds": price.feeds,
    }
