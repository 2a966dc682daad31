"""JSON of strangers: nested no deeper than anybody needs.

The standard parser follows the nesting with the stack and stops at Python's limit. Whatever else
runs there finds no stack either: a finalizer that the garbage collector calls then, of a pooled
connection say, is cut off and only reported to standard error.
"""

import json
import re
from collections.abc import Callable
from typing import Any

MAX_NESTING = 100
"""Levels of arrays and objects."""
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


class NestedTooDeep(ValueError):
    """It has more than ``MAX_NESTING`` levels."""


def loads(
    text: str | bytes,
    *,
    parse_float: Callable[[str], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """As ``json.loads``, and NestedTooDeep, a ValueError, before anything is parsed."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    if text.count("[") + text.count("{") > MAX_NESTING and _is_too_deep(text):
        raise NestedTooDeep(f"it is nested deeper than {MAX_NESTING} levels")
    return json.loads(
        text,
        parse_float=parse_float,
        parse_constant=parse_constant,
        object_pairs_hook=object_pairs_hook,
    )


def _is_too_deep(text: str) -> bool:
    """Whether a parser might follow it too deep; of what is no JSON it may say so for nothing."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > MAX_NESTING:
                return True
        elif found[0] in "]}":
            depth -= 1
    return False
