"""Killed workers and an emptied Valkey between payment and result: never a charged nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests
from redis import Redis

from tests.journeys.waiting import wait_until
from tests.support.x402_payer import decoded, v2_headers
from tests.x402.attacks import A_DOLLAR
from tests.x402.purchases import ask, required
from tests.x402.rig import Rig
from tests.x402.shops import PRICE_MICROS, Creator, Market

RESTARTS = 180.0
"""Seconds until a killed process is back and has taken its work up again."""


@pytest.fixture
def redis(running_market: Market) -> Iterator[Redis]:
    with Redis.from_url(running_market.product.environ("web")["REDIS_URL"]) as server:
        yield server


def test_a_worker_killed_in_the_middle_of_the_call_is_taken_over_and_the_run_is_paid_once(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    thing = shop.new_thing()
    paid = v2_headers(rig.payer(A_DOLLAR).v2(required(shop.url(thing))))
    running_market.stand_in.hold("openrouter.chat")

    answer = _meanwhile(
        lambda: ask(shop.url(thing), paid),
        running_market.stand_in.wait_until_held,
        lambda: running_market.product.kill("worker-models"),
        running_market.stand_in.release,
    )

    assert answer.status_code == 202
    assert shop.wait_for_end(thing, seconds=RESTARTS)["status"] == "succeeded"
    assert ask(shop.url(thing), paid).json()["response"]
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


@pytest.mark.parametrize("when", ["hang_before", "hang_after"])
def test_a_worker_killed_while_it_settles_ends_in_one_settlement_and_the_result(
    rig: Rig, shop: Creator, running_market: Market, when: str
) -> None:
    thing = shop.new_thing()
    paid = v2_headers(rig.payer(A_DOLLAR).v2(required(shop.url(thing))))

    with rig.facilitator.broken(settle=when):
        answer = ask(shop.url(thing), paid)
        running_market.product.kill("worker-money")

    assert answer.status_code == 202
    assert shop.wait_for_end(thing, seconds=RESTARTS)["status"] == "succeeded"
    assert ask(shop.url(thing), paid).json()["response"]
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_an_emptied_valkey_between_payment_and_result_only_makes_it_later(
    rig: Rig, shop: Creator, running_market: Market, redis: Redis
) -> None:
    thing = shop.new_thing()
    paid = v2_headers(rig.payer(A_DOLLAR).v2(required(shop.url(thing))))
    running_market.stand_in.hold("openrouter.chat")

    _meanwhile(
        lambda: ask(shop.url(thing), paid),
        running_market.stand_in.wait_until_held,
        redis.flushall,
        running_market.stand_in.release,
        redis.flushall,
    )

    assert shop.wait_for_end(thing)["status"] == "succeeded"
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_a_valkey_killed_before_the_payment_only_makes_it_later(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    thing = shop.new_thing()
    paid = v2_headers(rig.payer(A_DOLLAR).v2(required(shop.url(thing))))

    running_market.product.kill("valkey")
    answer = ask(shop.url(thing), paid)

    assert answer.status_code in {200, 202}
    assert shop.wait_for_end(thing, seconds=RESTARTS)["status"] == "succeeded"
    assert [move.micros for move in rig.chain.transfers(to=shop.payee)] == [PRICE_MICROS]


def test_a_run_whose_call_crashes_every_worker_is_given_up_and_not_charged(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    thing = shop.new_thing()
    payer = rig.payer(A_DOLLAR)
    paid = v2_headers(payer.v2(required(shop.url(thing))))
    stand_in = running_market.stand_in

    def crash() -> None:
        stand_in.wait_until_held(seconds=RESTARTS)
        running_market.product.kill("worker-models")
        stand_in.release()

    stand_in.hold("openrouter.chat")
    _meanwhile(lambda: ask(shop.url(thing), paid), crash)
    for _ in range(2):
        stand_in.hold("openrouter.chat")
        crash()

    assert shop.wait_for_end(thing, seconds=RESTARTS)["errorCode"] == "crashed"
    assert rig.chain.balance(payer.address) == A_DOLLAR


def test_a_process_killed_at_any_moment_charges_nobody_for_nothing(
    rig: Rig, shop: Creator, running_market: Market
) -> None:
    """Twenty buyers while workers, web and Valkey die one after the other."""
    thing = shop.new_thing()
    payers = [rig.payer(A_DOLLAR) for _ in range(20)]

    def buy(number: int) -> None:
        asked = _patiently(lambda: ask(shop.url(thing))).headers["PAYMENT-REQUIRED"]
        payment = v2_headers(payers[number].v2(decoded(asked)))
        _patiently(lambda: ask(shop.url(thing), payment))

    with ThreadPoolExecutor(5) as threads:
        bought = threads.map(buy, range(len(payers)))
        for victim in ("worker-models", "worker-money", "valkey", "web", "worker-money"):
            running_market.product.kill(victim)
            wait_until(f"{victim} is back", partial(running_market.product.pid, victim))
        list(bought)

    shop.wait_for_end(thing, seconds=RESTARTS)
    by_status = {run["caller"]: run["status"] for run in shop.runs(thing)}
    for payer in payers:
        spent = A_DOLLAR - rig.chain.balance(payer.address)
        is_paid = by_status.get(payer.address) == "succeeded"
        assert spent == (PRICE_MICROS if is_paid else 0), by_status.get(payer.address)


def _meanwhile(
    request: Callable[[], requests.Response], *steps: Callable[[], object]
) -> requests.Response:
    """Take these steps while the request is under way; its answer."""
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(request)
        for step in steps:
            step()
        return answer.result()


def _patiently(request: Callable[[], requests.Response]) -> requests.Response:
    """Ask again while nobody is there to answer, as a caller does."""

    def outcome() -> requests.Response | None:
        try:
            answer = request()
        except requests.RequestException:
            return None
        return None if answer.status_code >= 500 else answer

    said = wait_until("an answer", outcome, lambda said: said is not None, seconds=RESTARTS)
    assert said is not None
    return said
