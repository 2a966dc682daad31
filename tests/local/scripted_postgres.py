"""Says just enough of PostgreSQL's protocol to see how a client comes to it."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_PATIENCE_SECONDS = 20.0
_REFUSAL = b"SFATAL\0C28000\0Mwe have seen enough\0\0"


@dataclass
class Seen:
    """What the first client sent."""

    port: int
    asked_for_tls: bool = False
    startup: dict[str, str] = field(default_factory=dict)
    """User, database and options; through TLS if that was offered."""


@contextmanager
def scripted_postgres(context: ssl.SSLContext | None = None) -> Iterator[Seen]:
    """Listens, with TLS if there is a context, and refuses each client once it said who it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = Seen(port=listener.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listener, context, seen), daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(_PATIENCE_SECONDS)


def _serve(listener: socket.socket, context: ssl.SSLContext | None, seen: Seen) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.settimeout(_PATIENCE_SECONDS)
            with suppress(OSError, struct.error):
                _listen(client, context, seen)
            client.close()


def _listen(client: socket.socket, context: ssl.SSLContext | None, seen: Seen) -> None:
    first = client.recv(8)
    if first == SSL_REQUEST:
        seen.asked_for_tls = True
        client.sendall(b"S" if context else b"N")
        client = context.wrap_socket(client, server_side=True) if context else client
        first = client.recv(8)
    length, _version = struct.unpack("!ii", first)
    words = client.recv(length - 8).split(b"\0")
    seen.startup.update(
        zip(map(bytes.decode, words[::2]), map(bytes.decode, words[1::2]), strict=False)
    )
    client.sendall(b"E" + struct.pack("!i", len(_REFUSAL) + 4) + _REFUSAL)
    client.close()
