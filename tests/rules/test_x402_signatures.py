"""Our own EIP-712 says what eth-account says, for whatever is signed."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.curve import HIGHEST_S
from gateways.x402 import Authorization, Network
from gateways.x402.networks import NETWORKS
from gateways.x402.signatures import signed_hash, signer
from tests.support.x402_payer import wallet_of

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}
uint256 = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda octets: "0x" + octets.hex())
keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))
networks = st.sampled_from(NETWORKS)
authorizations = st.builds(
    Authorization,
    payer=addresses,
    pay_to=addresses,
    amount=uint256,
    valid_after=uint256,
    valid_before=uint256,
    nonce=st.binary(min_size=32, max_size=32).map(lambda octets: "0x" + octets.hex()),
)


def signed_by_eth_account(key: bytes, network: Network, it: Authorization) -> tuple[bytes, str]:
    """The hash and the signature, made by the library."""
    signed = wallet_of(key).sign_typed_data(
        domain_data={
            "name": network.domain_name,
            "version": network.domain_version,
            "chainId": network.chain_id,
            "verifyingContract": network.asset,
        },
        message_types=TYPES,
        message_data={
            "from": it.payer,
            "to": it.pay_to,
            "value": it.amount,
            "validAfter": it.valid_after,
            "validBefore": it.valid_before,
            "nonce": bytes.fromhex(it.nonce[2:]),
        },
    )
    return bytes(signed.message_hash), "0x" + bytes(signed.signature).hex()


@given(keys, networks, authorizations)
def test_hash_and_signer_are_those_of_eth_account(
    key: bytes, network: Network, authorization: Authorization
) -> None:
    message_hash, signature = signed_by_eth_account(key, network, authorization)

    assert signed_hash(network, authorization) == message_hash
    assert signer(network, authorization, signature) == wallet_of(key).address.lower()


@given(keys, authorizations)
def test_what_was_changed_after_signing_is_somebody_elses(
    key: bytes, authorization: Authorization
) -> None:
    _, signature = signed_by_eth_account(key, NETWORKS[0], authorization)
    changed = replace(authorization, amount=authorization.amount ^ 1)

    assert signer(NETWORKS[0], changed, signature) != wallet_of(key).address.lower()
    assert signer(NETWORKS[1], authorization, signature) != wallet_of(key).address.lower()


@given(st.binary(min_size=65, max_size=65), authorizations)
def test_any_65_bytes_are_read_without_an_error(
    octets: bytes, authorization: Authorization
) -> None:
    found = signer(NETWORKS[0], authorization, "0x" + octets.hex())

    assert found is None or len(found) == 42


@given(keys, authorizations)
def test_the_mirror_image_of_a_signature_is_nobodys(
    key: bytes, authorization: Authorization
) -> None:
    octets = bytes.fromhex(signed_by_eth_account(key, NETWORKS[0], authorization)[1][2:])
    mirrored = ORDER - int.from_bytes(octets[32:64])
    assert mirrored > HIGHEST_S
    signature = octets[:32] + mirrored.to_bytes(32) + bytes([55 - octets[64]])

    assert signer(NETWORKS[0], authorization, "0x" + signature.hex()) is None


@pytest.mark.parametrize("last", [2, 26, 29, 255])
def test_a_parity_that_is_none_is_nobodys(last: int) -> None:
    it = Authorization(
        payer="0x" + "11" * 20,
        pay_to="0x" + "22" * 20,
        amount=1,
        valid_after=0,
        valid_before=1,
        nonce="0x" + "33" * 32,
    )
    octets = bytes.fromhex(signed_by_eth_account(b"\x07" * 32, NETWORKS[0], it)[1][2:])

    assert signer(NETWORKS[0], it, "0x" + (octets[:64] + bytes([last])).hex()) is None


def test_tests_leave_the_recursion_limit_alone() -> None:
    wallet_of()

    assert sys.getrecursionlimit() < 10_000
