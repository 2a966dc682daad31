"""Which addresses a stranger may send us to: only those that anybody on the internet can ask."""

import queue
import re
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from gateways.deadline import seconds_left
from gateways.errors import Refused, Unavailable

Resolve = Callable[[str, int], list[str]]
"""All addresses of a name. Raises ``socket.gaierror``."""

HTTPS_PORT = 443
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOBODY = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
NEVER_IN_A_URL = re.compile(r"[\x00-\x20\x7f\\]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = ("localhost", "local", "internal", "lan", "home.arpa", "onion", "test", "invalid")


def is_public(address: str) -> bool:
    """Whether it is one host on the open internet; an IPv4 address inside IPv6 is looked at too."""
    try:
        found = ip_address(address)
    except ValueError:  # a scope ("%eth0") means: a link of ours
        return False
    if isinstance(found, IPv4Address):
        return _is_public_v4(found)
    embedded = _embedded(found)
    if embedded is not None:
        return _is_public_v4(embedded)
    return found.scope_id is None and found in _UNICAST and _is_global(found)


def _is_public_v4(address: IPv4Address) -> bool:
    return _is_global(address) and not address.is_reserved


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 host that a mapped, 6to4 or NAT64 address stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def is_public_name(host: str) -> bool:
    """Whether a host could be public by its name alone; asks nobody."""
    name = host.rstrip(".").lower()
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return "." in name and not _is_local_name(name)
    return is_public(name.strip("[]"))


def _is_local_name(name: str) -> bool:
    """Systems read ``127.1`` and ``0x7f.1`` as addresses: no name ends in a number."""
    is_number = _NUMBER.fullmatch(name.rpartition(".")[2]) is not None
    return is_number or name.endswith(tuple(f".{local}" for local in _LOCAL_NAMES))


def problem_of_url(url: str) -> str | None:
    """Why a stranger may not name this web address, as a predicate for people; asks nobody."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError):
        return "must be a web address"
    if parts.scheme != "https":
        return "must be reached by https"
    if "@" in parts.netloc or port not in (None, HTTPS_PORT) or NEVER_IN_A_URL.search(url):
        return "must be an address without user, password, port or blanks"
    if not is_public_name(host):
        return "must be a host on the public internet"
    return None


class PublicAddresses:
    """Finds the addresses to connect to, or refuses: called for every connection anew."""

    def __init__(self, *, resolve: Resolve, own_hosts: frozenset[str]) -> None:
        """``own_hosts`` are names of ours that no stranger may make us ask."""
        self._resolve = resolve
        self._own_hosts = own_hosts

    def find(self, host: str, port: int) -> list[str]:
        """The addresses of a name, resolved once. One that is not public refuses them all.

        Raises Refused (``port``, ``own_host``, ``not_public``), Unavailable (``no_such_name``) or
        an OSError.
        """
        name = host.strip("[]").rstrip(".").lower()
        if port != HTTPS_PORT:
            raise Refused("another port than 443", code="port")
        if name in self._own_hosts:
            raise Refused("a host of our own", code="own_host")
        try:
            found = _within_deadline(lambda: self._resolve(name, port))
        except socket.gaierror as error:
            if error.errno in _NOBODY:
                raise Unavailable("no such name", code="no_such_name") from error
            raise
        if not all(is_public(address) for address in found):
            raise Refused("an address that is not public", code="not_public")
        return found


def _within_deadline(look_up: Callable[[], list[str]]) -> list[str]:
    """The system's lookup cannot be cut short, only left behind: it ends by itself, soon."""
    answer: queue.Queue[list[str] | OSError] = queue.Queue(1)

    def run() -> None:
        try:
            answer.put(look_up())
        except (OSError, UnicodeError) as error:
            answer.put(error if isinstance(error, OSError) else OSError("no name of a host"))

    threading.Thread(target=run, daemon=True).start()
    try:
        found = answer.get(timeout=seconds_left())
    except queue.Empty as error:
        raise TimeoutError("the name was not found in time") from error
    if isinstance(found, OSError):
        raise found
    return found
