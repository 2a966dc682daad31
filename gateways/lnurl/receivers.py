"""LNURL-pay over HTTP: ask what a receiver takes, then for an invoice."""

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

from gateways.deadline import total_deadline
from gateways.errors import Refused, Unavailable
from gateways.http import PublicHttpClient, Reply
from gateways.lnurl import NotAReceiver, OfferedInvoice
from gateways.lnurl.addresses import url_of
from models.money import Msats, Sats, msats

ASK_SECONDS = 10.0
"""For both requests together, names, connections and redirects included."""
MAX_BYTES = 256 * 1024
"""The metadata may hold a picture of 136,536 characters (LUD-06)."""
AT_ONCE = 10
"""Slow strangers hold so many threads of a process at most."""


class LnurlReceivers:
    """Safe to share between threads, and meant to be: one a process."""

    def __init__(self, http: PublicHttpClient, *, bench_origins: Iterable[str] = ()) -> None:
        self._http = http
        self._bench_origins = frozenset(bench_origins)
        self._seats = threading.BoundedSemaphore(AT_ONCE)

    def check(self, address: str) -> None:
        url_of(address, bench_origins=self._bench_origins)

    def invoice(self, address: str, amount: Sats) -> OfferedInvoice:
        try:
            url = url_of(address, bench_origins=self._bench_origins)
        except NotAReceiver as error:
            raise Refused("no receiver any more", code="not_a_receiver") from error
        with self._seat(), total_deadline(ASK_SECONDS):
            terms = self._ask(url)
            metadata = _judged(terms, msats(amount))
            callback = _with_amount(_text(terms, "callback"), msats(amount))
            offer = self._ask(callback)
        return OfferedInvoice(
            payment_request=_text(offer, "pr"),
            description_hash=hashlib.sha256(metadata.encode()).hexdigest(),
        )

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if not self._seats.acquire(blocking=False):
            raise Unavailable("too many receivers are asked already", code="busy")
        try:
            yield
        finally:
            self._seats.release()

    def _ask(self, url: str) -> dict[str, Any]:
        reply = self._http.get(url, seconds=ASK_SECONDS, max_bytes=MAX_BYTES)
        _refuse_errors(reply)
        return reply.required().object()


def _refuse_errors(reply: Reply) -> None:
    """Receivers word an error as JSON under whatever status; 404 and 410 speak for themselves."""
    if reply.status in {404, 410}:
        raise Refused("nobody of this name", code="not_found")
    if str(reply.fields().get("status", "")).upper() == "ERROR":
        raise Unavailable("the receiver declines", code="receiver_error")


def _judged(terms: dict[str, Any], amount: Msats) -> str:
    """The metadata of a receiver that takes this amount."""
    if terms.get("tag") != "payRequest":
        raise Refused("no LNURL-pay", code="not_lnurl_pay")
    least, most = _number(terms, "minSendable"), _number(terms, "maxSendable")
    if not least <= amount <= most:
        raise Refused("the amount is outside the limits", code="amount_limits")
    return _text(terms, "metadata")


def _number(answer: dict[str, Any], name: str) -> Decimal:
    """A whole number, to be compared and never made an ``int``.

    Writing out 1e999999999 takes hours, and no other thread of the process runs meanwhile.
    """
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise Refused(f"{name} is no number", code="not_lnurl_pay")
    number = Decimal(value)
    if number != number.to_integral_value():
        raise Refused(f"{name} is no whole number", code="not_lnurl_pay")
    return number


def _text(answer: dict[str, Any], name: str) -> str:
    """A member that must be text which UTF-8 can hold."""
    value = answer.get(name)
    if not isinstance(value, str) or not _is_utf8(value):
        raise Refused(f"{name} is no text", code="not_lnurl_pay")
    return value


def _is_utf8(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text


def _with_amount(callback: str, amount: Msats) -> str:
    """``<callback><?|&>amount=<msats>``, as LUD-06 words it."""
    try:
        parts = urlsplit(callback)
    except ValueError as error:
        raise Refused("the callback is no address", code="not_lnurl_pay") from error
    query = "&".join(filter(None, [parts.query, urlencode({"amount": amount})]))
    return parts._replace(query=query, fragment="").geturl()
