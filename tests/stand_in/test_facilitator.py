"""x402's own client against the stand-in's facilitator, and the chain behind it."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.schemas import PaymentPayload, PaymentRequirements

from gateways.evm_addresses import checksummed
from local.stand_in.testing import StandInClient, running_stand_in
from tests.support.x402_payer import Payer

CREATOR = checksummed("0x" + "c0" * 20)
OPENING = 10**12
WANTED: dict[str, Any] = {
    "scheme": "exact",
    "network": "eip155:84532",
    "amount": "10000",
    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    "payTo": CREATOR,
    "maxTimeoutSeconds": 600,
    "extra": {"name": "USDC", "version": "2"},
}
REQUIREMENT = PaymentRequirements.model_validate(WANTED)


@pytest.fixture
def facilitator(world: StandInClient) -> Iterator[HTTPFacilitatorClientSync]:
    with HTTPFacilitatorClientSync(FacilitatorConfig(url=f"{world.url}/x402")) as client:
        yield client


def paid_by(payer: Payer, **changes: Any) -> PaymentPayload:
    required = {"accepts": [WANTED], "resource": {"url": "https://shop.example/a"}}
    return PaymentPayload.model_validate(payer.v2(required, **changes))


def test_it_supports_both_versions_on_both_networks(
    facilitator: HTTPFacilitatorClientSync,
) -> None:
    kinds = {(kind.x402_version, kind.network) for kind in facilitator.get_supported().kinds}

    assert kinds == {
        (2, "eip155:8453"),
        (2, "eip155:84532"),
        (1, "base"),
        (1, "base-sepolia"),
    }


def test_a_payment_moves_tokens_once_however_often_it_is_settled(
    world: StandInClient, facilitator: HTTPFacilitatorClientSync
) -> None:
    payer = Payer()
    payment = paid_by(payer)
    assert facilitator.verify(payment, REQUIREMENT).is_valid

    with ThreadPoolExecutor(20) as many:
        answers = list(
            many.map(lambda _: facilitator.settle(payment, REQUIREMENT).success, range(20))
        )

    assert sum(answers) == 1
    assert world.tokens_of(payer.address) == OPENING - 10_000
    assert world.tokens_of(CREATOR) == OPENING + 10_000
    assert len(world.effects("tokens_moved")) == 1


def test_a_cancelled_authorization_is_not_settled(
    world: StandInClient, facilitator: HTTPFacilitatorClientSync
) -> None:
    payer = Payer()
    payment = paid_by(payer)
    world.cancel_authorization(payer.address, payment.payload["authorization"]["nonce"])

    assert not facilitator.verify(payment, REQUIREMENT).is_valid
    assert not facilitator.settle(payment, REQUIREMENT).success
    assert world.tokens_of(CREATOR) == OPENING


def test_time_on_the_chain_runs_ahead_when_told_to(
    world: StandInClient, facilitator: HTTPFacilitatorClientSync
) -> None:
    payment = paid_by(Payer())
    world.advance_chain(595)

    verdict = facilitator.verify(payment, REQUIREMENT)

    assert verdict.invalid_reason == "invalid_exact_evm_payload_authorization_valid_before"


@pytest.mark.parametrize("path", ["/x402/verify", "/x402/settle"])
@pytest.mark.parametrize("body", [{}, {"x402Version": 2}, {"paymentPayload": 1}])
def test_what_is_no_payment_is_a_400(world: StandInClient, path: str, body: object) -> None:
    assert requests.post(world.url + path, json=body, timeout=60).status_code == 400


def test_a_reset_world_has_everybodys_money_back(
    world: StandInClient, facilitator: HTTPFacilitatorClientSync
) -> None:
    payer = Payer()
    facilitator.settle(paid_by(payer), REQUIREMENT)

    world.reset()

    assert world.tokens_of(payer.address) == world.tokens_of(CREATOR) == OPENING


def test_what_has_moved_is_still_moved_after_a_restart(tmp_path: Path) -> None:
    payer = Payer()
    payment = paid_by(payer)
    for expected in (True, False):
        with running_stand_in(tmp_path) as world:
            config = FacilitatorConfig(url=f"{world.url}/x402")
            with HTTPFacilitatorClientSync(config) as facilitator:
                assert facilitator.settle(payment, REQUIREMENT).success is expected
            assert world.tokens_of(payer.address) == OPENING - 10_000


def test_the_node_says_what_it_cannot_do(world: StandInClient) -> None:
    numbers = itertools.count(1)

    def asked(method: str, *params: object) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": next(numbers), "method": method, "params": params}
        answer = requests.post(f"{world.url}/x402/rpc", data=json.dumps(call), timeout=60)
        return dict(answer.json())

    assert asked("eth_chainId")["result"] == hex(84532)
    assert int(asked("eth_blockNumber")["result"], 16) > 0
    assert "error" in asked("eth_sendRawTransaction", "0x")
    assert "error" in asked("eth_call", {"to": "0x", "data": "0x12345678"}, "latest")
    assert asked("eth_getTransactionReceipt", "0x" + "00" * 32)["result"] is None
