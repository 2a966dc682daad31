"""What cannot be had again is written down as soon as the database takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from local.stand_in.faults import Fault, FaultKind
from models.attempt import Attempt, AttemptOutcome
from models.database import Database
from models.lifecycle import JobState
from services.jobs import execution
from services.recording import LONGEST_PAUSE, insist
from tests.support import rows
from tests.support.life import Life

MINUTE = timedelta(minutes=1)


def away() -> OperationalError:
    return OperationalError("COMMIT", {}, Exception("the server closed the connection"))


class _PassingTime:
    """Time passes when somebody waits, and only then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


def test_it_is_tried_until_the_database_is_back() -> None:
    time = _PassingTime()

    def record() -> str:
        if time.now < 10:
            raise away()
        return "written"

    assert insist(record, for_long=MINUTE, clock=lambda: time.now, pause=time.wait) == "written"
    assert max(time.pauses) <= LONGEST_PAUSE.total_seconds() * 1.25


def test_when_the_time_is_up_the_trouble_is_told() -> None:
    time = _PassingTime()

    def record() -> None:
        raise away()

    with pytest.raises(OperationalError):
        insist(record, for_long=MINUTE, clock=lambda: time.now, pause=time.wait)

    assert 60 <= time.now <= 63


def test_a_defect_is_not_taken_for_trouble_of_the_database() -> None:
    time = _PassingTime()

    with pytest.raises(ZeroDivisionError):
        insist(lambda: 1 / 0, for_long=MINUTE, clock=lambda: time.now, pause=time.wait)

    assert time.pauses == []


class _Stumbling:
    """A database that breaks off once, before or after the commit of one kind of transaction."""

    def __init__(self, database: Database, name: str, *, is_committed: bool) -> None:
        self._database = database
        self._name: str | None = name
        self._is_committed = is_committed

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        stumbles = name == self._name
        if stumbles:
            self._name = None
        with self._database.transaction(name) as session:
            yield session
            if stumbles and not self._is_committed:
                raise away()
        if stumbles:
            raise away()


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "rolled back"])
def test_given_a_database_that_breaks_off_when_an_answer_is_stored_then_it_is_not_asked_for_again(
    life: Life, is_committed: bool
) -> None:
    view = life.executing()
    database = _Stumbling(life.tools.database, "attempts.answered", is_committed=is_committed)

    execution.execute(life.tools.with_(database=database), view.job.id)

    assert life.state(view) is JobState.COMPLETE
    outcomes = [attempt.outcome for attempt in rows.all_of(life.tools, Attempt)]
    assert outcomes == [AttemptOutcome.ANSWERED] * 2


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "rolled back"])
def test_given_a_database_that_breaks_off_when_a_failed_call_is_journalled_then_it_counts_once(
    life: Life, is_committed: bool
) -> None:
    view = life.executing()
    life.stand_in.arm(Fault(target="anthropic", kind=FaultKind.STATUS, status=529))
    database = _Stumbling(life.tools.database, "attempts.failed", is_committed=is_committed)

    execution.execute(life.tools.with_(database=database), view.job.id)

    outcomes = [attempt.outcome for attempt in rows.all_of(life.tools, Attempt)]
    assert outcomes == [AttemptOutcome.ANSWERED, AttemptOutcome.UNAVAILABLE]
    life.make_due()
    life.work()
    assert life.state(view) is JobState.COMPLETE
