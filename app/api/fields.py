"""The kinds of values that cross the wire."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import simplejson
from marshmallow import Schema, ValidationError, fields, validate
from marshmallow.fields import Field

from app import context
from config.settings import Settings
from gateways.storable import is_text

# JSON Schema's \S and Python's str.strip() disagree on some controls: one class, in both places.
NOT_BLANK = r"[^\s\u001c-\u001f\u0085\ufeff]"
_HAS_TEXT = re.compile(NOT_BLANK)


def camel_case(name: str) -> str:
    """``job_id`` → ``jobId``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class CamelSchema(Schema):
    """snake_case here, camelCase on the wire. Unknown members of a body are an error.

    Messages are predicates: ``app.bodies`` puts the member's name before them.
    """

    error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "unknown": "is not known here",
        "type": "must be a JSON object",
    }

    def on_bind_field(self, field_name: str, field_obj: Field[Any]) -> None:
        field_obj.data_key = camel_case(field_obj.data_key or field_name)


def choice(values: Any, **kwargs: Any) -> fields.String:
    """One of these words."""
    words = [str(value) for value in values]
    messages = {
        "required": "is missing",
        "null": "must be a string, not null",
        "invalid": "must be a string",
        **kwargs.pop("error_messages", {}),
    }
    return fields.String(
        validate=validate.OneOf(words, error="must be one of {choices}"),
        error_messages=messages,
        **kwargs,
    )


def matching(pattern: str, *, error: str, description: str, **kwargs: Any) -> fields.String:
    """Text that fits as a whole; the document says so as JSON Schema would (no ``\\A`` there)."""
    return fields.String(
        validate=validate.Regexp(rf"\A{pattern}\Z", re.ASCII, error=error),
        metadata={"pattern": f"^{pattern}$", "description": description},
        **kwargs,
    )


class UsdField(fields.Decimal):
    """Dollars: an exact decimal, on the wire a JSON number in plain digits."""

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        if value is None:
            return None
        digits = format(value, "f")
        shown = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return simplejson.RawJSON(shown)


class InstantField(fields.AwareDateTime):
    """An instant in ISO 8601, shown in UTC with ``Z``. PostgreSQL would refuse odd offsets."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> datetime:
        instant = super()._deserialize(value, attr, data, **kwargs)
        try:
            return instant.astimezone(UTC)
        except OverflowError:  # a few hours before the year 1, or after 9999
            return instant.replace(tzinfo=UTC)

    def _serialize(
        self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PlainText(fields.String):
    """Text that PostgreSQL and UTF-8 can hold: no NUL, no half of a surrogate pair."""

    default_error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "required": "is missing",
        "null": "must be a string, not null",
        "invalid": "must be a string",
        "not_text": "must not hold NUL characters or unpaired surrogates",
    }

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text is None or not is_text(text):
            raise self.make_error("not_text")
        return text


def has_text(text: str) -> bool:
    """Whether there is more in it than white space."""
    return _HAS_TEXT.search(text) is not None


class RequestText(PlainText):
    """What a caller wants done: not blank, and at most as long as the named setting allows."""

    default_error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "blank": "must not be blank",
        "too_long": "must have at most {limit} characters",
    }

    def __init__(self, *, limit_setting: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit_setting = limit_setting

    def limit(self, settings: Settings) -> int:
        return int(getattr(settings, self.limit_setting))

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        limit = self.limit(context.tools().settings)
        if len(text) > limit:
            raise self.make_error("too_long", limit=limit)
        if not _HAS_TEXT.search(text):
            raise self.make_error("blank")
        return text


class TextPairs(fields.Dict):
    """An object of a few strings, kept for the caller and never looked at."""

    PAIRS = 16
    NAME_CHARACTERS = 64
    VALUE_CHARACTERS = 500

    default_error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "null": "must be an object of strings, not null",
        "invalid": "must be an object of strings",
        "too_many": f"must have at most {PAIRS} members",
        "name": f"must have a name of 1 to {NAME_CHARACTERS} characters, without NUL",
        "value": f"must be a string of at most {VALUE_CHARACTERS} characters, without NUL",
    }

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        pairs: dict[str, Any] = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        if len(pairs) > self.PAIRS:
            raise self.make_error("too_many")
        problems = {name: found for name, text in pairs.items() if (found := self._why(name, text))}
        if problems:
            raise ValidationError(problems)
        return pairs

    def _why(self, name: str, text: Any) -> list[Any]:
        """What is wrong with a pair."""
        if not (1 <= len(name) <= self.NAME_CHARACTERS and is_text(name)):
            return [self.error_messages["name"]]
        is_fine = isinstance(text, str) and len(text) <= self.VALUE_CHARACTERS and is_text(text)
        return [] if is_fine else [self.error_messages["value"]]


class JobStateField(Field[str]):
    """A job's state; the document refers to the schema ``JobState``."""
