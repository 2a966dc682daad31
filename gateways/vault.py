"""What may be read by nobody but us: sealed with authenticated encryption, under a ring of keys.

An envelope is ``1.<key id>.<nonce>.<ciphertext>``. What it is bound to is authenticated with it, so
that an envelope copied into another row opens nothing.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
VERSION = "1"
_NONCE_BYTES = 12
_KEY_ID_BYTES = 6
_ENVELOPE = re.compile(r"1\.([\w-]{8})\.([\w-]{16})\.([\w-]{22,})", re.ASCII)
_BASE64URL = re.compile(r"[\w-]+={0,2}", re.ASCII)


class SealBroken(Exception):
    """An envelope does not open: changed, of another place, or under a key we do not have.

    The message never holds what was sealed.
    """


class Vault:
    """A ring of keys: the newest seals, any of them opens. Safe to share between threads."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        """Keys as base64url, the newest first. Raises ValueError with a sentence for the operator,
        which never holds a key.
        """
        raw = [_key_of(position, text) for position, text in enumerate(keys, start=1)]
        if not raw:
            raise ValueError("holds no key")
        if len(set(raw)) < len(raw):
            raise ValueError("holds the same key twice")
        self._masters = tuple(raw)
        self._ring: Mapping[str, AESGCM] = {
            _key_id(master): AESGCM(_derived(master, "seal")) for master in raw
        }
        self._newest = _key_id(raw[0])

    def seal(self, plain: str, *, bound_to: str) -> str:
        """Encrypt with the newest key. The same text twice gives two different envelopes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ring[self._newest].encrypt(
            nonce, plain.encode(), _bond(self._newest, bound_to)
        )
        return ".".join((VERSION, self._newest, _encoded(nonce), _encoded(sealed)))

    def open(self, sealed: str, *, bound_to: str) -> str:
        """Decrypt. Raises SealBroken."""
        match = _ENVELOPE.fullmatch(sealed)
        if match is None:
            raise SealBroken("no envelope of ours")
        key_id, nonce, ciphertext = match.groups()
        key = self._ring.get(key_id)
        if key is None:
            raise SealBroken(f"sealed with a key that is not in the ring ({key_id})")
        try:
            plain = key.decrypt(_decoded(nonce), _decoded(ciphertext), _bond(key_id, bound_to))
        except (InvalidTag, ValueError) as error:
            raise SealBroken("changed, or of another place") from error
        return plain.decode()

    def is_newest(self, sealed: str) -> bool:
        """Whether it was sealed with the key that seals now."""
        return sealed.startswith(f"{VERSION}.{self._newest}.")

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        """32 bytes for one purpose from every key of the ring, the newest first."""
        return tuple(_derived(master, f"purpose {purpose}") for master in self._masters)


def new_key() -> str:
    """32 random bytes as ``VAULT_KEYS`` wants them."""
    return secrets.token_urlsafe(KEY_BYTES)


def _key_of(position: int, text: str) -> bytes:
    try:
        key = _decoded(text.rstrip("=")) if _BASE64URL.fullmatch(text) else b""
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {position} is not {KEY_BYTES} bytes as base64url")
    if not any(key):
        raise ValueError(f"key {position} is all zeros")
    return key


def _derived(master: bytes, purpose: str) -> bytes:
    info = f"honest-work vault {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master)


def _key_id(master: bytes) -> str:
    return _encoded(_derived(master, "key id")[:_KEY_ID_BYTES])


def _bond(key_id: str, bound_to: str) -> bytes:
    return f"{VERSION}\0{key_id}\0{bound_to}".encode()


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
