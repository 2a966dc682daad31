"""Connections under ``requests`` and urllib3 that keep to ``total_deadline``, and whom they trust.

urllib3's own time-outs start anew with every address and with every read.
"""

import io
import socket
import ssl
from collections.abc import Callable
from functools import cache
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from gateways.deadline import addresses_of, connect_to_any, seconds_left
from gateways.public_addresses import PublicAddresses, Resolve

Dial = Callable[[str, int, float | None], socket.socket]
"""Connect to an address and a port, within so many seconds."""


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Trust what OpenSSL is told to (``SSL_CERT_FILE`` included) and what ``requests`` trusts.

    ``requests`` reads its own variables (``REQUESTS_CA_BUNDLE``), and we want no other of them.
    """
    outside = requests.Session()
    settings = outside.merge_environment_settings("https://localhost", {}, None, None, None)
    bundle = settings["verify"] if isinstance(settings["verify"], str) else certifi.where()
    context = ssl.create_default_context()
    is_directory = Path(bundle).is_dir()
    context.load_verify_locations(
        cafile=None if is_directory else bundle, capath=bundle if is_directory else None
    )
    return context


class _DeadlineReader(io.RawIOBase):
    """The reading end of a socket, where every wait gets what is left of the call."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(seconds_left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


def connected(address: str, port: int, seconds: float | None) -> socket.socket:
    """The ``Dial`` of every day."""
    sock = socket.create_connection((address, port), seconds)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(seconds_left())  # for the TLS handshake
    except OSError:
        sock.close()
        raise
    return sock


class _DeadlineConnecting:
    """Mixed into urllib3's connections, whose own loop gives every address the whole time-out."""

    find: Resolve = staticmethod(addresses_of)
    dial: Dial = staticmethod(connected)

    def _new_conn(self: Any) -> socket.socket:
        def open_connection(address: str, seconds: float | None) -> socket.socket:
            sock: socket.socket = self.dial(address, self.port, seconds)
            return sock

        try:
            return connect_to_any(self._dns_host, self.port, open_connection, self.find)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "connecting failed") from error


class _Connection(_DeadlineConnecting, HTTPConnection):
    response_class = _DeadlineResponse


class _TlsConnection(_DeadlineConnecting, HTTPSConnection):
    response_class = _DeadlineResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class DeadlineAdapter(HTTPAdapter):
    """For ``requests``: connections that obey ``total_deadline`` and trust our certificates."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=trusted_certificates())
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave trust to our context: ``requests`` would load its bundle for every connection."""
        conn.cert_reqs = "CERT_REQUIRED"


class PublicAdapter(DeadlineAdapter):
    """Connects to nothing but what ``addresses`` finds: name, check and connection are one step."""

    def __init__(
        self, addresses: PublicAddresses, dial: Dial, certificates: ssl.SSLContext | None
    ) -> None:
        self._addresses = addresses
        self._dial = dial
        self._certificates = certificates
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        found, dialled = self._addresses.find, self._dial

        class Connection(_TlsConnection):
            find = staticmethod(found)
            dial = staticmethod(dialled)

        class Pool(_TlsPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"https": Pool}
        if self._certificates is not None:
            self.poolmanager.connection_pool_kw["ssl_context"] = self._certificates
