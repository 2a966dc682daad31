"""Offers: our own word on what a payment buys, in the payment's hands and not in our database.

An offer names resource, version, network and price, is signed by us, ends after a while and is
never the same twice. Whoever pays echoes it, and with it proves later that the payment is theirs:
on the chain it does not stand.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from gateways.vault import Vault
from gateways.x402 import PaymentRefused, Reason
from models.money import UsdMicros
from services.errors import ErrorCode, NotNow
from services.toolbox import Toolbox

LIFETIME = timedelta(minutes=10)
"""From the price to the paid request: a program needs a second, a person with a wallet minutes."""
PURPOSE = "offers"

_FORMAT = struct.Struct(">QIQQ16s")
_TAG_BYTES = 16
_TEXT = re.compile(r"o1\.[A-Za-z0-9_-]{60,300}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Offer:
    resource_id: int
    version: int
    """The number of the version, from 1."""
    network: str
    price: UsdMicros
    expires_at: datetime

    def is_current(self, now: datetime) -> bool:
        return now < self.expires_at


def make(
    tools: Toolbox,
    resource_id: int,
    version_number: int,
    network: str,
    price: UsdMicros,
    *,
    now: datetime,
) -> str:
    """Sign a fresh offer; ``now`` is the database's. Raises NotNow without a vault."""
    content = _FORMAT.pack(
        resource_id,
        version_number,
        price,
        int((now + LIFETIME).timestamp()),
        secrets.token_bytes(16),
    )
    content += network.encode()
    newest = _vault(tools).derive(PURPOSE)[0]
    return _encoded(_tag(newest, content) + content)


def read(tools: Toolbox, text: str) -> Offer:
    """Read an offer that is still good, by the database's clock. Raises PaymentRefused."""
    offer = opened(tools, text)
    if not offer.is_current(database_now(tools)):
        raise PaymentRefused(Reason.REQUIREMENTS)
    return offer


def opened(tools: Toolbox, text: str) -> Offer:
    """Read an offer of ours, however old. Raises PaymentRefused."""
    octets = _decoded(text)
    tag, content = octets[:_TAG_BYTES], octets[_TAG_BYTES:]
    tags = [_tag(key, content) for key in _vault(tools).derive(PURPOSE)]
    if not any(hmac.compare_digest(tag, ours) for ours in tags):
        raise PaymentRefused(Reason.REQUIREMENTS)
    resource_id, version, price, expires_at, _ = _FORMAT.unpack_from(content)
    return Offer(
        resource_id=resource_id,
        version=version,
        network=content[_FORMAT.size :].decode(),
        price=UsdMicros(price),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )


def database_now(tools: Toolbox) -> datetime:
    """The time that decides about money."""
    with tools.database.reading("offers.now") as session:
        return session.scalars(select(func.now())).one()


def _encoded(octets: bytes) -> str:
    return "o1." + base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    if _TEXT.fullmatch(text) is None:
        raise PaymentRefused(Reason.REQUIREMENTS)
    encoded = text.removeprefix("o1.")
    try:
        octets = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (ValueError, binascii.Error):
        raise PaymentRefused(Reason.REQUIREMENTS) from None
    if _encoded(octets) != text:  # the last character has bits that decoding ignores
        raise PaymentRefused(Reason.REQUIREMENTS)
    return octets


def _tag(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()[:_TAG_BYTES]


def _vault(tools: Toolbox) -> Vault:
    if tools.vault is None:
        raise NotNow("This service has no instant resources.", code=ErrorCode.INSTANT_UNAVAILABLE)
    return tools.vault
