"""Servers of creators, whose answers are sold: called on a caller's behalf, and never trusted.

Whom they may be is judged when a resource is published (by the address alone) and again for every
connection (by the addresses its name has then).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import urlsplit

from gateways.public_addresses import problem_of_url

MAX_URL_LENGTH = 2000
"""Characters."""


class UpstreamMethod(StrEnum):
    GET = "GET"
    """What the caller gave is put into the query; up to three redirects are followed."""
    POST = "POST"
    """What the caller gave is the JSON body; no redirect is followed."""


@dataclass(frozen=True, kw_only=True)
class UpstreamCall:
    method: UpstreamMethod
    url: str = field(repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name. A name that stands in the query of ``url`` already is the creator's: not sent."""
    key: str
    """The same whenever the same run is tried again, so that a server may know it by that."""
    seconds: float
    """Bounds all of it."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What the server answered: text, or what its JSON means."""

    value: Any = field(repr=False)
    content_type: str | None


class Upstreams(Protocol):
    def ask(self, call: UpstreamCall) -> Delivered:
        """Make one request, never a second one. After Unavailable they may or may not have acted.

        Raises Unavailable (``http_5xx``, ``timeout``, ``connection``, ``tls``, ``too_large``,
        ``encoded``, ``empty``, ``not_text``, ``not_json``, ``no_such_name``) or Refused
        (``http_4xx``, ``http_3xx``, ``redirects``, ``not_public``, ``own_host``, ``port``,
        ``bad_request``).
        """


def problem_of(url: str, *, bench_origins: Collection[str] = ()) -> str | None:
    """Why a creator may not name this address, as a predicate for people; None = he may.

    Judges the text and asks nobody. ``bench_origins`` (``http://127.0.0.1:8001``) are taken
    although they are not public.
    """
    if len(url) > MAX_URL_LENGTH:
        return f"must have at most {MAX_URL_LENGTH} characters"
    if _origin(url) in bench_origins:
        return None
    return problem_of_url(url)


def _origin(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"
