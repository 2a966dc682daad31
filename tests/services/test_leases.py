"""Rows that a process holds: kept while it works, lost to who takes over, let go when put off."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import ProgrammingError

from models import due
from models.attempt import Step
from models.job import Job
from models.tick import Tick
from services.jobs import steps
from services.jobs.steps import Assignment
from services.leases import Leases
from services.operate.ticks import TICK_LEASE
from tests.support import rows
from tests.support.life import Life
from workers import heartbeat

LONG = timedelta(minutes=10)
"""Longer than the lease that a claim begins with."""


def _take(life: Life, job_id: int) -> Assignment:
    taken = steps.take(life.tools, job_id, Step.EVALUATE, model="m", prompt_version="p@1")
    assert taken is not None
    return taken


def test_a_row_that_is_held_stays_ours_however_long_the_call_takes(life: Life) -> None:
    view, leases = life.evaluating(), Leases(timedelta(seconds=60))
    claim = _take(life, view.job.id).claim

    with leases.hold(Job, view.job.id, claim):
        for _ in range(3):
            rows.let_pass(life.tools, Job, timedelta(seconds=45))
            assert leases.renew(life.tools.database) == 1

    assert rows.due_in(life.tools, Job) > timedelta(seconds=50)


def test_a_row_that_is_held_no_longer_is_not_renewed(life: Life) -> None:
    view, leases = life.evaluating(), Leases(LONG)
    with leases.hold(Job, view.job.id, _take(life, view.job.id).claim):
        pass

    assert leases.renew(life.tools.database) == 0
    assert rows.due_in(life.tools, Job) <= life.tools.settings.lease


def test_a_table_that_cannot_be_written_costs_no_other_its_rows(life: Life) -> None:
    view, leases = life.evaluating(), Leases(timedelta(seconds=60))
    claim = _take(life, view.job.id).claim
    rows.let_pass(life.tools, Job, timedelta(seconds=45))

    no_name_of_a_duty = 7
    with (
        leases.hold(Job, view.job.id, claim),
        leases.hold(Tick, no_name_of_a_duty, 1, lease=TICK_LEASE),
        pytest.raises(ProgrammingError),
    ):
        leases.renew(life.tools.database)

    assert rows.due_in(life.tools, Job) > timedelta(seconds=50)


def test_a_row_that_was_taken_over_is_lost_and_its_lease_is_not_touched(life: Life) -> None:
    view, leases = life.evaluating(), Leases(LONG)
    with leases.hold(Job, view.job.id, _take(life, view.job.id).claim):
        life.make_due()
        _take(life, view.job.id)

        assert leases.renew(life.tools.database) == 0

    assert rows.due_in(life.tools, Job) <= life.tools.settings.lease


def test_a_row_that_ended_is_lost(life: Life) -> None:
    view, leases = life.evaluating("REJECT"), Leases(timedelta(seconds=60))
    claim = view.job.claim + 1
    with leases.hold(Job, view.job.id, claim):
        life.work()

        assert leases.renew(life.tools.database) == 0

    assert life.view(view).job.due_at is None


def test_a_row_that_was_put_off_is_not_brought_back_by_a_heartbeat(life: Life) -> None:
    """The hold ends a moment after that; a provider's Retry-After must survive it."""
    view, leases = life.evaluating(), Leases(timedelta(seconds=60))
    claim = _take(life, view.job.id).claim
    with leases.hold(Job, view.job.id, claim):
        with life.tools.database.transaction("test.put_off") as session:
            assert due.put_off(session, Job, view.job.id, claim, delay=timedelta(minutes=5))
        leases.renew(life.tools.database)

    assert rows.due_in(life.tools, Job) > timedelta(minutes=4)


def test_a_row_that_was_taken_over_cannot_be_put_off_by_its_old_holder(life: Life) -> None:
    view = life.evaluating()
    old = _take(life, view.job.id).claim
    life.make_due()
    _take(life, view.job.id)

    with life.tools.database.transaction("test.put_off") as session:
        assert not due.put_off(session, Job, view.job.id, old, delay=timedelta(hours=1))

    assert rows.due_in(life.tools, Job) <= life.tools.settings.lease


@pytest.mark.parametrize("seconds", [4, 15, 60, 300])
def test_the_heart_beats_four_times_in_the_shortest_of_all_leases(seconds: int) -> None:
    shortest = min(timedelta(seconds=seconds), TICK_LEASE)

    assert heartbeat.interval(timedelta(seconds=seconds)) * 4 <= shortest


def test_an_idle_process_renews_nothing_and_asks_nothing(life: Life) -> None:
    assert Leases(timedelta(seconds=60)).renew(life.tools.database) == 0
