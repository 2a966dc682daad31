"""The states of a job and the moves between them: those of CONTRACT.md section 1, no others."""

from collections import Counter

import pytest

from models.lifecycle import (
    ARROWS,
    AWAITING,
    FINAL,
    WORKING,
    JobEvent,
    JobState,
    NoSuchMove,
    target_of,
)

# from, on, to: as the table of the contract says, one row after the other
CONTRACT = {
    (None, "created", "awaiting_eval_payment"),
    ("awaiting_eval_payment", "eval_paid", "evaluating"),
    ("evaluating", "accepted", "awaiting_work_payment"),
    ("evaluating", "declined", "rejected"),
    ("awaiting_work_payment", "work_paid", "executing"),
    ("executing", "delivered", "complete"),
    ("evaluating", "gave_up", "failed"),
    ("executing", "gave_up", "failed"),
    ("awaiting_eval_payment", "lapsed", "expired"),
    ("awaiting_work_payment", "lapsed", "expired"),
    ("awaiting_eval_payment", "cancelled", "expired"),
    ("awaiting_work_payment", "cancelled", "expired"),
    ("expired", "eval_paid", "evaluating"),
    ("expired", "work_paid", "executing"),
}
FOR_GOOD = {"rejected", "complete", "failed"}


def test_the_arrows_are_those_of_the_contract() -> None:
    drawn = {
        (arrow.source and arrow.source.value, arrow.event.value, arrow.target.value)
        for arrow in ARROWS
    }

    assert drawn == CONTRACT


def test_the_states_are_those_of_the_contract() -> None:
    assert {state.value for state in JobState} == {
        state for source, _, target in CONTRACT for state in (source, target) if state
    }


def test_an_event_leads_from_a_state_to_one_state_only() -> None:
    counted = Counter((arrow.source, arrow.event) for arrow in ARROWS)

    assert max(counted.values()) == 1


@pytest.mark.parametrize("state", sorted(AWAITING | WORKING))
def test_every_state_that_is_not_final_has_a_way_out_even_when_nothing_good_happens(
    state: JobState,
) -> None:
    bad_ends = {JobEvent.LAPSED, JobEvent.GAVE_UP}

    assert any(arrow.source is state and arrow.event in bad_ends for arrow in ARROWS)


def test_nothing_leaves_a_final_state_but_money_that_revives_an_expired_job() -> None:
    assert {state.value for state in FINAL} == FOR_GOOD | {"expired"}
    leaving = {arrow.event for arrow in ARROWS if arrow.source in FINAL}
    assert leaving == {JobEvent.EVAL_PAID, JobEvent.WORK_PAID}


def test_every_state_can_be_reached() -> None:
    reached: set[JobState | None] = {None}
    for _ in JobState:
        reached |= {arrow.target for arrow in ARROWS if arrow.source in reached}

    assert reached == {None, *JobState}


@pytest.mark.parametrize("event", list(JobEvent))
@pytest.mark.parametrize("state", [None, *JobState])
def test_target_of_knows_the_arrows_and_refuses_everything_else(
    state: JobState | None, event: JobEvent
) -> None:
    expected = [target for source, on, target in CONTRACT if (source, on) == (state, event.value)]

    if expected:
        assert [target_of(state, event).value] == expected
    else:
        with pytest.raises(NoSuchMove):
            target_of(state, event)
