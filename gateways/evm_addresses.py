"""EVM addresses: of which key they are, and as people write them, with the checksum of EIP-55."""

import re

from Crypto.Hash import keccak

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_NOBODY = "0x" + "0" * 40


def problem_of(address: str) -> str | None:
    """What is wrong with an address to be paid at, as a predicate; None = nothing.

    Mixed case must be the right checksum; one case throughout has none to check.
    """
    if not _ADDRESS.fullmatch(address):
        return "must be an address: 0x and 40 hexadecimal digits"
    if address.lower() == _NOBODY:
        return "is an address that nobody has"
    digits = address[2:]
    if digits in (digits.lower(), digits.upper()) or address == checksummed(address):
        return None
    return "has a wrong checksum (EIP-55): a character is mistyped"


def checksummed(address: str) -> str:
    """The address with the capitals of EIP-55."""
    digits = address[2:].lower()
    digest = keccak256(digits.encode()).hex()
    capitals = (
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, digest, strict=False)
    )
    return "0x" + "".join(capitals)


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash: SHA-3 as it was before it became a standard."""
    return keccak.new(digest_bits=256, data=data).digest()


def address_of(public_key: bytes) -> str:
    """The address, lower case, of an uncompressed public key: its 65 bytes, the first of them 4."""
    return "0x" + keccak256(public_key[1:])[-20:].hex()
