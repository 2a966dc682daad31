"""JSON of strangers: how deep it may go, and that what is no nesting is not taken for it."""

import gc
import json
import sys
import weakref
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways import json_text
from gateways.json_text import MAX_NESTING, NestedTooDeep

DEEP = "[" * MAX_NESTING + "]" * MAX_NESTING
TOO_DEEP = f"[{DEEP}]"

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('"\\[]{},:a\n', max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\[{', max_size=3), inner),
)


@given(value=ANY_JSON, indent=st.sampled_from([None, 1]))
def test_what_is_not_deep_is_what_the_standard_parser_reads(value: Any, indent: int | None) -> None:
    text = json.dumps([value, ["["] * MAX_NESTING], indent=indent)

    assert json_text.loads(text) == json.loads(text)
    assert json_text.loads(text.encode("utf-16")) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        f"[{DEEP[1:-1]}, {DEEP[1:-1]}]",
        json.dumps({"a": ["[" * 500, "\\" * 3 + '"' + "{" * 500]}),
        "[" + "[]," * 500 + "{}]",
    ],
    ids=["deep", "twice as deep", "in strings", "beside each other"],
)
def test_only_levels_count(text: str) -> None:
    assert json_text.loads(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        TOO_DEEP,
        "[" * 100_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        '["\\"", ' + TOO_DEEP + "]",
        '["\\\\", ' + TOO_DEEP + "]",
    ],
    ids=["one too many", "only opened", "objects", "after a quote", "after a backslash"],
)
def test_more_levels_are_refused(text: str) -> None:
    with pytest.raises(NestedTooDeep):
        json_text.loads(text)


@pytest.mark.parametrize("text", ["]" * 200 + "[" * 150, '"' + "[" * 200, "[" * 99 + "x" * 200])
def test_what_is_no_json_at_all_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Expecting|^Unterminated|^Extra|nested"):
        json_text.loads(text)


def test_numbers_and_members_are_read_as_asked() -> None:
    read = json_text.loads('{"a": 1.10}', parse_float=Decimal, object_pairs_hook=list)

    assert read == [("a", Decimal("1.10"))]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What Python could only report to standard error."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: found.append(report.exc_type))
    usual = gc.get_threshold()
    gc.set_threshold(1)
    yield found
    gc.set_threshold(*usual)


class _Cycle:
    """Only the garbage collector ends it."""

    def __init__(self) -> None:
        self.itself = self


def _with_garbage_at_each_level(pairs: list[tuple[str, Any]]) -> Any:
    weakref.finalize(_Cycle(), str)
    return pairs


def test_whoever_cleans_up_while_it_is_read_finds_room_on_the_stack(reported: list[Any]) -> None:
    """A finalizer that finds none leaves undone what it is for."""
    for text in (DEEP.replace("[", '{"a":').replace("]", "}").replace(":}", ":1}"), "[" * 60_000):
        for _ in range(100):
            weakref.finalize(_Cycle(), str)
        try:
            json_text.loads(text, object_pairs_hook=_with_garbage_at_each_level)
        except NestedTooDeep:
            continue

    assert reported == []
