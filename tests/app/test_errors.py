"""Every error has one shape, whoever found it; and nothing from behind shows through."""

from typing import cast
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from models.database import Database
from services.errors import ErrorCode
from services.jobs import intake
from services.toolbox import Toolbox
from tests.app.conftest import Build
from tests.app.contract import Answer, CheckedClient, client_of
from tests.support.life import REQUEST, Life

NOBODYS = "6f2c7e0a-0000-4000-8000-000000000000"
MEMBERS = {"error", "type", "title", "status", "detail", "instance", "code", "requestId"}


def check_shape(response: Answer, status: int, code: str) -> None:
    body = response.json
    assert response.status_code == status
    assert set(body) >= MEMBERS
    assert body["status"] == status
    assert body["code"] == code
    assert body["error"] == body["detail"] != ""
    assert body["type"].endswith(code)
    assert body["title"]
    assert body["instance"] == response.request.path
    assert body["requestId"] == response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/", "/api/nothing", "/api/jobs/x/y/z", "//api/jobs", "/api/jobs/../healthz"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_404_in_the_one_shape(
    client: CheckedClient, path: str, method: str
) -> None:
    check_shape(client.open(path, method=method), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/jobs", {"POST", "OPTIONS"}),
        ("/api/jobs/x", {"GET", "HEAD", "OPTIONS"}),
        ("/api/jobs/x/refund", {"POST", "OPTIONS"}),
        ("/api/jobs/x/cancel", {"POST", "OPTIONS"}),
        ("/api/demo", {"GET", "OPTIONS"}),
        ("/api/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("/api/readyz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_a_wrong_method_is_a_405_that_allows_the_right_ones(
    client: CheckedClient, path: str, methods: set[str], method: str
) -> None:
    if method in methods:
        return

    response = client.open(path, method=method)

    check_shape(response, 405, "method_not_allowed")
    assert {name.strip() for name in response.headers["Allow"].split(",")} == methods


def test_a_slash_at_the_end_changes_nothing(client: CheckedClient) -> None:
    assert client.get("/api/healthz/").status_code == 200
    assert client.post("/api/jobs/", json={"request": REQUEST}).status_code == 201


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, application/problem+json", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/problem+json, application/json;q=0.9", "application/problem+json"),
        ("text/html", "application/json"),
    ],
)
def test_problem_json_is_for_those_who_prefer_it(
    client: CheckedClient, accept: str | None, mimetype: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}

    response = client.get(f"/api/jobs/{uuid4()}", headers=headers)

    assert response.mimetype == mimetype
    check_shape(response, 404, "job_not_found")


def test_a_defect_of_ours_is_a_500_that_tells_nothing_and_is_on_record(
    client: CheckedClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("how we are built")

    monkeypatch.setattr(intake, "find", broken)

    with client.expecting_a_defect():
        response = client.get(f"/api/jobs/{NOBODYS}")

    check_shape(response, 500, "internal")
    assert "how we are built" not in response.text
    assert "Traceback" not in response.text
    assert "unexpected error" in caplog.text
    assert "/api/jobs/<string:id>" in caplog.text
    assert NOBODYS not in caplog.text


def test_given_a_statement_that_fails_then_its_parameters_are_not_logged(
    client: CheckedClient,
    tools: Toolbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A job's id is one of them, and the driver quotes them in what it raises."""

    def broken(_: object, public_id: object) -> None:
        with tools.database.transaction("test.fail") as session:
            session.execute(text("SELECT :id FROM no_such_table"), {"id": public_id})

    monkeypatch.setattr(intake, "find", broken)

    with client.expecting_a_defect():
        response = client.get(f"/api/jobs/{NOBODYS}")

    check_shape(response, 500, "internal")
    assert "UndefinedTable" in caplog.text
    assert NOBODYS not in caplog.text


@pytest.fixture
def without_database(client_with: Build) -> CheckedClient:
    """A deployment whose database is away."""
    nowhere = Database("postgresql+psycopg2://nobody:SECRET@127.0.0.1:1/none")
    return client_with(collaborators={"database": nowhere})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/jobs", {"request": REQUEST}),
        ("GET", f"/api/jobs/{NOBODYS}", None),
        ("POST", f"/api/jobs/{NOBODYS}/refund", {"invoice": "x"}),
        ("POST", f"/api/jobs/{NOBODYS}/cancel", None),
        ("GET", "/api/demo?request=x", None),
    ],
)
def test_given_a_database_that_is_away_then_503_and_when_to_come_back(
    without_database: CheckedClient, method: str, path: str, body: object
) -> None:
    response = without_database.open(path, method=method, json=body)

    check_shape(response, 503, "not_ready")
    assert int(response.headers["Retry-After"]) >= 1
    assert "SECRET" not in response.text
    assert "127.0.0.1" not in response.text


def test_what_is_wrong_with_a_request_is_told_also_without_a_database(
    without_database: CheckedClient,
) -> None:
    answers = [
        without_database.post("/api/jobs", json={}),
        without_database.get("/api/jobs/no-id"),
        without_database.get("/api/nothing"),
        without_database.get("/api/demo"),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 404, 400]


def test_given_a_path_unknown_then_404_whatever_else_is_wrong(client: CheckedClient) -> None:
    headers = {"Idempotency-Key": "0123456789abcdef"}

    response = client.post("/api/nothing", data=b"x" * 70_000, headers=headers)

    check_shape(response, 404, "not_found")


def test_every_code_is_in_the_document_and_every_error_names_its_own(web: Flask) -> None:
    document = client_of(web).get("/api/openapi.json").json

    listed = document["components"]["schemas"]["ErrorResponse"]["properties"]["code"]["enum"]
    assert listed == [code.value for code in ErrorCode]


@pytest.mark.parametrize("host", ["x" * 300, "a b", "[::1", "münchen", "", "a:99999999"])
def test_a_strange_host_is_no_trouble(web: Flask, host: str) -> None:
    undocumented = FlaskClient(web, web.response_class)

    response = undocumented.get("/api/healthz", headers={"Host": host})

    if response.status_code != 200:
        check_shape(cast("Answer", response), 400, "invalid_request")


def test_a_long_query_that_is_no_utf8_is_no_trouble(client: CheckedClient) -> None:
    query = "&".join(f"a{n}=%ff" for n in range(3000))

    assert client.get(f"/api/healthz?{query}").status_code == 200


def test_a_claim_with_a_broken_body_leaves_the_job_as_it_was(
    client: CheckedClient, life: Life
) -> None:
    view = life.complete()
    path = f"/api/jobs/{view.job.public_id}/refund"
    before = client.get(f"/api/jobs/{view.job.public_id}").json

    for body in (b"", b"{", b"[]", b"\xff"):
        assert client.post(path, data=body, content_type="application/json").status_code == 400

    assert client.get(f"/api/jobs/{view.job.public_id}").json == before
