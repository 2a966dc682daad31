"""Write and sign BOLT11 invoices: the half of the format that only a Lightning node needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from coincurve import PrivateKey

from gateways.bolt11 import BECH32_CHARACTERS, Network, bech32_remainder

CURRENCIES = {
    Network.BITCOIN: "bc",
    Network.TESTNET: "tb",
    Network.SIGNET: "tbs",
    Network.REGTEST: "bcrt",
}
VAR_ONION_OPTIN, PAYMENT_SECRET, BASIC_MPP = 8, 14, 17
USUAL_FEATURES = frozenset({VAR_ONION_OPTIN, PAYMENT_SECRET, BASIC_MPP})

Words = list[int]
"""Numbers of 5 bits."""
Field = tuple[str, Words]
"""A tagged field: its letter and its content."""


@dataclass(frozen=True, kw_only=True)
class InvoiceDraft:
    """What an invoice shall say. Exactly one of ``description`` and ``description_hash``."""

    network: Network = Network.REGTEST
    amount_msats: int | None
    payment_hash: bytes
    payment_secret: bytes
    created_at: datetime
    expiry_seconds: int | None = 3600
    """None = say nothing, which means an hour."""
    description: str | None = None
    description_hash: bytes | None = None
    min_final_cltv_expiry: int | None = 18
    features: frozenset[int] = field(default=USUAL_FEATURES)
    names_payee: bool = False


def sign_invoice(draft: InvoiceDraft, key: PrivateKey) -> str:
    """Encode and sign. Signing the same draft again gives the same text."""
    return encode(prefix_of(draft), int(draft.created_at.timestamp()), _fields(draft, key), key)


def prefix_of(draft: InvoiceDraft) -> str:
    """The human-readable part: the network, and the amount in its shortest spelling."""
    return "ln" + CURRENCIES[draft.network] + amount_in_shortest_unit(draft.amount_msats)


def amount_in_shortest_unit(msats: int | None) -> str:
    """``None`` is an empty string: the payer chooses."""
    if msats is None:
        return ""
    value = msats * 10
    for unit in ("p", "n", "u", "m"):
        if value % 1000:
            return f"{value}{unit}"
        value //= 1000
    return str(value)


def encode(prefix: str, timestamp: int, fields: Iterable[Field], key: PrivateKey) -> str:
    """Sign whatever is handed in, well-formed or not."""
    words = words_of_number(timestamp, size=7)
    for letter, content in fields:
        size = words_of_number(len(content), size=2)
        words += [BECH32_CHARACTERS.index(letter), *size, *content]
    signature = key.sign_recoverable(prefix.encode() + octets_of_words(words))
    return bech32(prefix, words + words_of_octets(signature))


def bech32(prefix: str, words: Words) -> str:
    """Append the checksum and spell it out."""
    remainder = bech32_remainder(prefix, [*words, 0, 0, 0, 0, 0, 0]) ^ 1
    checksum = [remainder >> shift & 31 for shift in (25, 20, 15, 10, 5, 0)]
    return prefix + "1" + "".join(BECH32_CHARACTERS[word] for word in words + checksum)


def words_of_number(value: int, *, size: int = 0) -> Words:
    """Big-endian, in ``size`` words, or in as few as it takes."""
    words: Words = []
    while value:
        words.insert(0, value & 31)
        value >>= 5
    return [0] * (size - len(words)) + words


def words_of_octets(octets: bytes) -> Words:
    """Padded with zero bits to whole words."""
    size = -(-len(octets) * 8 // 5)
    return words_of_number(int.from_bytes(octets) << size * 5 - len(octets) * 8, size=size)


def octets_of_words(words: Words) -> bytes:
    """Padded with zero bits to whole octets."""
    bits = "".join(f"{word:05b}" for word in words)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def _fields(draft: InvoiceDraft, key: PrivateKey) -> list[Field]:
    """In the order in which LNbits' own library writes them."""
    octets: list[tuple[str, bytes | None]] = [
        ("p", draft.payment_hash),
        ("s", draft.payment_secret),
        ("d", None if draft.description is None else draft.description.encode()),
        ("h", draft.description_hash),
        ("n", key.public_key.format() if draft.names_payee else None),
    ]
    numbers: list[tuple[str, int | None]] = [
        ("x", draft.expiry_seconds),
        ("c", draft.min_final_cltv_expiry),
        ("9", sum(1 << bit for bit in draft.features) or None),
    ]
    return [
        *((letter, words_of_octets(value)) for letter, value in octets if value is not None),
        *((letter, words_of_number(value)) for letter, value in numbers if value is not None),
    ]
