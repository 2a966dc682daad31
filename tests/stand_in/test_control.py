"""What a test can do to the world, and the price feeds."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import requests
import simplejson

from gateways import bolt11
from local.stand_in.faults import TARGETS, Fault, FaultKind
from local.stand_in.testing import StandInClient


def quoted(world: StandInClient, feed: str) -> Any:
    answer = requests.get(f"{world.url}/feeds/{feed}?any=thing", timeout=60)
    return simplejson.loads(answer.text, use_decimal=True)


PRICE_IN: dict[str, Callable[[Any], Any]] = {
    "coingecko": lambda body: body["bitcoin"]["usd"],
    "kraken": lambda body: next(iter(body["result"].values()))["c"][0],
    "coinbase": lambda body: body["price"],
    "bitstamp": lambda body: body["last"],
    "mempool": lambda body: body["USD"],
}


@pytest.mark.parametrize("feed", PRICE_IN)
def test_a_feed_quotes_the_price_that_was_set_in_its_own_shape(
    world: StandInClient, feed: str
) -> None:
    world.set_btc_price(Decimal("97123.40"))

    price = PRICE_IN[feed](quoted(world, feed))

    assert int(Decimal(price)) == 97_123
    assert isinstance(price, int | Decimal if feed in {"coingecko", "mempool"} else str)


def test_one_feed_can_lie_about_the_price(world: StandInClient) -> None:
    world.set_btc_price(Decimal(1), feed="kraken")

    assert Decimal(PRICE_IN["kraken"](quoted(world, "kraken"))) == 1
    assert Decimal(PRICE_IN["bitstamp"](quoted(world, "bitstamp"))) == 100_000


def test_a_feed_can_fail_alone_or_with_all_others(world: StandInClient) -> None:
    def statuses() -> list[int]:
        return [
            requests.get(f"{world.url}/feeds/{feed}", timeout=60).status_code for feed in PRICE_IN
        ]

    world.arm(Fault(target="feed.kraken", kind=FaultKind.STATUS, status=429))
    assert statuses() == [200, 429, 200, 200, 200]
    world.arm(Fault(target="feed", kind=FaultKind.STATUS, status=503, times=5))
    assert statuses() == [503] * 5
    assert statuses() == [200] * 5


def test_a_feed_can_answer_any_text(world: StandInClient) -> None:
    world.arm(Fault(target="feed.kraken", kind=FaultKind.BODY, text='{"error":["EGeneral"]}'))

    assert quoted(world, "kraken") == {"error": ["EGeneral"]}


def test_paying_twice_is_paying_once(income: Any, world: StandInClient) -> None:
    payment_hash = income.create()["payment_hash"]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: world.pay(payment_hash), range(8)))

    assert income.balance() == 10_000
    assert not world.pay("00" * 32)


def test_the_effect_log_has_everything_in_order(
    income: Any, service: Any, world: StandInClient
) -> None:
    invoice = income.create(10)
    world.pay(invoice["payment_hash"])
    service.pay(world.payer_invoice(4))

    effects = world.effects()

    assert [effect.n for effect in effects] == [1, 2, 3, 4, 5, 6]
    of_service = [
        (effect.kind, effect.details["amountMsat"])
        for effect in effects
        if effect.details["wallet"] == "service"
    ]
    assert of_service == [
        ("invoice_created", 10_000),
        ("payment_in", 10_000),
        ("payment_out", 4_000),
    ]
    assert world.effects(since=5) == effects[5:]


def test_requests_are_counted_by_route(income: Any, world: StandInClient) -> None:
    for _ in range(3):
        income.page("")
    income.read("00" * 32)

    requests_seen = world.counts().requests

    assert requests_seen["GET /api/v1/payments/paginated"] == 3
    assert requests_seen["GET /api/v1/payments/{payment_hash}"] == 1


def test_a_reset_leaves_nothing_behind(income: Any, world: StandInClient) -> None:
    world.arm(Fault(target="lnbits", kind=FaultKind.STATUS, status=500, times=99, match="nothing"))
    world.hold("openai")
    world.set_btc_price(Decimal(5))
    for _ in range(50):
        world.pay(income.create()["payment_hash"])

    world.reset()

    assert income.page("") == []
    assert income.balance() == 0
    assert (world.effects(), world.armed(), world.counts().model_calls) == ([], [], 0)
    assert Decimal(PRICE_IN["coinbase"](quoted(world, "coinbase"))) == 100_000


def test_faults_hit_in_the_order_they_were_armed_and_as_often_as_said(
    income: Any, world: StandInClient
) -> None:
    world.arm(Fault(target="lnbits.wallet", kind=FaultKind.STATUS, status=503, times=2))
    world.arm(Fault(target="lnbits.wallet", kind=FaultKind.STATUS, status=429, retry_after="3"))

    answers = [income.get("/api/v1/wallet") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [503, 503, 429, 200]
    assert answers[2].headers["Retry-After"] == "3"
    assert answers[2].json() == {"error": "Rate limit exceeded: 200 per 1 minute"}
    assert "Retry-After" not in answers[0].headers


def test_disarmed_faults_do_nothing(income: Any, world: StandInClient) -> None:
    world.arm(Fault(target="lnbits", kind=FaultKind.RESET, times=9))

    world.disarm()

    assert income.balance() == 0


def test_a_reset_connection_is_a_reset_and_not_a_goodbye(income: Any, world: StandInClient) -> None:
    world.arm(Fault(target="lnbits.wallet", kind=FaultKind.RESET))

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        income.get("/api/v1/wallet")


def test_a_truncated_answer_is_half_a_json_text(income: Any, world: StandInClient) -> None:
    world.arm(Fault(target="lnbits.wallet", kind=FaultKind.TRUNCATED))

    answer = income.get("/api/v1/wallet")

    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_a_delayed_answer_comes_late(income: Any, world: StandInClient) -> None:
    world.arm(Fault(target="lnbits.wallet", kind=FaultKind.DELAY, seconds=0.2))
    start = time.perf_counter()

    income.balance()

    assert time.perf_counter() - start >= 0.2


def test_a_payment_can_be_held_before_or_after_it_is_done(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(100)
    for after_effect in (False, True):
        invoice = payer.create(10)
        world.arm(Fault(target="lnbits.pay", kind=FaultKind.HOLD, after_effect=after_effect))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(service.pay, invoice["bolt11"])
            world.wait_until_held()
            assert payer.read(invoice["payment_hash"]).json()["paid"] is after_effect
            world.release()
            assert answer.result().status_code == 201


def test_who_was_made_to_wait_in_an_earlier_world_does_nothing_in_the_new_one(
    income: Any, world: StandInClient
) -> None:
    world.arm(Fault(target="lnbits.create", kind=FaultKind.HOLD))
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(income.create)
        world.wait_until_held()

        world.reset()

        with pytest.raises(requests.ConnectionError):
            late.result()
    assert world.effects() == []


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_armed_and_is_shown(world: StandInClient, target: str) -> None:
    fault = Fault(target=target, kind=FaultKind.STATUS, times=7)

    world.arm(fault)

    assert world.armed() == [fault]


@pytest.mark.parametrize(
    "body",
    [
        {"target": "nowhere", "kind": "status"},
        {"target": "lnbits.pay", "kind": "unknown"},
        {"target": "lnbits.pay", "kind": "status", "times": 0},
        {"target": "lnbits.pay", "kind": "status", "surprise": 1},
        [],
    ],
)
def test_a_fault_that_makes_no_sense_is_a_400(world: StandInClient, body: object) -> None:
    answer = requests.post(world.url + "/stand-in/faults", json=body, timeout=60)

    assert answer.status_code == 400
    assert world.armed() == []


def test_an_invoice_of_the_payer_is_what_was_asked_for(world: StandInClient) -> None:
    invoice = bolt11.read(world.payer_invoice(42, memo="back", expiry=700))

    assert (invoice.amount, invoice.description) == (42_000, "back")
    assert (invoice.expires_at - invoice.created_at).total_seconds() == 700


def test_a_hundred_clients_at_once_are_all_served(world: StandInClient, income: Any) -> None:
    def life(_: int) -> bool:
        payment_hash = income.create()["payment_hash"]
        world.pay(payment_hash)
        return bool(income.read(payment_hash).json()["paid"])

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(life, range(100)))

    assert income.balance() == 100 * 10_000


def test_an_unknown_path_is_a_404(world: StandInClient) -> None:
    assert requests.get(world.url + "/nowhere", timeout=60).status_code == 404
    assert requests.delete(world.url + "/health", timeout=60).status_code == 404
