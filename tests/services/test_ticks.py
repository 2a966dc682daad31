"""Duties that come round: once at a time, slower in trouble, and never lost with a worker."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy.exc import OperationalError

from config.queues import EVERY, TaskName
from gateways.errors import OutsideError, Refused, Unavailable
from local.stand_in.faults import Fault
from models.invoice import InvoiceKind
from models.lifecycle import JobState
from models.tick import Tick
from services.leases import Leases
from services.operate import ticks
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.life import Life

POLL = TaskName.POLL_PAYMENTS


@pytest.fixture
def rests_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests for an hour: a machine that stands still for seconds makes it due no sooner."""
    monkeypatch.setitem(EVERY, POLL, timedelta(hours=1))
    monkeypatch.setattr(ticks, "TICK_LEASE", timedelta(hours=2))


def _fault(**details: object) -> Fault:
    return Fault.model_validate({"target": "lnbits.feed", "kind": "status", **details})


def _tick(life: Life) -> Tick:
    tick: Tick = rows.only(life.tools, Tick)
    return tick


def _later(life: Life, name: TaskName = POLL, after: timedelta = timedelta(seconds=10)) -> bool:
    rows.let_pass(life.tools, Tick, after)
    return ticks.run(life.tools, name)


def test_every_duty_that_comes_round_is_known_here() -> None:
    assert set(ticks.DUTIES) == set(EVERY)


@pytest.mark.usefixtures("rests_long")
def test_a_duty_runs_when_its_time_has_come_and_not_before(life: Life) -> None:
    assert ticks.run(life.tools, POLL) is True
    assert ticks.run(life.tools, POLL) is False

    due_in = rows.due_in(life.tools, Tick)
    assert timedelta(0) < due_in <= EVERY[POLL]
    assert _later(life, after=due_in) is True


def test_a_finished_run_is_on_record(life: Life) -> None:
    ticks.run(life.tools, POLL)

    tick = _tick(life)
    assert (tick.name, tick.last_error) == ("payments.poll", None)
    assert tick.ran_at is not None


def test_a_duty_does_what_it_is_for(life: Life) -> None:
    view = life.create()
    life.pay(view, InvoiceKind.EVAL)

    ticks.run(life.tools, POLL)

    assert life.state(view) is JobState.EVALUATING


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_trouble_outside_slows_a_duty_down_and_is_on_record(life: Life, status: int) -> None:
    life.stand_in.arm(_fault(status=status, times=2))

    with rows.measured_rest(life.tools, Tick) as rest:
        assert ticks.run(life.tools, POLL) is True

    assert _tick(life).last_error == f"http_{status}"
    assert _tick(life).ran_at is None
    assert rest.at_least <= timedelta(seconds=5) <= rest.at_most


def test_one_bad_answer_is_no_reason_to_keep_money_waiting_for_long(life: Life) -> None:
    ticks.run(life.tools, POLL)
    rows.change(life.tools, Tick, due_at=func.now())
    life.stand_in.arm(_fault(status=500, times=2))

    with rows.measured_rest(life.tools, Tick) as rest:
        ticks.run(life.tools, POLL)

    assert _tick(life).last_error == "http_500"
    assert rest.at_least < ticks.SLOWED_DOWN


BAD, BUSY = Unavailable("", code="http_500"), Unavailable("", code="http_429")
BUSY_INSIDE = Unavailable("", code="not_json")
BUSY_INSIDE.inside = "http_429"
PATIENT = Unavailable("", code="http_503", retry_after=timedelta(seconds=1))
WRONG = Refused("", code="http_401")


@pytest.mark.parametrize(
    ("error", "well_ago", "rests"),
    [
        (BAD, 0, 1.6),
        (BAD, 8, 1.6),
        (BAD, 24, 3),
        (BAD, 600, 5),
        (BAD, None, 5),
        (BUSY, 2, 5),
        (BUSY_INSIDE, 2, 5),
        (PATIENT, 2, 5),
        (WRONG, 2, 5),
    ],
)
def test_a_duty_slows_down_the_more_the_longer_it_has_gone_badly(
    error: OutsideError, well_ago: int | None, rests: float
) -> None:
    since = None if well_ago is None else timedelta(seconds=well_ago)
    usual = timedelta(seconds=1.6)

    assert ticks._slowed_down(error, usual, since) == timedelta(seconds=rests)


@pytest.mark.parametrize(
    ("error", "well_ago", "rests"),
    [
        (BAD, 10, 5),
        (BAD, 80, 10),
        (BAD, 6000, 48),
        (BUSY, 10, 48),
        (PATIENT, 10, 48),
        (WRONG, 10, 48),
    ],
)
def test_what_comes_round_once_a_minute_is_tried_again_sooner_after_a_bad_answer(
    error: OutsideError, well_ago: int, rests: int
) -> None:
    usual, since = timedelta(seconds=48), timedelta(seconds=well_ago)

    assert ticks._slowed_down(error, usual, since) == timedelta(seconds=rests)


def test_a_wish_of_lnbits_for_more_time_is_honoured(life: Life) -> None:
    life.stand_in.arm(_fault(status=429, retry_after="90"))

    with rows.measured_rest(life.tools, Tick) as rest:
        ticks.run(life.tools, POLL)

    assert rest.at_least <= timedelta(seconds=90) <= rest.at_most


def test_after_the_trouble_the_record_is_clean_again(life: Life) -> None:
    life.stand_in.arm(_fault(status=503))
    ticks.run(life.tools, POLL)

    assert _later(life) is True

    assert _tick(life).last_error is None
    assert _tick(life).ran_at is not None


@pytest.mark.usefixtures("rests_long")
def test_a_duty_whose_worker_died_is_taken_over_when_its_lease_is_over(life: Life) -> None:
    assert ticks._claim(life.tools, POLL) is not None

    assert ticks.run(life.tools, POLL) is False
    assert _later(life, after=ticks.TICK_LEASE) is True


@pytest.mark.usefixtures("rests_long")
@pytest.mark.parametrize("lost", [0, 2])
def test_a_duty_that_broke_off_is_due_again_at_its_next_turn(
    life: Life, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Or no payment was seen for the length of a lease, whenever PostgreSQL broke off."""
    broken = [OperationalError("SELECT 1", {}, Exception("the connection is gone"))] * lost
    let_go = ticks._let_go

    def breaks_off(tools: Toolbox, _: timedelta | None) -> None:
        raise ValueError("broke off")

    def at_last(*args: Any) -> None:
        if broken:
            raise broken.pop()
        let_go(*args)

    monkeypatch.setitem(ticks.DUTIES, POLL, breaks_off)
    monkeypatch.setattr(ticks, "_let_go", at_last)

    with rows.measured_rest(life.tools, Tick) as rest, pytest.raises(ValueError, match="broke off"):
        ticks.run(life.tools, POLL)

    usual = EVERY[POLL] * ticks.EARLY
    assert rest.at_least <= usual <= rest.at_most
    assert (_tick(life).ran_at, _tick(life).last_error) == (None, None)


@pytest.mark.usefixtures("rests_long")
def test_a_duty_that_takes_longer_than_its_lease_is_not_begun_by_another_worker_meanwhile(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a first comparison with a long history would soon be under way in every thread."""
    begun: list[bool] = []

    def takes_long(tools: Toolbox, _: timedelta | None) -> None:
        for _hour in range(3):
            rows.let_pass(tools, Tick, ticks.TICK_LEASE - timedelta(minutes=5))
            assert leases.renew(tools.database) == 1
            assert rows.due_in(tools, Tick) <= ticks.TICK_LEASE, "or a dead worker is missed late"
            begun.append(ticks.run(life.tools, POLL))

    leases = Leases(timedelta(days=1))
    monkeypatch.setitem(ticks.DUTIES, POLL, takes_long)

    assert ticks.run(life.tools.with_(leases=leases), POLL) is True

    assert begun == [False, False, False]
    assert _tick(life).ran_at is not None


@pytest.mark.parametrize("how", ["_finish", "_rest"])
def test_how_a_duty_went_is_written_down_when_the_database_is_back(
    life: Life, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    broken = [OperationalError("UPDATE", {}, Exception("the connection is gone"))] * 2
    write = getattr(ticks, how)
    if how == "_rest":
        life.stand_in.arm(_fault(status=503))

    def at_last(*args: Any) -> None:
        if broken:
            raise broken.pop()
        write(*args)

    monkeypatch.setattr(ticks, how, at_last)

    assert ticks.run(life.tools, POLL) is True

    assert _tick(life).claim == 2, "it was let go"
    assert _tick(life).last_error == ("http_503" if how == "_rest" else None)


@pytest.mark.usefixtures("rests_long")
@pytest.mark.parametrize(("took", "rests"), [(6, 42), (30, 18), (45, 12), (600, 12)])
def test_a_duty_comes_again_so_long_after_it_began_but_takes_breath(
    life: Life, took: int, rests: int
) -> None:
    """Or payments would be seen the later the more of them there are."""
    held = ticks._claim(life.tools, POLL)
    assert held is not None
    began = replace(held, began_at=held.began_at - timedelta(minutes=took))

    with rows.measured_rest(life.tools, Tick) as rest:
        ticks._finish(life.tools, POLL, began, EVERY[POLL] * ticks.EARLY)

    assert rest.at_least <= timedelta(minutes=rests) <= rest.at_most + timedelta(seconds=5)


@pytest.mark.usefixtures("rests_long")
def test_a_heartbeat_that_comes_a_moment_late_does_not_put_off_a_duty_that_is_done(
    life: Life,
) -> None:
    leases = Leases(timedelta(hours=24))
    held = ticks._claim(life.tools, POLL)
    assert held is not None

    with leases.hold(Tick, POLL.value, held.claim):
        ticks._finish(life.tools, POLL, held, timedelta(minutes=5))
        leases.renew(life.tools.database)

    assert rows.due_in(life.tools, Tick) <= timedelta(minutes=5)


def test_a_worker_that_comes_back_late_does_not_overwrite_its_successors_record(
    life: Life,
) -> None:
    zombie = ticks._claim(life.tools, POLL)
    assert zombie is not None
    assert _later(life, after=ticks.TICK_LEASE) is True
    after_successor = rows.due_in(life.tools, Tick)

    ticks._rest(life.tools, POLL, zombie, timedelta(hours=1), "late")

    assert _tick(life).last_error is None
    assert rows.due_in(life.tools, Tick) <= after_successor


def _set_back(life: Life, by: timedelta = timedelta(hours=2)) -> None:
    """PostgreSQL's clock, as its rows see it: all that they were told is to come."""
    rows.let_pass(life.tools, Tick, -by)


@pytest.mark.parametrize("status", [200, 503])
def test_a_clock_that_is_set_back_holds_up_no_duty(life: Life, status: int) -> None:
    ticks.run(life.tools, POLL)
    if status != 200:
        life.stand_in.arm(_fault(status=status))
        assert _later(life) is True
    _set_back(life)

    assert ticks.run(life.tools, POLL) is True

    tick = _tick(life)
    assert tick.last_error is None
    assert tick.ran_at is not None
    assert tick.ran_at <= rows.now(life.tools)


@pytest.mark.usefixtures("rests_long")
def test_a_duty_that_was_taken_by_a_clock_set_back_is_taken_once(life: Life) -> None:
    ticks.run(life.tools, POLL)
    _set_back(life, timedelta(hours=9))

    assert [ticks._claim(life.tools, POLL) is not None for _ in range(2)] == [True, False]


def test_the_longest_wish_of_lnbits_is_no_clock_that_was_set_back(life: Life) -> None:
    life.stand_in.arm(_fault(status=429, retry_after="999999"))

    assert ticks.run(life.tools, POLL) is True
    assert ticks.run(life.tools, POLL) is False


def test_how_long_ago_a_duty_ran_by_a_clock_set_back_is_not_known(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[timedelta | None] = []
    monkeypatch.setitem(ticks.DUTIES, POLL, lambda _, since: told.append(since))
    ticks.run(life.tools, POLL)
    _set_back(life)

    ticks.run(life.tools, POLL)

    assert told == [None, None]


def test_a_defect_is_not_taken_for_trouble_outside(life: Life) -> None:
    class Broken:
        def settled_payments(self, **_: object) -> object:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ticks.run(life.tools.with_(income=Broken()), POLL)

    assert _tick(life).ran_at is None
    assert _later(life, after=ticks.TICK_LEASE) is True


def test_one_duty_in_trouble_does_not_hold_up_another(life: Life) -> None:
    life.stand_in.arm(_fault(status=503))
    ticks.run(life.tools, POLL)

    assert ticks.run(life.tools, TaskName.DISPATCH) is True
