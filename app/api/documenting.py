"""Decorators that put into the OpenAPI document what the code around a route does."""

from collections.abc import Callable
from typing import Any, TypeVar

from app.api import ApiBlueprint
from app.api.schemas import ErrorResponseSchema
from models.slug import SLUG as SLUG_PATTERN
from models.slug import SLUG_CHARACTERS

Route = TypeVar("Route", bound=Callable[..., Any])

SAID = {
    400: "The request is not valid.",
    401: "The creator's API key is missing or wrong.",
    402: "Pay: what, to whom and how stands in the body and in PAYMENT-REQUIRED (x402).",
    404: "There is no such thing.",
    405: "A payment is only taken with POST; nothing was charged.",
    409: "The state of things does not allow this.",
    410: "It is no longer kept.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The key was used with another request.",
    429: "Too many requests.",
    503: "Not possible at the moment; Retry-After says when to come back.",
}
_ID_SCHEMA = {"type": "string", "format": "uuid"}
JOB_ID = {
    "in": "path",
    "name": "id",
    "required": True,
    "schema": _ID_SCHEMA,
    "description": "The job's id: whoever has it may read the result and claim the refund.",
}
RUN_ID = {
    "in": "path",
    "name": "id",
    "required": True,
    "schema": _ID_SCHEMA,
    "description": "The run's id: whoever has it may read the result.",
}
_SLUG_SCHEMA = {"type": "string", "pattern": f"^{SLUG_PATTERN}$", "maxLength": SLUG_CHARACTERS}
CREATOR = {
    "in": "path",
    "name": "creator",
    "required": True,
    "schema": _SLUG_SCHEMA,
    "description": "The creator's handle.",
}
SLUG = {
    "in": "path",
    "name": "slug",
    "required": True,
    "schema": _SLUG_SCHEMA,
    "description": "The resource's address among its creator's.",
}
WHEN_TO_COME_BACK = {
    "Retry-After": {
        "description": "Seconds until it is worth trying again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
LOCATION = {
    "Location": {
        "description": "Where it is read, relative to this host.",
        "schema": {"type": "string"},
    }
}
LIMIT_HEADERS = {
    name: {"description": text, "schema": {"type": kind}}
    for name, kind, text in (
        ("RateLimit-Policy", "string", "The limit (draft-ietf-httpapi-ratelimit-headers)."),
        ("RateLimit", "string", "What is left of it, and seconds until there is more."),
        ("X-RateLimit-Limit", "integer", "Tries in an hour."),
        ("X-RateLimit-Remaining", "integer", "Tries left."),
        ("X-RateLimit-Reset", "integer", "Seconds until there is one more."),
    )
}
_HEADERS = {429: WHEN_TO_COME_BACK, 503: WHEN_TO_COME_BACK}


def errors(blueprint: ApiBlueprint, *statuses: int) -> Callable[[Route], Route]:
    """Document these error statuses, all of the one shape."""

    def document(route: Route) -> Route:
        for status in statuses:
            route = blueprint.alt_response(
                status,
                schema=ErrorResponseSchema,
                description=SAID[status],
                headers=_HEADERS.get(status),
            )(route)
        return route

    return document
