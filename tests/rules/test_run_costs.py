"""What a run can cost its creator at most: bounded before the call, by bytes and by the cap."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from models.catalogue import CatalogueModel
from services.instant import catalogue
from services.money.pricing import OVERHEAD_TOKENS

MODELS = st.builds(
    lambda context, most, rate_in, rate_out, each: CatalogueModel(
        context_tokens=context,
        max_output_tokens=most,
        input_usd_per_million=Decimal(rate_in) / 10**6,
        output_usd_per_million=Decimal(rate_out) / 10**6,
        request_usd=Decimal(each) / 10**6,
    ),
    st.integers(1, 2_000_000),
    st.none() | st.integers(1, 200_000),
    *[st.integers(0, 10**9)] * 3,
)
TEXTS = st.lists(st.text(max_size=200), max_size=3)


@given(MODELS, st.integers(1, 200_000), TEXTS)
def test_a_call_asks_for_no_more_than_its_creator_the_provider_and_the_context_allow(
    model: CatalogueModel, wanted: int, texts: list[str]
) -> None:
    cap = catalogue.output_cap(model, wanted, *texts)

    assert cap <= wanted
    assert cap <= (model.max_output_tokens or cap)
    assert cap + sum(len(text.encode()) for text in texts) + OVERHEAD_TOKENS <= (
        model.context_tokens
    )


@given(MODELS, st.integers(1, 200_000), TEXTS, st.data())
def test_no_call_costs_more_than_its_worst_cost(
    model: CatalogueModel, cap: int, texts: list[str], data: st.DataObject
) -> None:
    most = sum(len(text.encode()) for text in texts) + OVERHEAD_TOKENS
    used = data.draw(st.integers(0, most)), data.draw(st.integers(0, cap))

    cost = catalogue.cost(model, input_tokens=used[0], output_tokens=used[1])

    assert cost <= catalogue.worst_cost(model, cap, *texts)


def test_a_call_costs_its_tokens_and_what_each_call_costs() -> None:
    model = CatalogueModel(
        input_usd_per_million=Decimal("0.25"),
        output_usd_per_million=Decimal(2),
        request_usd=Decimal("0.005"),
    )

    assert catalogue.cost(model, input_tokens=100, output_tokens=10) == Decimal("0.005045")
