"""Reading the evaluator: the model's word is not taken for the shape of its answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.llms import Answer, Stop
from services.jobs.evaluation import REASON_MAX_CHARACTERS, read_verdict


def _answer(text: str, stop: Stop = Stop.DONE) -> Answer:
    return Answer(text=text, stop=stop, input_tokens=10, output_tokens=10)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_verdict_is_read_as_it_was_given(accepted: bool) -> None:
    verdict = read_verdict(_answer(json.dumps({"accepted": accepted, "reason": "A good one."})))

    assert verdict is not None
    assert (verdict.accepted, verdict.reason) == (accepted, "A good one.")


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("rest", ["", '"', '"}'])
def test_a_verdict_that_was_cut_in_its_reason_is_one(accepted: bool, rest: str) -> None:
    """Or a request that makes the evaluator talk would have it for nothing."""
    text = json.dumps({"accepted": accepted, "reason": "Because of"})[:-2] + rest

    verdict = read_verdict(_answer(text, Stop.CUT))

    assert verdict is not None
    assert (verdict.accepted, verdict.reason) == (accepted, "Because of")


def test_a_verdict_counts_wherever_its_reason_was_cut() -> None:
    whole = json.dumps({"accepted": False, "reason": 'Say "no": \\ \u00fc \U0001f600 \n\t end.'})
    begun = whole.index("Say") + 1

    verdicts = [read_verdict(_answer(whole[:end], Stop.CUT)) for end in range(begun, len(whole))]

    assert {verdict.accepted for verdict in verdicts if verdict} == {False}
    assert None not in verdicts


@pytest.mark.parametrize(
    "text", ["", "{", '{"accepted": tr', '{"accepted": true', '{"accepted": true, "reason": "']
)
def test_what_was_cut_before_its_reason_is_unreadable(text: str) -> None:
    assert read_verdict(_answer(text, Stop.CUT)) is None


def test_a_refusal_of_the_provider_is_a_verdict_with_a_reason_of_ours() -> None:
    verdict = read_verdict(_answer("", Stop.REFUSED))

    assert verdict is not None
    assert verdict.accepted is False
    assert verdict.reason.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("Yes, gladly!", id="no JSON"),
        pytest.param('{"accepted": true, "reason": "Fi', id="cut in the middle"),
        pytest.param('{"accepted": "true", "reason": "x"}', id="a word instead of a boolean"),
        pytest.param('{"accepted": 1, "reason": "x"}', id="a number instead of a boolean"),
        pytest.param('{"accepted": null, "reason": "x"}', id="null"),
        pytest.param('{"accepted": true}', id="without a reason"),
        pytest.param('{"reason": "x"}', id="without a verdict"),
        pytest.param('{"accepted": true, "reason": ""}', id="an empty reason"),
        pytest.param('{"accepted": true, "reason": " \\n\\t "}', id="a blank reason"),
        pytest.param('{"accepted": true, "reason": "x", "price": 1}', id="a member more"),
        pytest.param('[{"accepted": true, "reason": "x"}]', id="a list"),
        pytest.param('```json\n{"accepted": true, "reason": "x"}\n```', id="in a fence"),
        pytest.param('{"accepted": true, "reason": "x"} and more', id="with words behind"),
    ],
)
def test_what_is_no_verdict_is_unreadable(text: str) -> None:
    assert read_verdict(_answer(text)) is None


def test_a_reason_is_one_line_of_bounded_length_without_nul() -> None:
    reason = "a\x00b\n\n  c " + "long " * 1000

    verdict = read_verdict(_answer(json.dumps({"accepted": False, "reason": reason})))

    assert verdict is not None
    assert verdict.reason.startswith("ab c long")
    assert len(verdict.reason) <= REASON_MAX_CHARACTERS


@given(
    text=st.text(max_size=60) | st.from_regex(r'\A\{"accepted": ?\w{1,5},? ?[^}]{0,20}\}?\Z'),
    stop=st.sampled_from(Stop),
)
@settings(max_examples=100)
def test_no_answer_whatever_raises(text: str, stop: Stop) -> None:
    read_verdict(_answer(text, stop))
