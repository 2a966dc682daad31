"""Asking a creator's server, and reading its answer into what JSON and PostgreSQL can hold."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from gateways import json_text
from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import PublicHttpClient, Reply
from gateways.proxied import Delivered, UpstreamCall, UpstreamMethod
from gateways.storable import is_text

MAX_BYTES = 1024 * 1024
DEFAULT_CHARSET = "utf-8"
_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "windows-1252"})
"""Others are slow, or no text at all."""
_MEDIA_TYPE = re.compile(r"([\w.+-]{1,60}/[\w.+-]{1,60})\s*(;[ -~]{0,120})?", re.ASCII)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.ASCII | re.IGNORECASE)


class PublicUpstreams:
    """Safe to share between threads."""

    def __init__(self, http: PublicHttpClient) -> None:
        self._http = http

    def ask(self, call: UpstreamCall) -> Delivered:
        try:
            reply = self._reply(call)
        except OutsideError as error:
            raise _without_the_address(error) from None
        if not 200 <= reply.status < 300:
            raise _error_for(reply)
        return delivered(reply)

    def _reply(self, call: UpstreamCall) -> Reply:
        limits: dict[str, Any] = {"seconds": call.seconds, "max_bytes": MAX_BYTES}
        headers = {"Accept": "application/json, text/*;q=0.9, */*;q=0.1"}
        values = _without_theirs(call.values, call.url)
        if call.method is UpstreamMethod.GET:
            return self._http.get(call.url, params=values, headers=headers, **limits)
        headers["Idempotency-Key"] = call.key
        return self._http.post(call.url, body=values, headers=headers, **limits)


def _without_theirs(values: Mapping[str, str], url: str) -> dict[str, str]:
    """A caller must not be able to shadow what the creator put into the address, a token say."""
    theirs = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    return {name: value for name, value in values.items() if name not in theirs}


def _without_the_address(error: OutsideError) -> OutsideError:
    """It is for the creator's eyes only, and may hold a key: not even the cause is kept."""
    kind = Refused if isinstance(error, Refused) else Unavailable
    return kind(f"an upstream could not be asked: {error.code}", code=error.code)


def _error_for(reply: Reply) -> OutsideError:
    message, code = f"an upstream answered HTTP {reply.status}", f"http_{reply.status}"
    if reply.status < 500:
        return Refused(message, code=code)
    return Unavailable(message, code=code, retry_after=reply.retry_after)


def delivered(reply: Reply) -> Delivered:
    """Read what a success says. Raises Unavailable (``not_text``, ``not_json``, ``empty``)."""
    content_type = _content_type(reply)
    text = _text(reply, content_type)
    if not text.strip():
        _fail("nothing", "empty")
    value = _json(text) if is_json(content_type) else text
    if value is None or (isinstance(value, str) and not value.strip()):
        _fail("nothing, in JSON", "empty")
    return Delivered(value=value, content_type=content_type)


def is_json(content_type: str | None) -> bool:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _content_type(reply: Reply) -> str | None:
    """What they call it, if that is the name of a type: it is passed on."""
    match = _MEDIA_TYPE.fullmatch((reply.content_type or "").strip())
    return match and match.group(0)


def _text(reply: Reply, content_type: str | None) -> str:
    found = _CHARSET.search(content_type or "")
    charset = found.group(1).lower() if found else DEFAULT_CHARSET
    if charset not in _CHARSETS:
        _fail("an encoding that is not read here", "not_text")
    try:
        text = reply.body.decode(charset)
    except UnicodeDecodeError:
        _fail("no text", "not_text")
    if "\x00" in text:
        _fail("text with a NUL", "not_text")
    return text.removeprefix("\ufeff")


def _json(text: str) -> Any:
    try:
        value = json_text.loads(text, parse_float=_finite, parse_constant=_no_number)
        is_fine = _can_be_kept(value)
    except ValueError:
        is_fine = False
    if not is_fine:
        _fail("JSON that cannot be read", "not_json")
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("larger than any number here")
    return number


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _can_be_kept(value: Any) -> bool:
    """PostgreSQL's JSON knows no NUL and no half of a surrogate pair. Level by level."""
    level = [value]
    while level:
        if not all(is_text(text) for text in _texts(level)):
            return False
        level = [inner for outer in level for inner in _inside(outer)]
    return True


def _texts(level: list[Any]) -> list[str]:
    names = [name for value in level if isinstance(value, dict) for name in value]
    return names + [value for value in level if isinstance(value, str)]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _fail(what: str, code: str) -> NoReturn:
    raise Unavailable(f"an upstream answered {what}", code=code)
