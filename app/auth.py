"""Who asks, by the header ``Authorization: Bearer …``: a creator, or the operator."""

import hmac
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast

from flask import g, request

from app import context
from models.creator import Creator
from services.errors import ErrorCode, Unauthorized
from services.instant import creators

Route = TypeVar("Route", bound=Callable[..., Any])
LONGEST_KEY = 512


def creator() -> Creator:
    """The creator whose key came with this request. Raises Unauthorized, or NotNow."""
    if "creator" not in g:
        tools = context.tools()
        creators.require_instant(tools)
        g.creator = creators.authenticate(tools, _bearer())
    return cast("Creator", g.creator)


def creators_only(route: Route) -> Route:
    """Let nobody in without a creator's key, before the body is looked at."""

    @wraps(route)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        creator()
        return route(*args, **kwargs)

    return cast("Route", guarded)


def operator_only(route: Route) -> Route:
    """Let nobody in without ``OPS_TOKEN``; where none is set, nobody at all."""

    @wraps(route)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        given, wanted = _bearer(), context.tools().settings.ops_token
        if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
            _refuse()
        return route(*args, **kwargs)

    return cast("Route", guarded)


def _bearer() -> str:
    """What came as a bearer token. Raises Unauthorized."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= LONGEST_KEY:
        _refuse()
    return token


def _refuse() -> NoReturn:
    raise Unauthorized("The key is missing or wrong.", code=ErrorCode.UNAUTHORIZED)
