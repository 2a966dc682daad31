"""What gunicorn refuses before a request reaches the application has the one error shape, too."""

import json
import socket
from http.client import HTTPResponse
from typing import Any

import pytest
from flask.testing import FlaskClient
from gunicorn.http.errors import (
    InvalidHeader,
    InvalidHTTPVersion,
    InvalidRequestLine,
    InvalidResponseHeader,
    LimitRequestHeaders,
    LimitRequestLine,
)
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from app.serving import Worker
from tests.support.canary import Listener

PATH = "/api/jobs/4cd17f5d-b6a0-405a-93cb-5a3758286c66"


def answered(error: BaseException) -> tuple[HTTPResponse, dict[str, Any]]:
    """What a caller gets whose request ended in this error."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Worker.__new__(Worker).handle_error(None, ours, ("192.0.2.1", 4711), error)
        ours.shutdown(socket.SHUT_WR)
        response = HTTPResponse(theirs)
        response.begin()
        return response, json.loads(response.read())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LimitRequestLine(17_000, 16_384), 414, "http_error"),
        (LimitRequestHeaders("limit request headers fields size"), 431, "http_error"),
        (InvalidRequestLine(f"GET {PATH} HTTP/1.1 ?"), 400, "http_error"),
        (InvalidHTTPVersion("9.9"), 400, "http_error"),
        (InvalidHeader(PATH), 400, "http_error"),
        (InvalidResponseHeader("X-Ours"), 500, "internal"),
        (ZeroDivisionError(PATH), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_outside_the_application_has_its_shape_and_tells_nothing(
    client: FlaskClient, log_listener: Listener, error: BaseException, status: int, code: str
) -> None:
    spec: Any = client.get("/api/openapi.json").json
    log_listener.lines.clear()

    response, body = answered(error)

    assert (response.status, body["status"], body["code"]) == (status, status, code)
    assert response.getheader("Connection") == "close"
    assert response.getheader("X-Request-Id") == body["requestId"]
    assert PATH not in json.dumps(body)
    schema = {"$ref": "#/components/schemas/ErrorResponse", "components": spec["components"]}
    Draft202012Validator(schema).validate(body)
    (line,) = log_listener.lines
    assert body["requestId"] in line
    assert PATH not in line


def test_a_caller_who_has_gone_is_no_trouble() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()

    with ours:
        Worker.__new__(Worker).handle_error(None, ours, ("192.0.2.1", 4711), InvalidHeader("X"))
