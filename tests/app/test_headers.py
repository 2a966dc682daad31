"""Headers of every answer, and what browsers ask before they ask."""

import re

import pytest

from tests.app.contract import CheckedClient
from tests.support.life import REQUEST, Life

OWN_ID = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("path", ["/api/healthz", "/api/nothing", "/api/jobs/x", "/api/readyz"])
def test_every_answer_has_these(client: CheckedClient, path: str) -> None:
    headers = client.get(path).headers

    assert OWN_ID.fullmatch(headers["X-Request-Id"])
    assert headers["API-Version"] == "1.0.0"
    assert headers["Cache-Control"] == "private, no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Request-Id" in headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("theirs", ["abcdefgh", "A-b_9" * 20, "x" * 128])
def test_a_callers_own_request_id_is_given_back(client: CheckedClient, theirs: str) -> None:
    response = client.get("/api/jobs/x", headers={"X-Request-Id": theirs})

    assert response.headers["X-Request-Id"] == theirs
    assert response.json["requestId"] == theirs


@pytest.mark.parametrize(
    "theirs", ["", "short", "x" * 129, "with space", "ünïcode-id", "a;b=cdefgh"]
)
def test_what_is_no_request_id_is_replaced(client: CheckedClient, theirs: str) -> None:
    response = client.get("/api/healthz", headers={"X-Request-Id": theirs})

    assert OWN_ID.fullmatch(response.headers["X-Request-Id"])


def test_a_request_id_that_names_the_job_is_replaced_because_it_would_be_logged(
    client: CheckedClient, life: Life
) -> None:
    job_id = str(life.create().job.public_id)

    spelled = job_id.replace("-", ""), job_id.replace("-", "_"), "-".join(job_id), f"{job_id}-"
    for theirs in (job_id, job_id.upper(), f"my-{job_id}", *spelled, spelled[0].upper()):
        response = client.get(f"/api/jobs/{job_id}", headers={"X-Request-Id": theirs})
        assert OWN_ID.fullmatch(response.headers["X-Request-Id"])


def test_each_request_has_an_id_of_its_own(client: CheckedClient) -> None:
    ids = {client.get("/api/healthz").headers["X-Request-Id"] for _ in range(3)}

    assert len(ids) == 3


@pytest.mark.parametrize("path", ["/api/healthz", "/api/readyz", "/api/jobs/{id}"])
def test_head_is_get_without_a_body(client: CheckedClient, life: Life, path: str) -> None:
    address = path.replace("{id}", str(life.create().job.public_id))

    head, get = client.head(address), client.get(address)

    assert head.status_code == get.status_code == 200
    assert head.data == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_head_of_what_is_not_there_is_a_404_without_a_body(client: CheckedClient) -> None:
    assert client.head("/api/nothing").status_code == 404


@pytest.mark.parametrize(
    ("path", "method"),
    [("/api/jobs", "POST"), ("/api/jobs/x", "GET"), ("/api/jobs/x/refund", "POST")],
)
def test_a_browser_may_ask_from_any_page(client: CheckedClient, path: str, method: str) -> None:
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
    }

    response = client.options(path, headers=asked)

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert method in response.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_options_tells_what_is_allowed_and_does_nothing(client: CheckedClient) -> None:
    response = client.options("/api/healthz")

    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_options_of_an_unknown_path_is_a_404(client: CheckedClient) -> None:
    assert client.options("/api/nothing").status_code == 404


def test_a_page_elsewhere_can_read_the_headers_that_matter(client: CheckedClient) -> None:
    made = client.post("/api/jobs", json={"request": REQUEST})

    exposed = set(made.headers["Access-Control-Expose-Headers"].split(", "))

    assert {"Location", "Retry-After", "RateLimit", "X-Request-Id"} <= exposed
