"""Every error as the one shape of the API: ``error`` for people, RFC 9457 and ``code`` for programs."""

from http import HTTPStatus
from typing import Any, cast

import structlog
from flask import Flask, Response, current_app, g, request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from services.errors import ErrorCode, RuleBroken

logger = structlog.get_logger(__name__)

PROBLEM_TYPE = "/api/docs#problem-{code}"
DATABASE_RETRY_SECONDS = 2

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
    404: "There is nothing at this address.",
    405: "This address does not know this method.",
    413: "The request body is too large.",
    415: "Send the body as application/json.",
    500: "Something went wrong here. It was put on record; the request may be tried again.",
}


def problem(
    status: int, code: ErrorCode, detail: str, *, members: dict[str, Any] | None = None
) -> Response:
    """Build an error response. ``detail`` is read by people and stands in ``error`` as well."""
    body = {
        "error": detail,
        "type": PROBLEM_TYPE.format(code=code.value),
        "title": code.value.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code.value,
        "requestId": g.get("request_id", ""),
        **(members or {}),
    }
    response = cast("Response", current_app.json.response(body))
    response.status_code = status
    if request.accept_mimetypes.best == "application/problem+json":
        response.content_type = "application/problem+json"
    return response


def register(app: Flask) -> None:
    """Translate every exception that can leave a route."""
    app.register_error_handler(RuleBroken, rule_broken)
    app.register_error_handler(HTTPException, http_exception)
    for lost in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(lost, database_lost)
    app.register_error_handler(Exception, unexpected)


def rule_broken(error: RuleBroken) -> Response:
    response = problem(error.status, error.code, str(error), members=error.members)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after.total_seconds())))
    return response


def http_exception(error: HTTPException) -> Response:
    """Flask's and webargs' own errors; headers like Allow are kept."""
    status = error.code or 500
    code = _CODES.get(status, ErrorCode.HTTP_ERROR)
    detail = _SENTENCES.get(status) or error.description or HTTPStatus(status).phrase
    response = problem(status, code, detail)
    kept = {"Allow", "Retry-After"}
    for name, value in error.get_headers(request.environ):
        if name in kept:
            response.headers[name] = value
    return response


def database_lost(error: Exception) -> Response:
    """The database is away: nothing was lost, say when to come back."""
    logger.error("database is away", error=type(error).__name__)
    response = problem(
        503, ErrorCode.NOT_READY, "The service is not ready at the moment; try again shortly."
    )
    response.headers["Retry-After"] = str(DATABASE_RETRY_SECONDS)
    return response


def unexpected(error: Exception) -> Response:
    logger.error(
        "unexpected error", path=request.url_rule and str(request.url_rule), exc_info=error
    )
    return problem(500, ErrorCode.INTERNAL, _SENTENCES[500])
