"""What PostgreSQL and UTF-8 can hold: text without NUL and without halves of surrogate pairs."""

from decimal import Decimal
from typing import Any


def is_text(text: str) -> bool:
    """Whether it can be stored as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def as_storable(value: Any) -> Any:
    """Parsed JSON made fit to store: what no text may hold is replaced, fractions become text."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {as_storable(key): as_storable(member) for key, member in value.items()}
    if isinstance(value, list):
        return [as_storable(member) for member in value]
    return str(value) if isinstance(value, Decimal) else value
