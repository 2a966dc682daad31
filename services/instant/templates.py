"""Prompt templates, pure: what a creator declares, what a caller gives, and the prompt of both.

A tag is ``{name}{/name}``. It is replaced in the system prompt only, literally and in one pass, so
no value can bring another tag, a pattern or a break of any syntax with it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateways.storable import is_text
from models.resource import ResourceVersion
from services.errors import ErrorCode, InvalidRequest, pointer_to

USER_MESSAGE = "user_message"
"""The member that carries the user's turn; no parameter may be called so."""

MAX_PARAMETERS = 32
MAX_DESCRIPTION_CHARACTERS = 500
MAX_DEFAULT_CHARACTERS = 4000
MAX_PROMPT_BYTES = 48 * 1024
MAX_RENDERED_BYTES = 128 * 1024
"""A tag may stand in a prompt many times: bounds what a small body can be blown up to."""
PROBLEMS_SHOWN = 16

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}", re.ASCII)
_TAG = re.compile(r"\{([a-z_][a-z0-9_]{0,63})\}\{/\1\}", re.ASCII)
_HALF = re.compile(r"\{/?([a-z_][a-z0-9_]{0,63})\}", re.ASCII)
_MEMBERS = frozenset({"name", "description", "required", "default"})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong and where: an entry of the error's ``errors[]``."""

    pointer: str
    """A JSON pointer into the body."""
    detail: str
    """One sentence for people."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What a caller may or must give, by name."""

    name: str
    description: str = ""
    required: bool
    default: str | None = None
    """What an optional one is when it is not given; of a required one only a suggestion."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a caller gave, checked. Kept with the run as it is."""

    values: Mapping[str, str] = field(default_factory=dict)
    """By parameter: those given, and the defaults of those that were not."""
    user_message: str | None = None
    """None when there is nothing to say: the user's turn is then a fixed sentence."""


def declared(version: ResourceVersion) -> tuple[Parameter, ...]:
    """The parameters of a version, in the creator's order."""
    return tuple(Parameter(**stored) for stored in version.parameters or ())


def stored(parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    """As ``resource_versions.parameters`` keeps them; ``declared`` reads them back."""
    return [
        {"name": it.name, "description": it.description, "required": it.required}
        | ({} if it.default is None else {"default": it.default})
        for it in parameters
    ]


def read_parameters(raw: object) -> tuple[tuple[Parameter, ...], list[Problem]]:
    """Read a creator's ``parameters``, JSON of any shape, and say all that is wrong with them."""
    at = "/parameters"
    if not isinstance(raw, list):
        return (), [Problem(pointer=at, detail="parameters must be a list.")]
    if len(raw) > MAX_PARAMETERS:
        detail = f"parameters must have at most {MAX_PARAMETERS} entries."
        return (), [Problem(pointer=at, detail=detail)]
    problems: list[Problem] = []
    for n, entry in enumerate(raw):
        problems += [
            Problem(pointer=f"{at}/{n}{pointer}", detail=f"parameters.{n}{subject} {predicate}.")
            for pointer, subject, predicate in _wrong_with(entry)
        ]
    if problems:
        return (), problems
    parameters = tuple(Parameter(**entry) for entry in raw)
    return parameters, _twice(parameters)


def _wrong_with(entry: object) -> list[tuple[str, str, str]]:
    """What is wrong with one entry, each as (pointer within it, subject within it, predicate)."""
    if not isinstance(entry, dict):
        return [("", "", "must be an object")]
    unknown = [("", "", "has members that are not known")] if set(entry) - _MEMBERS else []
    wrong = {
        "name": _wrong_name(entry.get("name")),
        "required": None if isinstance(entry.get("required"), bool) else "must be true or false",
        "description": _wrong_text(entry.get("description", ""), MAX_DESCRIPTION_CHARACTERS),
        "default": _wrong_text(entry.get("default", ""), MAX_DEFAULT_CHARACTERS),
    }
    return unknown + [
        (f"/{member}", f".{member}", predicate) for member, predicate in wrong.items() if predicate
    ]


def _wrong_name(name: object) -> str | None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "must be 1 to 64 of a-z, 0-9 and _, and not begin with a digit"
    return f"must not be {USER_MESSAGE}, which is reserved" if name == USER_MESSAGE else None


def _wrong_text(text: object, limit: int) -> str | None:
    if not isinstance(text, str) or not is_text(text):
        return "must be a string without NUL characters and unpaired surrogates"
    return f"must have at most {limit} characters" if len(text) > limit else None


def _twice(parameters: Sequence[Parameter]) -> list[Problem]:
    counts = Counter(parameter.name for parameter in parameters)
    return [
        Problem(pointer="/parameters", detail=f"parameters declares {name} more than once.")
        for name, count in counts.items()
        if count > 1
    ]


def lint(prompt: str, parameters: Iterable[Parameter]) -> list[Problem]:
    """What would go wrong at every run of this prompt; empty = it can be published.

    Other braces mean nothing: a prompt may hold JSON.
    """
    names = {parameter.name for parameter in parameters}
    tags = set(_TAG.findall(prompt))
    halves = set(_HALF.findall(_TAG.sub(" ", prompt))) & names
    return [
        *(_of_prompt(_UNKNOWN.format(name=name)) for name in sorted(tags - names)),
        *(_of_prompt(_HALF_TAG.format(name=name)) for name in sorted(halves)),
        *(
            Problem(pointer="/parameters", detail=_UNUSED.format(name=name))
            for name in sorted(names - tags - halves)
        ),
    ]


_UNKNOWN = "systemPrompt has the tag {{{name}}}{{/{name}}}, which is no parameter."
_HALF_TAG = "systemPrompt has half a tag: {name} is put in by {{{name}}}{{/{name}}}, together."
_UNUSED = "The parameter {name} is not used: systemPrompt has no {{{name}}}{{/{name}}}."


def _of_prompt(detail: str) -> Problem:
    return Problem(pointer="/systemPrompt", detail=detail)


def check_inputs(version: ResourceVersion, body: Mapping[str, Any]) -> Inputs:
    """What a caller gave for this version. Raises InvalidRequest with ``errors[]``.

    ``""`` counts as given. What is not declared is refused, not ignored.
    """
    parameters = {parameter.name: parameter for parameter in declared(version)}
    given = {name: value for name, value in body.items() if name != USER_MESSAGE}
    problems = [
        *(_wrong_value(name, value, parameters) for name, value in given.items()),
        *(
            _at(name, "is missing")
            for name, parameter in parameters.items()
            if parameter.required and name not in given
        ),
        _wrong_user_message(version, body),
    ]
    refuse(problem for problem in problems if problem is not None)
    defaults = {
        name: it.default
        for name, it in parameters.items()
        if it.default is not None and not it.required
    }
    inputs = Inputs(values=defaults | given, user_message=_user_message(body))
    _refuse_too_long(version, inputs)
    return inputs


def refuse(problems: Iterable[Problem], *, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> None:
    """Raise InvalidRequest with all of these; nothing happens without any."""
    found = list(problems)
    if not found:
        return
    shown = [{"pointer": it.pointer, "detail": it.detail} for it in found[:PROBLEMS_SHOWN]]
    raise InvalidRequest(found[0].detail, code=code, members={"errors": shown})


def _wrong_value(name: str, value: object, parameters: Mapping[str, Parameter]) -> Problem | None:
    if name not in parameters:
        return _at(name, "is not known here")
    if not isinstance(value, str):
        return _at(name, "must be a string")
    return None if is_text(value) else _at(name, "must not hold NUL or unpaired surrogates")


def _wrong_user_message(version: ResourceVersion, body: Mapping[str, Any]) -> Problem | None:
    if USER_MESSAGE not in body:
        return None
    if not version.allows_user_message:
        return _at(USER_MESSAGE, "is not allowed here")
    text = body[USER_MESSAGE]
    if not isinstance(text, str):
        return _at(USER_MESSAGE, "must be a string")
    return None if is_text(text) else _at(USER_MESSAGE, "must not hold NUL or unpaired surrogates")


NAME_SHOWN = 60


def _at(name: str, predicate: str) -> Problem:
    subject = name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…"
    return Problem(pointer=pointer_to(name), detail=f"{subject} {predicate}.")


def _user_message(body: Mapping[str, Any]) -> str | None:
    """A blank one is none: providers refuse an empty turn."""
    text: str = body.get(USER_MESSAGE, "")
    return text if text.strip() else None


def _refuse_too_long(version: ResourceVersion, inputs: Inputs) -> None:
    if version.system_prompt is None:
        return
    if rendered_bytes(version.system_prompt, inputs.values) > MAX_RENDERED_BYTES:
        detail = f"With these values the prompt has more than {MAX_RENDERED_BYTES} bytes."
        refuse([Problem(pointer="", detail=detail)])


def rendered_bytes(prompt: str, values: Mapping[str, str]) -> int:
    """The size in UTF-8 of what ``render`` would make, tags without value included; cheap."""
    counts = Counter(_TAG.findall(prompt))
    return len(prompt.encode()) + sum(
        count * len(values.get(name, "").encode()) for name, count in counts.items()
    )


def render(prompt: str, parameters: Iterable[Parameter], values: Mapping[str, str]) -> str:
    """Put the values where the tags of declared parameters are; without a value there is nothing.

    What is put in is not read again.
    """
    names = {parameter.name for parameter in parameters}

    def filled(tag: re.Match[str]) -> str:
        name = tag.group(1)
        return values.get(name, "") if name in names else tag.group(0)

    return _TAG.sub(filled, prompt)


def system_turn(version: ResourceVersion, inputs: Inputs) -> str:
    """The system turn of a run of a model type."""
    return render(version.system_prompt or "", declared(version), inputs.values)


def body_fields(version: ResourceVersion) -> dict[str, dict[str, Any]]:
    """What the body of a paid call holds, as a 402 tells it (``outputSchema.input.bodyFields``)."""
    fields = {
        it.name: {"type": "string", "required": it.required, "description": it.description}
        | ({} if it.default is None else {"default": it.default})
        for it in declared(version)
    }
    if version.allows_user_message:
        fields[USER_MESSAGE] = {
            "type": "string",
            "required": False,
            "description": "What is said to the model, in your own words.",
        }
    return fields
