"""The kinds of values that cross the wire."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import simplejson
from marshmallow import Schema, fields
from marshmallow.fields import Field

from app import context
from config.settings import Settings

# JSON Schema's \S and Python's str.strip() disagree on some controls: one class, in both places.
NOT_BLANK = r"[^\s\u001c-\u001f\u0085\ufeff]"
_HAS_TEXT = re.compile(NOT_BLANK)


def camel_case(name: str) -> str:
    """``job_id`` → ``jobId``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class CamelSchema(Schema):
    """snake_case here, camelCase on the wire. Unknown members of a body are an error."""

    def on_bind_field(self, field_name: str, field_obj: Field[Any]) -> None:
        field_obj.data_key = camel_case(field_obj.data_key or field_name)


class UsdField(fields.Decimal):
    """Dollars: an exact decimal, on the wire a JSON number in plain digits."""

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        if value is None:
            return None
        digits = format(value, "f")
        shown = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return simplejson.RawJSON(shown)


class InstantField(fields.AwareDateTime):
    """An instant: ISO 8601 in UTC with ``Z``."""

    def _serialize(
        self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PlainText(fields.String):
    """Text that PostgreSQL and UTF-8 can hold: no NUL, no half of a surrogate pair."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text is None or "\x00" in text or not _is_encodable(text):
            raise self.make_error("invalid_utf8")
        return text


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class RequestText(PlainText):
    """What a caller wants done: not blank, and at most as long as the named setting allows."""

    default_error_messages = {
        "blank": "Must not be blank.",
        "too_long": "Must be at most {limit} characters.",
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
