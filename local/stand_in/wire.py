"""HTTP, as little of it as the stand-in needs, down to the socket so that faults can break it."""

import os
import re
import select
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import simplejson

OWN_PHRASES = {520: "Web Server Returned an Unknown Error", 529: "Overloaded"}
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no patience: closing sends RST instead of FIN."""


class BadJson(Exception):
    """The body is not a JSON object."""


class Client:
    """The other end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def is_gone(self) -> bool:
        """Whether the client has closed its end. Never blocks."""
        readable, _, _ = select.select([self._connection], [], [], 0)
        try:
            return bool(readable) and self._connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def wait_until_gone(self) -> None:
        """Block until the client closes its end (or, unasked, sends more)."""
        select.select([self._connection], [], [])


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    client: Client

    def json(self) -> dict[str, Any]:
        """The body, with decimals for fractions; none is an empty object. Raises BadJson."""
        try:
            value = simplejson.loads(self.body or b"{}", use_decimal=True)
        except ValueError as error:
            raise BadJson from error
        if not isinstance(value, dict):
            raise BadJson
        return value

    def parameter(self, name: str) -> str | None:
        return next((value for key, value in self.query if key == name), None)

    @property
    def as_text(self) -> str:
        """What a fault's ``match`` is looked for in."""
        query = "&".join(f"{key}={value}" for key, value in self.query)
        return f"{self.path}?{query} {self.body.decode(errors='replace')}"


class Ending(StrEnum):
    """What becomes of the connection."""

    KEEP = "keep"
    CLOSE = "close"
    """Closed after the answer without having said so."""
    VANISH = "vanish"
    """Closed without any answer."""
    RESET = "reset"
    """Reset without any answer."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.KEEP

    def on_the_wire(self) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status} {_phrase(self.status)}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def _phrase(status: int) -> str:
    return OWN_PHRASES.get(status) or HTTPStatus(status).phrase


def json_reply(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(status=status, body=simplejson.dumps(value).encode(), headers=headers or {})


Handler = Callable[..., Reply]
"""Takes the request, and by name what stands in braces in the route's path."""


@dataclass(frozen=True)
class Route:
    """``GET /api/v1/payments/{payment_hash}`` and who answers it."""

    name: str
    handler: Handler

    def __post_init__(self) -> None:
        method, path = self.name.split(" ")
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "pattern", pattern)

    method: str = field(init=False)
    pattern: re.Pattern[str] = field(init=False)


class StandInServer(ThreadingHTTPServer):
    """One thread per connection, so that a hundred held calls hold up nobody else."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], answer: Callable[[Request], Reply]) -> None:
        super().__init__(address, _Handler)
        self.answer = answer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what went wrong here. A client that has left or was killed is nothing wrong."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()
        return f"http://{host}:{port}"

    def server_bind(self) -> None:
        """Skip the base class's reverse look-up of the host's name, which can take seconds."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


class _Handler(BaseHTTPRequestHandler):
    server: StandInServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        url = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=unquote(url.path),
            query=parse_qsl(url.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            client=Client(self.connection),
        )
        self._send(self.server.answer(request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  names of the base class

    def _send(self, reply: Reply) -> None:
        if reply.ending is Ending.RESET:
            self._reset()
        if reply.ending in (Ending.KEEP, Ending.CLOSE):
            self.wfile.write(reply.on_the_wire())
        if reply.ending is not Ending.KEEP:
            self.close_connection = True

    def _reset(self) -> None:
        """Close the bare file descriptor: the socket's own way would say goodbye first."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        os.close(self.connection.detach())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as above
        """Say nothing: requests are counted instead."""
