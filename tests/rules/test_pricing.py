"""The arithmetic of CONTRACT.md section 1, for every request, rate, margin and price of a bitcoin.

The recomputation below shares no code with ``services.money.pricing``: it works with fractions, on
the JSON that a caller of GET reads and nothing else.
"""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import simplejson
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.api import presenting
from app.api.schemas import JobStatusResponseSchema
from config.settings import OutputTokens
from gateways.prices import TokenRates
from models.invoice import Invoice, InvoiceKind
from models.job import Job
from models.lifecycle import JobState
from models.money import Usd
from services.jobs.intake import JobView
from services.money import pricing
from services.money.pricing import Charge, CostTerms, Quote, TokenBound

NOW = datetime(2026, 11, 22, tzinfo=UTC)

rates = st.builds(
    TokenRates,
    input=st.decimals(0, 1000, places=6),
    output=st.decimals(0, 1000, places=6),
)
terms = st.builds(
    CostTerms,
    infra=st.builds(
        pricing.infra_per_job, st.decimals(0, 1_000_000, places=2), st.integers(1, 10**7)
    ),
    margin_pct=st.decimals(0, 1000, places=4),
)
btc_prices = st.decimals(Decimal("0.01"), 10_000_000, places=6).map(Usd)
requests = st.text(min_size=1, max_size=60) | st.builds(
    lambda text, times: (text * times)[:4000],
    st.text(min_size=1, max_size=9),
    st.integers(1, 4000),
)


@st.composite
def work(draw: st.DrawFn) -> tuple[Quote, Charge, tuple[int, int]]:
    """A quote, and a charge for tokens within its bound."""
    request = draw(requests)
    bound = TokenBound(
        input=pricing.input_bound("You are kind.", request),
        output=OutputTokens().cap_for(len(request)),
    )
    quote = pricing.quote(bound, rates=draw(rates), terms=draw(terms), btc_price=draw(btc_prices))
    used = draw(st.integers(0, bound.input)), draw(st.integers(0, bound.output))
    return quote, pricing.charge(quote, input_tokens=used[0], output_tokens=used[1]), used


def _priced(
    *,
    rate: tuple[str, str],
    infra: str = "0.005",
    margin: str = "25",
    btc: str = "100000",
    bound: tuple[int, int] = (1000, 1024),
    used: tuple[int, int] = (700, 300),
) -> tuple[Quote, Charge, tuple[int, int]]:
    quote = pricing.quote(
        TokenBound(input=bound[0], output=bound[1]),
        rates=TokenRates(input=Decimal(rate[0]), output=Decimal(rate[1])),
        terms=CostTerms(infra=Usd(Decimal(infra)), margin_pct=Decimal(margin)),
        btc_price=Usd(Decimal(btc)),
    )
    return quote, pricing.charge(quote, input_tokens=used[0], output_tokens=used[1]), used


FREE_MODEL = _priced(rate=("0", "0"), infra="0", margin="0")
NO_INFRA_NO_MARGIN = _priced(rate=("2", "10"), infra="0", margin="0")
ONE_SAT_JOB = _priced(rate=("0.001", "0.001"), infra="0", margin="0", btc="10000000")
WORTHLESS_BITCOIN = _priced(rate=("1000", "1000"), btc="0.01")
AT_THE_BOUND = _priced(rate=("2", "10"), used=(1000, 1024))
NOTHING_USED = _priced(rate=("2", "10"), used=(0, 0))
PRICE_BELOW_THE_CENT = _priced(rate=("2", "10"), btc="67123.454999")


def _shown(priced: tuple[Quote, Charge, tuple[int, int]], state: JobState) -> Any:
    """What GET says of such a job, read as JSON with exact numbers."""
    quote, charge, used = priced
    job = Job(
        public_id=UUID(int=7),
        state=state,
        created_at=NOW,
        completed_at=NOW,
        result="Done.",
        work_model="claude-sonnet-5-5",
        input_tokens_bound=quote.bound.input,
        output_tokens_bound=quote.bound.output,
        input_usd_per_million=quote.rates.input,
        output_usd_per_million=quote.rates.output,
        infra_usd=quote.terms.infra,
        margin_pct=quote.terms.margin_pct,
        estimated_cost_usd=quote.estimated_cost,
        btc_price_usd=quote.btc_price,
        btc_price_source="live",
        actual_input_tokens=used[0],
        actual_output_tokens=used[1],
        actual_cost_usd=charge.actual_cost,
        actual_charge_usd=charge.charge,
        actual_amount_sats=charge.kept,
        work_amount_sats=quote.amount,
    )
    invoice = Invoice(
        kind=InvoiceKind.WORK,
        payment_hash="0" * 64,
        payment_request="lnbcrt1",
        amount_sats=quote.amount,
        expires_at=NOW,
    )
    view = JobView(job=job, invoices={InvoiceKind.WORK: invoice}, debts=[])
    wire = simplejson.dumps(JobStatusResponseSchema().dump(presenting.status(view)))
    return json.loads(wire, parse_float=Decimal)


def _up(value: Fraction, places: int = 8) -> Fraction:
    return Fraction(math.ceil(value * 10**places), 10**places)


def _sats(usd: Fraction, btc: Fraction) -> int:
    return max(1, math.ceil(usd / btc * 10**8))


def _recomputed(shown: Any, tokens_in: int, tokens_out: int) -> tuple[Fraction, Fraction]:
    """(cost of these tokens, the same with infrastructure and margin), from what is shown."""
    told = {name: Fraction(v) for name, v in shown.items() if isinstance(v, int | Decimal)}
    per_token = told["inputUsdPerMillionTokens"], told["outputUsdPerMillionTokens"]
    cost = _up((tokens_in * per_token[0] + tokens_out * per_token[1]) / 10**6)
    return cost, _up((cost + told["infraUsd"]) * (1 + told["marginPct"] / 100))


@given(priced=work())
@example(priced=FREE_MODEL)
@example(priced=NO_INFRA_NO_MARGIN)
@example(priced=ONE_SAT_JOB)
@example(priced=WORTHLESS_BITCOIN)
@example(priced=AT_THE_BOUND)
@example(priced=PRICE_BELOW_THE_CENT)
def test_anyone_can_recompute_the_estimate_and_the_invoice_from_the_pricing_breakdown(
    priced: tuple[Quote, Charge, tuple[int, int]],
) -> None:
    shown = _shown(priced, JobState.AWAITING_WORK_PAYMENT)
    breakdown = shown["pricingBreakdown"]

    _, estimate = _recomputed(
        breakdown, breakdown["inputTokensBound"], breakdown["outputTokensBound"]
    )

    assert Fraction(breakdown["estimatedCostUsd"]) == estimate
    assert shown["workInvoice"]["amountSats"] == _sats(estimate, Fraction(breakdown["btcPriceUsd"]))


@given(priced=work())
@example(priced=FREE_MODEL)
@example(priced=NO_INFRA_NO_MARGIN)
@example(priced=ONE_SAT_JOB)
@example(priced=WORTHLESS_BITCOIN)
@example(priced=AT_THE_BOUND)
@example(priced=NOTHING_USED)
@example(priced=PRICE_BELOW_THE_CENT)
def test_anyone_can_recompute_the_charge_and_the_refund_from_the_cost_ledger(
    priced: tuple[Quote, Charge, tuple[int, int]],
) -> None:
    ledger = _shown(priced, JobState.COMPLETE)["costLedger"]

    cost, charge = _recomputed(ledger, ledger["actualInputTokens"], ledger["actualOutputTokens"])
    charge = min(Fraction(ledger["estimatedCostUsd"]), charge)
    kept = min(ledger["workAmountSats"], _sats(charge, Fraction(ledger["btcPriceUsd"])))

    assert Fraction(ledger["actualCostUsd"]) == cost
    assert Fraction(ledger["actualChargeUsd"]) == charge
    assert ledger["actualAmountSats"] == kept
    assert ledger["refundAmountSats"] == ledger["workAmountSats"] - kept
    assert ledger["totalTokens"] == ledger["actualInputTokens"] + ledger["actualOutputTokens"]


@given(priced=work())
@example(priced=PRICE_BELOW_THE_CENT)
def test_dollars_are_shown_to_eight_places_and_the_price_of_a_bitcoin_to_the_cent(
    priced: tuple[Quote, Charge, tuple[int, int]],
) -> None:
    ledger = _shown(priced, JobState.COMPLETE)["costLedger"]

    for name in ("actualCostUsd", "actualChargeUsd", "estimatedCostUsd", "infraUsd"):
        assert (Fraction(ledger[name]) * 10**8).denominator == 1, name
    assert (Fraction(ledger["btcPriceUsd"]) * 100).denominator == 1


@given(priced=work())
@example(priced=FREE_MODEL)
@example(priced=WORTHLESS_BITCOIN)
@example(priced=AT_THE_BOUND)
@example(priced=NOTHING_USED)
def test_what_is_kept_and_what_is_given_back_is_what_was_paid_and_never_more_than_the_estimate(
    priced: tuple[Quote, Charge, tuple[int, int]],
) -> None:
    quote, charge, _ = priced

    assert charge.kept + charge.unused == quote.amount
    assert charge.unused >= 0
    assert 1 <= charge.kept <= quote.amount
    assert 0 <= charge.charge <= quote.estimated_cost
    assert charge.actual_cost <= charge.charge


def test_a_call_that_uses_its_whole_bound_leaves_nothing_to_give_back() -> None:
    quote, charge, _ = AT_THE_BOUND

    assert charge.charge == quote.estimated_cost
    assert charge.unused == 0


@given(priced=work(), beyond=st.integers(1, 10**9))
def test_a_provider_that_counts_beyond_the_bound_never_costs_the_caller_more(
    priced: tuple[Quote, Charge, tuple[int, int]], beyond: int
) -> None:
    quote, _, _ = priced

    charge = pricing.charge(
        quote, input_tokens=quote.bound.input + beyond, output_tokens=quote.bound.output + beyond
    )

    assert charge.charge == quote.estimated_cost
    assert charge.kept == quote.amount


@given(priced=work(), fewer=st.integers(0, 4096))
def test_fewer_tokens_never_cost_more(
    priced: tuple[Quote, Charge, tuple[int, int]], fewer: int
) -> None:
    quote, charge, (tokens_in, tokens_out) = priced
    assume(fewer <= tokens_out)

    less = pricing.charge(quote, input_tokens=tokens_in, output_tokens=tokens_out - fewer)

    assert less.kept <= charge.kept


@given(text=st.text(max_size=300))
def test_the_input_bound_counts_every_byte_and_what_the_provider_adds(text: str) -> None:
    assert pricing.input_bound(text) == len(text.encode()) + pricing.OVERHEAD_TOKENS


def test_the_worked_example_of_the_documents() -> None:
    """1,000 + 1,024 tokens at $2 and $10 a million, half a cent of infrastructure, 25 % margin."""
    quote, charge, _ = _priced(rate=("2", "10"))

    assert quote.estimated_cost == Decimal("0.02155000")
    assert quote.amount == 22
    assert charge.actual_cost == Decimal("0.00440000")
    assert charge.charge == Decimal("0.01175000")
    assert (charge.kept, charge.unused) == (12, 10)
