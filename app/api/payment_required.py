"""The answer 402: what a resource costs, for clients of both versions of x402 and for people.

Version 2 reads the header, version 1 the body, and a browser may read both.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from flask import Response, request

from app import context
from app.errors import problem
from gateways.x402 import Requirement, wire
from models.money import usd_of
from models.resource import ResourceVersion
from services.errors import ErrorCode
from services.instant import discovery, requirements
from services.instant.resources import OnSale

MAX_HEADER_CHARS = 3500
"""Proxies keep all headers of an answer in as little as 4 kB."""
MAX_DESCRIPTION_CHARS = 300
"""In the header; the body has it whole."""


def answer(sale: OnSale, *, error: str | None = None) -> Response:
    """What the newest version costs. ``error`` is why a payment was not taken, in x402's words."""
    asked = requirements.offered(context.tools(), sale)
    url = resource_url(sale)
    response = problem(
        HTTPStatus.PAYMENT_REQUIRED,
        ErrorCode.PAYMENT_REQUIRED,
        _sentence(sale.version, error),
        members=_v1(sale.version, asked, url) | ({} if error is None else {"error": error}),
    )
    response.headers[wire.REQUIRED_HEADER] = _header(sale.version, asked, url, error)
    response.headers["Cache-Control"] = "no-store"
    return response


def base_url() -> str:
    """Where callers reach us, without a slash at the end."""
    return (context.tools().settings.public_url or request.url_root).rstrip("/")


def resource_url(sale: OnSale) -> str:
    """The resource's one address: what a payment's ``resource.url`` must be."""
    path = f"/api/instant/{quote(sale.creator.handle)}/{quote(sale.resource.slug)}"
    return base_url() + path


def _sentence(version: ResourceVersion, error: str | None) -> str:
    price = format(usd_of(version.price_usd_micros).normalize(), "f")
    if error is not None:
        return f"The payment was not taken ({error}) and nothing was charged. A run costs ${price}."
    return f"A run costs ${price} in USDC, paid over x402 in the same request."


def _v1(version: ResourceVersion, asked: Sequence[Requirement], url: str) -> dict[str, Any]:
    """The body as version 1 wants it; what version 2 adds is for people, and for whoever reads
    no headers: version 1 clients read past it.
    """
    schema = discovery.v1_schema(version)
    return {
        "x402Version": 1,
        "accepts": [
            requirements.as_v1(one, version, url, schema)
            | {"amount": str(one.amount), "extra": one.v2()["extra"]}
            for one in asked
        ],
        "resource": discovery.resource(version, url),
        "extensions": discovery.extensions(version),
    }


def _header(
    version: ResourceVersion, asked: Sequence[Requirement], url: str, error: str | None
) -> str:
    """Version 2, whole if it fits, else without what only catalogues read."""
    required = {
        "x402Version": 2,
        "error": error or "Payment required",
        "resource": discovery.resource(version, url, most_chars=MAX_DESCRIPTION_CHARS),
        "accepts": [one.v2() for one in asked],
        "extensions": discovery.extensions(version),
    }
    whole = wire.encode(required)
    if len(whole) <= MAX_HEADER_CHARS:
        return whole
    return wire.encode(required | {"extensions": discovery.PAYMENT_IDENTIFIER})
