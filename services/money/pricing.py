"""What a job costs: pure functions over exact decimals, as the contract spells the arithmetic.

Every figure that enters a later one is rounded first, as the wire shows it, so that anyone can
recompute sats from what GET shows.
"""

from dataclasses import dataclass
from decimal import Decimal

from gateways.prices import TokenRates
from models.money import Sats, Usd, btc_price_rounded, sats_for, usd_rounded_up

PER_MILLION = Decimal(1_000_000)
OVERHEAD_TOKENS = 256
"""What a provider adds around a prompt (roles, separators, its own system lines), generously."""


@dataclass(frozen=True, kw_only=True)
class CostTerms:
    """What every price of this deployment is made with."""

    infra: Usd
    """Per job."""
    margin_pct: Decimal


@dataclass(frozen=True, kw_only=True)
class TokenBound:
    """The most tokens a call can use: input by counting bytes, output by the cap of the call."""

    input: int
    output: int


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A locked price. ``amount`` is what the work invoice is for."""

    bound: TokenBound
    rates: TokenRates
    terms: CostTerms
    estimated_cost: Usd
    btc_price: Usd
    amount: Sats


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What the work really cost, and what stays: ``kept`` plus ``unused`` is what was paid."""

    actual_cost: Usd
    charge: Usd
    kept: Sats
    unused: Sats


def infra_per_job(monthly_cost: Decimal, monthly_jobs: int) -> Usd:
    """Spread the monthly infrastructure over the jobs of a month."""
    return usd_rounded_up(monthly_cost / monthly_jobs)


def input_bound(*texts: str) -> int:
    """Bound the input tokens of these texts: no tokenizer makes more tokens than bytes."""
    return sum(len(text.encode()) for text in texts) + OVERHEAD_TOKENS


def token_cost(rates: TokenRates, *, input_tokens: int, output_tokens: int) -> Usd:
    """The provider's price of these tokens."""
    cost = (rates.input * input_tokens + rates.output * output_tokens) / PER_MILLION
    return usd_rounded_up(cost)


def with_margin(token_cost_usd: Usd, terms: CostTerms) -> Usd:
    """Add infrastructure and margin: the only place where either enters a price."""
    return usd_rounded_up((token_cost_usd + terms.infra) * (1 + terms.margin_pct / 100))


def quote(bound: TokenBound, *, rates: TokenRates, terms: CostTerms, btc_price: Usd) -> Quote:
    """Price the worst case of a call; it can never cost the caller more."""
    price = btc_price_rounded(btc_price)
    worst = token_cost(rates, input_tokens=bound.input, output_tokens=bound.output)
    estimated = with_margin(worst, terms)
    return Quote(
        bound=bound,
        rates=rates,
        terms=terms,
        estimated_cost=estimated,
        btc_price=price,
        amount=sats_for(estimated, btc_price=price),
    )


def charge(locked: Quote, *, input_tokens: int, output_tokens: int) -> Charge:
    """Settle delivered work at the locked rates, margin and BTC price, within what was paid."""
    actual = token_cost(locked.rates, input_tokens=input_tokens, output_tokens=output_tokens)
    charged = min(locked.estimated_cost, with_margin(actual, locked.terms))
    kept = min(locked.amount, sats_for(charged, btc_price=locked.btc_price))
    return Charge(actual_cost=actual, charge=charged, kept=kept, unused=Sats(locked.amount - kept))
