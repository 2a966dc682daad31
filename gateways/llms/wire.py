"""What the model gateways share: the connection under their SDKs, and what its failures mean.

The SDKs make the request and know the errors; the answer is read here from the plain JSON, because
their own parsing trusts the server's word about the content type and lets anything through.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import httpcore2
import httpx2

from gateways.connections import trusted_certificates
from gateways.deadline import CONNECT_SECONDS, connect_to_any, seconds_left
from gateways.errors import Billed, OutsideError, Unavailable
from gateways.http import Reply, error_for_status, retry_after
from gateways.storable import as_storable

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Headers included; the longest answer we ever ask for is a hundredth of it."""

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
_PERHAPS_BILLED = {408, 499, 504, 524}
"""Somebody on the way gave up waiting, while the model may have gone on."""
_QUOTA = "insufficient_quota"
_NO_CREDIT = "Your credit balance is too low"


def http_client(seconds: float) -> httpx2.Client:
    """Make the HTTP client for an SDK: no proxy, no redirects, and it obeys ``total_deadline``.

    Each call has a connection of its own: on one that had gone stale a call would fail in a way
    that might have been billed, which counts against the job.
    """
    return httpx2.Client(
        transport=_DeadlineTransport(),
        timeout=httpx2.Timeout(seconds, connect=CONNECT_SECONDS),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        trust_env=False,
    )


def failure_of_status(asked: str, response: httpx2.Response) -> OutsideError:
    """The error for an answer that is no success.

    An account without funds is ``http_402``, whichever status says so; it can be topped up.
    """
    status = response.status_code
    wait = retry_after(response.headers.get("Retry-After"))
    if status == 402 or _says_that_funds_are_gone(response):
        return Unavailable(f"{asked}: account without funds", code="http_402", retry_after=wait)
    billed = Billed.UNKNOWN if status in _PERHAPS_BILLED else Billed.NO
    return error_for_status(status, asked=asked, retry_after=wait, billed=billed)


def _says_that_funds_are_gone(response: httpx2.Response) -> bool:
    """OpenAI says it as 429 with a code of its own, Anthropic as 400, known by its words alone.

    Seen in issue #66314 of anthropics/claude-code and #1929 of langchain-ai/langchainjs. Callers'
    words come in such sentences, if at all, after theirs.
    """
    if response.status_code not in (400, 429):
        return False
    error = Reply(status=200, body=response.content, asked="").fields().get("error")
    if not isinstance(error, dict):
        return False
    if response.status_code == 429:
        return _QUOTA in (error.get("code"), error.get("type"))
    return str(error.get("message")).startswith(_NO_CREDIT)


def failure_of_connection(asked: str, error: Exception) -> Unavailable:
    """The error for a call without an answer; ``error`` is the SDK's, around the true one."""
    cause = error.__cause__
    code = "timeout" if isinstance(cause, httpx2.TimeoutException) else "connection"
    billed = Billed.NO if isinstance(cause, _NEVER_SENT) else Billed.UNKNOWN
    return Unavailable(f"{asked}: {code}", code=code, billed=billed)


def senseless(asked: str, what: str, *, code: str = "bad_answer") -> Unavailable:
    """The error for an answer that says 200 and then makes no sense: it may well be billed."""
    return Unavailable(f"{asked}: {what}", code=code, billed=Billed.UNKNOWN)


def read_object(asked: str, response: httpx2.Response) -> dict[str, Any]:
    """The answer as a JSON object that can be stored. Raises Unavailable."""
    try:
        answer = Reply(status=response.status_code, body=response.content, asked=asked).object()
    except Unavailable as error:
        raise senseless(asked, "no JSON object", code=error.code) from error
    storable: dict[str, Any] = as_storable(answer)
    return storable


def tokens(asked: str, usage: Mapping[str, Any], *names: str) -> int:
    """The sum of these counts. Raises Unavailable unless the first is there and all are counts."""
    total = 0
    for name in names:
        count = usage.get(name)
        if count is None and name != names[0]:
            continue
        if type(count) is not int or count < 0:
            raise senseless(asked, f"no usable count of {name}", code="no_usage")
        total += count
    return total


def header(response: httpx2.Response, name: str) -> str | None:
    """A header as storable text."""
    value = response.headers.get(name)
    return None if value is None else str(as_storable(value))


class _DeadlineTransport(httpx2.HTTPTransport):
    """The usual transport on a pool whose sockets obey the deadline."""

    def __init__(self) -> None:
        super().__init__(verify=trusted_certificates(), trust_env=False)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=trusted_certificates(),
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=_DeadlineBackend(),
        )


class _DeadlineBackend(httpcore2.NetworkBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # the deadline knows better
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        def open_connection(address: str, seconds: float | None) -> httpcore2.NetworkStream:
            try:
                return httpcore2.SyncBackend().connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except httpcore2.ConnectTimeout as error:
                raise TimeoutError from error
            except httpcore2.ConnectError as error:
                raise OSError from error

        try:
            return _DeadlineStream(connect_to_any(host, port, open_connection))
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError from error


class _DeadlineStream(httpcore2.NetworkStream):
    """A socket where every wait gets what is left of the call, and that does not read for ever."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._room = MAX_ANSWER_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))
        self._room -= len(data)
        if self._room < 0:
            raise httpcore2.ReadError("more than an answer can be")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        seconds = _left(timeout, httpcore2.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    try:
        return seconds_left(timeout)
    except TimeoutError as error:
        raise late from error
