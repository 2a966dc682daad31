"""What a version may say: which members belong to which type, within which bounds. Writes nothing.

Members are in snake case, as ``ResourceVersion`` names them, but for ``price_usd``.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from config.settings import Settings
from gateways.proxied import UpstreamMethod, problem_of
from models.catalogue import CatalogueModel
from models.resource import MODEL_TYPES, ResourceType, ResourceVersion
from services.errors import ErrorCode
from services.instant import catalogue, templates
from services.instant.templates import Problem
from services.toolbox import bench_origins

Value = TypeVar("Value")
LOWEST_PRICE = Decimal("0.001")
MICROS_PER_USD = 1_000_000
PRICE_DECIMALS = 6
SAMPLING_DECIMALS = 4
# The contract's: what a version runs with where its creator has set nothing.
DEFAULT_TEMPERATURE = Decimal(1)
DEFAULT_TOP_P = Decimal(1)
DEFAULT_MAX_TOKENS = 4096
DEFAULT_CONTENT_TYPE = "text/plain; charset=utf-8"
MAX_NAME_CHARACTERS = 120
MAX_DESCRIPTION_CHARACTERS = 2000
MAX_CONTENT_BYTES = 60 * 1024
MAX_CONTENT_TYPE_CHARACTERS = 120
ANTHROPIC_PREFIX = "anthropic/"

_COMMON = frozenset({"name", "description", "price_usd_micros"})
_SAMPLING = frozenset(
    {"temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty"}
)
_OF_MODELS = _COMMON | _SAMPLING | {"model", "system_prompt", "parameters", "allows_user_message"}
MEMBERS: Mapping[ResourceType, frozenset[str]] = MappingProxyType(
    {
        ResourceType.OPENROUTER_INSTANT: _OF_MODELS,
        ResourceType.PROMPT_TEMPLATE: _OF_MODELS - {"frequency_penalty", "presence_penalty"},
        ResourceType.STATIC: _COMMON | {"content", "content_type"},
        ResourceType.PROXY: _COMMON | {"upstream_url", "upstream_method", "parameters"},
    }
)
"""What a version of each type has; everything else of it is NULL."""
ALL_MEMBERS = frozenset[str]().union(*MEMBERS.values())
_NEEDED = frozenset(
    {"name", "price_usd_micros", "model", "system_prompt", "content", "upstream_url"}
)
_AT_FIRST: Mapping[str, Any] = MappingProxyType(
    {
        "description": "",
        "parameters": [],
        "allows_user_message": False,
        "content_type": DEFAULT_CONTENT_TYPE,
        "upstream_method": UpstreamMethod.POST.value,
    }
)
"""What a new resource has where nothing was said."""

_BYTES = MappingProxyType(
    {"system_prompt": templates.MAX_PROMPT_BYTES, "content": MAX_CONTENT_BYTES}
)
_WORD = r"[A-Za-z0-9!#$&^_.+-]{1,60}"
_CONTENT_TYPE = re.compile(
    rf'{_WORD}/{_WORD}( ?; ?{_WORD}=({_WORD}|"[A-Za-z0-9 ._+-]{{0,60}}"))*', re.ASCII
)
_ANTHROPIC_MODEL = re.compile(r"anthropic/[a-z0-9][a-z0-9.-]*", re.ASCII)


def complete(type_: ResourceType, members: Mapping[str, Any]) -> dict[str, Any]:
    """A new resource's members, the silent ones filled in. Raises InvalidRequest."""
    refuse_foreign(type_, members)
    given = settled(members)
    missing = sorted((MEMBERS[type_] & _NEEDED) - set(given))
    _refuse(_at(name, "is missing") for name in missing)
    silent = {name: _AT_FIRST.get(name) for name in MEMBERS[type_] - set(given)}
    return _whole(silent | given)


def refuse_foreign(type_: ResourceType, members: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for members that this type does not have."""
    foreign = sorted(set(settled(members)) - MEMBERS[type_])
    _refuse(_at(name, f"is not for {type_.value}") for name in foreign)


def settled(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members with the price in micro-dollars, which is how it is kept."""
    others = {name: value for name, value in members.items() if name != "price_usd"}
    if "price_usd" not in members:
        return others
    price = members["price_usd"]
    if price != round(price, PRICE_DECIMALS):
        _refuse([_at("price_usd", f"must have at most {PRICE_DECIMALS} decimals")])
    return others | {"price_usd_micros": int(price * MICROS_PER_USD)}


def members_of(version: ResourceVersion) -> dict[str, Any]:
    """Everything that a version says, to be edited."""
    return {name: getattr(version, name) for name in sorted(ALL_MEMBERS)}


def _whole(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: members.get(name) for name in sorted(ALL_MEMBERS)}


def check(
    session: Session, settings: Settings, type_: ResourceType, members: Mapping[str, Any]
) -> dict[str, Any]:
    """Judge all members of a version together, and return them as they are kept.

    Raises InvalidRequest with ``errors[]``.
    """
    parameters, problems = templates.read_parameters(members["parameters"] or [])
    problems += [*_too_large(members), *_too_fine(members)]
    problems += _wrong_price(settings, members["price_usd_micros"])
    if type_ in MODEL_TYPES:
        problems += templates.lint(members["system_prompt"], parameters) if not problems else []
        problems += _wrong_model(session, type_, members)
    elif type_ is ResourceType.STATIC:
        problems += _wrong_content_type(members["content_type"])
    else:
        problems += _wrong_upstream(settings, members["upstream_url"])
    _refuse(problems)
    has_parameters = "parameters" in MEMBERS[type_]
    return {**members, "parameters": templates.stored(parameters) if has_parameters else None}


def _too_large(members: Mapping[str, Any]) -> Iterable[Problem]:
    for name, limit in _BYTES.items():
        if len((members[name] or "").encode()) > limit:
            yield _at(name, f"must have at most {limit} bytes of UTF-8")


def _too_fine(members: Mapping[str, Any]) -> Iterable[Problem]:
    for name in sorted(_SAMPLING - {"max_tokens"}):
        value = members[name]
        if value is not None and value != round(value, SAMPLING_DECIMALS):
            yield _at(name, f"must have at most {SAMPLING_DECIMALS} decimals")


def suits(type_: ResourceType, model: CatalogueModel) -> bool:
    """Whether resources of this type can be built on this model."""
    if type_ is ResourceType.PROMPT_TEMPLATE:
        return _ANTHROPIC_MODEL.fullmatch(model.id) is not None
    return type_ is ResourceType.OPENROUTER_INSTANT


def or_else(value: Value | None, default: Value) -> Value:
    """The value, if there is one: 0 is one."""
    return default if value is None else value


def _wrong_price(settings: Settings, micros: int) -> list[Problem]:
    highest = settings.max_resource_price_usd
    if LOWEST_PRICE * MICROS_PER_USD <= micros <= highest * MICROS_PER_USD:
        return []
    return [_at("price_usd", f"must be from {LOWEST_PRICE} to {highest}")]


def _wrong_model(
    session: Session, type_: ResourceType, members: Mapping[str, Any]
) -> list[Problem]:
    model = catalogue.find(session, members["model"])
    if model is None or model.vanished_at is not None:
        return [_at("model", "is not in the catalogue (GET /api/models)")]
    if not suits(type_, model):
        return [_at("model", f"must be one of {ANTHROPIC_PREFIX}… for {type_.value}")]
    return [*_wrong_sampling(type_, members), *_wrong_max_tokens(model, members)]


def _wrong_sampling(type_: ResourceType, members: Mapping[str, Any]) -> Iterable[Problem]:
    """Anthropic's API takes neither: what could not be kept to is not promised."""
    if type_ is not ResourceType.PROMPT_TEMPLATE:
        return
    for name, only in (("temperature", DEFAULT_TEMPERATURE), ("top_p", DEFAULT_TOP_P)):
        if members[name] not in {None, only}:
            yield _at(name, f"must be {only} or not set: Anthropic's models take no other")


def _wrong_max_tokens(model: CatalogueModel, members: Mapping[str, Any]) -> Iterable[Problem]:
    """Values make the prompt longer still: then each call is capped by what room is left."""
    wanted = members["max_tokens"]
    ceiling = catalogue.output_cap(model, wanted or 1_000_000_000, members["system_prompt"])
    if ceiling < 1:
        room = f"{model.context_tokens} tokens of {model.id}"
        yield _at("system_prompt", f"leaves no room for an answer in the {room}")
    elif wanted is not None and wanted > ceiling:
        yield _at("max_tokens", f"must be at most {ceiling} for {model.id} with this prompt")


def _wrong_content_type(content_type: str) -> list[Problem]:
    if _CONTENT_TYPE.fullmatch(content_type):
        return []
    return [_at("content_type", "must be a media type, such as text/plain; charset=utf-8")]


def _wrong_upstream(settings: Settings, url: str) -> list[Problem]:
    problem = problem_of(url, bench_origins=bench_origins(settings))
    return [] if problem is None else [_at("upstream_url", problem)]


def _refuse(problems: Iterable[Problem]) -> None:
    templates.refuse(problems, code=ErrorCode.INVALID_RESOURCE)


def _at(member: str, predicate: str) -> Problem:
    name = on_the_wire(member)
    return Problem(pointer=f"/{name}", detail=f"{name} {predicate}.")


def on_the_wire(member: str) -> str:
    head, *rest = member.removesuffix("_micros").split("_")
    return head + "".join(part.capitalize() for part in rest)
