"""The facilitator over HTTP: yes, no, and don't know, from the stand-in and from a scripted one."""

from typing import Any

import pytest

from gateways.errors import Unavailable
from gateways.http import HttpClient
from gateways.x402 import (
    Payment,
    Rejected,
    Requirement,
    SettlementOutcome,
    Verified,
    wire,
)
from gateways.x402.facilitator import NOT_ON_THE_CHAIN, HttpFacilitator
from gateways.x402.networks import BASE, BASE_SEPOLIA
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.money import UsdMicros
from tests.conformance.scripted_server import (
    CLOSE,
    HANG,
    RESET,
    Say,
    ScriptedServer,
    answer,
    dripping_body,
    json_answer,
)
from tests.support.x402_payer import Payer, encoded

CREATOR = "0x" + "c0" * 20
URL = "https://shop.example/api/instant/ada/haiku"
PRICE = UsdMicros(10_000)
TRANSACTION = "0x" + "7a" * 32
SEPOLIA = REQUIRED = Requirement(
    network=BASE_SEPOLIA, amount=PRICE, pay_to=CREATOR, max_timeout_seconds=600, offer="o1.x"
)
MAIN = Requirement(
    network=BASE, amount=PRICE, pay_to=CREATOR, max_timeout_seconds=600, offer="o1.x"
)


def paid_by(payer: Payer, requirement: Requirement = REQUIRED, /, **changes: Any) -> Payment:
    required = {"accepts": [requirement.v2()], "resource": {"url": URL}}
    payment = wire.payment_of(encoded(payer.v2(required, **changes)), None)
    assert payment is not None
    return payment


@pytest.fixture
def payer() -> Payer:
    return Payer()


@pytest.fixture
def facilitator(stand_in: StandInClient, http: HttpClient) -> HttpFacilitator:
    return HttpFacilitator(f"{stand_in.url}/x402", http)


@pytest.fixture
def scripted(server: ScriptedServer, http: HttpClient) -> HttpFacilitator:
    return HttpFacilitator(f"{server.url}/x402", http)


def settled(wallet: Payer, /, **more: Any) -> dict[str, Any]:
    said = {"success": True, "transaction": TRANSACTION, "network": "eip155:84532"}
    return said | {"payer": wallet.address} | more


# as the stand-in


@pytest.mark.parametrize("requirement", [SEPOLIA, MAIN], ids=["sepolia", "main"])
def test_a_good_payment_of_version_2_is_verified_and_settled(
    stand_in: StandInClient, facilitator: HttpFacilitator, payer: Payer, requirement: Requirement
) -> None:
    payment = paid_by(payer, requirement)

    verified = facilitator.verify(payment.raw, requirement.v2())
    settlement = facilitator.settle(payment.raw, requirement.v2())

    chain = requirement.network.chain_id
    assert verified == Verified(payer=payer.address)
    assert settlement.outcome is SettlementOutcome.SETTLED
    assert settlement.answer["success"] is True
    assert settlement.answer["network"] == requirement.network.name
    assert stand_in.tokens_of(payer.address, chain=chain) == 10**12 - PRICE
    assert stand_in.tokens_of(CREATOR, chain=chain) == 10**12 + PRICE
    [moved] = stand_in.effects("tokens_moved")
    assert moved.details["transaction"] == settlement.transaction


def test_a_good_payment_of_version_1_is_verified_and_settled(
    facilitator: HttpFacilitator, payer: Payer
) -> None:
    asked = REQUIRED.v1(resource=URL, description="a haiku")
    payment = wire.payment_of(None, encoded(payer.v1({"accepts": [asked]})))
    assert payment is not None

    assert isinstance(facilitator.verify(payment.raw, asked), Verified)
    settlement = facilitator.settle(payment.raw, asked)

    assert settlement.outcome is SettlementOutcome.SETTLED
    assert settlement.answer["network"] == "base-sepolia"


def test_settled_twice_it_moves_once_and_the_second_outcome_is_unknown(
    stand_in: StandInClient, facilitator: HttpFacilitator, payer: Payer
) -> None:
    payment = paid_by(payer)
    facilitator.settle(payment.raw, REQUIRED.v2())

    second = facilitator.settle(payment.raw, REQUIRED.v2())

    assert second.outcome is SettlementOutcome.UNKNOWN
    assert second.reason == "transaction_failed"
    assert stand_in.tokens_of(CREATOR) == 10**12 + PRICE
    assert facilitator.verify(payment.raw, REQUIRED.v2()) == Rejected(
        reason="invalid_exact_evm_nonce_already_used"
    )


def test_an_emptied_wallet_is_rejected_and_not_settled(
    stand_in: StandInClient, facilitator: HttpFacilitator, payer: Payer
) -> None:
    payment = paid_by(payer)
    stand_in.set_tokens(payer.address, PRICE - 1)

    verdict = facilitator.verify(payment.raw, REQUIRED.v2())
    settlement = facilitator.settle(payment.raw, REQUIRED.v2())

    assert verdict == Rejected(reason="invalid_exact_evm_insufficient_balance")
    assert settlement.outcome is SettlementOutcome.REFUSED
    assert stand_in.tokens_of(CREATOR) == 10**12


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"to": "0x" + "d0" * 20}, "invalid_exact_evm_payload_recipient_mismatch"),
        ({"value": "9999"}, "invalid_exact_evm_payload_authorization_value_mismatch"),
        ({"validBefore": "1700000000"}, "invalid_exact_evm_payload_authorization_valid_before"),
        ({"validAfter": "4000000000"}, "invalid_exact_evm_payload_authorization_valid_after"),
    ],
)
def test_the_stand_in_rejects_what_a_facilitator_rejects(
    facilitator: HttpFacilitator, payer: Payer, changes: dict[str, str], reason: str
) -> None:
    payment = paid_by(payer, REQUIRED, **changes)

    assert facilitator.verify(payment.raw, REQUIRED.v2()) == Rejected(reason=reason)


def test_the_stand_in_rejects_a_signature_of_somebody_else(
    facilitator: HttpFacilitator, payer: Payer
) -> None:
    payment = paid_by(payer, REQUIRED, **{"from": Payer().address})

    verdict = facilitator.verify(payment.raw, REQUIRED.v2())

    assert verdict == Rejected(reason="invalid_exact_evm_payload_signature")


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.RESET, FaultKind.TRUNCATED])
def test_a_settlement_whose_answer_is_lost_is_unknown(
    stand_in: StandInClient,
    facilitator: HttpFacilitator,
    payer: Payer,
    kind: FaultKind,
    after_effect: bool,
) -> None:
    stand_in.arm(Fault(target="x402.settle", kind=kind, status=502, after_effect=after_effect))

    settlement = facilitator.settle(paid_by(payer).raw, REQUIRED.v2())

    has_moved = stand_in.tokens_of(payer.address) < 10**12
    assert settlement.outcome is SettlementOutcome.UNKNOWN
    assert has_moved is (after_effect or kind is FaultKind.TRUNCATED)


def test_a_pending_settlement_is_unknown_and_names_its_transaction(
    stand_in: StandInClient, facilitator: HttpFacilitator, payer: Payer
) -> None:
    stand_in.arm(Fault(target="x402.settle", kind=FaultKind.SETTLEMENT_PENDING))

    settlement = facilitator.settle(paid_by(payer).raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.UNKNOWN
    assert settlement.reason == "settlement_pending"
    assert settlement.transaction is not None
    assert stand_in.tokens_of(payer.address) == 10**12


def test_what_a_lying_facilitator_says_is_believed(
    stand_in: StandInClient, facilitator: HttpFacilitator, payer: Payer
) -> None:
    stand_in.arm(Fault(target="x402", kind=FaultKind.LIE, times=2))
    stand_in.set_tokens(payer.address, 0)
    payment = paid_by(payer)

    assert isinstance(facilitator.verify(payment.raw, REQUIRED.v2()), Verified)
    settlement = facilitator.settle(payment.raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.SETTLED
    assert stand_in.effects("tokens_moved") == []


# as a scripted one


def test_a_request_holds_version_payment_and_requirement(
    server: ScriptedServer, scripted: HttpFacilitator, payer: Payer
) -> None:
    server.says(json_answer({"isValid": True}))
    payment = paid_by(payer)

    assert scripted.verify(payment.raw, REQUIRED.v2()) == Verified(payer=payer.address)

    [heard] = server.heard
    assert heard.path == "/x402/verify"
    assert heard.json == {
        "x402Version": 2,
        "paymentPayload": payment.raw,
        "paymentRequirements": REQUIRED.v2(),
    }


@pytest.mark.parametrize("reason", sorted(NOT_ON_THE_CHAIN))
def test_a_refusal_from_before_anything_is_sent_is_definite(
    server: ScriptedServer, scripted: HttpFacilitator, payer: Payer, reason: str
) -> None:
    said = settled(payer, success=False, transaction="", errorReason=reason)
    server.says(json_answer(said))

    settlement = scripted.settle(paid_by(payer).raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.REFUSED
    assert settlement.answer["errorReason"] == reason


@pytest.mark.parametrize(
    "said",
    [
        {"success": False, "errorReason": "invalid_exact_evm_nonce_already_used"},
        {"success": False, "errorReason": "transaction_failed"},
        {"success": False, "errorReason": "settlement_pending"},
        {"success": False, "errorReason": "invalid_transaction_state"},
        {"success": False, "errorReason": "unexpected_settle_error"},
        {"success": False, "errorReason": "a code of tomorrow <script>"},
        {"success": False},
        {"success": False, "errorReason": "insufficient_funds", "transaction": TRANSACTION},
        {"success": True, "transaction": ""},
        {"success": True, "transaction": "0xdead"},
        {"success": True, "network": "eip155:8453"},
        {"success": True, "payer": "0x" + "00" * 20},
    ],
)
def test_any_other_outcome_is_unknown(
    server: ScriptedServer, scripted: HttpFacilitator, payer: Payer, said: dict[str, Any]
) -> None:
    missing = {} if said.get("success") else {"transaction": ""}
    server.says(json_answer(settled(payer) | missing | said))

    settlement = scripted.settle(paid_by(payer).raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.UNKNOWN
    assert settlement.reason
    assert "<" not in settlement.reason


@pytest.mark.parametrize("name", ["eip155:84532", "base-sepolia"])
def test_either_name_of_the_network_is_its_name(
    server: ScriptedServer, scripted: HttpFacilitator, payer: Payer, name: str
) -> None:
    server.says(json_answer(settled(payer, network=name, payer=payer.account.address)))

    settlement = scripted.settle(paid_by(payer).raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.SETTLED
    assert settlement.transaction == TRANSACTION


SENSELESS = [
    pytest.param(answer(500, "boom"), id="500"),
    pytest.param(answer(429, "slow down"), id="429"),
    pytest.param(answer(400, '{"error": "bad request"}'), id="400"),
    pytest.param(answer(302, "", headers={"Location": "/elsewhere"}), id="302"),
    pytest.param(answer(200, "<html>"), id="a page"),
    pytest.param(answer(200, "[]"), id="a list"),
    pytest.param(answer(200, "{}"), id="nothing"),
    pytest.param(answer(200, "{" + " " * 70_000 + "}"), id="too large"),
    pytest.param(answer(200, "[" * 60_000), id="nested"),
    pytest.param(dripping_body(b'{"isValid": true}', seconds_a_byte=0.3), id="dripping"),
    pytest.param(HANG, id="hang"),
    pytest.param(RESET, id="reset"),
    pytest.param(CLOSE, id="close"),
]


@pytest.mark.parametrize("said", SENSELESS)
def test_what_makes_no_sense_is_unknown_and_unavailable(
    server: ScriptedServer, http: HttpClient, payer: Payer, said: Say
) -> None:
    server.says(said)
    payment = paid_by(payer)
    hasty = HttpFacilitator(f"{server.url}/x402", http, verify_seconds=1, settle_seconds=1)

    settlement = hasty.settle(payment.raw, REQUIRED.v2())
    with pytest.raises(Unavailable):
        hasty.verify(payment.raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.UNKNOWN


def test_nobody_listening_is_unknown_and_unavailable(
    closed_url: str, http: HttpClient, payer: Payer
) -> None:
    facilitator = HttpFacilitator(closed_url, http)
    payment = paid_by(payer)

    settlement = facilitator.settle(payment.raw, REQUIRED.v2())
    with pytest.raises(Unavailable):
        facilitator.verify(payment.raw, REQUIRED.v2())

    assert settlement.outcome is SettlementOutcome.UNKNOWN


@pytest.mark.parametrize(
    "said",
    [
        {"isValid": False, "invalidReason": "unexpected_verify_error"},
        {"isValid": True, "payer": "0x" + "00" * 20},
    ],
)
def test_a_facilitator_that_could_not_look_has_not_rejected(
    server: ScriptedServer, scripted: HttpFacilitator, payer: Payer, said: dict[str, Any]
) -> None:
    server.says(json_answer(said))

    with pytest.raises(Unavailable):
        scripted.verify(paid_by(payer).raw, REQUIRED.v2())


def test_a_rejection_without_a_reason_has_one(
    server: ScriptedServer, scripted: HttpFacilitator, payer: Payer
) -> None:
    server.says(json_answer({"isValid": False}))

    assert scripted.verify(paid_by(payer).raw, REQUIRED.v2()) == Rejected(reason="invalid_payload")
