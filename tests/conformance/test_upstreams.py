"""Creators' servers: what they are sent, what is taken of their answers, whom they may be."""

import json
import logging
from typing import Any

import pytest

from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import PublicHttpClient
from gateways.json_text import MAX_NESTING
from gateways.proxied import Delivered, UpstreamCall, UpstreamMethod, problem_of
from gateways.proxied.upstreams import MAX_BYTES, PublicUpstreams
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from tests.conformance.internet import Internet
from tests.conformance.scripted_server import HANG, Say, answer, json_answer

URL = "https://wallet.example/hook/path-token?token=t1&q=theirs"
GET, POST = UpstreamMethod.GET, UpstreamMethod.POST


def ask(
    internet: Internet, method: UpstreamMethod = POST, url: str = URL, **more: Any
) -> Delivered:
    given: dict[str, Any] = {"values": {}, "seconds": 30.0} | more
    call = UpstreamCall(method=method, url=url, key="run-key", **given)
    return PublicUpstreams(internet.client()).ask(call)


def trouble(internet: Internet, *args: Any, **more: Any) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        ask(internet, *args, **more)
    return caught.value


def said(body: str | bytes, content_type: str) -> Say:
    return answer(200, body, headers={"Content-Type": content_type})


def test_post_sends_what_the_caller_gave_as_json_under_a_key_that_stays(
    internet: Internet,
) -> None:
    internet.wallet.says(json_answer({"ok": True}))

    ask(internet, values={"word": "ü {a}{/a} \\ $&", "empty": ""})

    (heard,) = internet.wallet.heard
    assert (heard.method, heard.path) == ("POST", "/hook/path-token")
    assert heard.json == {"word": "ü {a}{/a} \\ $&", "empty": ""}
    assert heard.query == {"token": ["t1"], "q": ["theirs"]}
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["idempotency-key"] == "run-key"


def test_get_sends_it_in_the_query_where_it_cannot_shadow_what_the_creator_wrote(
    internet: Internet,
) -> None:
    internet.wallet.says(json_answer(1))

    ask(internet, GET, values={"word": "a&token=evil", "token": "evil", "q": "evil"})

    (heard,) = internet.wallet.heard
    assert heard.method == "GET"
    assert heard.body == b""
    assert heard.query == {"token": ["t1"], "q": ["theirs"], "word": ["a&token=evil"]}


@pytest.mark.parametrize(
    ("say", "value", "content_type"),
    [
        (said('{"a": [1, 0.1, null, "ü"]}', "application/json"), {"a": [1, 0.1, None, "ü"]}, None),
        (said("7", "application/problem+json; charset=utf-8"), 7, None),
        (said('{"a": 1}', "text/plain"), '{"a": 1}', None),
        (said("grüße".encode("latin-1"), "text/html; charset=ISO-8859-1"), "grüße", None),
        (said(b"\xef\xbb\xbf# title", "text/markdown"), "# title", None),
        (answer(200, "as it is"), "as it is", ""),
        (said("as it is", 'nonsense "\x7f'), "as it is", ""),
    ],
)
def test_json_comes_back_as_what_it_means_and_anything_else_as_text(
    internet: Internet, say: Say, value: object, content_type: str | None
) -> None:
    internet.wallet.says(say)

    found = ask(internet)

    assert found.value == value
    assert (content_type is None) == (found.content_type is not None)


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (said(b"\x89PNG\x00\xff", "image/png"), "not_text"),
        (said(b"\xff", "text/plain"), "not_text"),
        (said("a\x00b", "text/plain"), "not_text"),
        (said("a", "text/plain; charset=punycode"), "not_text"),
        (said("a", "text/plain; charset=zip"), "not_text"),
        (said("{", "application/json"), "not_json"),
        (said("", "application/json"), "empty"),
        (said(" \n", "text/plain"), "empty"),
        (answer(204, ""), "empty"),
        (said("null", "application/json"), "empty"),
        (said('" \\n"', "application/json"), "empty"),
        (said("NaN", "application/json"), "not_json"),
        (said("1e999", "application/json"), "not_json"),
        (said('"\\u0000"', "application/json"), "not_json"),
        (said('{"\\u0000": 1}', "application/json"), "not_json"),
        (said('["\\ud800"]', "application/json"), "not_json"),
        (said("1" * 5000, "application/json"), "not_json"),
        (said("[" * 100_000, "application/json"), "not_json"),
        (said("[" * 101 + "]" * 101, "application/json"), "not_json"),
        (said("x" * (MAX_BYTES + 1), "text/plain"), "too_large"),
        (answer(500, "their secret"), "http_500"),
        (answer(429, "", headers={"Retry-After": "7"}), "http_429"),
        (answer(404, "their secret"), "http_404"),
        (answer(304, ""), "http_304"),
        (answer(200, "zipped", headers={"Content-Encoding": "gzip"}), "encoded"),
        (HANG, "timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_cannot_be_sold_is_an_error_that_names_neither_answer_nor_address(
    internet: Internet, say: Say, code: str
) -> None:
    internet.wallet.says(say)

    error = trouble(internet, seconds=0.5 if say is HANG else 30.0)

    assert error.code == code
    assert error.__cause__ is None or "wallet" not in str(error.__cause__)
    assert all(word not in str(error) for word in ("wallet", "token", "secret"))


@pytest.mark.usefixtures("log_listener")
def test_a_line_that_is_no_header_puts_neither_address_nor_answer_into_the_log(
    internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: their-secret\r\nno header\r\n\r\nhi"
    internet.wallet.says(Say(head=broken))

    ask(internet, GET, values={"word": "said in confidence"})

    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_json_may_be_nested_as_deep_as_is_said(internet: Internet) -> None:
    deep = "[" * MAX_NESTING + "]" * MAX_NESTING
    internet.wallet.says(said(deep, "application/json"))

    assert json.dumps(ask(internet).value) == deep


def test_a_get_follows_a_redirect_to_a_public_host_without_what_the_caller_gave(
    internet: Internet,
) -> None:
    internet.wallet.says(answer(302, "", headers={"Location": "https://pay.example/next"}))
    internet.pay.says(json_answer("there"))

    assert ask(internet, GET, values={"word": "said here"}).value == "there"
    assert internet.pay.heard[0].query == {}


@pytest.mark.parametrize(
    "to", ["https://10.0.0.1/", "http://127.0.0.1:6379/", "https://ours.internal/", "/x\r\ny"]
)
def test_a_redirect_to_where_nobody_may_be_sent_is_not_followed(
    internet: Internet, to: str
) -> None:
    internet.addresses |= {"10.0.0.1": ["10.0.0.1"], "ours.internal": ["10.1.2.3"]}
    internet.wallet.says(answer(302, "", headers={"Location": to.replace("\r\n", "%0d%0a ")}))

    assert isinstance(trouble(internet, GET), Refused)
    assert [port for _, port in internet.dialled] == [443]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_post_follows_no_redirect(internet: Internet, status: int) -> None:
    internet.wallet.says(answer(status, "", headers={"Location": "https://pay.example/"}))

    error = trouble(internet)

    assert error.code == f"http_{status}"
    assert internet.pay.heard == []
    assert len(internet.wallet.heard) == 1


@pytest.mark.parametrize("method", [GET, POST])
def test_a_name_that_leads_inside_is_refused_although_it_was_public_when_published(
    internet: Internet, method: UpstreamMethod
) -> None:
    assert problem_of(URL) is None
    internet.addresses["wallet.example"] = ["169.254.169.254"]

    error = trouble(internet, method)

    assert error.code == "not_public"
    assert internet.dialled == []


def test_a_request_whose_answer_is_lost_is_not_sent_again(internet: Internet) -> None:
    internet.wallet.says(Say(then="close"), json_answer("twice"))

    assert isinstance(trouble(internet), Unavailable)
    assert len(internet.wallet.heard) == 1


# The stand-in's upstream, over the real road.


def bench_call(stand_in: StandInClient, what: str, method: UpstreamMethod = POST) -> UpstreamCall:
    url = f"{stand_in.url}/upstream/{what}"
    return UpstreamCall(method=method, url=url, values={"a": "b"}, key="k", seconds=30.0)


def bench(stand_in: StandInClient) -> PublicUpstreams:
    return PublicUpstreams(PublicHttpClient(bench_origins=[stand_in.url]))


def test_the_stand_in_says_back_what_it_was_asked(stand_in: StandInClient) -> None:
    posted = bench(stand_in).ask(bench_call(stand_in, "echo"))
    got = bench(stand_in).ask(bench_call(stand_in, "echo", GET))
    text = bench(stand_in).ask(bench_call(stand_in, "text"))

    assert posted.value == {
        "method": "POST",
        "query": {},
        "body": {"a": "b"},
        "idempotencyKey": "k",
    }
    assert (got.value["method"], got.value["query"]) == ("GET", {"a": "b"})
    assert text == Delivered(value="You said: a=b", content_type="text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(target="upstream", kind=FaultKind.STATUS, status=503), "http_503"),
        (Fault(target="upstream", kind=FaultKind.TRUNCATED), "not_json"),
        (Fault(target="upstream", kind=FaultKind.RESET), "connection"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_stand_in_fails_as_it_is_told(stand_in: StandInClient, fault: Fault, code: str) -> None:
    stand_in.arm(fault)

    with pytest.raises(OutsideError) as caught:
        bench(stand_in).ask(bench_call(stand_in, "echo"))

    assert caught.value.code == code
