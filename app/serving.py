"""How gunicorn serves us: ``--worker-class app.serving.Worker``.

What it refuses before any request reaches the application is answered in the API's one error shape.
"""

import json
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from gunicorn import util
from gunicorn.http import message
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker

from app.errors import sentence, shape
from services.errors import ErrorCode

logger = structlog.get_logger(__name__)

LONGEST_ADDRESS = 16_384
"""Bytes of a request line: a demo request of 1000 characters is up to 12 times as long in it."""
message.MAX_REQUEST_LINE = LONGEST_ADDRESS  # or gunicorn takes 8190 for any larger option


class Worker(ThreadWorker):
    """gunicorn's own, whose errors are ours and whose log quotes no address: job ids are in it."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer for a request that cannot be read, or that broke outside the application."""
        status, request_id = status_for(exc), uuid4().hex
        seen = {"error": type(exc).__name__, "request_id": request_id}
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("unexpected error while serving", **seen)
        else:
            logger.warning("no proper request", **seen)
        try:
            util.write_nonblock(client, answer(status, request_id))
        except OSError:
            logger.debug("nobody waits for the answer")


def status_for(error: BaseException) -> HTTPStatus:
    """Whose fault it is, and what it is called on the wire."""
    if isinstance(error, LimitRequestLine):
        return HTTPStatus.REQUEST_URI_TOO_LONG
    if isinstance(error, LimitRequestHeaders):
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    of_ours = (InvalidResponseHeader, InvalidResponseHeaderName)
    if isinstance(error, ParseException) and not isinstance(error, of_ours):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer(status: HTTPStatus, request_id: str) -> bytes:
    """A whole HTTP answer, after which the connection ends: nobody knows what would follow."""
    is_ours = status is HTTPStatus.INTERNAL_SERVER_ERROR
    code = ErrorCode.INTERNAL if is_ours else ErrorCode.HTTP_ERROR
    shown = shape(status, code, sentence(status), instance="", request_id=request_id)
    body = json.dumps(shown).encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: private, no-store",
        "Access-Control-Allow-Origin: *",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
