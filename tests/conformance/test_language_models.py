"""Both ways to a language model, against a provider that says whatever the test wants."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from gateways.errors import Billed, OutsideError, Refused, Unavailable
from gateways.llms import Answer, LanguageModel, Question, Stop
from gateways.llms.anthropic import AnthropicModel
from gateways.llms.openai_compatible import OpenAiCompatibleModel
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

KEY = "a-model-key"
SCHEMA = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}},
    "required": ["accepted"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What differs between the two on the wire."""

    model: str
    make: Callable[..., LanguageModel]
    path: str
    request_id_header: str
    reply: Callable[..., dict[str, Any]]


def message(text: str = "done", **changes: Any) -> dict[str, Any]:
    """An answer of Anthropic."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 11, "output_tokens": 7},
        **changes,
    }


def completion(text: str | None = "done", **changes: Any) -> dict[str, Any]:
    """An answer of OpenAI; ``choice`` and ``message`` change the inside."""
    inside = {"role": "assistant", "content": text, **changes.pop("message", {})}
    choice = {"index": 0, "message": inside, "finish_reason": "stop", **changes.pop("choice", {})}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "some-model",
        "choices": [choice],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        **changes,
    }


ANTHROPIC = Provider(
    model="claude-haiku-5-5",
    make=AnthropicModel,
    path="/v1/messages",
    request_id_header="request-id",
    reply=message,
)
OPENAI = Provider(
    model="some-model",
    make=lambda key, url, seconds: OpenAiCompatibleModel(key, f"{url}/v1", seconds),
    path="/v1/chat/completions",
    request_id_header="x-request-id",
    reply=completion,
)
BOTH = pytest.mark.parametrize("provider", [ANTHROPIC, OPENAI], ids=["anthropic", "openai"])


def question(model: str, **changes: Any) -> Question:
    values = {"system": "You judge.", "user": "Do this, please.", "max_output_tokens": 1024}
    return Question(model=model, **{**values, **changes})


def ask(provider: Provider, server: ScriptedServer, **changes: Any) -> Answer:
    model = provider.make(KEY, server.url, 30.0)
    return model.ask(question(changes.pop("model", provider.model), **changes))


def failure(provider: Provider, url: str, seconds: float = 30.0) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        provider.make(KEY, url, seconds).ask(question(provider.model))
    return caught.value


# The plain way


@BOTH
def test_an_answer_comes_with_its_text_its_usage_and_its_request_id(
    server: ScriptedServer, provider: Provider
) -> None:
    body = provider.reply("the work")
    server.says(json_answer(body, headers={provider.request_id_header: "req_1"}))

    found = ask(provider, server)

    assert found == Answer(
        text="the work",
        stop=Stop.DONE,
        input_tokens=11,
        output_tokens=7,
        request_id="req_1",
        usage=body["usage"],
    )


@BOTH
def test_one_call_is_one_request_with_the_key_that_was_handed_in(
    server: ScriptedServer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC", "OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", "environment")
        monkeypatch.setenv(f"{name}_AUTH_TOKEN", "environment")
        monkeypatch.setenv(f"{name}_BASE_URL", "http://127.0.0.1:9")
        monkeypatch.setenv(f"{name}_ORG_ID", "environment")
        monkeypatch.setenv(f"{name}_PROJECT_ID", "environment")
        monkeypatch.setenv(f"{name}_CUSTOM_HEADERS", "authorization: Bearer environment")
        monkeypatch.setenv(f"{name}_CUSTOM_HEADERS", "Authorization: Bearer environment")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.says(json_answer(provider.reply()))

    ask(provider, server)

    [heard] = server.heard
    assert heard.path == provider.path
    assert heard.headers["authorization"] == f"Bearer {KEY}"
    assert "environment" not in str(heard.headers)


@pytest.mark.parametrize(
    ("provider", "address"),
    [
        (ANTHROPIC, "https://api.anthropic.com"),
        (
            Provider(
                model="gpt",
                make=OpenAiCompatibleModel,
                path="",
                request_id_header="",
                reply=completion,
            ),
            "https://api.openai.com/v1/",
        ),
    ],
)
def test_without_an_address_it_is_the_providers_own_whatever_the_environment_says(
    provider: Provider, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")

    model: Any = provider.make(KEY, None, 5.0)

    assert str(model._client.base_url).rstrip("/") == address.rstrip("/")


@BOTH
def test_an_empty_text_is_an_answer(server: ScriptedServer, provider: Provider) -> None:
    server.says(json_answer(provider.reply("")))

    assert ask(provider, server).text == ""


@BOTH
def test_what_postgresql_cannot_store_does_not_come_through(
    server: ScriptedServer, provider: Provider
) -> None:
    body = provider.reply("a\0b\ud800c", extra={"cost": 0.00123})
    body["usage"] |= {"cost": 0.00123, "note\0": "x\0"}
    server.says(json_answer(body))

    found = ask(provider, server)

    assert found.text == "a\ufffdb?c"
    assert found.usage["cost"] == "0.00123"
    assert found.usage["note\ufffd"] == "x\ufffd"


# Anthropic's wire


def test_anthropic_is_asked_for_json_by_a_schema_and_without_sampling(
    server: ScriptedServer,
) -> None:
    server.says(json_answer(message('{"accepted": true}')))

    ask(ANTHROPIC, server, answer_schema=SCHEMA)

    assert server.heard[0].json == {
        "model": "claude-haiku-5-5",
        "max_tokens": 1024,
        "system": "You judge.",
        "messages": [{"role": "user", "content": "Do this, please."}],
        "thinking": {"type": "disabled"},
        "output_config": {
            "effort": "low",
            "format": {"type": "json_schema", "schema": SCHEMA},
        },
    }


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (
            "claude-haiku-5-5-20261007",
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        ),
        (
            "claude-sonnet-5-5",
            {"thinking": {"type": "between_tools"}, "output_config": {"effort": "medium"}},
        ),
        ("claude-haiku-5-50", {}),
        ("claude-opus-9", {}),
    ],
)
def test_thinking_is_set_only_for_models_that_are_known_to_accept_it(
    server: ScriptedServer, model: str, extra: dict[str, Any]
) -> None:
    server.says(json_answer(message()))

    ask(ANTHROPIC, server, model=model, system="")

    plain = {
        "model": model,
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Do this, please."}],
    }
    assert server.heard[0].json == plain | extra


def test_only_text_blocks_are_text(server: ScriptedServer) -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "one, "},
        {"type": "new_in_2027", "text": "no"},
        {"type": "text", "text": "two"},
        {"type": "text"},
        "no block",
    ]
    server.says(json_answer(message(content=blocks)))

    assert ask(ANTHROPIC, server).text == "one, two"


def test_cached_tokens_are_input_tokens(server: ScriptedServer) -> None:
    usage = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    server.says(json_answer(message(usage=usage)))

    found = ask(ANTHROPIC, server)

    assert (found.input_tokens, found.output_tokens) == (321, 4)
    assert found.usage == usage


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", Stop.DONE),
        ("stop_sequence", Stop.DONE),
        ("tool_use", Stop.DONE),
        ("pause_turn", Stop.DONE),
        ("new_in_2027", Stop.DONE),
        (None, Stop.DONE),
        ("max_tokens", Stop.CUT),
        ("model_context_window_exceeded", Stop.CUT),
        ("refusal", Stop.REFUSED),
    ],
)
def test_anthropics_reasons_to_stop_are_three(
    server: ScriptedServer, reason: str | None, stop: Stop
) -> None:
    server.says(json_answer(message(stop_reason=reason)))

    assert ask(ANTHROPIC, server).stop is stop


@pytest.mark.parametrize(
    ("details", "refusal"),
    [
        ({"type": "refusal", "category": "cyber", "explanation": "why"}, "cyber"),
        ({"type": "refusal", "category": None, "explanation": "why"}, "why"),
        ({"type": "refusal"}, None),
        (None, None),
        ("odd", None),
    ],
)
def test_a_refusal_says_its_category_when_it_has_one(
    server: ScriptedServer, details: object, refusal: str | None
) -> None:
    server.says(json_answer(message("", stop_reason="refusal", stop_details=details, content=[])))

    found = ask(ANTHROPIC, server)

    assert (found.stop, found.refusal, found.text) == (Stop.REFUSED, refusal, "")


# OpenAI's wire


def test_openai_is_asked_for_json_by_a_strict_schema_with_a_cap(server: ScriptedServer) -> None:
    server.says(json_answer(completion('{"accepted": true}')))

    ask(OPENAI, server, answer_schema=SCHEMA)

    assert server.heard[0].json == {
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "You judge."},
            {"role": "user", "content": "Do this, please."},
        ],
        "max_completion_tokens": 1024,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
    }


def test_openai_is_asked_for_plain_text_without_a_format(server: ScriptedServer) -> None:
    server.says(json_answer(completion()))

    ask(OPENAI, server, system="")

    assert server.heard[0].json == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Do this, please."}],
        "max_completion_tokens": 1024,
    }


@pytest.mark.parametrize(
    ("changes", "stop", "refusal"),
    [
        ({}, Stop.DONE, None),
        ({"choice": {"finish_reason": None}}, Stop.DONE, None),
        ({"choice": {"finish_reason": "length"}}, Stop.CUT, None),
        ({"choice": {"finish_reason": "content_filter"}}, Stop.REFUSED, None),
        ({"message": {"refusal": "I can't."}}, Stop.REFUSED, "I can't."),
        ({"message": {"refusal": None}}, Stop.DONE, None),
        ({"message": {"refusal": ""}}, Stop.DONE, None),
    ],
)
def test_openais_reasons_to_stop_are_three(
    server: ScriptedServer, changes: dict[str, Any], stop: Stop, refusal: str | None
) -> None:
    server.says(json_answer(completion(**changes)))

    found = ask(OPENAI, server)

    assert (found.stop, found.refusal) == (stop, refusal)


def test_no_content_is_an_empty_text(server: ScriptedServer) -> None:
    server.says(json_answer(completion(None)))

    found = ask(OPENAI, server)

    assert found.text == ""
    assert found.request_id == "chatcmpl-1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"message": "upstream is busy", "code": 502}}, "error_inside"),
        (completion(error={"code": 429}), "error_inside"),
        (completion(choice={"error": {"code": 502}}), "error_inside"),
        (completion(choice={"finish_reason": "error"}), "error_inside"),
        (completion(choices=[]), "no_choices"),
        (completion(choices=None), "no_choices"),
        (completion(choices=["x"]), "no_choices"),
        (completion(choice={"message": None}), "bad_answer"),
        (completion(usage=None), "bad_answer"),
        (completion(usage={"prompt_tokens": 1}), "no_usage"),
        (completion(usage={"prompt_tokens": -1, "completion_tokens": 1}), "no_usage"),
        (completion(usage={"prompt_tokens": "1", "completion_tokens": 1}), "no_usage"),
    ],
)
def test_an_openai_answer_of_200_that_is_none_is_unavailable_and_may_be_billed(
    server: ScriptedServer, body: dict[str, Any], code: str
) -> None:
    server.says(json_answer(body))

    error = failure(OPENAI, server.url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == (code, Billed.UNKNOWN)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "error", "error": {"type": "overloaded_error"}}, "bad_answer"),
        (message(content=None), "bad_answer"),
        (message(usage=None), "bad_answer"),
        (message(usage={"input_tokens": 1}), "no_usage"),
        (message(usage={"input_tokens": 1, "output_tokens": True}), "no_usage"),
        (
            message(usage={"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": -1}),
            "no_usage",
        ),
    ],
)
def test_an_anthropic_answer_of_200_that_is_none_is_unavailable_and_may_be_billed(
    server: ScriptedServer, body: dict[str, Any], code: str
) -> None:
    server.says(json_answer(body))

    error = failure(ANTHROPIC, server.url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == (code, Billed.UNKNOWN)


# Trouble, the same for both


@BOTH
@pytest.mark.parametrize(
    ("say", "code"),
    [
        (answer(200, "<html>Hello</html>", headers={"Content-Type": "text/html"}), "not_json"),
        (answer(200, '{"cut', headers={"Content-Type": "application/json"}), "not_json"),
        (answer(200, "", headers={"Content-Type": "application/json"}), "not_json"),
        (json_answer([]), "not_an_object"),
    ],
)
def test_an_unreadable_answer_is_unavailable_and_may_be_billed(
    server: ScriptedServer, provider: Provider, say: Say, code: str
) -> None:
    server.says(say)

    error = failure(provider, server.url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == (code, Billed.UNKNOWN)


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_bad_request_is_refused_and_not_billed(
    server: ScriptedServer, provider: Provider, status: int
) -> None:
    server.says(json_answer({"error": {"type": "x", "message": "y"}}, status))

    error = failure(provider, server.url)

    assert isinstance(error, Refused)
    assert (error.code, error.billed) == (f"http_{status}", Billed.NO)
    assert len(server.heard) == 1


@BOTH
@pytest.mark.parametrize(
    ("status", "billed"),
    [
        (307, Billed.NO),
        (402, Billed.NO),
        (408, Billed.UNKNOWN),
        (409, Billed.NO),
        (429, Billed.NO),
        (500, Billed.NO),
        (502, Billed.NO),
        (503, Billed.NO),
        (504, Billed.UNKNOWN),
        (529, Billed.NO),
    ],
)
def test_a_passing_trouble_is_unavailable_with_their_own_wish_when_to_come_back(
    server: ScriptedServer, provider: Provider, status: int, billed: Billed
) -> None:
    trouble = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    there = {"Retry-After": "21", "Location": server.url}
    server.says(json_answer(trouble, status, headers=there))

    error = failure(provider, server.url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == (f"http_{status}", billed)
    assert error.retry_after == timedelta(seconds=21)
    assert len(server.heard) == 1


QUOTA = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "Check your plan."}
NO_CREDIT = {
    "type": "invalid_request_error",
    "message": "Your credit balance is too low to access the API.",
}


@BOTH
@pytest.mark.parametrize(("status", "said"), [(429, QUOTA), (400, NO_CREDIT)])
def test_an_account_without_funds_is_one_whatever_the_status_that_says_so(
    server: ScriptedServer, provider: Provider, status: int, said: dict[str, str]
) -> None:
    server.says(json_answer({"type": "error", "error": said}, status))

    error = failure(provider, server.url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == ("http_402", Billed.NO)


@BOTH
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (429, {"type": "requests", "code": "rate_limit_exceeded", "message": "insufficient_quota"}),
        (429, "insufficient_quota"),
        (400, {"type": "x", "message": "Bad words: Your credit balance is too low"}),
        (400, {"type": "x", "message": None}),
        (401, NO_CREDIT),
    ],
)
def test_what_only_looks_like_an_account_without_funds_is_what_its_status_says(
    server: ScriptedServer, provider: Provider, status: int, said: object
) -> None:
    server.says(json_answer({"type": "error", "error": said}, status))

    assert failure(provider, server.url).code == f"http_{status}"


@BOTH
@pytest.mark.parametrize(
    "say",
    [
        pytest.param(HANG, id="never answers"),
        pytest.param(dripping_head(seconds_a_byte=0.05), id="drips its headers"),
        pytest.param(dripping_body(b"{" + b" " * 1000, seconds_a_byte=0.05), id="drips its body"),
    ],
)
def test_a_call_ends_at_its_total_deadline_and_may_be_billed(
    server: ScriptedServer, provider: Provider, say: Say
) -> None:
    server.says(say)
    model = provider.make(KEY, server.url, 2.0)
    began = time.monotonic()

    with pytest.raises(Unavailable) as caught:
        model.ask(question(provider.model))

    assert time.monotonic() - began < LONG_BEFORE_THE_SERVER
    assert (caught.value.code, caught.value.billed) == ("timeout", Billed.UNKNOWN)
    assert len(server.heard_at_last()) == 1


@BOTH
@pytest.mark.parametrize(
    "say",
    [RESET, CLOSE, Say(head=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", then="reset")],
    ids=["reset", "closed", "reset in mid-answer"],
)
def test_a_connection_lost_after_sending_may_be_billed(
    server: ScriptedServer, provider: Provider, say: Say
) -> None:
    server.says(say)

    error = failure(provider, server.url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == ("connection", Billed.UNKNOWN)
    assert len(server.heard) == 1


@BOTH
@pytest.mark.parametrize("url", [None, "http://nowhere.invalid"], ids=["refused", "no name"])
def test_a_connection_that_never_was_is_not_billed(
    provider: Provider, url: str | None, closed_url: str
) -> None:
    error = failure(provider, url or closed_url)

    assert isinstance(error, Unavailable)
    assert (error.code, error.billed) == ("connection", Billed.NO)


@BOTH
def test_a_server_that_lets_nobody_in_is_not_billed(provider: Provider) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            error = failure(provider, f"http://127.0.0.1:{port}", seconds=0.4)

    assert (error.code, error.billed) == ("timeout", Billed.NO)


@BOTH
def test_an_answer_without_end_is_cut_off(
    server: ScriptedServer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateways.llms.wire.MAX_ANSWER_BYTES", 100_000)
    server.says(Say(head=b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000, then="hang"))

    assert failure(provider, server.url).code == "connection"


@BOTH
def test_every_call_has_a_connection_of_its_own(server: ScriptedServer, provider: Provider) -> None:
    model = provider.make(KEY, server.url, 30.0)
    server.says(json_answer(provider.reply()))

    model.ask(question(provider.model))
    model.ask(question(provider.model))

    assert server.connections == 2


@BOTH
def test_a_key_that_cannot_be_a_header_is_trouble_and_no_crash(
    server: ScriptedServer, provider: Provider
) -> None:
    model = provider.make("secret\nkey", server.url, 30.0)

    with pytest.raises(OutsideError) as caught:
        model.ask(question(provider.model))

    assert "secret" not in str(caught.value)
    assert caught.value.billed is Billed.NO
