"""OpenRouter under ``/openrouter/api/v1``: its list of models, its word on a key, its answers.

A key is good unless it says otherwise itself (``…-invalid…``, ``…-no-credits…``) or the control
interface has changed it (``POST /stand-in/provider-keys``). The list of models is whatever
``PUT /stand-in/catalogue`` says.
"""

import secrets
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from local.stand_in.effects import Counts, ModelCall
from local.stand_in.faults import ClientLeft, Errand, Fault, FaultKind, Faults
from local.stand_in.key_states import KeyState, ProviderKeyStates
from local.stand_in.model_answers import ModelAnswer, Prompt, Stop, answer
from local.stand_in.models import BadRequest, bearer, refuse_unsupported, text_by_role, wanted
from local.stand_in.wire import BadJson, Ending, Reply, Request, Route, json_reply

BASE = "/openrouter/api/v1"
_SENTENCES = {
    400: "The request is not valid.",
    401: "User not found.",
    402: "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
    403: "The input was flagged by moderation.",
    404: "No endpoints found.",
    408: "The request timed out.",
    429: "Rate limit exceeded.",
    502: "Provider returned error",
    503: "There is no available model provider that meets your routing requirements.",
}
_STOPS = {Stop.DONE: "stop", Stop.CUT: "length", Stop.REFUSED: "content_filter"}
_DEFAULT_MAX_TOKENS = 4096
_SAMPLING = (
    *("temperature", "top_p", "frequency_penalty", "presence_penalty"),
    *("max_tokens", "max_completion_tokens"),
)


def _model(
    id_: str, name: str, prompt: str, completion: str, *, context: int, most: int | None
) -> dict[str, Any]:
    """One entry of the list, prices in dollars a token as text, as OpenRouter writes them."""
    return {
        "id": id_,
        "canonical_slug": id_,
        "name": name,
        "created": 1_790_000_000,
        "description": "Played by the stand-in.",
        "context_length": context,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": prompt, "completion": completion, "request": "0", "image": "0"},
        "top_provider": {
            "context_length": context,
            "max_completion_tokens": most,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": [
            *("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty"),
        ],
    }


CATALOGUE = (
    _model(
        *("anthropic/claude-haiku-5.5", "Anthropic: Claude Haiku 5.5", "0.000001", "0.000005"),
        context=200_000,
        most=64_000,
    ),
    _model(
        *("anthropic/claude-sonnet-5.5", "Anthropic: Claude Sonnet 5.5", "0.000003", "0.000015"),
        context=1_000_000,
        most=128_000,
    ),
    _model(
        *("openai/gpt-6-mini", "OpenAI: GPT-6 mini", "0.00000025", "0.000002"),
        context=400_000,
        most=128_000,
    ),
    _model(
        *("example/small-8b", "Example: Small 8B", "0.00000002", "0.00000004"),
        context=8_192,
        most=None,
    ),
    _model(
        *("example/small-8b:free", "Example: Small 8B (free)", "0", "0"),
        context=8_192,
        most=2_048,
    ),
)


class OpenRouter:
    def __init__(self, counts: Counts, faults: Faults, keys: ProviderKeyStates) -> None:
        self._counts = counts
        self._faults = faults
        self._keys = keys
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """The list as it was at the start."""
        with self._lock:
            self._listed: list[Any] = list(CATALOGUE)
            self._ever = {entry["id"] for entry in CATALOGUE}

    def set_catalogue(self, models: list[Any]) -> None:
        """List exactly these; entries may be as broken as they like."""
        with self._lock:
            self._listed = list(models)
            self._ever |= {entry.get("id") for entry in models if isinstance(entry, dict)}

    def catalogue(self) -> list[Any]:
        with self._lock:
            return list(self._listed)

    def routes(self) -> list[Route]:
        return [
            Route(f"GET {BASE}/models", self._models),
            Route(f"GET {BASE}/key", self._key),
            Route(f"POST {BASE}/chat/completions", self._chat),
        ]

    def _models(self, request: Request) -> Reply:
        return self._faults.run(
            _errand("openrouter.models", request.as_text, request),
            lambda _: json_reply({"data": self.catalogue()}),
        )

    def _key(self, request: Request) -> Reply:
        key = bearer(request)
        return self._faults.run(
            _errand("openrouter.key", f"{key}", request), lambda _: self._word_on(key)
        )

    def _word_on(self, key: str | None) -> Reply:
        state = self._keys.of(key)
        if state is KeyState.INVALID:
            return error_reply(401)
        is_spent = state is KeyState.NO_CREDITS
        data = {
            "label": f"sk-or-v1-...{(key or '')[-3:]}",
            "usage": 5 if is_spent else 0,
            "limit": 5,
            "limit_remaining": 0 if is_spent else 5,
            "is_free_tier": False,
            "rate_limit": {"requests": -1, "interval": "10s"},
        }
        return json_reply({"data": data})

    def _chat(self, request: Request) -> Reply:
        key = bearer(request)
        state = self._keys.of(key)
        if state is not KeyState.VALID:
            return error_reply(401 if state is KeyState.INVALID else 402)
        try:
            body = request.json()
            prompt = _prompt(body)
        except BadJson:
            return error_reply(400)
        except BadRequest as problem:
            return error_reply(400, str(problem))
        unknown = self._unknown(prompt.model)
        return unknown or self._call(request, body, prompt)

    def _unknown(self, model: str) -> Reply | None:
        with self._lock:
            listed = {entry.get("id") for entry in self._listed if isinstance(entry, dict)}
            if model in listed:
                return None
            was_there = model in self._ever
        if was_there:
            return error_reply(404, f"No endpoints found for {model}.")
        return error_reply(400, f"{model} is not a valid model ID")

    def _call(self, request: Request, body: Mapping[str, Any], prompt: Prompt) -> Reply:
        sent = {name: body[name] for name in _SAMPLING if name in body}
        sent |= {name: request.headers.get(name) for name in ("http-referer", "x-title")}
        with self._counts.model_call(
            provider="openrouter", model=prompt.model, label=prompt.label, sent=sent
        ) as call:
            errand = _errand("openrouter.chat", prompt.text, request, note=call.suffer)
            try:
                return self._faults.run(errand, lambda fault: self._think(prompt, call, fault))
            except ClientLeft:
                call.outcome = "client_left"
                return Reply(ending=Ending.VANISH)

    def _think(self, prompt: Prompt, call: ModelCall, fault: Fault | None) -> Reply:
        if fault is not None and fault.kind is FaultKind.ERROR_INSIDE:
            return error_reply(fault.status, fault.text, on_the_wire=200)
        if fault is not None and fault.kind is FaultKind.NO_CHOICES:
            return json_reply(_envelope(prompt, [], {}))
        said = answer(prompt, fault)
        call.outcome = said.stop
        call.input_tokens, call.output_tokens = said.input_tokens, said.output_tokens
        return json_reply(self._message(prompt, said, fault))

    def _message(self, prompt: Prompt, said: ModelAnswer, fault: Fault | None) -> dict[str, Any]:
        """With a choice that broke off in the middle when told so."""
        is_broken = fault is not None and fault.kind is FaultKind.ERROR_IN_CHOICE
        stop = "error" if is_broken else _STOPS[said.stop]
        choice: dict[str, Any] = {
            "logprobs": None,
            "finish_reason": stop,
            "native_finish_reason": stop,
            "index": 0,
            "message": {
                "role": "assistant",
                "content": said.text,
                "refusal": None,
                "reasoning": None,
            },
        }
        if is_broken:
            choice["error"] = {"code": 502, "message": "Provider disconnected mid-stream"}
        usage = {
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
            "cost": self._cost(prompt.model, said),
        }
        return _envelope(prompt, [choice], usage)

    def _cost(self, model: str, said: ModelAnswer) -> Decimal:
        """In dollars, by the prices in the list."""
        listed = (entry for entry in self.catalogue() if entry.get("id") == model)
        prices: Mapping[str, Any] = (next(listed, None) or {}).get("pricing", {})
        return said.input_tokens * Decimal(prices.get("prompt", 0)) + (
            said.output_tokens * Decimal(prices.get("completion", 0))
        )


def _envelope(prompt: Prompt, choices: list[Any], usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"gen-1790000000-{secrets.token_hex(10)}",
        "provider": "Stand-in",
        "model": prompt.model,
        "object": "chat.completion",
        "created": 1_790_000_000,
        "choices": choices,
        "usage": usage,
    }


def _prompt(body: Mapping[str, Any]) -> Prompt:
    messages = wanted(body, "messages", list)
    refuse_unsupported(body, "stream")
    most = body.get("max_tokens") or body.get("max_completion_tokens")
    return Prompt(
        model=wanted(body, "model", str),
        system=text_by_role(messages, "system", "developer"),
        user=text_by_role(messages, "user"),
        max_tokens=int(most or _DEFAULT_MAX_TOKENS),
    )


def _errand(target: str, subject: str, request: Request, **more: Any) -> Errand:
    return Errand(
        target=target,
        subject=subject,
        client=request.client,
        error=lambda fault: error_reply(fault.status, fault.text, retry_after=fault.retry_after),
        **more,
    )


def error_reply(
    code: int,
    text: str = "",
    *,
    retry_after: str | None = None,
    on_the_wire: int | None = None,
) -> Reply:
    """OpenRouter's error; ``on_the_wire`` is the status when it is another than the code."""
    error: dict[str, Any] = {"message": text or _SENTENCES.get(code, "Error"), "code": code}
    if code == 403:
        error["metadata"] = {
            "reasons": ["violence"],
            "flagged_input": "…",
            "provider_name": "Stand-in",
            "model_slug": "stand-in",
        }
    if code == 502:
        error["metadata"] = {"provider_name": "Stand-in", "raw": "upstream said no"}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = {"error": error, "user_id": "user_stand_in"}
    return json_reply(body, status=on_the_wire or code, headers=headers)
