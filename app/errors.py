"""Every error as one shape: ``error`` for people, RFC 9457 and ``code`` for programs."""

import math
from datetime import timedelta
from http import HTTPStatus
from typing import Any, cast

import structlog
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from services import defects
from services.defects import DATABASE_LOST
from services.errors import ErrorCode, RuleBroken

logger = structlog.get_logger(__name__)

PROBLEM_TYPE = "/api/docs#problem-{code}"
DATABASE_RETRY = timedelta(seconds=2)

_CODES = {
    400: ErrorCode.INVALID_REQUEST,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.PAYLOAD_TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    429: ErrorCode.RATE_LIMITED,
    500: ErrorCode.INTERNAL,
}
_SENTENCES = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not know this method.",
    413: "The request body is too large.",
    414: "The address of the request is too long.",
    415: "Send the body as application/json.",
    431: "The headers of the request are too large, or too many.",
    500: "Something went wrong here. It was put on record; the request may be tried again.",
}


def shape(
    status: int, code: ErrorCode, detail: str, *, instance: str, request_id: str
) -> dict[str, Any]:
    """The members that every error body has."""
    return {
        "error": detail,
        "type": PROBLEM_TYPE.format(code=code.value),
        "title": code.value.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code.value,
        "requestId": request_id,
    }


def problem(
    status: int, code: ErrorCode, detail: str, *, members: dict[str, Any] | None = None
) -> Response:
    """Build an error response. ``detail`` is read by people and stands in ``error`` as well."""
    body = shape(status, code, detail, instance=request.path, request_id=g.get("request_id", ""))
    response = cast("Response", current_app.json.response(body | (members or {})))
    response.status_code = status
    if request.accept_mimetypes.best == "application/problem+json":
        response.content_type = "application/problem+json"
    return response


def register(app: Flask) -> None:
    """Translate every exception that can leave a route."""
    app.register_error_handler(RuleBroken, rule_broken)
    app.register_error_handler(HTTPException, http_exception)
    for lost in DATABASE_LOST:
        app.register_error_handler(lost, database_lost)
    app.register_error_handler(Exception, unexpected)


def rule_broken(error: RuleBroken) -> Response:
    response = problem(error.status, error.code, str(error), members=error.members)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["Retry-After"] = in_seconds(error.retry_after)
    return response


def in_seconds(span: timedelta) -> str:
    """For headers: whole seconds, rounded up, so that whoever waits that long has waited enough."""
    return str(max(1, math.ceil(span.total_seconds())))


def http_exception(error: HTTPException) -> Response:
    """Errors of Flask and webargs themselves; the headers that matter are kept."""
    status = error.code or 500
    code = _CODES.get(status, ErrorCode.HTTP_ERROR)
    detail = _SENTENCES.get(status) or error.description or sentence(status)
    where = [{"pointer": "", "detail": detail}] if status == HTTPStatus.BAD_REQUEST else []
    response = problem(status, code, detail, members={"errors": where} if where else None)
    kept = {"Allow", "Retry-After"}
    for name, value in error.get_headers(request.environ):
        if name in kept:
            response.headers[name] = value
    return response


def sentence(status: int) -> str:
    """What an error of this status is called where nothing more is known."""
    return _SENTENCES.get(status) or HTTPStatus(status).phrase


def database_lost(error: Exception) -> Response:
    """The database is away: nothing was lost, say when to come back."""
    defects.log(logger, error)
    response = problem(
        503, ErrorCode.NOT_READY, "The service is not ready at the moment; try again shortly."
    )
    response.headers["Retry-After"] = in_seconds(DATABASE_RETRY)
    return response


def unexpected(error: Exception) -> Response:
    """A defect of ours: on record with where it happened, and a caller learns nothing of it."""
    defects.log(logger, error, route=str(request.url_rule))
    return problem(500, ErrorCode.INTERNAL, _SENTENCES[500])
