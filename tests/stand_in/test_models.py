"""The providers' own SDKs against the stand-in's model servers."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
import requests

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.model_answers import label_of
from local.stand_in.testing import StandInClient

VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["accepted", "reason"],
    "additionalProperties": False,
}
SYSTEM = "You are careful."


@pytest.fixture
def claude(world: StandInClient) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="stand-in-model-key", base_url=world.url, max_retries=0, timeout=60
    ) as client:
        yield client


@pytest.fixture
def gpt(world: StandInClient) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="stand-in-model-key", base_url=world.url + "/v1", max_retries=0, timeout=60
    ) as client:
        yield client


def ask_claude(client: anthropic.Anthropic, user: str, **more: Any) -> anthropic.types.Message:
    question: dict[str, Any] = {
        "model": "claude-haiku-5-5",
        "max_tokens": 1024,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": user}],
        **more,
    }
    message: anthropic.types.Message = client.messages.create(**question)
    return message


def judge_with_claude(client: anthropic.Anthropic, user: str) -> anthropic.types.Message:
    output = {"effort": "low", "format": {"type": "json_schema", "schema": VERDICT}}
    return ask_claude(client, user, output_config=output, thinking={"type": "disabled"})


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def ask_gpt(client: openai.OpenAI, user: str, **more: Any) -> Any:
    question: dict[str, Any] = {
        "model": "gpt-6-mini",
        "max_completion_tokens": 1024,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": user},
        ],
        **more,
    }
    return client.chat.completions.create(**question)


def judge_with_gpt(client: openai.OpenAI, user: str) -> Any:
    schema = {"name": "verdict", "strict": True, "schema": VERDICT}
    return ask_gpt(client, user, response_format={"type": "json_schema", "json_schema": schema})


# --- Anthropic


def test_claude_says_plainly_that_it_is_a_stand_in_and_echoes_the_request(
    claude: anthropic.Anthropic,
) -> None:
    message = ask_claude(claude, "Write a haiku about rain.")

    assert "stand-in" in text_of(message)
    assert "Write a haiku about rain." in text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.model == "claude-haiku-5-5"
    assert message.content[0].type == "thinking"


def test_the_same_question_has_the_same_answer_at_the_same_price(
    claude: anthropic.Anthropic,
) -> None:
    first, second = ask_claude(claude, "Why?"), ask_claude(claude, "Why?")

    assert text_of(first) == text_of(second)
    assert first.usage == second.usage


@pytest.mark.parametrize(
    ("request_text", "accepted"),
    [("Sort a list.", True), ("REJECT this.", False), ("reject this", True), ("REJECTED", True)],
)
def test_the_verdict_fits_the_schema_and_turns_on_the_word_reject(
    claude: anthropic.Anthropic, request_text: str, accepted: bool
) -> None:
    verdict = json.loads(text_of(judge_with_claude(claude, request_text)))

    assert verdict.keys() == {"accepted", "reason"}
    assert verdict["accepted"] is accepted
    assert verdict["reason"]


@pytest.mark.parametrize("user", ["x", "word " * 800, "雨" * 1000])
@pytest.mark.parametrize("max_tokens", [1, 10, 1024])
def test_usage_is_plausible_and_never_above_the_bounds(
    claude: anthropic.Anthropic, user: str, max_tokens: int
) -> None:
    message = ask_claude(claude, user, max_tokens=max_tokens)

    assert 1 <= message.usage.output_tokens <= max_tokens
    assert 1 <= message.usage.input_tokens <= len((SYSTEM + user).encode())


def test_an_answer_longer_than_the_cap_is_cut_there(claude: anthropic.Anthropic) -> None:
    message = ask_claude(claude, "Go on.", max_tokens=8)

    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 8
    assert len(text_of(message)) == 32


def test_the_word_refuse_refuses_the_work_but_not_its_evaluation(
    claude: anthropic.Anthropic,
) -> None:
    work = ask_claude(claude, "REFUSE this.")
    verdict = json.loads(text_of(judge_with_claude(claude, "REFUSE this.")))

    assert work.stop_reason == "refusal"
    assert work.content == []
    assert work.stop_details is not None
    assert work.stop_details.category == "general_harms"
    assert verdict["accepted"] is True


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "any"}, "tools": []},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]},
        {"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}},
        {"extra_body": {"temperature": 0.5}},
        {"max_tokens": 0},
        {"messages": []},
    ],
    ids=["forced tool", "prefill", "no thinking", "temperature", "no tokens", "no messages"],
)
def test_what_the_real_server_refuses_is_a_bad_request(
    claude: anthropic.Anthropic, more: dict[str, Any]
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refusal:
        ask_claude(claude, "x", **more)

    assert refusal.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]


def test_without_a_key_nobody_is_served(world: StandInClient) -> None:
    for path in ("/v1/messages", "/v1/chat/completions"):
        assert requests.post(world.url + path, json={}, timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (503, anthropic.InternalServerError, "api_error"),
        (529, anthropic.APIStatusError, "overloaded_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
    ],
)
def test_claude_fails_in_anthropics_own_words(
    claude: anthropic.Anthropic,
    world: StandInClient,
    status: int,
    error: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    world.arm(
        Fault(target="anthropic", kind=FaultKind.STATUS, status=status, retry_after="7", text="No.")
    )

    with pytest.raises(error) as failure:
        ask_claude(claude, "x")

    assert failure.value.status_code == status
    assert failure.value.body["error"] == {"type": kind, "message": "No."}  # type: ignore[index]
    assert failure.value.response.headers["retry-after"] == "7"
    assert failure.value.request_id
    assert text_of(ask_claude(claude, "x"))


def test_the_answer_itself_can_go_wrong(claude: anthropic.Anthropic, world: StandInClient) -> None:
    def judged_under(kind: FaultKind) -> anthropic.types.Message:
        world.arm(Fault(target="anthropic", kind=kind))
        return judge_with_claude(claude, "Sort.")

    assert judged_under(FaultKind.REFUSAL).stop_reason == "refusal"
    assert text_of(judged_under(FaultKind.EMPTY)) == ""
    cut = judged_under(FaultKind.MAX_TOKENS)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 1024)
    for unreadable in (text_of(cut), text_of(judged_under(FaultKind.UNREADABLE))):
        with pytest.raises(ValueError, match=r"."):
            json.loads(unreadable)


def test_a_fault_can_wait_for_a_prompt_or_for_a_kind_of_call(
    claude: anthropic.Anthropic, world: StandInClient
) -> None:
    world.arm(Fault(target="anthropic", kind=FaultKind.EMPTY, match="banana"))
    world.arm(Fault(target="anthropic", kind=FaultKind.EMPTY, structured=False))

    assert text_of(judge_with_claude(claude, "apple"))
    assert text_of(ask_claude(claude, "apple")) == ""
    assert text_of(ask_claude(claude, "apple"))
    assert text_of(judge_with_claude(claude, "banana")) == ""


# --- OpenAI


def test_gpt_says_plainly_that_it_is_a_stand_in(gpt: openai.OpenAI) -> None:
    completion = ask_gpt(gpt, "Write a haiku about rain.")

    choice = completion.choices[0]
    assert "stand-in" in choice.message.content
    assert choice.finish_reason == "stop"
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 1 <= usage.completion_tokens <= 1024


@pytest.mark.parametrize(("request_text", "accepted"), [("Sort.", True), ("REJECT.", False)])
def test_gpts_verdict_fits_the_schema(
    gpt: openai.OpenAI, request_text: str, accepted: bool
) -> None:
    verdict = json.loads(judge_with_gpt(gpt, request_text).choices[0].message.content)

    assert verdict["accepted"] is accepted


def test_gpt_refuses_and_is_cut_in_openais_own_words(gpt: openai.OpenAI) -> None:
    refused = ask_gpt(gpt, "REFUSE.").choices[0]
    cut = ask_gpt(gpt, "Go on.", max_completion_tokens=8)

    assert refused.message.refusal
    assert refused.message.content is None
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 8


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (401, openai.AuthenticationError),
    ],
)
def test_gpt_fails_in_openais_own_words(
    gpt: openai.OpenAI, world: StandInClient, status: int, error: type[openai.APIStatusError]
) -> None:
    world.arm(Fault(target="openai", kind=FaultKind.STATUS, status=status, text="No."))

    with pytest.raises(error, match=r"No\."):
        ask_gpt(gpt, "x")


# --- what the witness saw


def test_every_call_is_on_record_with_its_prompts_label_and_its_usage(
    claude: anthropic.Anthropic, gpt: openai.OpenAI, world: StandInClient
) -> None:
    message = ask_claude(claude, "Write.")
    ask_gpt(gpt, "Write.")

    begin, end, *of_gpt = world.effects("model_call_begin", "model_call_end")
    label = label_of(SYSTEM, "Write.")
    assert (begin.kind, end.kind) == ("model_call_begin", "model_call_end")
    assert begin.details["label"] == end.details["label"] == label
    assert end.details["outcome"] == "done"
    assert end.details["outputTokens"] == message.usage.output_tokens
    assert {effect.details["provider"] for effect in of_gpt} == {"openai"}
    assert world.counts().model_calls_by_label == {label: 2}


def test_a_held_call_stays_open_until_it_is_released(
    claude: anthropic.Anthropic, world: StandInClient
) -> None:
    world.hold("anthropic", times=3, match="Write.")

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask_claude, claude, "Write.") for _ in range(3)]
        world.wait_until_held(3)
        meanwhile = world.counts()
        other = ask_claude(claude, "Something else.")
        assert not any(answer.done() for answer in answers)
        assert world.release() == 3
        assert all(text_of(answer.result()) for answer in answers)

    label = label_of(SYSTEM, "Write.")
    assert text_of(other)
    assert meanwhile.open_model_calls == 3
    assert world.counts().open_model_calls == 0
    assert world.counts().most_concurrent_model_calls_by_label[label] == 3


def test_a_client_that_dies_in_the_middle_of_a_held_call_ends_it_unanswered(
    world: StandInClient,
) -> None:
    world.hold("anthropic")
    with (
        anthropic.Anthropic(
            api_key="k", base_url=world.url, max_retries=0, timeout=0.2
        ) as impatient,
        pytest.raises(anthropic.APITimeoutError),
    ):
        ask_claude(impatient, "Write.")

    world.wait_until_quiet(calls=1)
    (end,) = world.effects("model_call_end")
    assert end.details["outcome"] == "client_left"
    assert world.release() == 0


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.HANG, FaultKind.TRUNCATED])
def test_a_call_that_breaks_off_is_no_answer(world: StandInClient, kind: FaultKind) -> None:
    world.arm(Fault(target="anthropic", kind=kind))
    seconds = 0.3 if kind is FaultKind.HANG else 30
    with (
        anthropic.Anthropic(
            api_key="k", base_url=world.url, max_retries=0, timeout=seconds
        ) as impatient,
        pytest.raises((anthropic.APIError, ValueError)),
    ):
        ask_claude(impatient, "Write.")

    world.wait_until_quiet(calls=1)
    assert world.counts().model_calls == 1
