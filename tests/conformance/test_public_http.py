"""The client that strangers may aim: it asks nobody whom the stranger could not ask himself."""

import gzip
import socket
import threading
import time

import pytest

from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import MAX_REDIRECTS, PublicHttpClient
from tests.conformance.internet import PAY, WALLET, Internet
from tests.conformance.scripted_server import (
    HANG,
    LONG_BEFORE_THE_SERVER,
    Say,
    ScriptedServer,
    answer,
    dripping_body,
    dripping_head,
    json_answer,
)

URL = "https://wallet.example/x?y=1"
OK = json_answer({"ok": True})


def ask(internet: Internet, url: str = URL, *, seconds: float = 30.0, **more: object) -> object:
    client = internet.client(**more)
    return client.get(url, seconds=seconds, max_bytes=1000).required().object()


def trouble(internet: Internet, url: str = URL, **more: object) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        ask(internet, url, **more)  # type: ignore[arg-type]
    return caught.value


def redirect(to: str, status: int = 302) -> Say:
    return answer(status, "", headers={"Location": to})


def test_a_public_host_is_asked_at_the_address_that_was_checked_under_its_name(
    internet: Internet,
) -> None:
    internet.wallet.says(OK)

    assert ask(internet) == {"ok": True}

    (heard,) = internet.wallet.heard
    assert heard.headers["host"] == "wallet.example"
    assert heard.headers["accept-encoding"] == "identity"
    assert "cookie" not in heard.headers
    assert (heard.path, heard.query) == ("/x", {"y": ["1"]})
    assert internet.dialled == [(WALLET, 443)]
    assert internet.asked == ["wallet.example"]


def test_a_name_in_another_script_is_asked_as_dns_spells_it(internet: Internet) -> None:
    internet.wallet.says(OK)

    assert ask(internet, "https://bücher.example/") == {"ok": True}
    assert internet.asked == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "addresses",
    [
        *(["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["fd00::1"]),
        *(["::ffff:127.0.0.1"], ["2002:7f00:1::1"], ["64:ff9b::a9fe:a9fe"], ["0.0.0.0"]),
        [WALLET, "127.0.0.1"],
        ["::1", WALLET],
    ],
    ids=str,
)
def test_one_address_that_is_not_public_refuses_the_name(
    internet: Internet, addresses: list[str]
) -> None:
    internet.addresses["wallet.example"] = addresses

    error = trouble(internet)

    assert isinstance(error, Refused)
    assert error.code == "not_public"
    assert internet.dialled == []


def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    internet: Internet,
) -> None:
    answers = iter([[WALLET], ["127.0.0.1"], ["127.0.0.1"]])
    internet.wallet.says(OK)
    client = PublicHttpClient(
        resolve=lambda *_: next(answers), dial=internet.dial, certificates=internet.certificates
    )

    client.get(URL, seconds=30, max_bytes=1000).required()
    with pytest.raises(Refused):
        client.get(URL, seconds=30, max_bytes=1000)

    assert internet.dialled == [(WALLET, 443)]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://wallet.example/", "bad_request"),
        ("ftp://wallet.example/", "bad_request"),
        ("file:///etc/passwd", "bad_request"),
        ("https://wallet.example:8443/", "port"),
        ("https://wallet.example:22/", "port"),
        ("https://user:secret@wallet.example/", "bad_request"),
        ("https://wallet.example@pay.example/", "bad_request"),
        ("https://wallet.example\\@pay.example/", "bad_request"),
        ("https://wallet.example/\r\nX-Evil: 1", "bad_request"),
        ("https://127.0.0.1/", "not_public"),
        ("https://[::1]/", "not_public"),
        ("https://ours.example/", "own_host"),
        ("https://OURS.example./", "own_host"),
        ("https://", "bad_request"),
        ("nonsense", "bad_request"),
    ],
)
def test_an_address_that_nobody_should_be_asked_at_is_refused_without_a_connection(
    internet: Internet, url: str, code: str
) -> None:
    internet.addresses |= {"127.0.0.1": ["127.0.0.1"], "::1": ["::1"], "ours.example": [WALLET]}

    error = trouble(internet, url, own_hosts=["ours.example"])

    assert isinstance(error, Refused)
    assert error.code == code
    assert "secret" not in str(error)
    assert internet.dialled == []


def test_a_certificate_of_another_name_is_not_trusted(internet: Internet) -> None:
    internet.wallet.says(OK)

    assert trouble(internet, "https://stranger.example/").code == "tls"
    assert internet.wallet.heard == []


def test_a_redirect_is_followed_and_judged_like_a_first_address(internet: Internet) -> None:
    internet.wallet.says(redirect("/y"), redirect("https://pay.example/z", 301))
    internet.pay.says(OK)

    assert ask(internet) == {"ok": True}

    assert internet.dialled == [(WALLET, 443), (WALLET, 443), (PAY, 443)]
    assert internet.pay.heard[0].headers["host"] == "pay.example"


@pytest.mark.parametrize(
    "to",
    [
        *("https://127.0.0.1/", "http://wallet.example/", "https://wallet.example:8443/"),
        *(
            "//127.0.0.1/",
            "https://user@pay.example/",
            "file:///etc/passwd",
            "https://inside.example/",
        ),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_into_our_house_is_refused(internet: Internet, to: str, status: int) -> None:
    internet.addresses |= {"127.0.0.1": ["127.0.0.1"], "inside.example": ["10.0.0.5"]}
    internet.wallet.says(redirect(to, status))

    assert isinstance(trouble(internet), Refused)
    assert internet.dialled == [(WALLET, 443)]


def test_of_a_redirect_no_more_is_read_than_of_another_answer(internet: Internet) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Encoding: gzip\r\n\r\n"
    internet.wallet.says(Say(head=head, then="hang"))

    assert trouble(internet).code == "encoded", "what goes on for ever is not read first"


def test_a_redirect_to_what_is_no_address_is_refused(internet: Internet) -> None:
    internet.wallet.says(redirect("https://["))

    assert trouble(internet).code == "bad_request"


def test_redirects_in_a_circle_end(internet: Internet) -> None:
    internet.wallet.says(redirect(URL))

    assert trouble(internet).code == "redirects"
    assert len(internet.dialled) == 1 + MAX_REDIRECTS


@pytest.mark.parametrize(
    "say",
    [
        HANG,
        dripping_head(seconds_a_byte=0.05),
        dripping_body(b"{" + b" " * 900, seconds_a_byte=0.05),
    ],
    ids=["silent", "drips its head", "drips its body"],
)
def test_all_of_it_ends_at_the_total_deadline(internet: Internet, say: Say) -> None:
    internet.wallet.says(redirect("/again"), say)
    began = time.monotonic()

    assert trouble(internet, seconds=0.5).code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER


def test_a_name_that_is_looked_up_for_ever_costs_no_more_than_the_deadline(
    internet: Internet,
) -> None:
    over = threading.Event()

    def slow(*_: object) -> list[str]:
        over.wait(120)
        return [WALLET]

    client = PublicHttpClient(resolve=slow, dial=internet.dial)
    began = time.monotonic()

    try:
        with pytest.raises(Unavailable) as caught:
            client.get(URL, seconds=0.4, max_bytes=1000)
    finally:
        over.set()

    assert caught.value.code == "timeout"
    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER


def test_a_body_beyond_its_limit_is_not_read_to_its_end(internet: Internet) -> None:
    internet.wallet.says(answer(200, b"x" * 100_000))

    assert trouble(internet).code == "too_large"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, gzip"])
def test_a_compressed_answer_is_never_unpacked(internet: Internet, encoding: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    internet.wallet.says(answer(200, bomb, headers={"Content-Encoding": encoding}))

    error = trouble(internet)

    assert error.code in {"encoded", "too_large"}


@pytest.mark.parametrize(
    ("errno", "code"),
    [(socket.EAI_NONAME, "no_such_name"), (socket.EAI_AGAIN, "connection")],
    ids=["unknown", "not now"],
)
def test_a_name_that_cannot_be_found_is_no_refusal(
    internet: Internet, errno: int, code: str
) -> None:
    def fail(*_: object) -> list[str]:
        raise socket.gaierror(errno, "no")

    client = PublicHttpClient(resolve=fail, dial=internet.dial)

    with pytest.raises(Unavailable) as caught:
        client.get(URL, seconds=30, max_bytes=1000)
    assert caught.value.code == code


def test_proxies_of_the_environment_are_passed_by(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    internet.wallet.says(OK)

    assert ask(internet) == {"ok": True}


def test_no_connection_is_kept_for_the_next_call(internet: Internet) -> None:
    internet.wallet.says(OK)

    ask(internet)
    ask(internet)

    assert len(internet.dialled) == internet.wallet.connections == 2


def test_a_bench_may_be_asked_at_exactly_its_own_origin(server: ScriptedServer) -> None:
    server.says(OK)
    client = PublicHttpClient(bench_origins=[server.url])

    assert client.get(f"{server.url}/x", seconds=30, max_bytes=1000).object() == {"ok": True}
    for url in (f"{server.url}1/", f"{server.url}@evil.example/", "http://127.0.0.1:1/"):
        with pytest.raises(Refused):
            client.get(url, seconds=30, max_bytes=1000)


def test_without_a_bench_the_loopback_is_never_asked(server: ScriptedServer) -> None:
    server.says(OK)
    client = PublicHttpClient()

    for url in (server.url, server.url.replace("http:", "https:"), "https://localhost/"):
        with pytest.raises(Refused):
            client.get(url, seconds=30, max_bytes=1000)
    assert server.connections == 0
