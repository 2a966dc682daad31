"""Bodies of every bad kind: a 4xx in the one shape and in words, never a 500, never a job."""

import json
from typing import Any

import pytest

from services.toolbox import Toolbox
from tests.app.contract import CheckedClient
from tests.app.test_creating_jobs import jobs_in
from tests.support.life import REQUEST, Life

IN_SHAPE = [
    ({}, "request is missing."),
    ({"request": None}, "request must be a string, not null."),
    ({"request": 7}, "request must be a string."),
    ({"request": True}, "request must be a string."),
    ({"request": ["x"]}, "request must be a string."),
    ({"request": {"x": 1}}, "request must be a string."),
    ({"request": ""}, "request must not be blank."),
    ({"request": " \t\r\n\u00a0\u2003\u3000"}, "request must not be blank."),
    ({"request": "\x1c\x1d\x1e\x1f\x85\ufeff"}, "request must not be blank."),
    ({"request": "x" * 4001}, "request must have at most 4000 characters."),
    (
        {"request": "nul \x00"},
        "request must not hold NUL characters or unpaired surrogates.",
    ),
    ({"request": REQUEST, "refund_to": "x"}, "refund_to is not known here."),
    ({"Request": REQUEST, "request": REQUEST}, "Request is not known here."),
    ({"request": REQUEST, "metadata": None}, "metadata must be an object of strings, not null."),
    ({"request": REQUEST, "metadata": "x"}, "metadata must be an object of strings."),
    ({"request": REQUEST, "metadata": []}, "metadata must be an object of strings."),
    (
        {"request": REQUEST, "metadata": {str(n): "" for n in range(17)}},
        "metadata must have at most 16 members.",
    ),
    (
        {"request": REQUEST, "metadata": {"a": 1}},
        "metadata.a must be a string of at most 500 characters, without NUL.",
    ),
    (
        {"request": REQUEST, "metadata": {"a": "x" * 501}},
        "metadata.a must be a string of at most 500 characters, without NUL.",
    ),
    (
        {"request": REQUEST, "metadata": {"a": "\x00"}},
        "metadata.a must be a string of at most 500 characters, without NUL.",
    ),
    (
        {"request": REQUEST, "metadata": {"": "x"}},
        "metadata. must have a name of 1 to 64 characters, without NUL.",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), IN_SHAPE)
def test_a_body_of_the_wrong_shape_is_a_400_that_names_the_member(
    client: CheckedClient, tools: Toolbox, body: Any, sentence: str
) -> None:
    response = client.post("/api/jobs", json=body)

    assert response.status_code == 400
    assert response.json["code"] == "invalid_request"
    assert response.json["error"] == response.json["detail"] == sentence
    assert response.json["errors"][0]["detail"] == sentence
    assert jobs_in(tools) == 0


def test_the_places_of_all_problems_are_json_pointers(client: CheckedClient) -> None:
    body = {"x/y~z": 1, "metadata": {"a/b": 1}}

    problems = client.post("/api/jobs", json=body).json["errors"]

    assert {problem["pointer"] for problem in problems} == {
        "/request",
        "/metadata/a~1b",
        "/x~1y~0z",
    }


def test_thousands_of_problems_are_told_in_a_short_answer(client: CheckedClient) -> None:
    body = {f"member{n}": n for n in range(3000)}

    response = client.post("/api/jobs", json=body)

    assert response.status_code == 400
    assert len(response.json["errors"]) == 16


def test_a_long_name_is_not_repeated_in_full(client: CheckedClient) -> None:
    response = client.post("/api/jobs", json={"request": REQUEST, "n" * 5000: 1})

    assert response.json["error"] == f"{'n' * 60}… is not known here."


NO_JSON = [
    b"",
    b"{",
    b"request=x",
    b'{"request": "x",}',
    b'{"request": "x"} {}',
    b"{'request': 'x'}",
    b'{"request": NaN}',
    b'{"request": "x", "n": Infinity}',
    b'{"request": "x", "n": -Infinity}',
    b'{"request": "x", "request": "y"}',
    b'{"request": "x", "metadata": {"a": "1", "a": "2"}}',
    b'{"request": "\xff\xfe"}',
    '{"request": "x"}'.encode("utf-16"),
    b"\xef\xbb\xbf" + b'{"request": "x"}',
    b"[" * 50_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"request": "x", "n": ' + b"9" * 5000 + b"}",
    b'{"request": "a\nb"}',
    b"\x00",
]


@pytest.mark.parametrize("body", NO_JSON, ids=lambda body: repr(body[:30]))
def test_a_body_that_is_no_unambiguous_json_is_a_400(
    client: CheckedClient, tools: Toolbox, body: bytes
) -> None:
    response = client.post("/api/jobs", data=body, content_type="application/json")

    assert (response.status_code, response.json["code"]) == (400, "invalid_json")
    assert response.json["error"].startswith("The body is not valid JSON")
    assert jobs_in(tools) == 0


@pytest.mark.parametrize("body", ["null", "[]", '"x"', "7", "true", '[{"request": "x"}]'])
def test_json_that_is_no_object_is_a_400(client: CheckedClient, body: str) -> None:
    response = client.post("/api/jobs", data=body, content_type="application/json")

    assert response.status_code == 400
    assert response.json["error"] == "The body must be a JSON object."


@pytest.mark.parametrize("half", [r'"\ud83d"', r'"x \udc00 y"', r'"\udc00\ud83d"'])
def test_half_of_a_surrogate_pair_is_a_400(
    client: CheckedClient, tools: Toolbox, half: str
) -> None:
    response = client.post(
        "/api/jobs", data=f'{{"request": {half}}}', content_type="application/json"
    )

    assert response.status_code == 400
    assert "surrogates" in response.json["error"]
    assert jobs_in(tools) == 0


def test_surrogates_in_the_names_of_members_are_no_trouble(client: CheckedClient) -> None:
    body = r'{"request": "x", "\ud83d": 1, "metadata": {"\ud83d": "x"}}'

    response = client.post("/api/jobs", data=body, content_type="application/json")

    assert response.status_code == 400
    assert len(response.json["errors"]) == 2


def test_a_pair_of_surrogates_is_one_character(client: CheckedClient) -> None:
    body = r'{"request": "\ud83d\ude42"}'

    response = client.post("/api/jobs", data=body, content_type="application/json")

    assert response.status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "nonsense",
        None,
    ],
)
def test_a_body_of_another_type_is_a_415(client: CheckedClient, content_type: str | None) -> None:
    response = client.post(
        "/api/jobs", data=json.dumps({"request": REQUEST}), content_type=content_type
    )

    assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")
    assert response.json["error"] == "Send the body as application/json."


def test_a_compressed_body_is_a_415(client: CheckedClient) -> None:
    response = client.post(
        "/api/jobs", json={"request": REQUEST}, headers={"Content-Encoding": "gzip"}
    )

    assert response.status_code == 415


def test_no_body_at_all_is_a_400_because_nothing_of_a_wrong_type_was_sent(
    client: CheckedClient,
) -> None:
    assert client.post("/api/jobs").status_code == 400


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
def test_json_by_its_other_names_is_taken(client: CheckedClient, content_type: str) -> None:
    response = client.post(
        "/api/jobs", data=json.dumps({"request": REQUEST}), content_type=content_type
    )

    assert response.status_code == 201


def test_a_body_over_64_kib_is_a_413_and_one_of_that_size_is_read(client: CheckedClient) -> None:
    def send(size: int) -> tuple[int, str]:
        body = json.dumps({"request": "x"})
        padded = body + " " * (size - len(body))
        response = client.post("/api/jobs", data=padded, content_type="application/json")
        return response.status_code, (response.json or {}).get("code", "")

    assert send(65_537) == (413, "payload_too_large")
    assert send(65_536) == (201, "")


@pytest.mark.parametrize(
    ("sent", "status"), [(1_000_000_000, 413), (65_537, 413), (65_536, 201), (500, 201)]
)
def test_a_body_in_chunks_is_measured_as_it_comes(
    client: CheckedClient, sent: int, status: int
) -> None:
    response = client.post(
        "/api/jobs",
        content_type="application/json",
        environ_overrides={
            "wsgi.input": Padded(b'{"request": "x"}', sent),
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": "",
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )

    assert response.status_code == status


class Padded:
    """A body followed by blanks up to its size, of which as much is made as is read."""

    def __init__(self, body: bytes, size: int) -> None:
        self._body, self._left = body, size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        part, self._body = self._body[:size], self._body[size:]
        self._left -= size
        return part.ljust(size)

    def close(self) -> None:
        pass


def test_a_large_body_is_a_413_also_where_no_body_is_wanted(
    client: CheckedClient, life: Life
) -> None:
    path = f"/api/jobs/{life.create().job.public_id}/cancel"

    response = client.post(path, data=b"x" * 65_537, content_type="application/json")

    assert response.status_code == 413
