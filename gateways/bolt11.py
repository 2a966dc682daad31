"""Read a BOLT11 invoice: is it one, for whom, how much, until when. Whether to pay it is not asked.

Follows BOLT11 as of 2026, which is stricter than older readers: a payment secret is demanded, a
field of the wrong length or a second one of a kind is an error, and exactly one of description and
description hash is there. A text that another reader could understand differently is refused,
because money is sent on what we read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from coincurve import PublicKey

from gateways.curve import HIGHEST_S
from models.money import Msats

MAX_LENGTH = 1500
"""Characters; checked before anything else, so that reading costs little whatever is sent."""
BECH32_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
DEFAULT_EXPIRY_SECONDS = 3600
DEFAULT_MIN_FINAL_CLTV_EXPIRY = 18
LAST_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC)
"""What a larger expiry is read as: some are beyond what a datetime can hold."""


class NotABolt11(ValueError):
    """The text is no invoice that can safely be paid; the message is a sentence for a person."""


class Network(StrEnum):
    """Where an invoice can be paid."""

    BITCOIN = "bitcoin"
    TESTNET = "testnet"
    SIGNET = "signet"
    REGTEST = "regtest"


@dataclass(frozen=True, kw_only=True)
class Bolt11:
    """An invoice whose checksum and signature are right."""

    payment_request: str
    """The canonical spelling: lower case, no ``lightning:``. Store this one and send this one."""
    network: Network
    amount: Msats | None
    """None = the payer may choose."""
    payment_hash: str
    """64 lower-case hex digits."""
    payment_secret: str
    created_at: datetime
    expires_at: datetime
    """Aware UTC, never later than ``LAST_EXPIRY``."""
    description: str | None
    """Text of a stranger: never log it unescaped, never show it to a model."""
    description_hash: str | None
    payee: str
    """Public key of the node that signed, compressed, in hex."""
    min_final_cltv_expiry: int
    """Blocks, as large as the writer liked."""
    features: frozenset[int]
    """Numbers of the feature bits that are set."""


_NETWORKS = {
    "bc": Network.BITCOIN,
    "tb": Network.TESTNET,
    "tbs": Network.SIGNET,
    "bcrt": Network.REGTEST,
}
_PREFIX = re.compile(r"ln(bcrt|bc|tbs|tb)(?:([1-9][0-9]*)([munp]?))?", re.ASCII)
_SCHEME = "lightning:"
# In tenths of a millisat, so that the smallest unit (pico-bitcoin) is a whole number as well.
_TENTH_MSATS = {"": 10**12, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}
_MOST_MSATS = 21_000_000 * 10**11

_TIMESTAMP_WORDS = 7
_SIGNATURE_WORDS = 104
_CHECKSUM_WORDS = 6
_FIELD_HEAD_WORDS = 3
_FIXED_WORDS = {"p": 52, "s": 52, "h": 52, "n": 53}
_AT_MOST_ONCE = frozenset("psnxcdh9m")
_NAMES = {
    "p": "payment hash",
    "s": "payment secret",
    "n": "payee",
    "x": "expiry",
    "c": "CLTV expiry",
    "d": "description",
    "h": "description hash",
    "9": "feature list",
    "m": "metadata",
}
# Even bits of BOLT 9 that may stand in an invoice or are assumed of everybody. Any other even bit
# means "do not pay this unless you understand me".
_UNDERSTOOD_EVEN_FEATURES = frozenset({0, 8, 12, 14, 16, 24, 36, 44, 48})

_BITS = str.maketrans({letter: f"{value:05b}" for value, letter in enumerate(BECH32_CHARACTERS)})
_VALUES = {letter: value for value, letter in enumerate(BECH32_CHARACTERS)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def read(text: str) -> Bolt11:
    """Read an invoice in either case, with or without ``lightning:``. Raises only NotABolt11."""
    invoice = _bare(text)
    prefix, data = _bech32_parts(invoice)
    network, amount = _network_and_amount(prefix)
    body, signature = data[:-_SIGNATURE_WORDS], data[-_SIGNATURE_WORDS:]
    fields = _fields(body[_TIMESTAMP_WORDS:])
    created_at = datetime.fromtimestamp(_number(body[:_TIMESTAMP_WORDS]), UTC)
    return Bolt11(
        payment_request=invoice,
        network=network,
        amount=amount,
        payment_hash=_octets(fields["p"]).hex(),
        payment_secret=_octets(fields["s"]).hex(),
        created_at=created_at,
        expires_at=_expiry(created_at, fields.get("x")),
        description=_text(fields["d"]) if "d" in fields else None,
        description_hash=_octets(fields["h"]).hex() if "h" in fields else None,
        payee=_signer(prefix, body, signature, fields.get("n")),
        min_final_cltv_expiry=_number(fields["c"])
        if "c" in fields
        else DEFAULT_MIN_FINAL_CLTV_EXPIRY,
        features=_features(fields.get("9", "")),
    )


def _bare(text: str) -> str:
    """Strip scheme and case, where BIP 173 allows either case but no mixture."""
    if len(text) > MAX_LENGTH:
        raise NotABolt11(f"An invoice has at most {MAX_LENGTH} characters.")
    invoice = text.strip()
    if not invoice.isascii():
        raise NotABolt11("An invoice has only plain letters and digits.")
    if invoice[: len(_SCHEME)].lower() == _SCHEME:
        invoice = invoice[len(_SCHEME) :]
    if invoice not in (invoice.lower(), invoice.upper()):
        raise NotABolt11("An invoice is all lower case or all upper case.")
    return invoice.lower()


def _bech32_parts(invoice: str) -> tuple[str, str]:
    """Split into prefix and data without checksum, both still as characters."""
    prefix, separator, data = invoice.rpartition("1")
    if not separator or not prefix.startswith("ln"):
        raise NotABolt11("This is not a Lightning invoice (BOLT11).")
    if any(letter not in _VALUES for letter in data):
        raise NotABolt11("The invoice has a character that no invoice has.")
    if len(data) < _TIMESTAMP_WORDS + _SIGNATURE_WORDS + _CHECKSUM_WORDS:
        raise NotABolt11("The invoice is too short; was it copied whole?")
    if bech32_remainder(prefix, [_VALUES[letter] for letter in data]) != 1:
        raise NotABolt11("The invoice's checksum is wrong; was it copied whole?")
    return prefix, data[:-_CHECKSUM_WORDS]


def _remainder_of_top(top: int) -> int:
    remainder = 0
    for bit, generator in enumerate(_GENERATORS):
        if top >> bit & 1:
            remainder ^= generator
    return remainder


_REMAINDERS = tuple(_remainder_of_top(top) for top in range(32))


def bech32_remainder(prefix: str, words: list[int]) -> int:
    """The BCH remainder of BIP 173 over prefix and 5-bit words: 1 for a whole bech32 string."""
    codes = prefix.encode()
    remainder = 1
    for word in (*(code >> 5 for code in codes), 0, *(code & 31 for code in codes), *words):
        remainder = (remainder & 0x1FFFFFF) << 5 ^ word ^ _REMAINDERS[remainder >> 25]
    return remainder


def _network_and_amount(prefix: str) -> tuple[Network, Msats | None]:
    match = _PREFIX.fullmatch(prefix)
    if match is None:
        raise NotABolt11("The invoice is for a network, or of an amount, that cannot be read.")
    currency, digits, multiplier = match.groups()
    return _NETWORKS[currency], _amount(digits, multiplier) if digits else None


def _amount(digits: str, multiplier: str) -> Msats:
    msats, fraction = divmod(int(digits) * _TENTH_MSATS[multiplier], 10)
    if fraction:
        raise NotABolt11("The invoice asks for a fraction of a millisat.")
    if msats > _MOST_MSATS:
        raise NotABolt11("The invoice asks for more bitcoin than there can be.")
    return Msats(msats)


def _fields(words: str) -> dict[str, str]:
    """The tagged fields by their letter. Fields that we do not know are passed over."""
    found: dict[str, str] = {}
    position = 0
    while position < len(words):
        start = position + _FIELD_HEAD_WORDS
        name, end = words[position], start + _number(words[position + 1 : start])
        if end > len(words):
            raise NotABolt11("The invoice ends in the middle of a field.")
        _check_field(name, end - start, found)
        found[name] = words[start:end]
        position = end
    _check_completeness(found)
    return found


def _check_field(name: str, size: int, found: Mapping[str, str]) -> None:
    if size != _FIXED_WORDS.get(name, size):
        raise NotABolt11(f"The invoice's {_NAMES[name]} has the wrong length.")
    if name in found and name in _AT_MOST_ONCE:
        raise NotABolt11(f"The invoice has more than one {_NAMES[name]}.")


def _check_completeness(found: Mapping[str, str]) -> None:
    missing = [name for name in "ps" if name not in found]
    if missing:
        raise NotABolt11(f"The invoice has no {_NAMES[missing[0]]}.")
    if ("d" in found) == ("h" in found):
        raise NotABolt11("The invoice must have either a description or a description hash.")


def _expiry(created_at: datetime, words: str | None) -> datetime:
    seconds = DEFAULT_EXPIRY_SECONDS if words is None else _number(words)
    room = int((LAST_EXPIRY - created_at).total_seconds())
    return created_at + timedelta(seconds=min(seconds, room))


def _features(words: str) -> frozenset[int]:
    bits = words.translate(_BITS)
    features = frozenset(number for number, bit in enumerate(reversed(bits)) if bit == "1")
    if any(number % 2 == 0 and number not in _UNDERSTOOD_EVEN_FEATURES for number in features):
        raise NotABolt11("The invoice demands a feature that is not known here.")
    return features


def _text(words: str) -> str:
    try:
        return _octets(words).decode()
    except UnicodeDecodeError:
        raise NotABolt11("The invoice's description is not readable text.") from None


def _signer(prefix: str, body: str, signature_words: str, payee_words: str | None) -> str:
    """The public key that signed, which must be the payee where the invoice names one."""
    signature = _octets(signature_words)
    bits = body.translate(_BITS)
    whole_octets = bits + "0" * (-len(bits) % 8)
    message = prefix.encode() + int(whole_octets, 2).to_bytes(len(whole_octets) // 8)
    try:
        signer = PublicKey.from_signature_and_message(signature, message).format()
    except ValueError:
        raise NotABolt11("The invoice's signature is not valid.") from None
    if payee_words is not None and (_octets(payee_words) != signer or _is_high_s(signature)):
        raise NotABolt11("The invoice is not signed by the payee that it names.")
    return signer.hex()


def _is_high_s(signature: bytes) -> bool:
    """BOLT11 allows the second spelling of a signature only where the payee is not named."""
    return int.from_bytes(signature[32:64]) > HIGHEST_S


def _number(words: str) -> int:
    return int(words.translate(_BITS) or "0", 2)


def _octets(words: str) -> bytes:
    """The whole octets in these words; padding bits at the end are dropped."""
    size = len(words) * 5 // 8
    return int(words.translate(_BITS)[: size * 8] or "0", 2).to_bytes(size)
