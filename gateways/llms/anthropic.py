"""Claude through the anthropic SDK, 2.x."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import anthropic
from anthropic.types import OutputConfigParam, ThinkingConfigParam
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from gateways.deadline import total_deadline
from gateways.llms import Answer, Question, Stop
from gateways.llms.wire import (
    failure_of_connection,
    failure_of_status,
    header,
    http_client,
    read_object,
    senseless,
    tokens,
)

DEFAULT_BASE_URL = "https://api.anthropic.com"
"""Said aloud, because the SDK would look into the environment first."""

_STOPS = {
    "max_tokens": Stop.CUT,
    "model_context_window_exceeded": Stop.CUT,
    "refusal": Stop.REFUSED,
}


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """How hard a model thinks. Thinking counts as output and would eat up a small cap."""

    effort: Literal["low", "medium"]
    thinking: ThinkingConfigParam


# From the models and thinking pages of platform.claude.com, November 2026: Haiku 5.5 may be told
# not to think (at effort high or less); Sonnet 5.5 refuses that and can only be told to think
# between tool calls, of which we have none. A model that is not here is sent neither.
_SETTINGS: Mapping[str, _Setting] = MappingProxyType(
    {
        "claude-haiku-5-5": _Setting(effort="low", thinking={"type": "disabled"}),
        "claude-sonnet-5-5": _Setting(effort="medium", thinking={"type": "between_tools"}),
    }
)
_DATED = re.compile(r"-\d{8}$", re.ASCII)


class AnthropicModel:
    """``LanguageModel`` on Anthropic or a server that speaks like it. Shared between threads."""

    def __init__(self, api_key: str, base_url: str | None, timeout_seconds: float) -> None:
        """``timeout_seconds`` bounds a call from the first connection to the last byte."""
        self._seconds = timeout_seconds
        self._key_header = {"Authorization": f"Bearer {api_key}"}
        self._client = anthropic.Anthropic(
            api_key=api_key,
            base_url=base_url or DEFAULT_BASE_URL,
            http_client=http_client(timeout_seconds),
            timeout=timeout_seconds,
            max_retries=0,
        )

    def ask(self, question: Question) -> Answer:
        """As the protocol says."""
        asked = f"Anthropic, {question.model}"
        try:
            with total_deadline(self._seconds), total_deadline(question.seconds or self._seconds):
                raw = self._client.messages.with_raw_response.create(
                    **_request(question),
                    # once more, or ANTHROPIC_CUSTOM_HEADERS could put another key in its place
                    extra_headers=self._key_header,
                )
        except anthropic.APIStatusError as error:
            raise failure_of_status(asked, error.response) from error
        except anthropic.APIConnectionError as error:
            raise failure_of_connection(asked, error) from error
        response = raw.http_response
        return _answer(asked, read_object(asked, response), header(response, "request-id"))


def _request(question: Question) -> MessageCreateParamsNonStreaming:
    request: MessageCreateParamsNonStreaming = {
        "model": question.model,
        "max_tokens": question.max_output_tokens,
        "messages": [{"role": "user", "content": question.user}],
    }
    if question.system:
        request["system"] = question.system
    output_config: OutputConfigParam = {}
    if question.answer_schema is not None:
        output_config["format"] = {"type": "json_schema", "schema": dict(question.answer_schema)}
    setting = _SETTINGS.get(_DATED.sub("", question.model))
    if setting is not None:
        output_config["effort"] = setting.effort
        request["thinking"] = setting.thinking
    if output_config:
        request["output_config"] = output_config
    return request


def _answer(asked: str, message: dict[str, Any], request_id: str | None) -> Answer:
    content, usage = message.get("content"), message.get("usage")
    if not isinstance(content, list) or not isinstance(usage, dict):
        raise senseless(asked, "an answer that is no message")
    return Answer(
        text="".join(_texts(content)),
        stop=_STOPS.get(str(message.get("stop_reason")), Stop.DONE),
        input_tokens=tokens(
            asked, usage, "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"
        ),
        output_tokens=tokens(asked, usage, "output_tokens"),
        request_id=request_id,
        refusal=_refusal(message),
        usage=usage,
    )


def _texts(content: list[Any]) -> list[str]:
    """Only what is meant for the reader: a block of thinking may come first."""
    blocks = (block for block in content if isinstance(block, dict) and block.get("type") == "text")
    return [text for block in blocks if isinstance(text := block.get("text"), str)]


def _refusal(message: dict[str, Any]) -> str | None:
    details = message.get("stop_details")
    if message.get("stop_reason") != "refusal" or not isinstance(details, dict):
        return None
    reasons = (details.get("category"), details.get("explanation"))
    return next((reason for reason in reasons if isinstance(reason, str)), None)
