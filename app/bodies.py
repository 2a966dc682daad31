"""Reading request bodies strictly: what another parser could read differently is refused."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from flask import Request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app import context
from gateways import json_text
from services.errors import ErrorCode, InvalidRequest, pointer_to

LOCATIONS = ("json", "query")
PROBLEMS_SHOWN = 16
"""A body can be wrong in thousands of places; nobody reads that many."""
NAME_SHOWN = 60
"""Characters of a member's name that are repeated in a sentence."""


class StrictParser(FlaskParser):
    """Bodies are JSON objects in UTF-8, without NaN, duplicate members or deep nesting."""

    DEFAULT_VALIDATION_STATUS = 400

    def load_json(self, req: Request, schema: Schema) -> Any:
        body = req.get_data()
        if len(body) > context.tools().settings.max_body_bytes:
            raise RequestEntityTooLarge
        nothing_was_sent = not body and not req.mimetype
        if not (req.is_json or nothing_was_sent) or "Content-Encoding" in req.headers:
            raise UnsupportedMediaType
        return read_object(body)

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
    """The API's error for a body of the wrong shape: the first problem in words, all by pointer.

    Our fields word a problem as a predicate ("must be a string"); here it gets its subject.
    """
    messages = error.normalized_messages()  # type: ignore[no-untyped-call]
    for location in LOCATIONS:
        messages = messages.get(location, messages)
    problems = [
        {"pointer": pointer_to(*path), "detail": f"{_subject(path)} {predicate}."}
        for path, predicate in _problems((), messages)
    ]
    return InvalidRequest(
        problems[0]["detail"],
        code=ErrorCode.INVALID_REQUEST,
        members={"errors": problems[:PROBLEMS_SHOWN]},
    )


def _problems(path: tuple[str, ...], messages: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            yield from _problems(path if name == "_schema" else (*path, str(name)), inner)
        return
    for message in messages:
        yield path, message


def _subject(path: tuple[str, ...]) -> str:
    name = ".".join(path) or "The body"
    return name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…"


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a body. Raises InvalidRequest(invalid_json, or invalid_request for other JSON)."""
    try:
        value = json_text.loads(
            body.decode("utf-8"),
            parse_float=Decimal,  # a price is read as it was written
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except json_text.NestedTooDeep as error:
        said = f"The body is not valid JSON: {error}."
        raise InvalidRequest(said, code=ErrorCode.INVALID_JSON) from error
    except (ValueError, ArithmeticError) as error:
        raise InvalidRequest("The body is not valid JSON.", code=ErrorCode.INVALID_JSON) from error
    if not isinstance(value, dict):
        raise InvalidRequest.at("", "The body must be a JSON object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest(
            "The body is not valid JSON: a member is given twice.", code=ErrorCode.INVALID_JSON
        )
    return members
