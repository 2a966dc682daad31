"""Routes that want no body: one that says something is refused, for nobody would listen to it."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import request
from marshmallow import Schema, ValidationError

from app import bodies
from app.api import ApiBlueprint
from app.api.fields import CamelSchema

Route = TypeVar("Route", bound=Callable[..., Any])


class NothingSchema(CamelSchema):
    """No member is known."""


def given() -> dict[str, Any]:
    """The body of a request that needs none; nothing at all is an object without members."""
    if not request.mimetype and not request.get_data():
        return {}
    body: dict[str, Any] = ApiBlueprint.ARGUMENTS_PARSER.load_json(request, Schema())
    return body


def bodiless(route: Route) -> Route:
    """Refuse what any other route would: unknown members, other types, what is no JSON.

    An ignored member would let a caller believe that it counts.
    """

    @wraps(route)
    def without_body(*args: Any, **kwargs: Any) -> Any:
        if request.get_data():
            _refuse_members(given())
        return route(*args, **kwargs)

    return cast("Route", without_body)


def _refuse_members(body: dict[str, Any]) -> None:
    try:
        NothingSchema().load(body)
    except ValidationError as error:
        raise bodies.invalid(error) from error
