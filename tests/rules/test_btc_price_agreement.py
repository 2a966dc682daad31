"""Of what the feeds say, what is believed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.money.btc_price import agree


def _prices(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        pytest.param(("100000",), "100000", id="one alone is believed"),
        pytest.param(("100000", "100200"), "100100", id="two that agree: their middle"),
        pytest.param(("100000", "100100", "100300"), "100100", id="three that agree: the median"),
        pytest.param(("100000", "100100", "250000"), "100050", id="a liar high is dropped"),
        pytest.param(("100000", "100100", "20000"), "100050", id="a liar low is dropped"),
        pytest.param(
            ("100000", "100100", "100200", "10000", "900000"),
            "100100",
            id="two liars on two sides are dropped",
        ),
        pytest.param(
            ("100000", "100100", "100200", "200000", "200000"),
            "100100",
            id="two liars who agree are outvoted by three",
        ),
        pytest.param(("100000", "NaN"), "100000", id="NaN is no price"),
        pytest.param(("100000", "sNaN"), "100000", id="a signalling NaN is no price"),
        pytest.param(("100000", "Infinity", "-Infinity"), "100000", id="infinity is no price"),
        pytest.param(("100000", "0"), "100000", id="zero is no price"),
        pytest.param(("100000", "-100000"), "100000", id="below zero is no price"),
        pytest.param(("100000", "999"), "100000", id="under 1,000 dollars is a mistake"),
        pytest.param(("100000", "10000001"), "100000", id="over 10 million is a mistake"),
    ],
)
def test_what_is_believed(told: tuple[str, ...], believed: str) -> None:
    assert agree(_prices(*told)) == Decimal(believed)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param((), id="nobody said anything"),
        pytest.param(("0", "NaN", "-1"), id="nothing that was said is a price"),
        pytest.param(("100000", "150000"), id="two disagree: neither is believed"),
        pytest.param(("100000", "100100", "200000", "200100"), id="two camps: neither"),
    ],
)
def test_what_is_believed_by_nobody(told: tuple[str, ...]) -> None:
    assert agree(_prices(*told)) is None


@given(
    honest=st.decimals(50_000, 200_000, places=2),
    liars=st.lists(st.decimals(allow_nan=True, allow_infinity=True), max_size=2),
)
def test_two_liars_never_move_three_honest_feeds_by_more_than_a_percent(
    honest: Decimal, liars: list[Decimal]
) -> None:
    told = [honest, honest * Decimal("1.001"), honest * Decimal("0.999"), *liars]

    believed = agree(told)

    assert believed is not None
    assert abs(believed - honest) <= honest / 100
