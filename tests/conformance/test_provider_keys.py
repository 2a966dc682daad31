"""What providers say about keys, from a scripted server: every answer has one meaning."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from gateways.errors import Unavailable
from gateways.http import HttpClient
from gateways.provider_keys import KeyVerdict
from gateways.provider_keys.checks import HttpProviderKeys
from tests.conformance.scripted_server import (
    CLOSE,
    RESET,
    Say,
    ScriptedServer,
    answer,
    json_answer,
)

SECRET = "sk-conformance-0123456789"
Check = Callable[[], KeyVerdict]


def keys_at(server: ScriptedServer, http: HttpClient) -> HttpProviderKeys:
    return HttpProviderKeys(
        http, openrouter_url=f"{server.url}/api/v1/", anthropic_url=f"{server.url}/"
    )


@pytest.fixture(params=["openrouter", "anthropic"])
def check(request: pytest.FixtureRequest, server: ScriptedServer, http: HttpClient) -> Check:
    keys = keys_at(server, http)
    ask = {"openrouter": keys.check_openrouter, "anthropic": keys.check_anthropic}[request.param]
    return lambda: ask(SECRET)


def of_openrouter(**data: Any) -> Say:
    return json_answer({"data": {"label": "sk-or-v1-…", **data}})


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (of_openrouter(limit=None, limit_remaining=None), KeyVerdict.VALID),
        (of_openrouter(), KeyVerdict.VALID),
        (of_openrouter(limit=5, limit_remaining=0.01), KeyVerdict.VALID),
        (of_openrouter(limit=5, limit_remaining=0), KeyVerdict.NO_CREDITS),
        (of_openrouter(limit=5, limit_remaining=-0.5), KeyVerdict.NO_CREDITS),
        (json_answer({"error": {"code": 401, "message": "No"}}), KeyVerdict.INVALID),
        (json_answer({"error": {"code": 402, "message": "No"}}), KeyVerdict.NO_CREDITS),
    ],
)
def test_openrouter_says_whether_a_key_works_and_what_is_left(
    server: ScriptedServer, http: HttpClient, said: Say, verdict: KeyVerdict
) -> None:
    server.says(said)

    assert keys_at(server, http).check_openrouter(SECRET) is verdict
    (heard,) = server.heard
    assert (heard.method, heard.path) == ("GET", "/api/v1/key")
    assert heard.headers["authorization"] == f"Bearer {SECRET}"


def test_anthropic_lists_models_for_a_key_that_works(
    server: ScriptedServer, http: HttpClient
) -> None:
    server.says(json_answer({"data": [], "has_more": False}))

    assert keys_at(server, http).check_anthropic(SECRET) is KeyVerdict.VALID
    (heard,) = server.heard
    assert (heard.path, heard.query) == ("/v1/models", {"limit": ["1"]})
    assert heard.headers["x-api-key"] == SECRET
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", heard.headers["anthropic-version"])


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(401, KeyVerdict.INVALID), (403, KeyVerdict.INVALID), (402, KeyVerdict.NO_CREDITS)],
)
def test_a_refusal_is_a_verdict(
    server: ScriptedServer, check: Check, status: int, verdict: KeyVerdict
) -> None:
    server.says(json_answer({"error": {"message": "no"}}, status))

    assert check() is verdict


@pytest.mark.parametrize(
    "said",
    [
        *(json_answer({"error": {}}, status) for status in (400, 404, 408, 429, 500, 502, 529)),
        json_answer({"error": {"code": 500, "message": SECRET}}),
        json_answer({"data": "none"}),
        json_answer({"error": "odd"}),
        json_answer([]),
        json_answer({}),
        answer(200, "<html>"),
        answer(200, ""),
        answer(302, "", headers={"Location": "http://elsewhere.example/"}),
        RESET,
        CLOSE,
    ],
)
def test_anything_else_says_nothing_about_the_key(
    server: ScriptedServer, check: Check, said: Say
) -> None:
    """A provider in trouble must not make a creator's key look revoked."""
    server.says(said)

    with pytest.raises(Unavailable) as trouble:
        check()

    assert SECRET not in str(trouble.value) + repr(trouble.value.__cause__)


def test_their_wish_for_a_pause_is_told(server: ScriptedServer, check: Check) -> None:
    server.says(answer(503, "", headers={"Retry-After": "7"}))

    with pytest.raises(Unavailable) as trouble:
        check()

    assert trouble.value.retry_after is not None
    assert trouble.value.retry_after.total_seconds() == 7


@pytest.mark.parametrize("secret", ["a b", "a\r\nX-Evil: 1", "é", ""])
def test_what_cannot_be_a_header_is_no_key_and_goes_nowhere(
    server: ScriptedServer, http: HttpClient, secret: str
) -> None:
    server.says(of_openrouter())

    assert keys_at(server, http).check_openrouter(secret) is KeyVerdict.INVALID
    assert server.heard == []
