"""The OpenAPI document: generated from the code, with the names that clients rely on."""

from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any

from flask import Flask, current_app
from flask_smorest import Api

from app.api.fields import NOT_BLANK, JobStateField, PlainText, RequestText, TextPairs, UsdField
from app.api.schemas import JOB_STATES, ErrorResponseSchema
from config.settings import Settings

TITLE = "Api"
VERSION = "1.0.0"
SERVER = "/api"
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
DESCRIPTION = """\
AI work for small payments over Lightning: post a request, pay a small evaluation fee, learn whether
it is accepted and what it costs, pay for the work, read the result with an honest ledger, and claim
the unused part back.

Answers may get new members at any time: ignore those that you do not know. Unknown members of a
request are refused. Every answer has `X-Request-Id`; send your own to find it in the log.
"""
TAGS = {
    "health": "Is it alive, is it well?",
    "jobs": "Paid work, from request to refund.",
    "demo": "One free try.",
    "resources": "What is sold a run at a time, and what it is built on.",
    "instant": "What creators publish, run and paid in one request (x402).",
    "creators": "Who publishes instant resources: keys, payout addresses, what was earned.",
}


class ContractApi(Api):
    """flask-smorest with the API's one error shape."""

    ERROR_SCHEMA = ErrorResponseSchema

    def _register_error_handlers(self) -> None:
        """``app.errors`` has registered them."""


def make(app: Flask, settings: Settings) -> ContractApi:
    app.config.update(
        API_TITLE=TITLE,
        API_VERSION=VERSION,
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={
            "servers": [{"url": SERVER}],
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "info": {"description": DESCRIPTION},
        },
    )
    api = ContractApi(app)
    api.spec.components.schema(
        "JobState", {"type": "string", "enum": JOB_STATES, "description": "Where a job is."}
    )
    _teach_fields(api, settings)
    once = cache(lambda: published(api))  # at the first request, when all routes are there
    app.add_url_rule("/api/openapi.json", "openapi", lambda: current_app.json.response(once()))
    return api


def _teach_fields(api: ContractApi, settings: Settings) -> None:
    """Tell apispec what our own fields look like on the wire."""

    def describe(_: Any, field: Any, **__: Any) -> dict[str, Any]:
        for kind, words in _ON_THE_WIRE.items():
            if isinstance(field, kind):
                return words(field, settings)
        return {}

    api.ma_plugin.converter.add_attribute_function(describe)


_NO_NUL = {"not": {"pattern": r"\u0000"}}
_ON_THE_WIRE: dict[type, Callable[[Any, Settings], dict[str, Any]]] = {
    RequestText: lambda field, settings: {
        "minLength": 1,
        "maxLength": field.limit(settings),
        "pattern": NOT_BLANK,
        **_NO_NUL,
    },
    PlainText: lambda *_: _NO_NUL,
    TextPairs: lambda *_: {
        "maxProperties": TextPairs.PAIRS,
        "propertyNames": {"minLength": 1, "maxLength": TextPairs.NAME_CHARACTERS, **_NO_NUL},
        "additionalProperties": {
            "type": "string",
            "maxLength": TextPairs.VALUE_CHARACTERS,
            **_NO_NUL,
        },
    },
    JobStateField: lambda *_: {"$ref": "#/components/schemas/JobState"},
    UsdField: lambda field, _: {"type": ["number", "null"] if field.allow_none else "number"},
}
"""The first kind that fits a field says what it looks like."""


def published(api: ContractApi) -> dict[str, Any]:
    """The document as served: paths relative to the server, and nothing that we do not do."""
    spec: dict[str, Any] = api.spec.to_dict()
    components = spec["components"]
    return {
        "openapi": spec["openapi"],
        "info": spec["info"],
        "servers": spec["servers"],
        "tags": spec["tags"],
        "paths": {
            path.removeprefix(SERVER): {
                method: _operation(found) if method in METHODS else found
                for method, found in operations.items()
            }
            for path, operations in spec["paths"].items()
        },
        "components": {
            "schemas": {
                name: _schema(name, schema)
                for name, schema in sorted(components["schemas"].items())
                if name != "PaginationMetadata"
            }
        },
    }


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    """Without flask-smorest's default error; ours are offered as problem+json as well."""
    responses = {
        status: _response(int(status), response)
        for status, response in sorted(operation["responses"].items())
        if status != "default"
    }
    return {**operation, "responses": responses}


def _response(status: int, response: dict[str, Any]) -> dict[str, Any]:
    if status < HTTPStatus.BAD_REQUEST:
        return response
    content = response["content"]["application/json"]
    both = {"application/json": content, "application/problem+json": content}
    return {**response, "content": both}


def _schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Requests are read strictly; answers may get new members at any time."""
    if name.endswith("Request"):
        return schema
    return {key: value for key, value in schema.items() if key != "additionalProperties"}
