"""A nudge makes us look sooner, and never more than that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from config.queues import EVERY, TaskName
from models.database import Database
from models.invoice import InvoiceKind
from models.lifecycle import JobState
from models.tick import Tick
from services.operate import ticks
from tests.support.life import Life


@pytest.fixture(autouse=True)
def _rests_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests for an hour: a machine that stands still for seconds makes it due no sooner."""
    monkeypatch.setitem(EVERY, TaskName.POLL_PAYMENTS, timedelta(hours=1))
    monkeypatch.setattr(ticks, "TICK_LEASE", timedelta(hours=2))  # longer than a rest, as it is


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


def test_given_a_poll_that_is_due_and_not_rung_for_then_a_nudge_rings_for_it(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that took long is due soon after it ended; beat may not ring for it for two seconds."""
    monkeypatch.setattr(ticks, "HURRY_AT_MOST_EVERY", timedelta(minutes=1))
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    with life.tools.database.transaction("test.overdue") as session:
        ended, due = (func.now() - timedelta(minutes=minutes) for minutes in (10, 5))
        session.execute(update(Tick).values(ran_at=ended, due_at=due))

    assert ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)
    assert not ticks.hurry(life.tools, TaskName.POLL_PAYMENTS), "twice a second at most"
    assert list(life.doorbell.rung) == [(TaskName.POLL_PAYMENTS, None)]


def test_given_a_poll_that_has_just_run_then_a_nudge_changes_nothing(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(milliseconds=500) == ticks.HURRY_AT_MOST_EVERY
    monkeypatch.setattr(ticks, "HURRY_AT_MOST_EVERY", timedelta(minutes=1))
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)

    assert not ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)
    assert not life.doorbell.rung


def test_given_a_poll_under_way_then_a_nudge_starts_no_second_one(life: Life) -> None:
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    _finished(life, timedelta(hours=2))
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


class _BegunTooEarly:
    """A database whose transactions take their time from before ``meanwhile`` happens."""

    def __init__(self, database: Database, meanwhile: Callable[[], object]) -> None:
        self._database = database
        self._meanwhile = meanwhile

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        with self._database.transaction(name) as session:
            session.execute(select(func.now()))
            self._meanwhile()
            yield session


def test_given_two_nudges_at_once_then_only_one_of_them_rings(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "HURRY_AT_MOST_EVERY", timedelta(minutes=1))
    ticks.run(life.tools, TaskName.POLL_PAYMENTS)
    _finished(life, timedelta(minutes=2))

    def nudge() -> bool:
        return ticks.hurry(life.tools, TaskName.POLL_PAYMENTS)

    other = life.tools.with_(database=_BegunTooEarly(life.tools.database, nudge))

    assert not ticks.hurry(other, TaskName.POLL_PAYMENTS)
    assert list(life.doorbell.rung) == [(TaskName.POLL_PAYMENTS, None)]
