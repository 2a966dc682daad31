"""OpenRouter as the stand-in plays it: its shapes, its keys, and every failure on demand."""

import json
from typing import Any

import pytest
import requests

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.key_states import KeyState
from local.stand_in.testing import StandInClient, StandInError

KEY = "sk-or-v1-a-good-key"
MODEL = "openai/gpt-6-mini"


def ask(world: StandInClient, key: str | None = KEY, **more: Any) -> requests.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **more}
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    url = f"{world.url}/openrouter/api/v1/chat/completions"
    return requests.post(url, json=body, headers=headers, timeout=30)


def read(world: StandInClient, path: str, key: str = KEY) -> requests.Response:
    url = f"{world.url}/openrouter/api/v1/{path}"
    return requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def chat_fault(kind: FaultKind, **more: Any) -> Fault:
    return Fault(target="openrouter.chat", kind=kind, **more)


# --- The list


def test_the_list_is_public_and_prices_are_text_in_dollars_a_token(world: StandInClient) -> None:
    listed = requests.get(f"{world.url}/openrouter/api/v1/models", timeout=30).json()["data"]

    by_id = {entry["id"]: entry for entry in listed}
    assert by_id[MODEL]["pricing"]["completion"] == "0.000002"
    assert by_id[MODEL]["context_length"] == 400_000
    assert by_id["example/small-8b"]["top_provider"]["max_completion_tokens"] is None


def test_the_list_is_what_the_test_says_until_the_reset(world: StandInClient) -> None:
    before = world.catalogue()
    world.set_catalogue([{"id": "odd"}, "broken", None])
    assert read(world, "models").json()["data"] == [{"id": "odd"}, "broken", None]

    world.reset()

    assert world.catalogue() == before


def test_a_model_that_was_listed_has_no_endpoints_and_one_that_never_was_is_no_model(
    world: StandInClient,
) -> None:
    world.set_catalogue([])

    gone, never = ask(world), ask(world, model="acme/none")

    assert (gone.status_code, never.status_code) == (404, 400)
    assert gone.json()["error"]["code"] == 404
    assert "not a valid model ID" in never.json()["error"]["message"]


# --- Keys


@pytest.mark.parametrize(
    ("key", "word", "answered"),
    [(KEY, 200, 200), ("sk-or-invalid", 401, 401), ("sk-or-no-credits", 200, 402)],
)
def test_a_key_says_itself_what_it_is(
    world: StandInClient, key: str, word: int, answered: int
) -> None:
    assert read(world, "key", key).status_code == word
    assert ask(world, key).status_code == answered


def test_without_a_key_nothing_is_answered(world: StandInClient) -> None:
    assert ask(world, None).status_code == 401


def test_a_key_is_what_the_test_says_until_the_reset(world: StandInClient) -> None:
    world.tell_of_a_key(KEY, KeyState.NO_CREDITS)
    assert read(world, "key").json()["data"]["limit_remaining"] == 0
    assert ask(world).status_code == 402

    world.reset()

    assert ask(world).status_code == 200


def test_what_is_told_of_a_key_holds_at_anthropic_too(world: StandInClient) -> None:
    def models() -> int:
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        return requests.get(f"{world.url}/v1/models", headers=headers, timeout=30).status_code

    assert models() == 200
    world.tell_of_a_key(KEY, KeyState.INVALID)
    assert models() == 401


@pytest.mark.parametrize("body", [{"key": 5, "state": "valid"}, {"key": KEY, "state": "odd"}, {}])
def test_nonsense_about_keys_is_refused(world: StandInClient, body: dict[str, Any]) -> None:
    with pytest.raises(StandInError):
        world._ask("POST", "/stand-in/provider-keys", body)


# --- Answers


def test_an_answer_has_the_provider_the_tokens_and_what_it_cost(world: StandInClient) -> None:
    answered = ask(world)

    completion = json.loads(answered.text, parse_float=str)
    assert completion["provider"]
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert "stand-in" in completion["choices"][0]["message"]["content"]
    usage = completion["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert float(usage["cost"]) > 0


def test_what_was_sent_is_on_record_without_the_key_or_the_words(world: StandInClient) -> None:
    ask(world, temperature=0.5, max_tokens=100, frequency_penalty=0.1)

    (call,) = world.effects("model_call_begin")
    assert call.details["provider"] == "openrouter"
    sent = call.details["sent"]
    assert (float(sent["temperature"]), sent["max_tokens"]) == (0.5, 100)
    assert "top_p" not in sent
    assert KEY not in str(call.details)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 429, 502, 503])
def test_every_error_has_its_code_in_the_body(world: StandInClient, status: int) -> None:
    world.arm(chat_fault(FaultKind.STATUS, status=status, retry_after="3"))

    failed = ask(world)

    assert failed.status_code == status
    assert failed.json()["error"]["code"] == status
    assert failed.headers["Retry-After"] == "3"


def test_moderation_says_what_was_flagged(world: StandInClient) -> None:
    world.arm(chat_fault(FaultKind.STATUS, status=403))

    assert ask(world).json()["error"]["metadata"]["reasons"]


def test_an_error_may_come_with_status_200(world: StandInClient) -> None:
    world.arm(chat_fault(FaultKind.ERROR_INSIDE, status=429))

    failed = ask(world)

    assert (failed.status_code, failed.json()["error"]["code"]) == (200, 429)


def test_an_answer_may_break_off_with_status_200(world: StandInClient) -> None:
    world.arm(chat_fault(FaultKind.ERROR_IN_CHOICE))

    choice = ask(world).json()["choices"][0]

    assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)


def test_there_may_be_no_choice_at_all(world: StandInClient) -> None:
    world.arm(chat_fault(FaultKind.NO_CHOICES))

    assert ask(world).json()["choices"] == []


@pytest.mark.parametrize(
    ("kind", "stop", "has_text"),
    [
        (FaultKind.EMPTY, "stop", False),
        (FaultKind.MAX_TOKENS, "length", True),
        (FaultKind.REFUSAL, "content_filter", False),
    ],
)
def test_an_answer_may_be_empty_cut_or_filtered(
    world: StandInClient, kind: FaultKind, stop: str, *, has_text: bool
) -> None:
    world.arm(chat_fault(kind))

    choice = ask(world).json()["choices"][0]

    assert choice["finish_reason"] == stop
    assert bool(choice["message"]["content"]) is has_text


def test_one_fault_can_be_meant_for_all_of_openrouter(world: StandInClient) -> None:
    world.arm(Fault(target="openrouter", kind=FaultKind.STATUS, status=503, times=3))

    answers = [read(world, "models"), read(world, "key"), ask(world)]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert ask(world).status_code == 200


def test_a_fault_can_be_meant_for_one_key(world: StandInClient) -> None:
    world.arm(Fault(target="openrouter.key", kind=FaultKind.STATUS, status=500, match="of-ada"))

    assert read(world, "key", "sk-or-of-bob").status_code == 200
    assert read(world, "key", "sk-or-of-ada").status_code == 500
