"""The attacks that are known: each works on a naive shop, and none of them works here."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateways import evm_addresses
from services.instant.settlement import CLOCKS_DIFFER
from tests.journeys.waiting import wait_until
from tests.support.x402_payer import Payer, v2_headers
from tests.x402.attacks import (
    A_DOLLAR,
    LONGER_THAN_A_PAYMENT_SECONDS,
    WORKS_ON_THE_NAIVE,
    forgeries,
)
from tests.x402.purchases import ask, required
from tests.x402.rig import Rig
from tests.x402.shops import PRICE_MICROS, Creator, Market, NaiveShop


@pytest.mark.parametrize("attack", WORKS_ON_THE_NAIVE)
def test_an_attack_works_on_a_shop_that_trusts_the_middleware(
    rig: Rig, naive: NaiveShop, attack: str
) -> None:
    # some are races, which a thief may lose once on a busy machine
    assert any(WORKS_ON_THE_NAIVE[attack](rig, naive) is not None for _ in range(3))


@pytest.mark.parametrize("attack", WORKS_ON_THE_NAIVE)
def test_the_same_attack_gets_nothing_here(rig: Rig, shop: Creator, attack: str) -> None:
    assert WORKS_ON_THE_NAIVE[attack](rig, shop) is None


def test_one_payment_shown_fifty_times_is_settled_by_one_request(rig: Rig, shop: Creator) -> None:
    assert WORKS_ON_THE_NAIVE["fifty copies at once"](rig, shop) is None

    assert len(rig.facilitator.calls("verify")) == len(rig.facilitator.calls("settle")) == 1
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_every_forged_payment_is_refused_by_ourselves(rig: Rig, shop: Creator) -> None:
    """At a facilitator that would tell the truth: it is not even asked."""
    url = shop.url(shop.new_thing())

    statuses = {
        what: ask(url, v2_headers(payment)).status_code
        for what, payment in forgeries(rig, required(url))
    }

    assert set(statuses.values()) == {402}, statuses
    assert rig.facilitator.calls("verify") == []


def test_a_purse_emptied_while_the_work_is_done_gets_no_result(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    thing, payer = shop.new_thing(), rig.payer(A_DOLLAR)

    with rig.facilitator.broken(settle="careful"):
        paid = _bought_and_taken_back(rig, shop, running_market, thing, payer)
        assert shop.wait_for_end(thing)["errorCode"] == "settlement_failed"

    ended = ask(shop.url(thing), paid)
    assert (ended.status_code, "response" in ended.json()) == (402, False)
    assert rig.chain.transfers(to=shop.payee) == []


def test_a_transfer_that_failed_is_in_doubt_until_no_block_can_hold_it_any_more(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    """It failed in a block for want of money; whoever has seen it may send it again until then."""
    thing, payer = shop.new_thing(), rig.payer(A_DOLLAR)

    paid = _bought_and_taken_back(rig, shop, running_market, thing, payer)
    wait_until("it was asked for twice", lambda: len(rig.facilitator.calls("settle")) >= 2)
    assert ask(shop.url(thing), paid).status_code == 202

    with rig.chain.later(LONGER_THAN_A_PAYMENT_SECONDS):
        assert shop.wait_for_end(thing)["errorCode"] == "settlement_failed"
    assert rig.chain.transfers(to=shop.payee) == []


def test_a_transfer_that_failed_is_paid_when_the_money_comes_after_all(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    thing, payer = shop.new_thing(), rig.payer(A_DOLLAR)
    paid = _bought_and_taken_back(rig, shop, running_market, thing, payer)
    wait_until("it was asked for", lambda: rig.facilitator.calls("settle"))

    rig.chain.mint(payer.address, A_DOLLAR)

    assert shop.wait_for_end(thing)["status"] == "succeeded"
    assert ask(shop.url(thing), paid).json()["response"]
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_what_another_shop_has_settled_buys_nothing_here(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    """The creator sells for the same there: one transfer, which cannot pay for two things."""
    thing = shop.new_thing()
    asked_for = required(shop.url(thing))
    # x402's own facilitator takes no address without its checksum
    payee = evm_addresses.checksummed(shop.payee)
    payment = rig.payer(A_DOLLAR).v2(asked_for, to=payee)
    running_market.stand_in.hold("openrouter.chat")

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, shop.url(thing), v2_headers(payment))
        running_market.stand_in.wait_until_held()
        told = rig.facilitator.settle(payment, asked_for["accepts"][0])
        assert told["success"], told
        earlier = time.time() + 2 * CLOCKS_DIFFER.total_seconds()
        wait_until("that was clearly before", lambda: time.time() > earlier)
        running_market.stand_in.release()
        assert asked.result().status_code == 202

    assert shop.wait_for_end(thing)["status"] == "doubtful"
    assert ask(shop.url(thing), v2_headers(payment)).status_code == 202
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_a_payer_whose_settlements_fail_is_refused_for_a_while(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    thing, payer = shop.new_thing(), rig.payer()
    with rig.facilitator.broken(settle="careful"):
        for _ in range(3):
            rig.chain.mint(payer.address, PRICE_MICROS)
            _bought_and_taken_back(rig, shop, running_market, thing, payer)
            assert shop.wait_for_end(thing)["status"] == "failed"

    rig.chain.mint(payer.address, A_DOLLAR)
    answer = ask(shop.url(thing), v2_headers(payer.v2(required(shop.url(thing)))))

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 60


def _bought_and_taken_back(
    rig: Rig, shop: Creator, market: Market, thing: str, payer: Payer
) -> dict[str, str]:
    """Buy, and empty the purse while the work is done; the headers of the payment."""
    paid = v2_headers(payer.v2(required(shop.url(thing))))
    market.stand_in.hold("openrouter.chat")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, shop.url(thing), paid)
        market.stand_in.wait_until_held()
        rig.chain.take_all(payer.address)
        market.stand_in.release()
        assert asked.result().status_code in {202, 402}
    return paid
