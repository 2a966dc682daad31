"""The answer 402: what a resource costs, for clients of both versions of x402 and for people.

Version 2 reads the header, version 1 the body, and a browser may read both.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from flask import Response, request

from app import context
from app.errors import problem
from gateways.x402 import Requirement, wire
from models.money import UsdMicros, usd_of
from models.resource import ResourceVersion
from services.errors import ErrorCode
from services.instant import requirements, templates
from services.instant.resources import OnSale

MAX_HEADER_CHARS = 3500
"""Proxies keep all headers of an answer in as little as 4 kB."""
MAX_DESCRIPTION_CHARS = 300
"""In the header; the body has it whole."""
NEITHER_LISTED_NOR_KEPT = "no-store"

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
_PAYMENT_IDENTIFIER = {
    "info": {"required": False},
    "schema": {
        "$schema": _SCHEMA,
        "type": "object",
        "properties": {
            "required": {"type": "boolean"},
            "id": {
                "type": "string",
                "minLength": 16,
                "maxLength": 128,
                "pattern": "^[a-zA-Z0-9_-]+$",
            },
        },
        "required": ["required"],
    },
}
_OUTPUT = {
    "type": "object",
    "properties": {
        "response": {"description": "The result."},
        "usage": {
            "type": "object",
            "properties": {
                "input_tokens": {"type": "integer"},
                "output_tokens": {"type": "integer"},
            },
        },
        "receipt": {
            "type": "object",
            "properties": {
                "transaction": {"type": "string"},
                "paidUsdc": {"type": "number"},
            },
        },
    },
    "required": ["response", "usage", "receipt"],
}


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
    response.headers["Cache-Control"] = NEITHER_LISTED_NOR_KEPT
    return response


def base_url() -> str:
    """Where callers reach us, without a slash at the end."""
    return (context.tools().settings.public_url or request.url_root).rstrip("/")


def resource_url(sale: OnSale) -> str:
    """The resource's one address: what a payment's ``resource.url`` must be."""
    path = f"/api/instant/{quote(sale.creator.handle)}/{quote(sale.resource.slug)}"
    return base_url() + path


def _sentence(version: ResourceVersion, error: str | None) -> str:
    price = format(usd_of(UsdMicros(version.price_usd_micros)).normalize(), "f")
    if error is not None:
        return f"The payment was not taken ({error}) and nothing was charged. A run costs ${price}."
    return f"A run costs ${price} in USDC, paid over x402 in the same request."


def _v1(version: ResourceVersion, asked: Sequence[Requirement], url: str) -> dict[str, Any]:
    """The body as version 1 wants it; ``resource`` and ``extensions`` are for people."""
    schema = {
        "input": {
            "type": "http",
            "method": "POST",
            "bodyType": "json",
            "bodyFields": templates.body_fields(version),
        },
        "output": _OUTPUT,
    }
    return {
        "x402Version": 1,
        "accepts": [requirements.as_v1(one, version, url, schema) for one in asked],
        "resource": _resource(version, url),
        "extensions": _extensions(version),
    }


def _header(
    version: ResourceVersion, asked: Sequence[Requirement], url: str, error: str | None
) -> str:
    """Version 2, whole if it fits, else without what only catalogues read."""
    required = {
        "x402Version": 2,
        "error": error or "Payment required",
        "resource": _resource(version, url, most_chars=MAX_DESCRIPTION_CHARS),
        "accepts": [one.v2() for one in asked],
        "extensions": _extensions(version),
    }
    whole = wire.encode(required)
    if len(whole) <= MAX_HEADER_CHARS:
        return whole
    return wire.encode(required | {"extensions": {"payment-identifier": _PAYMENT_IDENTIFIER}})


def _resource(
    version: ResourceVersion, url: str, *, most_chars: int | None = None
) -> dict[str, str]:
    text = version.description or version.name
    is_long = most_chars is not None and len(text) > most_chars
    return {
        "url": url,
        "description": text[:most_chars].rstrip() + "…" if is_long else text,
        "mimeType": "application/json",
    }


def _extensions(version: ResourceVersion) -> dict[str, Any]:
    return {"payment-identifier": _PAYMENT_IDENTIFIER, "bazaar": _bazaar(version)}


def _bazaar(version: ResourceVersion) -> dict[str, Any]:
    """How catalogues of facilitators list it: an example, and the schema that it fits."""
    fields = templates.body_fields(version)
    return {
        "info": {
            "input": {
                "type": "http",
                "method": "POST",
                "bodyType": "json",
                "body": _example(fields),
            },
            "output": {"type": "json", "example": {"response": "…"}},
        },
        "schema": {
            "$schema": _SCHEMA,
            "type": "object",
            "properties": {
                "input": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "const": "http"},
                        "method": {"type": "string", "enum": ["POST"]},
                        "bodyType": {"type": "string", "enum": ["json"]},
                        "body": _body_schema(fields),
                    },
                    "required": ["type", "method", "bodyType", "body"],
                    "additionalProperties": False,
                },
                "output": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string"},
                        "example": {"type": "object"},
                    },
                    "required": ["type"],
                },
            },
            "required": ["input"],
        },
    }


def _example(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: field.get("default", "…") for name, field in fields.items()}


def _body_schema(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _property(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field["required"]],
        "additionalProperties": False,
    }


def _property(field: Mapping[str, Any]) -> dict[str, Any]:
    told = {"type": "string"}
    return told | {
        name: field[name] for name in ("description", "default") if field.get(name) is not None
    }
