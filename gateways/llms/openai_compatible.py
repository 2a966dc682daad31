"""Any server that speaks OpenAI's chat completions, through the openai SDK, 3.x."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import ResponseFormat

from gateways.deadline import total_deadline
from gateways.errors import OutsideError
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

DEFAULT_BASE_URL = "https://api.openai.com/v1"
"""Said aloud, because the SDK would look into the environment first."""

_STOPS = {"length": Stop.CUT, "content_filter": Stop.REFUSED}


class OpenAiCompatibleModel:
    """``LanguageModel`` on OpenAI, OpenRouter, vLLM and the like. Shared between threads."""

    def __init__(
        self,
        api_key: str,
        base_url: str | None,
        timeout_seconds: float,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``timeout_seconds`` bounds a call from the first connection to the last byte.

        ``headers`` go with every call: who sends it, say.
        """
        self._seconds = timeout_seconds
        self._headers = dict(headers or {})
        self._headers["Authorization"] = f"Bearer {api_key}"
        self._client = openai.OpenAI(
            api_key=api_key,
            base_url=base_url or DEFAULT_BASE_URL,
            http_client=http_client(timeout_seconds),
            timeout=timeout_seconds,
            max_retries=0,
        )
        # Read from the environment by the SDK, and nothing that another server should be told.
        self._client.organization = None
        self._client.project = None

    def ask(self, question: Question) -> Answer:
        """As the protocol says."""
        asked = f"OpenAI-compatible server, {question.model}"
        try:
            with total_deadline(self._seconds), total_deadline(question.seconds or self._seconds):
                raw = self._client.chat.completions.with_raw_response.create(
                    model=question.model,
                    messages=_messages(question),
                    max_completion_tokens=question.max_output_tokens,
                    response_format=_response_format(question),
                    temperature=_number(question.sampling.temperature),
                    top_p=_number(question.sampling.top_p),
                    frequency_penalty=_number(question.sampling.frequency_penalty),
                    presence_penalty=_number(question.sampling.presence_penalty),
                    # the key once more, or OPENAI_CUSTOM_HEADERS could put another in its place
                    extra_headers=self._headers,
                )
        except openai.APIStatusError as error:
            raise failure_of_status(asked, error.response) from error
        except openai.APIConnectionError as error:
            raise failure_of_connection(asked, error) from error
        response = raw.http_response
        return _answer(asked, read_object(asked, response), header(response, "x-request-id"))


def _number(value: Decimal | None) -> float | openai.Omit:
    return openai.omit if value is None else float(value)


def _messages(question: Question) -> list[ChatCompletionMessageParam]:
    user: ChatCompletionMessageParam = {"role": "user", "content": question.user}
    if not question.system:
        return [user]
    return [{"role": "system", "content": question.system}, user]


def _response_format(question: Question) -> ResponseFormat | openai.Omit:
    if question.answer_schema is None:
        return openai.omit
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": dict(question.answer_schema),
            "strict": True,
        },
    }


def _answer(asked: str, completion: dict[str, Any], request_id: str | None) -> Answer:
    choice = _choice(asked, completion)
    message, usage = choice.get("message"), completion.get("usage")
    if not isinstance(message, dict) or not isinstance(usage, dict):
        raise senseless(asked, "an answer without message or usage")
    text, refusal = message.get("content"), message.get("refusal")
    is_refused = isinstance(refusal, str) and bool(refusal)
    stop = _STOPS.get(str(choice.get("finish_reason")), Stop.DONE)
    return Answer(
        text=text if isinstance(text, str) else "",
        stop=Stop.REFUSED if is_refused else stop,
        input_tokens=tokens(asked, usage, "prompt_tokens"),
        output_tokens=tokens(asked, usage, "completion_tokens"),
        request_id=request_id or _own_id(completion),
        refusal=refusal if is_refused else None,
        usage=usage,
    )


def _choice(asked: str, completion: dict[str, Any]) -> dict[str, Any]:
    """The one choice. Some servers report their upstream's errors with status 200."""
    if completion.get("error") is not None:
        raise _error_inside(asked, completion["error"])
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise senseless(asked, "no choice in the answer", code="no_choices")
    choice: dict[str, Any] = choices[0]
    if choice.get("error") is not None or choice.get("finish_reason") == "error":
        raise _error_inside(asked, choice.get("error"))
    return choice


def _error_inside(asked: str, said: object) -> OutsideError:
    """``code`` of such an error is the HTTP status it would have had before anything was sent."""
    error = senseless(asked, "an error with status 200", code="error_inside")
    status = said.get("code") if isinstance(said, dict) else None
    if isinstance(status, int) and 400 <= status < 600:
        error.inside = f"http_{status}"
    return error


def _own_id(completion: dict[str, Any]) -> str | None:
    own = completion.get("id")
    return own if isinstance(own, str) else None
