"""OpenRouter's ``GET /key`` and Anthropic's list of models: what says whether a key works."""

import re
from decimal import Decimal
from typing import Any

from gateways.errors import Unavailable
from gateways.http import HttpClient, Reply, error_for_status
from gateways.provider_keys import KeyVerdict

SECONDS = 10.0
MAX_BYTES = 256 * 1024
ANTHROPIC_VERSION = "2023-06-01"
_MAY_BE_A_HEADER = re.compile(r"[\x21-\x7e]+")


class HttpProviderKeys:
    """``ProviderKeys`` over HTTP."""

    def __init__(self, http: HttpClient, *, openrouter_url: str, anthropic_url: str) -> None:
        self._http = http
        self._openrouter = openrouter_url.rstrip("/")
        self._anthropic = anthropic_url.rstrip("/")

    def check_openrouter(self, secret: str) -> KeyVerdict:
        """As the protocol says."""
        url, headers = f"{self._openrouter}/key", {"Authorization": f"Bearer {secret}"}
        reply = self._ask(url, secret, headers)
        return reply if isinstance(reply, KeyVerdict) else _openrouter_verdict(reply)

    def check_anthropic(self, secret: str) -> KeyVerdict:
        """As the protocol says."""
        headers = {"x-api-key": secret, "anthropic-version": ANTHROPIC_VERSION}
        reply = self._ask(f"{self._anthropic}/v1/models?limit=1", secret, headers)
        if isinstance(reply, KeyVerdict):
            return reply
        if not isinstance(reply.object().get("data"), list):
            raise Unavailable(f"{reply.asked}: no list of models", code="bad_answer")
        return KeyVerdict.VALID

    def _ask(self, url: str, secret: str, headers: dict[str, str]) -> Reply | KeyVerdict:
        """A success, or what a failure says of the key."""
        if not _MAY_BE_A_HEADER.fullmatch(secret):
            return KeyVerdict.INVALID
        reply = self._http.get(url, seconds=SECONDS, max_bytes=MAX_BYTES, headers=headers)
        if reply.status in (401, 403):
            return KeyVerdict.INVALID
        if reply.status == 402:
            return KeyVerdict.NO_CREDITS
        if 200 <= reply.status < 300:
            return reply
        if 400 <= reply.status < 500:  # about our question, not about the key
            raise Unavailable(f"{reply.asked}: HTTP {reply.status}", code=f"http_{reply.status}")
        raise error_for_status(reply.status, asked=reply.asked, retry_after=reply.retry_after)


def _openrouter_verdict(reply: Reply) -> KeyVerdict:
    """A 200 may hold an error all the same; a spent limit of the key is no credits."""
    answer = reply.object()
    error = answer.get("error")
    if error is not None:
        return _verdict_inside(reply, error)
    data = answer.get("data")
    if not isinstance(data, dict):
        raise Unavailable(f"{reply.asked}: says nothing of the key", code="bad_answer")
    left = data.get("limit_remaining")
    is_spent = isinstance(left, int | Decimal) and left <= 0
    return KeyVerdict.NO_CREDITS if is_spent else KeyVerdict.VALID


def _verdict_inside(reply: Reply, error: Any) -> KeyVerdict:
    code = error.get("code") if isinstance(error, dict) else None
    if code in (401, 403):
        return KeyVerdict.INVALID
    if code == 402:
        return KeyVerdict.NO_CREDITS
    raise Unavailable(f"{reply.asked}: an error with status 200", code="error_inside")
