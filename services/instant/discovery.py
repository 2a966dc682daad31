"""What a resource tells of itself: its address, what its body takes, how catalogues list it.

All of it is public: it stands in every 402, and a facilitator may publish it.
"""

import json
from collections.abc import Mapping
from typing import Any

from models.resource import ResourceVersion
from services.instant import templates

MAX_CATALOGUE_CHARS = 10_000
"""Of JSON. It is kept with every run, and many servers read no more than 100 kB of a request."""
_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
PAYMENT_IDENTIFIER = {
    "payment-identifier": {
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


def extensions(version: ResourceVersion) -> dict[str, Any]:
    """x402's extensions that are declared: callers may name payments, catalogues may list it."""
    return PAYMENT_IDENTIFIER | {"bazaar": bazaar(version)}


def v1_schema(version: ResourceVersion) -> dict[str, Any]:
    """``outputSchema`` of version 1, which tells of the input as well."""
    return {
        "input": {
            "type": "http",
            "method": "POST",
            "bodyType": "json",
            "bodyFields": templates.body_fields(version),
        },
        "output": _OUTPUT,
    }


def resource(
    version: ResourceVersion, url: str, *, most_chars: int | None = None
) -> dict[str, str]:
    text = version.description or version.name
    is_long = most_chars is not None and len(text) > most_chars
    return {
        "url": url,
        "description": text[:most_chars].rstrip() + "…" if is_long else text,
        "mimeType": "application/json",
    }


def bazaar(version: ResourceVersion) -> dict[str, Any]:
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


def for_catalogues(version: ResourceVersion) -> dict[str, Any]:
    """``bazaar`` for a facilitator, unless it is longer than facilitators may take: a payment
    would wait there in vain.
    """
    extensions = {"bazaar": bazaar(version)}
    return extensions if len(json.dumps(extensions)) <= MAX_CATALOGUE_CHARS else {}


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
