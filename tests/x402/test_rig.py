"""The rig itself: real clients, real transfers. Proved on the naive shop, before the product."""

import pytest

from tests.support.x402_payer import v2_headers
from tests.x402.purchases import ask, required
from tests.x402.rig import Rig
from tests.x402.shops import NaiveShop


@pytest.mark.parametrize("client", ["x402 for requests", "x402 for httpx", "@x402/fetch"])
def test_an_official_client_buys_and_the_dollars_arrive(
    rig: Rig, naive: NaiveShop, client: str
) -> None:
    payer = rig.payer(1_000_000)
    before = rig.chain.balance(naive.payee)

    bought = rig.buy(client, naive.url("song"), payer, {})

    assert (bought.status, bought.body) == (200, {"response": "the song you paid for"})
    assert rig.chain.balance(payer.address) == 990_000
    assert rig.chain.balance(naive.payee) == before + 10_000


def test_a_payment_made_by_hand_is_as_good(rig: Rig, naive: NaiveShop) -> None:
    payer = rig.payer(1_000_000)

    answer = ask(naive.url("song"), v2_headers(payer.v2(required(naive.url("song")))))

    assert answer.status_code == 200
    assert [move.micros for move in rig.chain.transfers(to=naive.payee)][-1] == 10_000


def test_a_wallet_without_dollars_buys_nothing(rig: Rig, naive: NaiveShop) -> None:
    url = naive.url("song")

    answer = ask(url, v2_headers(rig.payer().v2(required(url))))

    assert answer.status_code == 402
    assert rig.facilitator.calls("verify")[-1].answer["isValid"] is False
