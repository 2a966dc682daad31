"""The OpenAPI document as a judge: what it does not say must not be answered.

Nor may any answer give away what only its server knows, or what somebody else has said to it.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self, cast

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from werkzeug.test import TestResponse

from app.api import document
from tests.support.canary import told_by_mistake

UNDOCUMENTED = {404, 405, 414, 500}
"""May be answered undocumented: other paths, other methods, endless addresses, planted defects."""
POINTED_AT = {"invalid_request", "invalid_refund_to"}
"""Codes of errors that hold ``errors[]``."""
OUTSIDE = ("/api/openapi.json", "/api/docs", "/api/dev/", "/api/hooks/")
"""Paths of the service that the document does not name."""
OF_OTHERS = "/api/docs/static/"
"""Released files, whose examples are nobody's secrets."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An answer and what it answers, however they travelled."""

    method: str
    path: str
    status_code: int
    mimetype: str
    headers: Any
    text: str

    @classmethod
    def of_client(cls, response: TestResponse) -> Self:
        asked = response.request
        return cls(
            method=asked.method,
            path=asked.path,
            status_code=response.status_code,
            mimetype=response.mimetype or "",
            headers=response.headers,
            text=response.get_data(as_text=True),
        )

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Contract:
    """Judges answers strictly: a member that the document does not name is a breach."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._components = {"components": _closed(spec)["components"]}
        self._validators: dict[str, Draft202012Validator] = {}
        self._paths = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape("/api" + path)) + "/?"), methods)
            for path, methods in spec["paths"].items()
        ]

    def judge(self, response: Seen, sent: Any, *, defect_is_planted: bool = False) -> None:
        """Raise AssertionError when an answer, or the taking of a request, is not as documented.

        A 500 is a breach, however well it is told, unless a test has planted what it tells of.
        """
        assert response.status_code != 500 or defect_is_planted, (
            f"a defect of ours: {response.method} {response.path} is told {response.text}"
        )
        if response.method == "HEAD" or (
            response.method == "OPTIONS" and response.status_code < 400
        ):
            assert response.text == ""
            return
        self._judge_discretion(response, sent)
        self._judge_pointers(response)
        operation = self._operation(response.path, response.method.lower())
        if operation is None:
            self._judge_outside(response)
            return
        self._judge_answer(operation, response)
        self._judge_request(operation, response, sent)

    def _judge_discretion(self, response: Seen, sent: Any) -> None:
        if response.path.startswith(OF_OTHERS):
            return
        found = told_by_mistake(response, sent)
        assert not found, f"the answer gives away {', '.join(found)}: {response.text}"

    def _judge_pointers(self, response: Seen) -> None:
        """Whoever is told that a body or query is wrong is told where."""
        if response.status_code == 400 and response.json["code"] in POINTED_AT:
            assert response.json.get("errors"), f"it does not say where: {response.text}"

    def _operation(self, path: str, method: str) -> dict[str, Any] | None:
        for pattern, methods in self._paths:
            if pattern.fullmatch(path):
                found: dict[str, Any] | None = methods.get(method)
                return found
        return None

    def _judge_outside(self, response: Seen) -> None:
        if response.status_code >= 400:
            self._valid(response.json, "ErrorResponse")
        elif response.status_code != 204:
            assert response.path.startswith(OUTSIDE), "an answer from nowhere"

    def _judge_answer(self, operation: dict[str, Any], response: Seen) -> None:
        said = operation["responses"].get(str(response.status_code))
        if said is None:
            assert response.status_code in UNDOCUMENTED - {405}, (
                f"{response.status_code} is not documented for {operation['operationId']}"
            )
            self._valid(response.json, "ErrorResponse")
            return
        assert response.mimetype in said["content"]
        schema = said["content"][response.mimetype]["schema"]
        if response.mimetype.endswith("json"):
            self._valid(response.json, schema["$ref"].rpartition("/")[2])
        for name in said.get("headers", {}):
            assert name in response.headers, f"{name} is documented, and missing"

    def _judge_request(self, operation: dict[str, Any], response: Seen, sent: Any) -> None:
        """The document must allow what was taken, and forbid what was refused for its shape."""
        body = operation.get("requestBody")
        if body is None or sent is None:
            return
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        is_allowed = not list(self._validator(name).iter_errors(sent))
        if response.status_code < 300:
            assert is_allowed, f"taken, though the document forbids it: {sent!r}"
        if response.status_code == 400 and response.json["code"] == "invalid_request":
            assert not is_allowed, f"refused, though the document allows it: {sent!r}"

    def _valid(self, value: Any, name: str) -> None:
        problems = [error.message for error in self._validator(name).iter_errors(value)]
        assert not problems, f"not a {name}: {problems} in {json.dumps(value)}"

    def _validator(self, name: str) -> Draft202012Validator:
        """Made once for each schema: making one costs more than the answer that it judges."""
        if name not in self._validators:
            place = {"$ref": f"#/components/schemas/{name}"}
            self._validators[name] = Draft202012Validator(place | self._components)
        return self._validators[name]


def _closed(spec: dict[str, Any]) -> dict[str, Any]:
    """The document with every object closed, so that what it does not name is seen."""
    closed = deepcopy(spec)
    for schema in closed["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return closed


class Answer(TestResponse):
    """Only for the type checker: what the judge let pass is known to be JSON."""

    json: Any


class CheckedClient(FlaskClient):
    """A test client that judges every answer it gets."""

    contract: Contract
    _defect_is_planted = False

    @contextmanager
    def expecting_a_defect(self) -> Iterator[None]:
        """For tests that break something of ours and look at the 500."""
        self._defect_is_planted = True
        yield
        self._defect_is_planted = False

    def open(self, *args: Any, **kwargs: Any) -> Answer:
        response = super().open(*args, **kwargs)
        seen = Seen.of_client(response)
        response.close()  # what was read of a file
        self.contract.judge(seen, kwargs.get("json"), defect_is_planted=self._defect_is_planted)
        return cast("Answer", response)

    def get(self, *args: Any, **kwargs: Any) -> Answer:
        return self.open(*args, method="GET", **kwargs)

    def post(self, *args: Any, **kwargs: Any) -> Answer:
        return self.open(*args, method="POST", **kwargs)

    def put(self, *args: Any, **kwargs: Any) -> Answer:
        return self.open(*args, method="PUT", **kwargs)

    def patch(self, *args: Any, **kwargs: Any) -> Answer:
        return self.open(*args, method="PATCH", **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Answer:
        return self.open(*args, method="DELETE", **kwargs)


def client_of(web: Flask) -> CheckedClient:
    """A test client of an application, with its own document as judge."""
    made = CheckedClient(web, web.response_class)
    if "judge" not in web.extensions:
        web.extensions["judge"] = Contract(document.published(web.extensions["openapi"]))
    made.contract = web.extensions["judge"]
    return made
