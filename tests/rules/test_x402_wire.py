"""x402's headers, strictly read: what is not spelled in exactly one way is no payment."""

import base64
import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.evm_addresses import checksummed
from gateways.x402 import MalformedPayment, Payment, PaymentRefused, Requirement, wire
from gateways.x402.networks import BASE, BASE_SEPOLIA, NETWORKS
from gateways.x402.signatures import is_of_one_key, signer
from models.money import UsdMicros
from tests.support.x402_payer import Payer, encoded

URL = "https://shop.example/api/instant/ada/haiku"
PAYER = Payer()
REQUIREMENT = Requirement(
    network=BASE_SEPOLIA,
    amount=UsdMicros(10_000),
    pay_to="0x" + "ab" * 20,
    max_timeout_seconds=600,
    offer="o1.an-offer",
)
V2 = PAYER.v2({"accepts": [REQUIREMENT.v2()], "resource": {"url": URL}})
V1 = PAYER.v1({"accepts": [REQUIREMENT.v1(resource=URL, description="a haiku")]})

Change = Callable[[dict[str, Any]], object]


def read(payment: object) -> Payment:
    found = wire.payment_of(encoded(payment), None)
    assert found is not None
    return found


def read_v1(payment: object) -> Payment:
    found = wire.payment_of(None, encoded(payment))
    assert found is not None
    return found


def authorization_with(**members: object) -> dict[str, Any]:
    changed = copy.deepcopy(V2)
    changed["payload"]["authorization"] |= members
    return changed


def changed(change: Change, payment: dict[str, Any]) -> dict[str, Any]:
    other = copy.deepcopy(payment)
    change(other)
    return other


def test_without_a_header_there_is_no_payment() -> None:
    assert wire.payment_of(None, None) is None


def test_a_payment_of_version_2_is_read_whole() -> None:
    payment = read(V2 | {"extensions": {"payment-identifier": {"info": {"id": "a" * 16}}}})

    stated = V2["payload"]["authorization"]
    assert payment.version == 2
    assert payment.network is BASE_SEPOLIA
    assert payment.asset == BASE_SEPOLIA.asset
    assert payment.authorization.payer == PAYER.address
    assert payment.authorization.pay_to == REQUIREMENT.pay_to
    assert payment.authorization.amount == 10_000
    assert payment.authorization.valid_before == int(stated["validBefore"])
    assert payment.offer == "o1.an-offer"
    assert payment.payment_identifier == "a" * 16
    assert payment.resource_url == URL


def test_a_payment_of_version_1_is_of_its_networks_own_token() -> None:
    payment = read_v1(V1)

    assert payment.version == 1
    assert payment.network is BASE_SEPOLIA
    assert payment.asset == BASE_SEPOLIA.asset
    assert payment.offer is None
    assert payment.authorization.valid_after <= time.time() - 600


def test_both_versions_at_once_might_be_two_payments() -> None:
    with pytest.raises(MalformedPayment):
        wire.payment_of(encoded(V2), encoded(V1))


def test_a_payment_under_the_header_of_the_other_version_is_refused() -> None:
    with pytest.raises(MalformedPayment):
        read(V1)
    with pytest.raises(MalformedPayment):
        read_v1(V2)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_network_is_found_by_both_its_names(network: Any) -> None:
    payment = copy.deepcopy(V1) | {"network": network.v1_name}

    assert read_v1(payment).network is network
    assert read_v1(payment | {"network": network.name}).network is network


def test_a_foreign_network_or_scheme_is_refused_and_not_malformed() -> None:
    foreign = changed(lambda it: it["accepted"].update(network="eip155:1"), V2)
    scheme = changed(lambda it: it["accepted"].update(scheme="upto"), V2)

    with pytest.raises(PaymentRefused, match="invalid_network"):
        read(foreign)
    with pytest.raises(PaymentRefused, match="unsupported_scheme"):
        read(scheme)


@pytest.mark.parametrize(
    "nonce",
    [
        "aa" * 32,
        "0X" + "aa" * 32,
        "0x" + "aa" * 31,
        "0x" + "aa" * 33,
        " 0x" + "aa" * 32,
        "0x" + "aa" * 16 + " " + "aa" * 16,
        "0x" + "aa" * 16 + "_" + "aa" * 15 + "a",
        "0x" + "aa" * 32 + "\n",
        "0x" + "ａａ" * 32,
        7,
        None,
    ],
)
def test_a_nonce_spelled_otherwise_is_malformed(nonce: object) -> None:
    with pytest.raises(MalformedPayment):
        read(authorization_with(nonce=nonce))


def test_a_nonce_in_upper_case_is_the_same_payment() -> None:
    upper = "0x" + V2["payload"]["authorization"]["nonce"][2:].upper()

    assert read(authorization_with(nonce=upper)).key == read(V2).key


def test_an_address_in_upper_or_mixed_case_is_the_same_payment() -> None:
    upper = "0x" + PAYER.address[2:].upper()

    assert read(authorization_with(**{"from": upper})).key == read(V2).key


@pytest.mark.parametrize(
    "value",
    ["1_0000", " 10000 ", "+10000", "010000", "10000.0", "1e4", "-1", "", "0x10", "１０", 10_000],
)
@pytest.mark.parametrize("member", ["value", "validAfter", "validBefore"])
def test_a_number_spelled_otherwise_is_malformed(member: str, value: object) -> None:
    with pytest.raises(MalformedPayment):
        read(authorization_with(**{member: value}))


def test_a_number_that_no_token_could_hold_is_malformed() -> None:
    with pytest.raises(MalformedPayment):
        read(authorization_with(value=str(2**256)))
    with pytest.raises(MalformedPayment):
        read(authorization_with(validBefore=str(2**40)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda it: it.pop("x402Version"), id="no version"),
        pytest.param(lambda it: it.update(x402Version="2"), id="version as text"),
        pytest.param(lambda it: it.update(x402Version=3), id="version 3"),
        pytest.param(lambda it: it.pop("accepted"), id="nothing accepted"),
        pytest.param(lambda it: it.update(accepted=[it["accepted"]]), id="a list accepted"),
        pytest.param(lambda it: it["accepted"].pop("asset"), id="no asset"),
        pytest.param(lambda it: it["accepted"].update(asset="USDC"), id="asset by name"),
        pytest.param(lambda it: it["accepted"]["extra"].update(offer=7), id="offer as number"),
        pytest.param(lambda it: it["accepted"]["extra"].update(offer="x" * 513), id="long offer"),
        pytest.param(lambda it: it["accepted"]["extra"].update(offer="\ud800"), id="no UTF-8"),
        pytest.param(lambda it: it.pop("payload"), id="no payload"),
        pytest.param(lambda it: it["payload"].pop("signature"), id="no signature"),
        pytest.param(lambda it: it["payload"].update(signature="0xabc"), id="half a byte"),
        pytest.param(lambda it: it["payload"].update(signature="0x"), id="empty signature"),
        pytest.param(lambda it: it["payload"].update(signature="0x" + "ab" * 2049), id="long"),
        pytest.param(lambda it: it["payload"].update(permit2Authorization={}), id="permit2 too"),
        pytest.param(lambda it: it["payload"]["authorization"].update(also="1"), id="also"),
        pytest.param(lambda it: it["payload"]["authorization"].pop("to"), id="nobody to pay"),
        pytest.param(lambda it: it.update(resource="here"), id="resource as text"),
        pytest.param(lambda it: it.update(resource={}), id="resource without url"),
        pytest.param(lambda it: it.update(extensions=[]), id="extensions as list"),
        pytest.param(
            lambda it: it.update(extensions={"payment-identifier": {"info": {"id": "short"}}}),
            id="short identifier",
        ),
        pytest.param(
            lambda it: it.update(
                extensions={"payment-identifier": {"info": {"id": "a" * 15 + "é"}}}
            ),
            id="identifier with an accent",
        ),
    ],
)
def test_a_payment_of_another_shape_is_malformed(change: Change) -> None:
    with pytest.raises(MalformedPayment):
        read(changed(change, V2))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "e30",
        "not base64!",
        " e30=",
        "e3 0=",
        "e30=\n",
        "e30_",
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"{").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"null").decode(),
        base64.b64encode(b'{"x402Version": NaN}').decode(),
        base64.b64encode(b'{"x402Version": 1, "x402Version": 2}').decode(),
        base64.b64encode(b"[" * 3000 + b"]" * 3000).decode(),
        base64.b64encode(json.dumps(V2 | {"more": "x" * 8000}).encode()).decode(),
        "é" * 8,
    ],
)
def test_a_header_that_is_no_base64_of_a_json_object_is_malformed(header: str) -> None:
    with pytest.raises(MalformedPayment):
        wire.payment_of(header, None)
    with pytest.raises(MalformedPayment):
        wire.payment_of(None, header)


@pytest.mark.parametrize("junk", [" ", "\n", "-", "_", "é", "=", "\0", "%3D"])
def test_a_good_payment_with_junk_in_its_base64_is_malformed(junk: str) -> None:
    header = encoded(V2)
    assert wire.payment_of(header, None) is not None

    for position in (0, 40, len(header)):
        with pytest.raises(MalformedPayment):
            wire.payment_of(header[:position] + junk + header[position:], None)


@given(st.text())
def test_whatever_the_header_holds_it_is_a_payment_or_malformed(header: str) -> None:
    with pytest.raises(MalformedPayment):
        wire.payment_of(header, None)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_paths = st.sampled_from(
    [
        ("x402Version",),
        ("accepted",),
        ("accepted", "network"),
        ("accepted", "asset"),
        ("accepted", "extra"),
        ("payload",),
        ("payload", "signature"),
        ("payload", "authorization"),
        ("payload", "authorization", "from"),
        ("payload", "authorization", "value"),
        ("payload", "authorization", "nonce"),
        ("resource",),
        ("extensions",),
    ]
)


@given(_paths, _json)
def test_whatever_stands_in_a_member_it_is_read_or_refused(
    path: tuple[str, ...], value: object
) -> None:
    payment = copy.deepcopy(V2)
    holder = payment
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value

    try:
        found = read(payment)
    except (MalformedPayment, PaymentRefused):
        return
    assert found.authorization.payer == found.authorization.payer.lower()


def test_the_facilitator_is_sent_addresses_with_their_checksum_however_they_came() -> None:
    """x402's own facilitator takes no others."""
    stated = V2["payload"]["authorization"]
    lower = authorization_with(**{"from": stated["from"].lower(), "to": stated["to"].lower()})

    sent = read(lower).raw["payload"]["authorization"]

    assert sent["from"] == checksummed(stated["from"])
    assert sent["to"] == checksummed(stated["to"])


@pytest.mark.parametrize(("parity", "sent"), [("00", "1b"), ("01", "1c"), ("1b", "1b")])
def test_the_facilitator_is_sent_the_parity_that_the_token_takes(parity: str, sent: str) -> None:
    """Some wallets write 0 and 1: the signature is good, and the token refuses it as it stands."""
    signature = V2["payload"]["signature"][:-2]
    payload = V2["payload"] | {"signature": signature + parity}

    assert read(V2 | {"payload": payload}).raw["payload"]["signature"] == signature + sent


def test_what_is_no_plain_signature_is_sent_as_it_came() -> None:
    longer = V2["payload"]["signature"] + "00"
    payload = V2["payload"] | {"signature": longer}

    assert read(V2 | {"payload": payload}).raw["payload"]["signature"] == longer


def test_the_facilitator_is_sent_what_was_read_and_nothing_beside_it() -> None:
    upper = authorization_with(nonce="0x" + V2["payload"]["authorization"]["nonce"][2:].upper())
    payment = read(upper | {"extensions": {"x": {}}, "more": 1})

    assert set(payment.raw) == {"x402Version", "accepted", "payload", "resource"}
    assert payment.raw["payload"]["authorization"]["nonce"] == payment.authorization.nonce
    assert read(payment.raw) == payment


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_a_signature_is_its_payers_on_its_network_and_nobodys_elsewhere(network: Any) -> None:
    requirement = Requirement(
        network=network,
        amount=UsdMicros(1000),
        pay_to="0x" + "cd" * 20,
        max_timeout_seconds=600,
        offer="o1.x",
    )
    payment = read(PAYER.v2({"accepts": [requirement.v2()], "resource": {"url": URL}}))
    other = BASE if network is BASE_SEPOLIA else BASE_SEPOLIA

    assert is_of_one_key(payment.signature)
    assert signer(network, payment.authorization, payment.signature) == PAYER.address
    assert signer(other, payment.authorization, payment.signature) != PAYER.address


def test_what_is_no_signature_is_nobodys() -> None:
    authorization = read(V2).authorization

    assert signer(BASE_SEPOLIA, authorization, "0x" + "00" * 65) is None
    assert signer(BASE_SEPOLIA, authorization, "0x" + "ff" * 65) is None


def test_headers_go_out_as_base64_of_utf_8() -> None:
    text = wire.encode({"description": "fünf Haikus 俳句"})

    assert json.loads(base64.b64decode(text, validate=True)) == {"description": "fünf Haikus 俳句"}
    assert wire.decode(text) == {"description": "fünf Haikus 俳句"}
