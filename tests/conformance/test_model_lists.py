"""OpenRouter's list of models: its shape, its odd prices, and what it must not get past us."""

from decimal import Decimal
from typing import Any

import pytest

from gateways.errors import Refused, Unavailable
from gateways.http import HttpClient
from gateways.model_lists import ListedModel
from gateways.model_lists.openrouter import LIST_MAX_BYTES, OpenRouterModels
from local.stand_in.testing import StandInClient
from tests.conformance.scripted_server import ScriptedServer, answer, json_answer


def entry(**members: Any) -> dict[str, Any]:
    return {
        "id": "maker/model-1.5",
        "name": "Maker: Model 1.5",
        "context_length": 32_768,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.00000015", "completion": "0.0000006"},
        "top_provider": {"context_length": 16_384, "max_completion_tokens": 4_096},
        "supported_parameters": ["temperature", "max_tokens", 7, "<b>"],
        **members,
    }


def listed(server: ScriptedServer, http: HttpClient, *entries: Any) -> list[ListedModel]:
    server.says(json_answer({"data": list(entries)}))
    return OpenRouterModels(f"{server.url}/api/v1", http).fetch()


def test_an_entry_is_read_with_the_smaller_context_and_prices_per_million(
    server: ScriptedServer, http: HttpClient
) -> None:
    assert listed(server, http, entry()) == [
        ListedModel(
            id="maker/model-1.5",
            name="Maker: Model 1.5",
            context_tokens=16_384,
            max_output_tokens=4_096,
            input_usd_per_million=Decimal("0.15"),
            output_usd_per_million=Decimal("0.6"),
            request_usd=Decimal(0),
            supported_parameters=("temperature", "max_tokens"),
        )
    ]


@pytest.mark.parametrize("price", ["1e-7", 1e-7, "0.0000001", "0.00000010"])
def test_a_price_is_exact_however_it_is_written(
    server: ScriptedServer, http: HttpClient, price: Any
) -> None:
    (model,) = listed(server, http, entry(pricing={"prompt": price, "completion": "0"}))

    assert model.input_usd_per_million == Decimal("0.1")


def test_a_price_finer_than_we_keep_is_rounded_up(server: ScriptedServer, http: HttpClient) -> None:
    fine = {"prompt": "0.00000000000000000001", "completion": "0", "request": "1e-15"}

    (model,) = listed(server, http, entry(pricing=fine))

    assert model.input_usd_per_million == model.request_usd == Decimal("0.0000000001")


def test_output_is_priced_at_its_dearest_and_a_call_at_what_it_costs_by_itself(
    server: ScriptedServer, http: HttpClient
) -> None:
    dear = {"prompt": "0", "completion": "0.000001", "internal_reasoning": "0.000003"}

    (model,) = listed(server, http, entry(pricing={**dear, "request": "0.005"}))

    assert model.output_usd_per_million == 3
    assert model.request_usd == Decimal("0.005")


def test_an_id_is_listed_once(server: ScriptedServer, http: HttpClient) -> None:
    assert len(listed(server, http, entry(), entry(), entry(id="maker/other:free"))) == 2


def test_without_a_word_of_its_own_the_context_bounds_the_output(
    server: ScriptedServer, http: HttpClient
) -> None:
    (model,) = listed(server, http, entry(top_provider=None))

    assert (model.context_tokens, model.max_output_tokens) == (32_768, None)


@pytest.mark.parametrize(
    "said",
    [
        json_answer({"data": None}),
        json_answer({}),
        json_answer([]),
        answer(200, "<html>"),
        answer(503, ""),
        answer(200, b"x" * (LIST_MAX_BYTES + 1)),
    ],
    ids=["null", "none", "list", "page", "down", "large"],
)
def test_an_answer_that_is_no_list_is_an_outage(
    server: ScriptedServer, http: HttpClient, said: Any
) -> None:
    server.says(said)

    with pytest.raises(Unavailable):
        OpenRouterModels(server.url, http).fetch()


def test_a_list_that_is_not_there_is_refused(server: ScriptedServer, http: HttpClient) -> None:
    server.says(answer(404, "{}"))

    with pytest.raises(Refused):
        OpenRouterModels(server.url, http).fetch()


def test_the_stand_in_lists_as_openrouter_does(stand_in: StandInClient, http: HttpClient) -> None:
    models = OpenRouterModels(f"{stand_in.url}/openrouter/api/v1/", http).fetch()

    assert len(models) == len(stand_in.catalogue())
