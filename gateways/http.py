"""JSON over HTTP with all the limits that ``requests`` leaves to its caller.

A call has one total deadline, connecting and reading together, even when the server drips; an
answer has a size limit; redirects are not followed; nothing is sent twice but a GET whose pooled
connection had gone stale. Proxies, ``.netrc`` and cookies are ignored; the variables that name a
CA bundle are not.
"""

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests import exceptions
from urllib3.exceptions import HTTPError as UrllibError
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.exceptions import TimeoutError as UrllibTimeout

from gateways import json_text
from gateways.connections import DeadlineAdapter, Dial, PublicAdapter, connected
from gateways.deadline import addresses_of, total_deadline
from gateways.errors import Billed, OutsideError, Refused, Unavailable
from gateways.public_addresses import NEVER_IN_A_URL, PublicAddresses, Resolve

RETRY_AFTER_LIMIT = timedelta(hours=1)
DEFAULT_MAX_BYTES = 4 * 1024 * 1024
"""Whoever may honestly be told more says so: see ``lnbits`` and ``lnbits_version``."""
POOL_SIZE = 32
CHUNK_BYTES = 64 * 1024
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "honest-work"}

MAX_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}

_PASSING_STATUSES = {408, 409, 425, 429}
"""The 4xx that speak of the moment and not of what was asked."""
_PERMANENT_STATUSES = set(range(400, 500)) - _PASSING_STATUSES


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer of any status. ``asked`` says in logs what was asked of whom."""

    status: int
    body: bytes
    asked: str
    retry_after: timedelta | None = None
    location: str | None = None
    """Where a redirect points; nobody has followed it."""
    content_type: str | None = None
    """As they wrote it."""

    def json(self) -> Any:
        """The body as JSON, fractions as Decimal. Raises Unavailable (``not_json``)."""
        try:
            return json_text.loads(self.body, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, ArithmeticError) as error:
            raise Unavailable(f"{self.asked}: the answer is no JSON", code="not_json") from error

    def object(self) -> dict[str, Any]:
        """The body, which must be a JSON object. Raises Unavailable."""
        value = self.json()
        if not isinstance(value, dict):
            raise Unavailable(f"{self.asked}: the answer is no JSON object", code="not_an_object")
        return value

    def fields(self) -> dict[str, Any]:
        """The body if it is a JSON object, else nothing: an error answer may be anything."""
        try:
            return self.object()
        except Unavailable:
            return {}

    def required(self) -> "Reply":
        """This reply if it is a success; raises Unavailable or Refused."""
        if 200 <= self.status < 300:
            return self
        raise error_for_status(self.status, asked=self.asked, retry_after=self.retry_after)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request. ``seconds`` bounds all of it; ``body`` is sent as JSON."""

    method: str
    url: str
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    max_bytes: int = DEFAULT_MAX_BYTES
    decodes: bool = True
    """Whether a compressed answer is read: a stranger's could be a bomb."""

    @property
    def asked(self) -> str:
        """Without the query, which may be long, and never with a header, which may be a key."""
        return f"{self.method} {self.url.partition('?')[0]}"


class HttpClient:
    """Safe to share between threads, and meant to be: one a process."""

    def __init__(self) -> None:
        self._pooled = _session()

    def get(self, url: str, *, seconds: float, **more: Any) -> Reply:
        """``more`` are members of ``Ask``. Raises Unavailable or Refused, but not for a status."""
        ask = Ask(method="GET", url=url, seconds=seconds, **more)
        with total_deadline(seconds):
            try:
                return _exchange(self._pooled, ask)
            except _StaleConnection:
                return _exchange_on_a_fresh_connection(ask)

    def post(self, url: str, *, seconds: float, **more: Any) -> Reply:
        """As ``get``, but never sent twice: after Unavailable they may or may not have acted."""
        ask = Ask(method="POST", url=url, seconds=seconds, **more)
        with total_deadline(seconds):
            return _exchange_on_a_fresh_connection(ask)


class PublicHttpClient:
    """Asks whom a stranger named, and nobody whom that stranger could not ask himself.

    Only https, port 443, at addresses that are all public; the connection goes to the very address
    that was checked, under the name's certificate, and each redirect is judged like a first
    address. Safe to share between threads; keeps no connection.
    """

    def __init__(
        self,
        *,
        bench_origins: Iterable[str] = (),
        own_hosts: Iterable[str] = (),
        resolve: Resolve = addresses_of,
        dial: Dial | None = None,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        """``bench_origins`` (``http://127.0.0.1:8001``) are asked as they are: never production's.

        ``resolve``, ``dial`` and ``certificates`` are for tests.
        """
        self._bench_origins = frozenset(bench_origins)
        self._adapter = partial(
            PublicAdapter,
            PublicAddresses(resolve=resolve, own_hosts=frozenset(own_hosts)),
            dial or connected,
            certificates,
        )

    def get(self, url: str, *, seconds: float, max_bytes: int, **more: Any) -> Reply:
        """Follows up to three redirects. Raises Unavailable or Refused, but not for a status.

        ``more`` are members of ``Ask``; a redirect goes on without its ``params``.
        """
        ask = _of_a_stranger("GET", url, seconds=seconds, max_bytes=max_bytes, **more)
        with total_deadline(seconds):
            for _ in range(1 + MAX_REDIRECTS):
                reply = self._ask(ask)
                if reply.location is None:
                    return reply
                ask = replace(ask, url=_led_to(ask, reply.location), params={})
        raise Refused("more redirects than are followed", code="redirects")

    def post(self, url: str, *, seconds: float, max_bytes: int, **more: Any) -> Reply:
        """As ``get``, but no redirect is followed: it would be sent to another, or twice."""
        ask = _of_a_stranger("POST", url, seconds=seconds, max_bytes=max_bytes, **more)
        with total_deadline(seconds):
            return self._ask(ask)

    def _ask(self, ask: Ask) -> Reply:
        if NEVER_IN_A_URL.search(ask.url) or "@" in urlsplit(ask.url).netloc:
            raise Refused("an address that no one should be asked at", code="bad_request")
        with _session(self._adapter()) as session:
            for origin in self._bench_origins:
                session.mount(f"{origin}/", DeadlineAdapter())
            session.headers["Connection"] = "close"
            return _exchange(session, ask)


def _led_to(ask: Ask, location: str) -> str:
    try:
        return urljoin(ask.url, location)
    except ValueError as error:
        raise Refused(f"{ask.asked}: leads nowhere", code="bad_request") from error


def _of_a_stranger(method: str, url: str, **more: Any) -> Ask:
    return Ask(method=method, url=url, decodes=False, **more)


class _StaleConnection(Unavailable):
    """The connection broke before a byte of the answer came."""


def error_for_status(
    status: int,
    *,
    asked: str,
    retry_after: timedelta | None = None,
    billed: Billed = Billed.NO,
) -> OutsideError:
    """The error that an answer of this status is, for whoever asked."""
    message, code = f"{asked}: HTTP {status}", f"http_{status}"
    if status in _PERMANENT_STATUSES:
        return Refused(message, code=code, billed=billed)
    return Unavailable(message, code=code, retry_after=retry_after, billed=billed)


def retry_after(value: str | None) -> timedelta | None:
    """Read a Retry-After header, seconds or a date; at most an hour, None when unreadable."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip(), re.ASCII):
        return min(timedelta(seconds=int(value)), RETRY_AFTER_LIMIT)
    try:
        wish = parsedate_to_datetime(value)
        wait = wish.replace(tzinfo=wish.tzinfo or UTC) - datetime.now(UTC)
    except (ValueError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), RETRY_AFTER_LIMIT)


class _Session(requests.Session):
    """Knows no redirects: even when told not to follow one, ``requests`` reads all of its body."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _session(only_https: PublicAdapter | None = None) -> requests.Session:
    """Ours for whatever address; with ``only_https`` for nothing but https, by that."""
    session = _Session()
    session.adapters.clear()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(HEADERS)
    if only_https is not None:
        session.mount("https://", only_https)
        return session
    adapter = DeadlineAdapter(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def _exchange(session: requests.Session, ask: Ask) -> Reply:
    try:
        with _begin(session, ask) as response:
            return Reply(
                status=response.status_code,
                body=_read_body(response, ask),
                asked=ask.asked,
                retry_after=retry_after(response.headers.get("Retry-After")),
                location=_location(response),
                content_type=response.headers.get("Content-Type"),
            )
    except (exceptions.RequestException, OSError, UrllibError, ValueError) as error:
        _translate(error, ask)


def _exchange_on_a_fresh_connection(ask: Ask) -> Reply:
    """A pooled connection that the server has just closed looks like an answer that was lost.

    Asking twice is harmless and paying twice is not, so a POST never takes one from the pool.
    """
    with _session() as session:
        session.headers["Connection"] = "close"
        return _exchange(session, ask)


def _begin(session: requests.Session, ask: Ask) -> requests.Response:
    try:
        return session.request(
            ask.method,
            ask.url,
            headers=dict(ask.headers),
            params=dict(ask.params),
            json=ask.body,
            timeout=ask.seconds,
            allow_redirects=False,
            stream=True,
        )
    except exceptions.ConnectionError as error:
        if _broke_after_connecting(error):
            raise _StaleConnection(f"{ask.asked}: connection lost", code="connection") from error
        raise


def _broke_after_connecting(error: exceptions.ConnectionError) -> bool:
    refused = (exceptions.Timeout, exceptions.SSLError, exceptions.ProxyError)
    return not isinstance(error, refused) and not isinstance(
        getattr(error.args[0] if error.args else None, "reason", None),
        (NewConnectionError, NameResolutionError),
    )


def _location(response: requests.Response) -> str | None:
    return response.headers.get("Location") if response.status_code in _REDIRECTS else None


def _read_body(response: requests.Response, ask: Ask) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity")
    if not ask.decodes and encoding.lower() != "identity":
        raise Unavailable(f"{ask.asked}: compressed, which was not asked for", code="encoded")
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        if len(body) > ask.max_bytes:
            raise Unavailable(f"{ask.asked}: more than {ask.max_bytes} bytes", code="too_large")
    return bytes(body)


def _translate(error: Exception, ask: Ask) -> NoReturn:
    if _is_timeout(error):
        raise Unavailable(f"{ask.asked}: no answer in {ask.seconds} s", code="timeout") from error
    if isinstance(error, exceptions.SSLError):
        raise Unavailable(f"{ask.asked}: TLS failed", code="tls") from error
    if isinstance(error, exceptions.ContentDecodingError):
        raise Unavailable(f"{ask.asked}: unreadable encoding", code="not_json") from error
    if isinstance(error, ValueError):
        # Our own address or header; the cause may hold the key, so it is not kept.
        raise Refused(f"{ask.asked}: cannot be asked like this", code="bad_request") from None
    raise Unavailable(f"{ask.asked}: connection failed", code="connection") from error


def _is_timeout(error: BaseException) -> bool:
    """Whether a time-out is at the bottom: in mid-body, ``requests`` calls it something else."""
    if isinstance(error, NewConnectionError):  # which urllib3 counts among the time-outs
        return isinstance(error.__cause__, TimeoutError)
    if isinstance(error, (exceptions.Timeout, UrllibTimeout, TimeoutError)):
        return True
    causes = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    return any(isinstance(cause, BaseException) and _is_timeout(cause) for cause in causes)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
