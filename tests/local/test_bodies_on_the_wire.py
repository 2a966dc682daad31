"""What a web process answers to what is too large, or framed as no server may read it."""

import json
import shlex
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests

from local.environment import ROOT
from local.processes import LOOPBACK, Program, kill_group, spawn
from tests.journeys.waiting import wait_until
from tests.support import wire
from tests.support.ports import free_port

NOWHERE = {
    "DATABASE_URL": f"postgresql://nobody@{LOOPBACK}:1/x",
    "REDIS_URL": f"redis://{LOOPBACK}:1/0",
    "STAND_IN_URL": f"http://{LOOPBACK}:1",
}
"""What is wrong with a request is told without any of them."""
TEN_MEGABYTES = bytes(10_000_000)
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a web process as the Procfile starts it, alone in the world."""
    port, log = free_port(), tmp_path_factory.mktemp("web") / "log"
    (line,) = (
        line for line in Path(ROOT, "Procfile").read_text().splitlines() if line[:4] == "web:"
    )
    told = line.removeprefix("web: gunicorn").replace("${HOST:-127.0.0.1}", LOOPBACK)
    argv = shlex.split(told.replace("${PORT:-8000}", str(port)))
    program = Program(
        name="web", argv=[sys.executable, "-m", "gunicorn", *argv], environ=NOWHERE, cwd=ROOT
    )
    with log.open("wb") as output:
        web = spawn(program, output=output)
    try:
        wait_until("the web process answers", lambda: _lives(port))
        yield port
    finally:
        kill_group(web)
        web.wait()


def _lives(port: int) -> bool:
    try:
        return wire.get(f"http://{LOOPBACK}:{port}/api/healthz", timeout=10).ok
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_body_of_10_mb_is_a_413_that_its_sender_gets_to_read(port: int, in_chunks: bool) -> None:
    parts = (TEN_MEGABYTES[at : at + 65_536] for at in range(0, len(TEN_MEGABYTES), 65_536))
    body = parts if in_chunks else TEN_MEGABYTES

    answer = wire.post(f"http://{LOOPBACK}:{port}/api/jobs", data=body, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("framing", "status"),
    [
        ("Content-Length: -5", 400),
        ("Content-Length: abc", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: 5_0", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: 99999999999999999999", 413),
        ("X-Nul: a\x00b", 400),
        ("X-Blank : y", 400),
        (" X-Folded: y", 400),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused_in_the_apis_shape(
    port: int, framing: str, status: int
) -> None:
    head = f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}"
    with socket.create_connection((LOOPBACK, port), 10) as connection:
        connection.sendall(f"{head}\r\n\r\nhello".encode())
        answer = HTTPResponse(connection)
        answer.begin()
        told = json.loads(answer.read())

    assert answer.status == told["status"] == status
    assert told["error"]
    assert told["requestId"]


@pytest.mark.parametrize("character", ["a", "日", "\U0001f9ff"])
def test_a_demo_request_is_counted_in_characters_however_long_its_address(
    port: int, character: str
) -> None:
    demo = f"http://{LOOPBACK}:{port}/api/demo"

    longest = wire.get(demo, params={"request": 1000 * character})
    too_long = wire.get(demo, params={"request": 1001 * character})

    assert (longest.status_code, longest.json()["code"]) == (503, "not_ready")  # no database
    assert (too_long.status_code, too_long.json()["code"]) == (400, "invalid_request")
