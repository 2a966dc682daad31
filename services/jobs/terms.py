"""What this deployment's calls cost at most: prompts, caps and rates put together."""

from decimal import Decimal

from config.settings import Settings
from gateways.llms import Question
from gateways.prices import TokenRates
from models.money import Usd
from services.jobs import prompts
from services.money import pricing
from services.money.pricing import CostTerms, TokenBound
from services.toolbox import Toolbox

EVAL_OUTPUT_TOKENS = 512
"""Enough for one sentence of JSON."""
WIDEST_CHARACTER = "\U0001f9ff"
"""Four bytes of UTF-8: no character takes more."""


def cost_terms(settings: Settings) -> CostTerms:
    """Infrastructure and margin of this deployment."""
    return CostTerms(
        infra=pricing.infra_per_job(settings.infra_monthly_cost_usd, settings.infra_monthly_jobs),
        margin_pct=Decimal(settings.margin_pct),
    )


def work_question(settings: Settings, request: str) -> Question:
    """The call that does the work, with the output cap that its price is made from."""
    return Question(
        model=settings.work_model,
        system=prompts.load("worker").text,
        user=prompts.as_data(request),
        max_output_tokens=settings.output_tokens_by_tier.cap_for(len(request)),
    )


def bound_of(question: Question) -> TokenBound:
    """The most tokens that a call can use."""
    return TokenBound(
        input=pricing.input_bound(question.system, question.user),
        output=question.max_output_tokens,
    )


def rates_for(tools: Toolbox, question: Question) -> TokenRates:
    """The rates of a call at its worst. Start-up has made sure that there are some."""
    rates = tools.model_rates.rates(question.model, input_tokens=bound_of(question).input)
    if rates is None:
        raise LookupError(f"no rates for model {question.model}")
    return rates


def worst_cost(tools: Toolbox, question: Question) -> Usd:
    """The most that a call can cost us."""
    bound = bound_of(question)
    return pricing.token_cost(
        rates_for(tools, question), input_tokens=bound.input, output_tokens=bound.output
    )
