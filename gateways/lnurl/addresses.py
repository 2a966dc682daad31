"""Reading what a caller names as receiver into the address to ask. Pure: asks nobody."""

import re
from urllib.parse import parse_qs, quote, urlsplit

from gateways.bolt11 import BECH32_CHARACTERS, bech32_remainder
from gateways.lnurl import NotAReceiver
from gateways.public_addresses import problem_of_url

MAX_LENGTH = 2000
"""Characters; an LNURL spells a whole web address in bech32."""
_LIGHTNING_ADDRESS = re.compile(r"([a-z0-9._+-]{1,64})@([^\s@/?#\\]{1,255})", re.IGNORECASE)
_OTHER_SCHEMES = re.compile(r"(lnurlw|lnurlc|keyauth):", re.ASCII)
_PREFIX = "lnurl"
_CHECKSUM_WORDS = 6

SHAPE = "must be a Lightning address (name@host) or an LNURL-pay (lnurl1…, lnurlp:// or https://)"


def url_of(text: str, *, bench_origins: frozenset[str]) -> str:
    """The https address to ask. Raises NotAReceiver with a predicate for people.

    ``bench_origins`` (``http://127.0.0.1:8001``) are taken although they are not public.
    """
    address = _bare(text)
    match = _LIGHTNING_ADDRESS.fullmatch(address)
    if match is not None:
        name, host = match.groups()
        return _checked(f"https://{host}/.well-known/lnurlp/{quote(name.lower())}", bench_origins)
    return _checked(_web_address(address), bench_origins)


def _bare(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise NotAReceiver(f"must have at most {MAX_LENGTH} characters")
    address = text.strip()
    return address[len("lightning:") :] if address.lower().startswith("lightning:") else address


def _web_address(address: str) -> str:
    lower = address.lower()
    if lower.startswith(f"{_PREFIX}1"):
        return _decoded(address)
    if _OTHER_SCHEMES.match(lower):
        raise NotAReceiver("must be an LNURL-pay; this LNURL is for something else")
    if lower.startswith("lnurlp:"):
        return "https://" + address[len("lnurlp:") :].removeprefix("//")
    if lower.startswith(("https://", "http://")):
        return _fallback(address) or address
    raise NotAReceiver(SHAPE)


def _fallback(address: str) -> str | None:
    """A web page's address that carries an LNURL for wallets (LUD-01)."""
    try:
        carried = parse_qs(urlsplit(address).query).get("lightning", [""])[0]
    except ValueError:
        return None
    return _decoded(carried) if carried.lower().startswith(f"{_PREFIX}1") else None


def _decoded(lnurl: str) -> str:
    if lnurl not in (lnurl.lower(), lnurl.upper()):
        raise NotAReceiver("is an LNURL in mixed case; was it copied whole?")
    prefix, _, data = lnurl.lower().partition("1")
    words = [BECH32_CHARACTERS.find(letter) for letter in data]
    if prefix != _PREFIX or -1 in words or bech32_remainder(_PREFIX, words) != 1:
        raise NotAReceiver("is an LNURL with a wrong checksum; was it copied whole?")
    bits = "".join(f"{word:05b}" for word in words[:-_CHECKSUM_WORDS])
    octets = bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits) - 7, 8))
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise NotAReceiver("is an LNURL that holds no web address") from error


def _checked(url: str, bench_origins: frozenset[str]) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NotAReceiver(SHAPE) from error
    if f"http://{parts.netloc}" in bench_origins:
        return parts._replace(scheme="http").geturl()
    problem = problem_of_url(url)
    if problem is not None:
        raise NotAReceiver(problem)
    return url
