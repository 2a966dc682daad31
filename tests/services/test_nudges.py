"""A nudge makes us look sooner, and never more than that."""

from datetime import timedelta

from sqlalchemy import func, update

from config.queues import TaskName
from models.invoice import InvoiceKind
from models.lifecycle import JobState
from models.tick import Tick
from services.operate import ticks
from tests.support.life import Life


def _finished(life: Life, ago: timedelta) -> None:
    """Let the last poll have ended so long ago."""
    with life.tools.database.transaction("test.finished") as session:
        session.execute(update(Tick).values(ran_at=func.now() - ago, due_at=Tick.due_at - ago))


def test_given_a_poll_that_rests_when_lnbits_nudges_then_the_next_one_is_due_at_once(
    life: Life,
) -> None:
    view = life.create()
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    _finished(life, timedelta(milliseconds=600))
    life.pay(view, InvoiceKind.EVAL)

    assert ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)
    assert (TaskName.POLL_PAYMENTS, None) in life.doorbell.rung
    assert ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    assert life.state(view) is JobState.EVALUATING


def test_given_a_poll_that_has_just_run_then_a_nudge_changes_nothing(life: Life) -> None:
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)

    assert not ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)
    assert not life.doorbell.rung


def test_given_a_poll_under_way_then_a_nudge_starts_no_second_one(life: Life) -> None:
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    _finished(life, timedelta(seconds=3))
    ticks._claim(life.tools, TaskName.POLL_PAYMENTS)

    assert not ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)


def test_given_a_poll_that_was_turned_away_then_a_nudge_does_not_shorten_its_rest(
    life: Life,
) -> None:
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    _finished(life, timedelta(seconds=1))
    with life.tools.database.transaction("test.turned_away") as session:
        session.execute(
            update(Tick).values(last_error="http_429", due_at=func.now() + timedelta(seconds=5))
        )

    assert not ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)
