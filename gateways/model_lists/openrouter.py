"""OpenRouter's public list of models (``GET /models``), with prices in dollars a token."""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from gateways.errors import Unavailable
from gateways.http import HttpClient
from gateways.model_lists import ListedModel

LIST_SECONDS = 10.0
LIST_MAX_BYTES = 16 * 1024 * 1024
PER_MILLION = 1_000_000
DEAREST = Decimal(100_000)
"""Dollars per million tokens; more is no price but a mistake, or no number that we can keep."""
MOST_TOKENS = 100_000_000
NAME_CHARACTERS = 200
PLACES = Decimal("0.0000000001")
"""As fine as the database keeps a price."""

_ID = re.compile(r"~?[a-z0-9][a-z0-9._-]{0,99}/[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
_PARAMETER = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)


class OpenRouterModels:
    """``ModelList``. Asks without a key: the list is public."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        """``base_url`` ends in ``/api/v1``."""
        self._url = f"{base_url.rstrip('/')}/models"
        self._http = http

    def fetch(self) -> list[ListedModel]:
        """As the protocol says; an answer without a list is Unavailable."""
        reply = self._http.get(self._url, seconds=LIST_SECONDS, max_bytes=LIST_MAX_BYTES)
        entries = reply.required().object().get("data")
        if not isinstance(entries, list):
            raise Unavailable(f"{reply.asked}: no list of models", code="bad_answer")
        found = (_read(entry) for entry in entries)
        return list({model.id: model for model in found if model is not None}.values())


def _read(entry: Any) -> ListedModel | None:
    """None = nothing that text can be bought from, or not readable."""
    try:
        return _listed(entry) if _speaks_text(entry) else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _speaks_text(entry: Mapping[str, Any]) -> bool:
    architecture = entry.get("architecture") or {}
    return all(
        "text" in architecture.get(direction, ("text",))
        for direction in ("input_modalities", "output_modalities")
    )


def _listed(entry: Mapping[str, Any]) -> ListedModel:
    pricing, provider = entry["pricing"], entry.get("top_provider") or {}
    reasoning = _usd(pricing.get("internal_reasoning") or "0")
    bound = provider.get("max_completion_tokens")
    return ListedModel(
        id=_id(entry["id"]),
        name=_name(entry["name"]),
        context_tokens=_context(entry["context_length"], provider.get("context_length")),
        max_output_tokens=None if bound is None else _tokens(bound),
        input_usd_per_million=_per_million(_usd(pricing["prompt"])),
        output_usd_per_million=_per_million(max(_usd(pricing["completion"]), reasoning)),
        request_usd=_kept(_usd(pricing.get("request") or "0")),
        supported_parameters=_parameters(entry.get("supported_parameters")),
    )


def _id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("no id of a model")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("no name of a model")
    return value.strip()[:NAME_CHARACTERS]


def _tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_TOKENS:
        raise ValueError("no number of tokens")
    return value


def _context(best: object, first_provider: object) -> int:
    """The smaller of the two: a call may go to either."""
    return min(_tokens(best), _tokens(best if first_provider is None else first_provider))


def _usd(value: object) -> Decimal:
    """Exact, whether it came as a number or as text. A negative one means "it depends"."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise TypeError("a price is a number or its text")
    try:
        price = Decimal(value)
    except InvalidOperation as error:
        raise ValueError("the price is no number") from error
    if not price.is_finite() or not 0 <= price <= DEAREST:
        raise ValueError("the price is no price")
    return price


def _per_million(price: Decimal) -> Decimal:
    rate = _kept(price * PER_MILLION)
    if rate > DEAREST:
        raise ValueError("the price is no price")
    return rate


def _kept(price: Decimal) -> Decimal:
    return price.quantize(PLACES, rounding=ROUND_CEILING)


def _parameters(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    return tuple(name for name in names if isinstance(name, str) and _PARAMETER.fullmatch(name))
