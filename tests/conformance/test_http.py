"""The HTTP client, against a server that does everything wrong that a server can."""

import gzip
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path

import pytest

from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import HttpClient, retry_after
from tests.conformance.scripted_server import (
    CLOSE,
    HANG,
    LONG_BEFORE_THE_SERVER,
    RESET,
    Say,
    ScriptedServer,
    answer,
    dripping_body,
    dripping_head,
    json_answer,
)

SHORT = 0.4
"""Seconds of deadline where it is meant to pass."""


def fails(http: HttpClient, url: str, *, seconds: float = 30.0, **more: object) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        http.get(url, seconds=seconds, **more).required().object()
    return caught.value


def test_numbers_with_a_fraction_are_exact_decimals(
    server: ScriptedServer, http: HttpClient
) -> None:
    server.says(answer(200, '{"price": 97123.10, "tiny": 1e-9, "whole": 3}'))

    numbers = http.get(server.url, seconds=30).required().object()

    assert numbers == {"price": Decimal("97123.10"), "tiny": Decimal("1e-9"), "whole": 3}
    assert type(numbers["price"]) is Decimal


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(HANG, id="never answers"),
        pytest.param(dripping_head(seconds_a_byte=0.05), id="drips its headers"),
        pytest.param(dripping_body(b"{" + b" " * 1000, seconds_a_byte=0.05), id="drips its body"),
        pytest.param(
            Say(head=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", then="hang"),
            id="stops in mid-body",
        ),
        pytest.param(
            Say(
                head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                drip=b"1\r\n \r\n" * 200,
                seconds_a_byte=0.05,
            ),
            id="drips chunks",
        ),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_call_ends_at_its_total_deadline_whatever_the_server_does(
    server: ScriptedServer, http: HttpClient, method: str, say: Say
) -> None:
    server.says(say)
    began = time.monotonic()

    with pytest.raises(Unavailable) as caught:
        getattr(http, method)(server.url, seconds=SHORT)

    assert caught.value.code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER
    assert len(server.heard) <= 1, "it is not asked again"


def test_a_server_that_accepts_nobody_is_a_timeout(http: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # takes the only place in the queue
            began = time.monotonic()
            error = fails(http, f"http://127.0.0.1:{port}", seconds=SHORT)

    assert error.code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER


def test_a_tls_handshake_that_never_ends_is_a_timeout(
    server: ScriptedServer, http: HttpClient
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        error = fails(http, f"https://127.0.0.1:{silent.getsockname()[1]}", seconds=SHORT)

    assert error.code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER


def test_a_refused_connection_is_unavailable(http: HttpClient, closed_url: str) -> None:
    error = fails(http, closed_url)

    assert isinstance(error, Unavailable)
    assert error.code == "connection"


def test_a_name_that_does_not_exist_is_unavailable(http: HttpClient) -> None:
    error = fails(http, "http://nowhere.invalid")

    assert isinstance(error, Unavailable)
    assert error.code == "connection"


def test_plain_http_where_tls_is_expected_is_unavailable(
    server: ScriptedServer, http: HttpClient
) -> None:
    server.says(json_answer({}))

    error = fails(http, server.url.replace("http:", "https:"))

    assert isinstance(error, Unavailable)
    assert error.code in {"tls", "connection"}


@pytest.mark.parametrize("trouble", [RESET, CLOSE], ids=["reset", "closed"])
def test_a_get_on_a_connection_gone_stale_is_asked_again_on_a_fresh_one(
    server: ScriptedServer, trouble: Say
) -> None:
    http = HttpClient()
    server.says(json_answer({"n": 1}), trouble, json_answer({"n": 2}))

    first = http.get(server.url, seconds=30).object()
    second = http.get(server.url, seconds=30).object()

    assert (first, second) == ({"n": 1}, {"n": 2})
    assert len(server.heard) == 3


def test_a_get_is_asked_twice_at_most(server: ScriptedServer, http: HttpClient) -> None:
    server.says(RESET)

    error = fails(http, server.url)

    assert isinstance(error, Unavailable)
    assert error.code == "connection"
    assert len(server.heard) == 2


@pytest.mark.parametrize("trouble", [RESET, CLOSE], ids=["reset", "closed"])
def test_a_post_is_never_sent_twice(server: ScriptedServer, http: HttpClient, trouble: Say) -> None:
    server.says(trouble, json_answer({}))

    with pytest.raises(Unavailable) as caught:
        http.post(server.url, seconds=30, body={"pay": 1})

    assert caught.value.code == "connection"
    assert len(server.heard) == 1


def test_a_post_never_travels_on_a_used_connection(server: ScriptedServer) -> None:
    http = HttpClient()
    server.says(json_answer({}))

    http.get(server.url, seconds=30)
    http.get(server.url, seconds=30)
    after_two_gets = server.connections
    http.post(server.url, seconds=30)
    http.post(server.url, seconds=30)

    assert after_two_gets == 1
    assert server.connections == 3
    assert server.heard[-1].headers["connection"] == "close"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Unavailable),
        (307, Unavailable),
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (404, Refused),
        (408, Unavailable),
        (413, Refused),
        (422, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (520, Unavailable),
        (599, Unavailable),
    ],
)
def test_every_status_but_success_is_an_error_of_its_kind(
    server: ScriptedServer, http: HttpClient, status: int, kind: type[OutsideError]
) -> None:
    server.says(json_answer({"detail": "x"}, status, headers={"Location": f"{server.url}/else"}))

    error = fails(http, server.url)

    assert type(error) is kind
    assert error.code == f"http_{status}"
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", timedelta(seconds=7)),
        (" 0 ", timedelta(0)),
        ("86400", timedelta(hours=1)),
        ("99999999999999999999", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        ("soon", None),
        ("Mon, 99 Foo 9999 99:99:99 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", timedelta(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(hours=1)),
        ("Fri, 31 Dec 9999 23:59:59 -2359", timedelta(hours=1)),
        ("Mon, 01 Jan 0001 00:00:00 +2359", timedelta(0)),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped_at_an_hour(
    value: str, wait: timedelta | None
) -> None:
    assert retry_after(value) == wait


def test_retry_after_as_a_date_counts_from_now() -> None:
    wait = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))

    assert wait is not None
    assert timedelta(seconds=80) < wait <= timedelta(seconds=90)


@pytest.mark.parametrize("status", [429, 503])
def test_the_servers_own_wish_when_to_come_back_is_kept(
    server: ScriptedServer, http: HttpClient, status: int
) -> None:
    server.says(json_answer({}, status, headers={"Retry-After": "17"}))

    error = fails(http, server.url)

    assert isinstance(error, Unavailable)
    assert error.retry_after == timedelta(seconds=17)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<html>Bad gateway</html>", "not_json"),
        ("", "not_json"),
        ('{"cut": ', "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        ('{"price": NaN}', "not_json"),
        ('{"price": -Infinity}', "not_json"),
        ('{"price": 1e99999999999999999999}', "not_json"),
        ('{"digits": ' + "9" * 5000 + "}", "not_json"),
        ("[" * 100_000, "not_json"),
        ("[]", "not_an_object"),
        ('"text"', "not_an_object"),
        ("null", "not_an_object"),
    ],
)
def test_an_answer_that_makes_no_sense_is_unavailable(
    server: ScriptedServer, http: HttpClient, body: str | bytes, code: str
) -> None:
    server.says(answer(200, body))

    error = fails(http, server.url)

    assert isinstance(error, Unavailable)
    assert error.code == code


@pytest.mark.parametrize(
    "head",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 200 + b"\r\n{}",
    ],
    ids=["no http", "cut short", "bad chunk", "a header too long", "too many headers"],
)
def test_broken_http_is_unavailable(server: ScriptedServer, http: HttpClient, head: bytes) -> None:
    server.says(Say(head=head, then="close"))

    error = fails(http, server.url)

    assert isinstance(error, Unavailable)
    assert error.code == "connection"


def test_an_answer_larger_than_the_limit_is_not_read_to_its_end(
    server: ScriptedServer, http: HttpClient
) -> None:
    server.says(answer(200, b" " * 300_000))

    assert fails(http, server.url, max_bytes=100_000).code == "too_large"


def test_an_answer_that_never_ends_is_cut_off_at_the_limit(
    server: ScriptedServer, http: HttpClient
) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000
    server.says(Say(head=endless, then="hang"))

    assert fails(http, server.url, max_bytes=100_000).code == "too_large"


def test_the_limit_holds_for_what_comes_out_of_a_compressed_answer(
    server: ScriptedServer, http: HttpClient
) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    server.says(answer(200, bomb, headers={"Content-Encoding": "gzip"}))

    assert len(bomb) < 100_000
    assert fails(http, server.url, max_bytes=100_000).code == "too_large"


def test_a_compressed_answer_that_is_none_is_unavailable(
    server: ScriptedServer, http: HttpClient
) -> None:
    server.says(answer(200, "{}", headers={"Content-Encoding": "gzip"}))

    assert isinstance(fails(http, server.url), Unavailable)


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1/", "http://", "http://[::"])
def test_an_address_that_is_none_is_refused(http: HttpClient, url: str) -> None:
    error = fails(http, url)

    assert isinstance(error, Refused)
    assert error.code == "bad_request"


def test_a_key_that_cannot_be_a_header_stands_in_no_error(
    http: HttpClient, server: ScriptedServer
) -> None:
    error = fails(http, server.url, headers={"X-Api-Key": "secret\nkey"})

    assert isinstance(error, Refused)
    chain = [error, error.__cause__]
    assert not any("secret" in str(part) for part in chain if part is not None)
    assert server.heard == []


def test_cookies_are_not_kept(server: ScriptedServer, http: HttpClient) -> None:
    server.says(json_answer({}, headers={"Set-Cookie": "a=b; Path=/"}))

    http.get(server.url, seconds=30)
    http.get(server.url, seconds=30)

    assert "cookie" not in server.heard[-1].headers


def test_proxies_and_netrc_of_the_environment_are_ignored(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    server.says(json_answer({}))

    HttpClient().get(server.url, seconds=30).required()

    assert "authorization" not in server.heard[0].headers


def test_a_hundred_threads_share_one_client(server: ScriptedServer, http: HttpClient) -> None:
    server.respond = lambda heard: json_answer({"path": heard.path})
    answers: dict[str, str] = {}

    def ask(path: str) -> None:
        answers[path] = http.get(server.url + path, seconds=20).object()["path"]

    threads = [threading.Thread(target=ask, args=(f"/{number}",)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == {f"/{number}": f"/{number}" for number in range(100)}
