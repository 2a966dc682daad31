"""Reading request bodies strictly: what another parser could read differently is refused."""

import json
from typing import Any, NoReturn

from flask import Request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import UnsupportedMediaType

from services.errors import ErrorCode, InvalidRequest


class StrictParser(FlaskParser):
    """Bodies are JSON objects in UTF-8, without NaN, duplicate members or deep nesting."""

    DEFAULT_VALIDATION_STATUS = 400

    def load_json(self, req: Request, schema: Schema) -> Any:
        if not req.is_json:
            raise UnsupportedMediaType
        return read_object(req.get_data())

    def handle_error(
        self,
        error: ValidationError,
        req: Request,
        schema: Schema,
        *,
        error_status_code: int | None,
        error_headers: Any,
    ) -> NoReturn:
        raise invalid(error)


def invalid(error: ValidationError) -> InvalidRequest:
    """The API's error for a body of the wrong shape: the first problem in words, all as pointers."""
    messages = error.normalized_messages()  # type: ignore[no-untyped-call]
    for location in ("json", "query"):
        messages = messages.get(location, messages)
    problems = list(_pointers("", messages))
    first = problems[0]
    name = first["pointer"].removeprefix("/").removesuffix("/_schema")
    sentence = f"{name}: {first['detail']}" if name and name != "_schema" else first["detail"]
    return InvalidRequest(sentence, code=ErrorCode.INVALID_REQUEST, members={"errors": problems})


def _pointers(prefix: str, messages: Any) -> list[dict[str, str]]:
    if isinstance(messages, dict):
        return [
            found
            for name, inner in messages.items()
            for found in _pointers(f"{prefix}/{name}", inner)
        ]
    return [{"pointer": prefix, "detail": str(message)} for message in messages]


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a body. Raises InvalidRequest(invalid_json)."""
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not valid JSON.", code=ErrorCode.INVALID_JSON) from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", code=ErrorCode.INVALID_REQUEST)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members
