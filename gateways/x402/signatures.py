"""EIP-712: who signed an EIP-3009 authorization.

A few lines of our own for this one type of message, held against eth-account in tests: that library
brings a dozen others, and one of them raises Python's recursion limit for the whole process, so
that anybody's nested JSON could end it.
"""

from coincurve import PublicKey

from gateways.curve import HIGHEST_S
from gateways.evm_addresses import address_of, keccak256
from gateways.x402 import Authorization, Network

ONE_KEY_SIGNATURE_CHARS = 2 + 2 * 65

_DOMAIN = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_TRANSFER = keccak256(
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
_PARITIES = {0: 0, 1: 1, 27: 0, 28: 1}
"""The last byte of a signature, as Ethereum writes it (27, 28) and as the curve does."""


def is_of_one_key(signature: str) -> bool:
    """Whether this can be a plain wallet's; what a smart wallet signs is for the chain to judge."""
    return len(signature) == ONE_KEY_SIGNATURE_CHARS


def signer(network: Network, authorization: Authorization, signature: str) -> str | None:
    """The address, lower case, that made this 65-byte signature; None = nobody's.

    Facilitators have verified what the token then would not settle, such as the mirror image of a
    signature, which USDC refuses: that is work for nothing.
    """
    octets = bytes.fromhex(signature[2:])
    parity = _PARITIES.get(octets[64])
    if parity is None or int.from_bytes(octets[32:64]) > HIGHEST_S:
        return None
    recoverable = octets[:64] + bytes([parity])
    try:
        key = PublicKey.from_signature_and_message(
            recoverable, signed_hash(network, authorization), hasher=None
        )
    except ValueError:
        return None
    return address_of(key.format(compressed=False))


def signed_hash(network: Network, authorization: Authorization) -> bytes:
    """The 32 bytes that a payer signs. Source: EIP-712 and EIP-3009."""
    domain = keccak256(
        _DOMAIN
        + keccak256(network.domain_name.encode())
        + keccak256(network.domain_version.encode())
        + _number(network.chain_id)
        + _address(network.asset)
    )
    transfer = keccak256(
        _TRANSFER
        + _address(authorization.payer)
        + _address(authorization.pay_to)
        + _number(authorization.amount)
        + _number(authorization.valid_after)
        + _number(authorization.valid_before)
        + bytes.fromhex(authorization.nonce[2:])
    )
    return keccak256(b"\x19\x01" + domain + transfer)


def _number(value: int) -> bytes:
    return value.to_bytes(32)


def _address(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])
