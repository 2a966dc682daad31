"""Nothing a caller sends produces a 500, whatever it is."""

import string
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.conftest import Build
from tests.app.contract import CheckedClient

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW")
MEMBERS = ("request", "metadata", "invoice", "refundTo", "webhook", "state", "")
FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

texts = st.text(max_size=40) | st.sampled_from(["lnbcrt1", "\x00", "\ud83d", " ", "x" * 4001])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(MEMBERS) | texts, values, max_size=4)
paths = st.lists(
    st.sampled_from(["api", "jobs", "demo", "refund", "cancel", "healthz", "docs", "..", "%2e%2e"])
    | st.text(string.printable, max_size=8),
    max_size=6,
).map(lambda parts: "/" + "/".join(parts).replace("\\", "").replace("?", "%3F"))
headers = st.dictionaries(
    st.sampled_from(["Accept", "X-Request-Id", "X-Forwarded-For", "Range", "Origin", "Cookie"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    max_size=3,
)


@pytest.fixture
def impatient(client_with: Build) -> CheckedClient:
    """A deployment without workers, whose demo does not wait for any."""
    return client_with(demo_wait_seconds=0)


@FEW
@given(body=bodies, given_headers=headers)
def test_no_body_of_a_new_job_does(
    client: CheckedClient, body: dict[str, Any], given_headers: dict[str, str]
) -> None:
    assert client.post("/api/jobs", json=body, headers=given_headers).status_code in {201, 400}


@FEW
@given(body=st.binary(max_size=200))
def test_no_bytes_do(client: CheckedClient, body: bytes) -> None:
    response = client.post("/api/jobs", data=body, content_type="application/json")

    assert response.status_code == 400


@FEW
@given(request=texts)
def test_no_question_to_the_demo_does(impatient: CheckedClient, request: str) -> None:
    shown = "".join(f"%{byte:02x}" for byte in request.encode("utf-8", "surrogatepass"))

    answer = impatient.get(f"/api/demo?request={shown}")

    assert answer.status_code in {400, 429, 503}


@FEW
@given(path=paths, method=st.sampled_from(METHODS), given_headers=headers)
def test_no_address_and_no_header_does(
    client: CheckedClient, path: str, method: str, given_headers: dict[str, str]
) -> None:
    response = client.open(
        "/", method=method, headers=given_headers, environ_overrides=as_a_server_tells(path)
    )

    assert response.status_code < 500


def as_a_server_tells(path: str) -> dict[str, str]:
    """A test client would take ``//[`` for a host, and fail at it by itself."""
    told = unquote_to_bytes(path).decode("latin-1")
    return {"PATH_INFO": told, "REQUEST_URI": path, "RAW_URI": path}
