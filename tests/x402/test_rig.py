"""The rig itself: real clients, real transfers. Proved on the naive shop, before the product."""

from collections.abc import Iterator

import pytest

from tests.support.x402_payer import v2_headers
from tests.x402.rig import Rig
from tests.x402.shops import NaiveShop, ask, naive_shop, required


@pytest.fixture(scope="module")
def shop(running: Rig) -> Iterator[NaiveShop]:
    with naive_shop(running) as opened:
        yield opened


@pytest.mark.parametrize("client", ["x402 for requests", "x402 for httpx", "@x402/fetch"])
def test_an_official_client_buys_and_the_dollars_arrive(
    rig: Rig, shop: NaiveShop, client: str
) -> None:
    payer = rig.payer(1_000_000)
    before = rig.chain.balance(shop.payee)

    bought = rig.buy(client, shop.url("song"), payer, {})

    assert (bought.status, bought.body) == (200, {"response": "the song you paid for"})
    assert rig.chain.balance(payer.address) == 990_000
    assert rig.chain.balance(shop.payee) == before + 10_000


def test_a_payment_made_by_hand_is_as_good(rig: Rig, shop: NaiveShop) -> None:
    payer = rig.payer(1_000_000)

    answer = ask(shop.url("song"), v2_headers(payer.v2(required(shop.url("song")))))

    assert answer.status_code == 200
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)][-1] == 10_000


def test_a_wallet_without_dollars_buys_nothing(rig: Rig, shop: NaiveShop) -> None:
    url = shop.url("song")

    answer = ask(url, v2_headers(rig.payer().v2(required(url))))

    assert answer.status_code == 402
    assert rig.facilitator.calls("verify")[-1].answer["isValid"] is False
