"""The model servers' HTTP interfaces: Anthropic's messages and OpenAI's chat completions."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.stand_in.effects import Counts, ModelCall
from local.stand_in.faults import ClientLeft, Errand, Fault, Faults
from local.stand_in.key_states import KeyState, ProviderKeyStates
from local.stand_in.model_answers import ModelAnswer, Prompt, Stop, answer
from local.stand_in.wire import BadJson, Ending, Reply, Request, Route, json_reply

ErrorReply = Callable[[int, str, str | None], Reply]
"""Status, text, Retry-After."""


class BadRequest(Exception):
    """The provider would answer 400; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one provider words things."""

    provider: str
    key: Callable[[Request], str | None]
    prompt: Callable[[Mapping[str, Any]], Prompt]
    message: Callable[[Prompt, ModelAnswer], dict[str, Any]]
    error: ErrorReply
    no_credits: Callable[[], Reply]


class ModelApi:
    def __init__(self, counts: Counts, faults: Faults, keys: ProviderKeyStates) -> None:
        self._counts = counts
        self._faults = faults
        self._keys = keys

    def routes(self) -> list[Route]:
        return [
            Route("POST /v1/messages", lambda request: self._answer(ANTHROPIC, request)),
            Route("POST /v1/chat/completions", lambda request: self._answer(OPENAI, request)),
            Route("GET /v1/models", self._anthropic_models),
        ]

    def _anthropic_models(self, request: Request) -> Reply:
        """What tells whether a key works; it says nothing about credits."""
        key = ANTHROPIC.key(request)
        errand = Errand(
            target="anthropic_models",
            subject=f"{key}",
            client=request.client,
            error=lambda fault: _anthropic_error(fault.status, fault.text, fault.retry_after),
        )
        if self._keys.of(key) is KeyState.INVALID:
            return _anthropic_error(401, "invalid x-api-key", None)
        listed = {"data": [{"type": "model", "id": "claude-haiku-5-5"}], "has_more": True}
        return self._faults.run(errand, lambda _: json_reply(listed))

    def _answer(self, dialect: Dialect, request: Request) -> Reply:
        state = self._keys.of(dialect.key(request))
        if state is KeyState.INVALID:
            return dialect.error(401, "invalid api key", None)
        if state is KeyState.NO_CREDITS:
            return dialect.no_credits()
        try:
            prompt = dialect.prompt(request.json())
        except BadJson:
            return dialect.error(400, "The body is not a JSON object.", None)
        except BadRequest as problem:
            return dialect.error(400, str(problem), None)
        return self._call(dialect, request, prompt)

    def _call(self, dialect: Dialect, request: Request, prompt: Prompt) -> Reply:
        with self._counts.model_call(
            provider=dialect.provider, model=prompt.model, label=prompt.label
        ) as call:
            errand = Errand(
                target=dialect.provider,
                subject=prompt.text,
                client=request.client,
                structured=prompt.schema is not None,
                error=lambda fault: dialect.error(
                    fault.status, fault.text or "The stand-in was told to fail.", fault.retry_after
                ),
                note=call.suffer,
            )
            try:
                return self._faults.run(
                    errand, lambda fault: self._think(dialect, prompt, call, fault)
                )
            except ClientLeft:
                call.outcome = "client_left"
                return Reply(ending=Ending.VANISH)

    def _think(
        self, dialect: Dialect, prompt: Prompt, call: ModelCall, fault: Fault | None
    ) -> Reply:
        said = answer(prompt, fault)
        call.outcome = said.stop
        call.input_tokens, call.output_tokens = said.input_tokens, said.output_tokens
        request_id = f"req_{secrets.token_hex(12)}"
        headers = {"request-id": request_id, "x-request-id": request_id}
        return json_reply(dialect.message(prompt, said), headers=headers)


def wanted(body: Mapping[str, Any], name: str, kind: type) -> Any:
    """A member that must be there and be of a kind."""
    value = body.get(name)
    if not isinstance(value, kind) or not value:
        raise BadRequest(f"{name}: Field required")
    return value


def bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else None


def _text_of(content: object) -> str:
    """A message's text, whether a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return ""


def text_by_role(messages: list[Any], *roles: str) -> str:
    return "".join(
        _text_of(message.get("content"))
        for message in messages
        if isinstance(message, dict) and message.get("role") in roles
    )


def refuse_unsupported(body: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if body.get(name) not in (None, False):
            raise BadRequest(f"{name}: Not supported here")


# --- Anthropic

_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ANTHROPIC_STOPS = {Stop.DONE: "end_turn", Stop.CUT: "max_tokens", Stop.REFUSED: "refusal"}
_CANNOT_STOP_THINKING = ("claude-sonnet-5-5", "claude-opus-5-5")


def _anthropic_prompt(body: Mapping[str, Any]) -> Prompt:
    model, messages = wanted(body, "model", str), wanted(body, "messages", list)
    refuse_unsupported(body, "stream", "temperature", "top_p", "top_k")
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise BadRequest("tool_choice: forced tool use is not supported by this model")
    if not isinstance(messages[-1], dict) or messages[-1].get("role") != "user":
        raise BadRequest("messages: the last message must be of the user")
    if body.get("thinking", {}).get("type") == "disabled" and model in _CANNOT_STOP_THINKING:
        raise BadRequest("thinking: cannot be disabled for this model")
    wanted_format = (body.get("output_config") or {}).get("format") or {}
    return Prompt(
        model=model,
        system=_text_of(body.get("system")),
        user=text_by_role(messages, "user"),
        max_tokens=wanted(body, "max_tokens", int),
        schema=wanted_format.get("schema"),
    )


def _anthropic_message(prompt: Prompt, said: ModelAnswer) -> dict[str, Any]:
    thinking = {"type": "thinking", "thinking": "", "signature": "c3RhbmQtaW4="}
    text = {"type": "text", "text": said.text}
    details = {
        "type": "refusal",
        "category": "general_harms",
        "explanation": "The stand-in was asked to refuse.",
    }
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": [thinking, text] if said.text else [],
        "stop_reason": _ANTHROPIC_STOPS[said.stop],
        "stop_sequence": None,
        "stop_details": details if said.stop is Stop.REFUSED else None,
        "usage": {
            "input_tokens": said.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"thinking_tokens": 0},
            "service_tier": "standard",
        },
    }


def _anthropic_error(status: int, text: str, retry_after: str | None) -> Reply:
    request_id = f"req_{secrets.token_hex(12)}"
    error = {"type": _ANTHROPIC_ERRORS.get(status, "api_error"), "message": text}
    headers = {"request-id": request_id}
    if retry_after is not None:
        headers["retry-after"] = retry_after
    body = {"type": "error", "error": error, "request_id": request_id}
    return json_reply(body, status=status, headers=headers)


ANTHROPIC = Dialect(
    provider="anthropic",
    key=lambda request: bearer(request) or request.headers.get("x-api-key"),
    prompt=_anthropic_prompt,
    message=_anthropic_message,
    error=_anthropic_error,
    no_credits=lambda: _anthropic_error(400, "Your credit balance is too low for this.", None),
)


# --- OpenAI

_OPENAI_ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}
_DEFAULT_MAX_TOKENS = 4096


def _openai_prompt(body: Mapping[str, Any]) -> Prompt:
    messages = wanted(body, "messages", list)
    refuse_unsupported(body, "stream")
    wanted_format = body.get("response_format") or {}
    max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    return Prompt(
        model=wanted(body, "model", str),
        system=text_by_role(messages, "system", "developer"),
        user=text_by_role(messages, "user"),
        max_tokens=int(max_tokens or _DEFAULT_MAX_TOKENS),
        schema=(wanted_format.get("json_schema") or {}).get("schema"),
    )


def _openai_message(prompt: Prompt, said: ModelAnswer) -> dict[str, Any]:
    refused = said.stop is Stop.REFUSED
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": prompt.model,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None if refused else said.text,
                    "refusal": "The stand-in was asked to refuse." if refused else None,
                },
                "logprobs": None,
                "finish_reason": "length" if said.stop is Stop.CUT else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _openai_error(status: int, text: str, retry_after: str | None) -> Reply:
    kind, code = _OPENAI_ERRORS.get(status, ("invalid_request_error", None))
    error = {"message": text, "type": kind, "param": None, "code": code}
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return json_reply({"error": error}, status=status, headers=headers)


def _openai_quota() -> Reply:
    kind = "insufficient_quota"
    error = {"message": "The quota is used up.", "type": kind, "param": None, "code": kind}
    return json_reply({"error": error}, status=429)


OPENAI = Dialect(
    provider="openai",
    key=bearer,
    prompt=_openai_prompt,
    message=_openai_message,
    error=_openai_error,
    no_credits=_openai_quota,
)
