"""What tokens cost: when a new price library changes a rate, this is where it shows."""

from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot

from gateways.prices import TokenRates
from gateways.prices.model_rates import LibraryRates


def rates(model: str, input_tokens: int = 1000) -> TokenRates | None:
    return LibraryRates({}).rates(model, input_tokens=input_tokens)


def resolved_model(model: str) -> str | None:
    """The id under which the library has it: rules by prefix also match names that are newer."""
    try:
        return get_snapshot().find_provider_model(model, None, None, None)[1].id
    except LookupError:
        return None


@pytest.mark.parametrize(
    ("model", "input_tokens", "rate_in", "rate_out"),
    [
        ("claude-haiku-5-5", 0, "0.10", "0.50"),
        ("claude-haiku-5-5", 100_000, "0.10", "0.50"),
        ("claude-haiku-5-5", 100_001, "0.50", "2.50"),
        ("claude-sonnet-5-5", 1_000, "2", "10"),
        ("claude-sonnet-5-5", 900_000, "2", "10"),
        ("claude-haiku-4-5", 1_000, "1", "5"),
        ("claude-opus-5-5", 1_000, "4", "20"),
    ],
)
def test_the_rates_of_the_models_that_we_name_are_these(
    model: str, input_tokens: int, rate_in: str, rate_out: str
) -> None:
    found = rates(model, input_tokens)

    assert found == TokenRates(input=Decimal(rate_in), output=Decimal(rate_out))
    assert found is not None
    assert {type(found.input), type(found.output)} == {Decimal}


@pytest.mark.parametrize(
    ("model", "resolved"),
    [
        ("claude-haiku-5-5", "claude-haiku-5-5"),
        ("claude-haiku-5-5-20261007", "claude-haiku-5-5"),
        ("claude-sonnet-5-5", "claude-sonnet-5-5"),
    ],
)
def test_a_model_is_priced_as_itself_and_not_as_a_namesake(model: str, resolved: str) -> None:
    assert resolved_model(model) == resolved


@pytest.mark.parametrize("model", ["", "no-such-model", "claude-haiku-99", "\0", "x" * 10_000])
def test_a_model_that_is_not_known_has_no_rate(model: str) -> None:
    assert rates(model) is None
    assert resolved_model(model) is None


def test_an_override_wins_and_knows_no_tiers() -> None:
    ours = TokenRates(input=Decimal("0.07"), output=Decimal(0))
    library = LibraryRates({"claude-haiku-5-5": ours, "our-own": ours})

    assert library.rates("claude-haiku-5-5", input_tokens=500_000) == ours
    assert library.rates("our-own", input_tokens=1) == ours
    assert library.rates("claude-sonnet-5-5", input_tokens=1) == rates("claude-sonnet-5-5")
