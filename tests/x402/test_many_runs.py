"""Many runs at once: the log of runs, the sums and the chain agree to the micro-dollar."""

import os
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_FLOOR, Decimal
from itertools import chain

from tests.support.x402_payer import Payer, v2_headers
from tests.x402.purchases import ask, required, result_of
from tests.x402.rig import Rig
from tests.x402.shops import Creator

RUNS = int(os.environ.get("HONESTWORK_X402_RUNS", "80"))  # noqa: TID251 - an entry point
PAYERS = 8
PRICE_MICROS = 10_007
FEE_PCT = Decimal("2.5")
"""``PLATFORM_FEE_PCT`` of the product on the rig: a fraction of a micro-dollar each time."""
A_MILLION = Decimal(1_000_000)


def test_log_counters_and_tokens_agree(rig: Rig, shop: Creator) -> None:
    thing = shop.new_thing(priceUsd=PRICE_MICROS / 1_000_000)
    each = RUNS // PAYERS
    payers = [rig.payer(each * PRICE_MICROS) for _ in range(PAYERS)]

    with ThreadPoolExecutor(PAYERS) as threads:
        bundles = threads.map(lambda payer: _buy(shop, thing, payer, each), payers)
        receipts = list(chain.from_iterable(bundles))

    bought = each * PAYERS
    transfers = rig.chain.transfers(to=shop.payee)
    assert len(receipts) == len(set(receipts)) == bought
    assert sorted(move.transaction for move in transfers) == sorted(receipts)
    assert rig.chain.balance(shop.payee) == bought * PRICE_MICROS
    assert [rig.chain.balance(payer.address) for payer in payers] == [0] * PAYERS

    log = shop.runs(thing)
    assert [run["status"] for run in log] == ["succeeded"] * bought
    assert sorted(run["transaction"] for run in log) == sorted(receipts)
    assert sum(_micros(run["paidUsd"]) for run in log) == bought * PRICE_MICROS

    fee = int((PRICE_MICROS * FEE_PCT / 100).to_integral_value(rounding=ROUND_FLOOR))
    sums = shop.earnings(thing)
    assert sums["calls"] == bought
    assert _micros(sums["grossUsd"]) == bought * PRICE_MICROS
    assert _micros(sums["platformFeeUsd"]) == _micros(sums["feeDueUsd"]) == bought * fee
    assert _micros(sums["netUsd"]) == bought * (PRICE_MICROS - fee)


def _micros(usd: float) -> int:
    """Shown with at most six decimals, so that this is exact."""
    return int((Decimal(str(usd)) * A_MILLION).to_integral_exact())


def _buy(shop: Creator, thing: str, payer: Payer, times: int) -> list[str]:
    """One after the other; the transactions of the receipts."""
    return [_buy_once(shop, thing, payer) for _ in range(times)]


def _buy_once(shop: Creator, thing: str, payer: Payer) -> str:
    url = shop.url(thing)
    result = result_of(ask(url, v2_headers(payer.v2(required(url)))))
    assert "receipt" in result, result
    return str(result["receipt"]["transaction"])
