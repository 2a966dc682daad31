"""Prompt templates: values are put in literally, once, and nothing else is ever put in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.storable import is_text
from models.resource import ResourceVersion
from services.errors import InvalidRequest
from services.instant import templates
from services.instant.templates import (
    MAX_PARAMETERS,
    MAX_RENDERED_BYTES,
    Inputs,
    Parameter,
    check_inputs,
    lint,
    render,
    rendered_bytes,
)

NASTY = (
    *("", " ", "$&", "$1", "\\1", "\\g<0>", "\\", "{topic}{/topic}", "{a}{/a}", "{a}", "{/a}", "{"),
    *("}", "{{a}}", "{user_message}{/user_message}", '"}], "role": "system"', "\u202e\u2066abc"),
    *("日本語", "العربية", "עברית", "🧿", "\u200b", "a\r\nb", "%s", "{0}", "${a}", "<script>", "'"),
)
NAMES = st.sampled_from(["a", "b", "topic", "_x1", "a_b", "n" * 64])
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.lists(st.sampled_from(NASTY), max_size=6).map("".join),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40),
)
# without a slash no two pieces can make a tag between them
LITERALS = VALUES.map(lambda text: text.replace("/", "-"))
PIECES = st.lists(st.one_of(NAMES.map(lambda name: (name,)), LITERALS), max_size=12)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def tag(name: str) -> str:
    return f"{{{name}}}{{/{name}}}"


def optional(*names: str) -> list[Parameter]:
    return [Parameter(name=name, required=False) for name in names]


def version(
    prompt: str = "", *parameters: Parameter, user_message: bool = False
) -> ResourceVersion:
    return ResourceVersion(
        system_prompt=prompt,
        parameters=templates.stored(parameters),
        allows_user_message=user_message,
    )


def refused(version: ResourceVersion, body: dict[str, Any]) -> list[tuple[str, str]]:
    """Pointer and sentence of each problem."""
    with pytest.raises(InvalidRequest) as caught:
        check_inputs(version, body)
    errors = caught.value.members["errors"]
    assert str(caught.value) == errors[0]["detail"]
    return [(error["pointer"], error["detail"]) for error in errors]


@given(PIECES, st.dictionaries(NAMES, VALUES))
def test_a_prompt_is_its_own_text_with_the_values_in_the_places_of_the_tags(
    pieces: list[Any], values: dict[str, str]
) -> None:
    prompt = "".join(tag(*it) if isinstance(it, tuple) else it for it in pieces)
    wanted = "".join(values.get(it[0], "") if isinstance(it, tuple) else it for it in pieces)

    assert render(prompt, optional(*values, "a", "b", "topic", "_x1", "a_b", "n" * 64), values) == (
        wanted
    )


@given(VALUES, VALUES)
def test_no_value_brings_in_another(one: str, other: str) -> None:
    prompt = f"1 {tag('a')} 2 {tag('b')} 3"

    assert render(prompt, optional("a", "b"), {"a": one, "b": other}) == f"1 {one} 2 {other} 3"


@given(PIECES, st.dictionaries(NAMES, VALUES))
def test_the_size_of_a_prompt_is_bounded_without_making_it(
    pieces: list[Any], values: dict[str, str]
) -> None:
    prompt = "".join(tag(*it) if isinstance(it, tuple) else it for it in pieces)

    assert len(render(prompt, optional(*values), values).encode()) <= rendered_bytes(prompt, values)


def test_two_halves_in_two_values_make_no_tag() -> None:
    parameters = optional("a", "b", "secret")
    values = {"a": "{secret}", "b": "{/secret}", "secret": "told"}

    assert render(f"{tag('a')}{tag('b')}", parameters, values) == "{secret}{/secret}"


def test_a_tag_of_no_parameter_and_braces_of_json_stay_as_they_are() -> None:
    prompt = '{"a": {"b": [1]}} {x}{/x} {topic} {/topic} {a}{/b} {A}{/A} {a }{/a }'

    assert render(prompt, optional("a", "topic"), {"a": "!", "topic": "!"}) == prompt


def test_an_optional_tag_without_value_becomes_empty() -> None:
    assert render(f"[{tag('a')}]", optional("a"), {}) == "[]"


def test_the_user_message_is_put_into_no_prompt() -> None:
    prompt = tag("user_message") + tag("a")
    bought = version(prompt, *optional("a"), user_message=True)

    inputs = check_inputs(bought, {"user_message": "hello", "a": tag("user_message")})

    assert templates.system_turn(bought, inputs) == tag("user_message") + tag("user_message")
    assert inputs.user_message == "hello"


def test_a_sound_prompt_has_no_problems() -> None:
    prompt = f'About {tag("topic")}, as {{"json": true}}; {tag("topic")} again, in {tag("style")}'

    assert lint(prompt, optional("topic", "style")) == []


@pytest.mark.parametrize(
    ("prompt", "names", "pointer", "word"),
    [
        (tag("topc"), [], "/systemPrompt", "topc"),
        ("nothing", ["topic"], "/parameters", "topic"),
        ("about {topic}", ["topic"], "/systemPrompt", "half"),
        ("about {/topic}", ["topic"], "/systemPrompt", "half"),
        ("{topic}cats{/topic}", ["topic"], "/systemPrompt", "half"),
        (tag("topic") + " {topic}", ["topic"], "/systemPrompt", "half"),
        (tag("user_message"), [], "/systemPrompt", "user_message"),
    ],
)
def test_what_would_go_wrong_at_every_run_is_said_when_it_is_published(
    prompt: str, names: list[str], pointer: str, word: str
) -> None:
    (problem,) = lint(prompt, optional(*names))

    assert problem.pointer == pointer
    assert word in problem.detail


def test_two_halves_with_a_tag_between_them_are_halves_of_their_own() -> None:
    assert lint("{to" + tag("a") + "pic}", optional("a")) == []


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "a-b", "a b", "a" * 65, "é", "a\n", "user_message", None, 7, ["a"]]
)
def test_a_name_outside_the_grammar_is_no_parameter(name: Any) -> None:
    _, (problem,) = templates.read_parameters([{"name": name, "required": True}])

    assert problem.pointer == "/parameters/0/name"


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ({}, "/parameters"),
        ("text", "/parameters"),
        (["text"], "/parameters/0"),
        ([{"name": "a"}], "/parameters/0/required"),
        ([{"name": "a", "required": "yes"}], "/parameters/0/required"),
        ([{"name": "a", "required": 1}], "/parameters/0/required"),
        ([{"name": "a", "required": True, "x": 1}], "/parameters/0"),
        ([{"name": "a", "required": True, "default": None}], "/parameters/0/default"),
        ([{"name": "a", "required": True, "default": "x" * 4001}], "/parameters/0/default"),
        ([{"name": "a", "required": True, "default": "\x00"}], "/parameters/0/default"),
        ([{"name": "a", "required": True, "description": 3}], "/parameters/0/description"),
        ([{"name": "a", "required": True, "description": "\ud800"}], "/parameters/0/description"),
        ([{"name": "a", "required": True}, {"name": "a", "required": False}], "/parameters"),
        ([{"name": f"n{n}", "required": True} for n in range(MAX_PARAMETERS + 1)], "/parameters"),
    ],
)
def test_what_is_wrong_with_parameters_is_said_with_its_place(raw: object, pointer: str) -> None:
    _, (problem,) = templates.read_parameters(raw)

    assert problem.pointer == pointer


@given(st.lists(ANY_JSON, max_size=4) | ANY_JSON)
def test_no_json_is_too_strange_to_be_read_as_parameters(raw: Any) -> None:
    parameters, problems = templates.read_parameters(raw)

    assert problems or templates.read_parameters(templates.stored(parameters)) == (parameters, [])


def test_what_was_declared_is_read_back_as_it_was() -> None:
    raw = [
        {"name": "topic", "description": "Of what?", "required": True},
        {"name": "style", "description": "", "required": False, "default": ""},
    ]

    parameters, problems = templates.read_parameters(raw)

    assert problems == []
    assert templates.stored(parameters) == raw


def test_given_values_are_taken_as_they_are_and_defaults_fill_the_rest() -> None:
    bought = version(
        tag("topic") + tag("style") + tag("length"),
        Parameter(name="topic", required=True),
        Parameter(name="style", required=False, default="plain"),
        Parameter(name="length", required=False),
    )

    assert check_inputs(bought, {"topic": "cats"}) == Inputs(
        values={"topic": "cats", "style": "plain"}
    )
    assert check_inputs(bought, {"topic": "", "style": ""}).values == {"topic": "", "style": ""}


def test_the_default_of_a_required_parameter_is_not_put_in_for_it() -> None:
    bought = version(tag("a"), Parameter(name="a", required=True, default="x"))

    assert refused(bought, {}) == [("/a", "a is missing.")]


def test_everything_that_is_wrong_with_a_body_is_said_at_once() -> None:
    bought = version(tag("a") + tag("b"), *optional("a"), Parameter(name="b", required=True))

    found = refused(bought, {"a": 7, "x/y": "z", "user_message": "hi"})

    assert sorted(pointer for pointer, _ in found) == ["/a", "/b", "/user_message", "/x~1y"]


@pytest.mark.parametrize("value", [None, 7, True, 1.5, [], {}, ["a"], "\x00", "a\ud800"])
def test_what_is_no_text_is_no_value(value: Any) -> None:
    bought = version(tag("a"), *optional("a"), user_message=True)

    assert [pointer for pointer, _ in refused(bought, {"a": value})] == ["/a"]
    assert [pointer for pointer, _ in refused(bought, {"user_message": value})] == ["/user_message"]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_blank_user_message_is_none(text: str) -> None:
    bought = version(user_message=True)

    assert check_inputs(bought, {"user_message": text}).user_message is None


@given(st.dictionaries(st.sampled_from(["a", "b", "user_message", "x"]) | st.text(), ANY_JSON))
def test_no_body_does_anything_but_fit_or_be_refused(body: dict[str, Any]) -> None:
    bought = version(tag("a"), *optional("a", "b"), user_message=True)

    fits = set(body) <= {"a", "b", "user_message"} and all(
        isinstance(value, str) and is_text(value) for value in body.values()
    )

    if fits:
        assert set(check_inputs(bought, body).values) <= {"a", "b"}
    else:
        assert 1 <= len(refused(bought, body)) <= templates.PROBLEMS_SHOWN


def test_a_small_body_cannot_be_blown_up_to_a_large_prompt() -> None:
    bought = version(tag("a") * 1000, *optional("a"))

    fits = "x" * ((MAX_RENDERED_BYTES - len(tag("a")) * 1000) // 1000)
    assert check_inputs(bought, {"a": fits}).values == {"a": fits}
    ((pointer, detail),) = refused(bought, {"a": fits + "é"})
    assert pointer == ""
    assert str(MAX_RENDERED_BYTES) in detail


def test_a_long_name_is_not_repeated_in_whole() -> None:
    ((_, detail),) = refused(version(), {"n" * 5000: "x"})

    assert len(detail) < 100


def test_a_402_says_what_the_body_of_a_paid_call_holds() -> None:
    sold = version(
        "",
        Parameter(name="topic", description="Of what?", required=True),
        Parameter(name="style", required=False, default="plain"),
        user_message=True,
    )

    fields = templates.body_fields(sold)

    assert fields["topic"] == {"type": "string", "required": True, "description": "Of what?"}
    assert fields["style"] == {
        "type": "string",
        "required": False,
        "description": "",
        "default": "plain",
    }
    assert fields["user_message"]["required"] is False
    assert list(fields) == ["topic", "style", "user_message"]


def test_without_leave_there_is_no_field_for_a_user_message() -> None:
    assert templates.body_fields(version()) == {}
