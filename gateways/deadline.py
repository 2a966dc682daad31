"""One deadline over everything an outside call does.

Libraries time out per read, so a server that sends a byte now and then holds a call for ever, and
worker threads cannot be killed. Here the deadline belongs to the call: whatever waits on a socket
asks what is left. The name lookup of the operating system is the one wait this cannot cut short.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)

CONNECT_SECONDS = 5.0
"""Longest wait for one address: a host that is there answers at once, however long its work."""

Connection = TypeVar("Connection")


def total_deadline(seconds: float) -> AbstractContextManager[None]:
    """End everything inside, in this thread, within ``seconds`` or by an outer deadline."""
    return ending_by(time.monotonic() + seconds)


@contextmanager
def ending_by(ends_at: float) -> Iterator[None]:
    """The same by ``time.monotonic()``; afterwards nobody is connected to at all."""
    outer = _ends_at.get()
    token = _ends_at.set(ends_at if outer is None else min(ends_at, outer))
    try:
        yield
    finally:
        _ends_at.reset(token)


def seconds_left(at_most: float | None = None) -> float | None:
    """What one wait may take; None without a deadline. Raises TimeoutError when nothing is left."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return at_most
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of this call has passed")
    return left if at_most is None else min(left, at_most)


def addresses_of(host: str, port: int) -> list[str]:
    """Ask the operating system. Raises ``socket.gaierror``."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect_to_any(
    host: str,
    port: int,
    open_connection: Callable[[str, float | None], Connection],
    find: Callable[[str, int], list[str]] = addresses_of,
) -> Connection:
    """Try each address of ``host``, all within the deadline; raises the OSError of the last one.

    ``open_connection`` takes an address and the seconds it may take.
    """
    trouble: OSError = OSError("the name has no address")
    for address in find(host, port):
        try:
            return open_connection(address, seconds_left(CONNECT_SECONDS))
        except OSError as error:
            trouble = error
    raise trouble
