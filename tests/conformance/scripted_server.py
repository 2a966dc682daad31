"""A server on the loopback that says exactly what a test tells it to, byte for byte.

Answers are given in the order of the script, one a request; the last one repeats.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import responses
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Say:
    """``head`` goes out at once, ``drip`` byte by byte at ``seconds_a_byte``, and then ``then``."""

    head: bytes = b""
    drip: bytes = b""
    seconds_a_byte: float = 0.0
    then: str = "keep"
    """``keep`` the connection, ``close`` it, ``reset`` it, or ``hang`` until the client leaves."""


def answer(
    status: int, body: bytes | str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Say:
    """A whole HTTP answer."""
    raw = body.encode() if isinstance(body, str) else body
    return Say(head=_head(status, len(raw), headers or {}) + raw, **more)


def json_answer(body: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Say:
    """A whole answer in JSON."""
    return answer(
        status, json.dumps(body), headers={"Content-Type": "application/json", **(headers or {})}
    )


def dripping_body(body: bytes, *, seconds_a_byte: float) -> Say:
    """Headers at once, then a byte now and then: each comes long before a read times out."""
    return Say(head=_head(200, len(body), {}), drip=body, seconds_a_byte=seconds_a_byte)


def dripping_head(*, seconds_a_byte: float) -> Say:
    """Not even the headers come to an end soon."""
    head = _head(200, 2, {"X-Padding": "x" * 1000})
    return Say(drip=head + b"{}", seconds_a_byte=seconds_a_byte)


def _head(status: int, length: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Odd')}", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


LONG_BEFORE_THE_SERVER = 30.0
"""Seconds within which a call must end whose deadline has passed: a busy machine's time, and far
less than the 45 seconds that a dripping answer takes here, or the eternity of one that hangs."""

HANG = Say(then="hang")
RESET = Say(then="reset")
CLOSE = Say(then="close")


@dataclass
class ScriptedServer:
    """Running while its context is; ``heard`` grows as requests come."""

    url: str
    script: list[Say] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _has_heard: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    tls: ssl.SSLContext | None = None
    respond: Callable[[Heard], Say] | None = None
    """Instead of the script: an answer by request."""

    def says(self, *script: Say) -> None:
        """Start a new script."""
        with self._lock:
            self.script = list(script)
            self.heard.clear()
            self._has_heard.clear()

    def heard_at_last(self) -> list[Heard]:
        """``heard``, once it is not empty: who gives up may be ahead of the thread that reads."""
        assert self._has_heard.wait(LONG_BEFORE_THE_SERVER), "nobody asked"
        return self.heard

    def _next(self, heard: Heard) -> Say:
        with self._lock:
            self.heard.append(heard)
            self._has_heard.set()
            if self.respond is not None:
                return self.respond(heard)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def serve_connection(self, connection: socket.socket) -> None:
        """Answer the requests of one connection, until it ends."""
        self.connections += 1
        with suppress(OSError, ValueError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while (heard := _read_request(stream)) is not None:
                say = self._next(heard)
                self._utter(connection, say)
                if say.then != "keep":
                    return

    def _utter(self, connection: socket.socket, say: Say) -> None:
        connection.sendall(say.head)
        for position in range(len(say.drip)):
            if self._over.wait(say.seconds_a_byte):
                return
            connection.sendall(say.drip[position : position + 1])
        if say.then == "hang":
            connection.recv(1)
        if say.then == "reset":
            # with linger 0, closing sends RST
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_request(stream: Any) -> Heard | None:
    start = stream.readline()
    if not start.strip():
        return None
    method, target, _ = start.decode().split(" ", 2)
    headers = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    parts = urlsplit(target)
    return Heard(
        method=method,
        path=parts.path,
        query=parse_qs(parts.query, keep_blank_values=True),
        headers=headers,
        body=stream.read(int(headers.get("content-length", 0))),
    )


@contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Start one on a free port, speaking https with ``tls``."""
    scheme = "http" if tls is None else "https"
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        server = ScriptedServer(url=url, tls=tls)
        open_connections: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    open_connections.append(connection)
                    threading.Thread(
                        target=server.serve_connection, args=(connection,), daemon=True
                    ).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield server
        finally:
            server._over.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(timeout=5)
            for connection in open_connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
