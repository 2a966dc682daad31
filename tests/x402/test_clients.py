"""What others have written buys from us unchanged, with its defaults, and the dollars arrive."""

import pytest

from local.stand_in.faults import Fault, FaultKind
from tests.support.x402_payer import Payer, decoded, v1_headers, v2_headers
from tests.x402.chain import NETWORK
from tests.x402.purchases import ask, required, result_of
from tests.x402.rig import CLIENTS, Rig
from tests.x402.shops import PRICE_MICROS, Creator, Market

A_DOLLAR = 1_000_000
EMPTY_ANSWER = Fault(target="openrouter.chat", kind=FaultKind.EMPTY)
V1_CLIENT = "x402 1.0 for requests"
ONE_OF_EACH_LANGUAGE = ("x402 for requests", "@x402/fetch")


@pytest.mark.parametrize("client", CLIENTS)
def test_an_official_client_pays_gets_the_result_and_the_creator_gets_the_dollars(
    rig: Rig, shop: Creator, client: str
) -> None:
    thing = shop.new_thing()
    payer = rig.payer(A_DOLLAR)

    bought = rig.buy(client, shop.url(thing), payer, {"colour": "blue"})

    assert bought.status == 200, bought.body
    assert bought.body["response"]
    assert bought.body["usage"]["output_tokens"] > 0
    assert bought.body["receipt"]["paidUsdc"] == PRICE_MICROS / A_DOLLAR
    # v1 clients look for what became of the money in another header
    told = bought.headers["x-payment-response" if client == V1_CLIENT else "payment-response"]
    assert decoded(told)["success"] is True
    (transfer,) = rig.chain.transfers(to=shop.payee)
    assert transfer.transaction == decoded(told)["transaction"]
    assert transfer.transaction == bought.body["receipt"]["transaction"]
    assert (transfer.payer, transfer.micros) == (payer.address, PRICE_MICROS)
    assert rig.chain.balance(payer.address) == A_DOLLAR - PRICE_MICROS


@pytest.mark.parametrize("client", ONE_OF_EACH_LANGUAGE)
def test_a_client_whose_wallet_is_empty_is_refused_and_nothing_is_made(
    rig: Rig, shop: Creator, client: str
) -> None:
    thing = shop.new_thing()

    bought = rig.buy(client, shop.url(thing), rig.payer(), {})

    assert bought.status == 402
    assert bought.body["error"]
    assert shop.ran(thing) == 0


@pytest.mark.parametrize("client", ONE_OF_EACH_LANGUAGE)
def test_a_client_pays_nothing_for_a_run_that_fails(
    rig: Rig, shop: Creator, running_market: Market, client: str
) -> None:
    thing = shop.new_thing()
    payer = rig.payer(A_DOLLAR)
    running_market.stand_in.arm(EMPTY_ANSWER)

    bought = rig.buy(client, shop.url(thing), payer, {})

    assert bought.body["error"] == "Resource unavailable"
    assert rig.chain.balance(payer.address) == A_DOLLAR
    assert shop.runs(thing)[0]["errorCode"] == "empty_output"


def test_a_static_resource_is_bought_without_any_model(rig: Rig, shop: Creator) -> None:
    thing = shop.new_static_thing("for your eyes only")

    bought = rig.buy("x402 for requests", shop.url(thing), rig.payer(A_DOLLAR), {})

    assert bought.body["response"] == "for your eyes only"
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_both_generations_are_asked_the_same_price_in_one_answer(shop: Creator) -> None:
    answer = ask(shop.url(shop.new_thing()))

    new = decoded(answer.headers["PAYMENT-REQUIRED"])["accepts"]
    old = answer.json()["accepts"]
    assert [(way["network"], way["amount"]) for way in new] == [(NETWORK, str(PRICE_MICROS))]
    assert [(way["network"], way["maxAmountRequired"]) for way in old] == [
        ("base-sepolia", str(PRICE_MICROS))
    ]


def test_the_same_payment_with_the_same_offer_gets_the_same_run(rig: Rig, shop: Creator) -> None:
    url = shop.url(shop.new_thing())
    headers = v2_headers(rig.payer(A_DOLLAR).v2(required(url)))

    first, second = result_of(ask(url, headers)), result_of(ask(url, headers))

    assert first["response"]
    assert first == second
    assert len(rig.chain.transfers(to=shop.payee)) == 1


def test_what_a_public_chain_tells_of_a_payment_buys_nothing(rig: Rig, shop: Creator) -> None:
    url = shop.url(shop.new_thing())
    payment = rig.payer(A_DOLLAR).v2(required(url))
    assert result_of(ask(url, v2_headers(payment)))["response"]

    payment["accepted"] = required(url)["accepts"][0]
    answer = ask(url, v2_headers(payment))

    assert answer.status_code == 409
    assert answer.json()["code"] == "payment_already_used"
    assert "response" not in answer.json()


def test_a_v1_payment_is_looked_up_by_its_idempotency_key_alone(rig: Rig, shop: Creator) -> None:
    url = shop.url(shop.new_thing())
    paid = v1_headers(_v1(rig.payer(A_DOLLAR), url))
    named = paid | {"Idempotency-Key": "a-name-of-its-buyer-1"}
    first = result_of(ask(url, named))
    assert first["response"]

    again, stolen = result_of(ask(url, named)), ask(url, paid)

    assert again == first
    assert (stolen.status_code, stolen.json()["code"]) == (409, "payment_already_used")


def _v1(payer: Payer, url: str) -> dict[str, object]:
    return payer.v1(ask(url).json())
