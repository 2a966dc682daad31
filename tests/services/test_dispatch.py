"""Dispatch: whatever is due is rung for, so that Redis may lose everything."""

import re
from datetime import timedelta

from sqlalchemy import func, select, text, update

from config.queues import QueueName, TaskName
from local.environment import ROOT
from local.stand_in.faults import Fault, FaultKind
from models import tables
from models.invoice import Invoice
from models.job import Job
from models.payout import Payout
from models.refund_destination import RefundDestination
from models.run import Run, RunState
from models.tick import Tick
from services.jobs import demo
from services.jobs.demo import Client
from services.operate import dispatch, ticks
from services.room import RUNS_OF_ONE_CREATOR
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claimed, owing_to
from tests.support.run_rows import open_shop


def _rung(life: Life) -> set[tuple[TaskName, int | None]]:
    """Who is rung for when every ring so far was lost."""
    life.doorbell.rung.clear()
    dispatch.ring_for_due_rows(life.tools)
    return set(life.doorbell.rung)


def test_every_kind_of_due_row_is_rung_for_by_its_own_name(life: Life) -> None:
    executing = life.executing()
    life.doorbell.rung.clear()
    evaluating = life.evaluating()
    claimed(life)
    payout = rows.only(life.tools, Payout)
    owing_to(life)
    destination = rows.only(life.tools, RefundDestination)
    run_id, _ = demo.admit(life.tools, "Hello?", Client(key="a", network="a"))
    life.make_due()

    assert _rung(life) == {
        (TaskName.EVALUATE_JOB, evaluating.job.id),
        (TaskName.EXECUTE_JOB, executing.job.id),
        (TaskName.SEND_PAYOUT, payout.id),
        (TaskName.RUN_DEMO, run_id),
        (TaskName.RETURN_MONEY, destination.id),
    }


def test_what_waits_for_money_has_ended_or_was_put_off_is_not_rung_for(life: Life) -> None:
    life.create()
    life.complete()
    later = life.evaluating()
    rows.change(life.tools, Job, due_at=Job.due_at + timedelta(hours=1))
    assert life.view(later).job.due_at is not None

    assert _rung(life) == set()


def test_a_duty_that_was_turned_away_is_rung_for_when_it_has_rested(life: Life) -> None:
    """What comes round once a minute would else lose a minute with every bad answer."""
    duty = TaskName.REREAD_PAYMENTS
    life.stand_in.arm(Fault(target="lnbits.feed", kind=FaultKind.STATUS, status=500, times=2))
    ticks.run(life.tools, duty)
    assert rows.only(life.tools, Tick).last_error == "http_500"

    assert _rung(life) == set()
    rows.change(life.tools, Tick, due_at=func.now())
    assert _rung(life) == {(duty, None)}
    life.stand_in.disarm()
    ticks.run(life.tools, duty)
    rows.change(life.tools, Tick, due_at=func.now())
    assert _rung(life) == set()  # it went well: beat rings for it


def test_what_a_clock_set_back_puts_off_is_due_by_the_lines_of_the_operations_page(
    life: Life,
) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    (names,) = re.findall(r"^for table in ([\w ]+); do$", page, re.MULTILINE)
    (line,) = re.findall(r'-c "(UPDATE \$table [^"]+)"', page)
    view = life.evaluating()
    rows.change(life.tools, Job, due_at=Job.due_at + timedelta(hours=9))

    with life.tools.database.transaction("test.lines") as session:
        for table in names.split():
            session.execute(text(line.replace("$table", table)))

    due = [table for table in tables.metadata.sorted_tables if "due_at" in table.columns]
    assert set(names.split()) == {table.name for table in due} - {"ticks"}
    assert _rung(life) == {(TaskName.EVALUATE_JOB, view.job.id)}


def test_an_invoice_that_a_clock_set_back_puts_off_is_asked_about_by_the_line_below_them(
    life: Life,
) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    (line,) = re.findall(r'-c "(UPDATE invoices [^"]+)"', page)
    life.create()
    rows.change(life.tools, Invoice, check_at=Invoice.check_at + timedelta(hours=9))

    with life.tools.database.transaction("test.line") as session:
        session.execute(text(line))
        is_due = session.scalar(select(Invoice.check_at <= func.now()))

    assert is_due


def _waiting_runs(life: Life, count: int, *, for_minutes: int) -> list[int]:
    """So many runs of a new creator, due for so long, the longest waiting first."""
    shop = open_shop(life.tools, "haiku")
    numbers = [shop.add_run("haiku", RunState.RECEIVED).id for _ in range(count)]
    since = timedelta(minutes=for_minutes)
    with life.tools.database.transaction("test.waiting") as session:
        for place, number in enumerate(numbers):
            due_at = func.now() - since + timedelta(milliseconds=place)
            session.execute(update(Run).where(Run.id == number).values(due_at=due_at))
    return numbers


def test_runs_of_one_creator_hide_those_of_no_other(life: Life) -> None:
    """A server that hangs leaves more due than are rung for at a time, and buyers bring others."""
    of_one = _waiting_runs(life, dispatch.RINGS_PER_KIND + 1, for_minutes=2)
    (of_another,) = _waiting_runs(life, 1, for_minutes=1)

    rung = _rung(life)

    assert (TaskName.EXECUTE_RUN, of_another) in rung
    assert rung - {(TaskName.EXECUTE_RUN, of_another)} == {
        (TaskName.EXECUTE_RUN, number) for number in of_one[:RUNS_OF_ONE_CREATOR]
    }


def test_of_every_creator_the_run_that_waits_longest_is_rung_for_first(life: Life) -> None:
    """A queue that is nearly full has room for a few rings only."""
    of_one = _waiting_runs(life, 3, for_minutes=2)
    (of_another,) = _waiting_runs(life, 1, for_minutes=1)
    life.doorbell.rung.clear()
    for _ in range(dispatch.ENOUGH_RINGS[QueueName.MODELS] - 2):
        life.doorbell.ring(TaskName.EXECUTE_RUN, of_one[0])

    assert dispatch.ring_for_due_rows(life.tools) == 2
    newest = [life.doorbell.rung.pop() for _ in range(2)]
    assert newest == [
        (TaskName.EXECUTE_RUN, of_another),
        (TaskName.EXECUTE_RUN, of_one[0]),
    ]


def test_ringing_takes_nothing(life: Life) -> None:
    view = life.evaluating()

    assert _rung(life) == _rung(life) != set()
    assert life.view(view).job.claim == 0


def test_a_job_whose_ring_was_lost_is_worked_on_all_the_same(life: Life) -> None:
    view = life.evaluating()
    life.doorbell.rung.clear()

    dispatch.ring_for_due_rows(life.tools)
    life.work()

    assert life.view(view).job.state == "awaiting_work_payment"


def test_while_enough_rings_wait_in_a_queue_none_is_added_to_it_alone(life: Life) -> None:
    view = life.evaluating()
    claimed(life)
    payout = rows.only(life.tools, Payout)
    life.doorbell.rung.clear()
    for _ in range(dispatch.ENOUGH_RINGS[QueueName.MODELS]):
        life.doorbell.ring(TaskName.EVALUATE_JOB, view.job.id)

    assert dispatch.ring_for_due_rows(life.tools) == 1
    assert life.doorbell.rung.pop() == (TaskName.SEND_PAYOUT, payout.id)
    life.doorbell.rung.pop()
    assert dispatch.ring_for_due_rows(life.tools) == 2


def test_no_more_rings_are_added_than_there_is_room_for_and_each_kind_has_its_share(
    life: Life,
) -> None:
    executing, evaluating = life.executing(), life.evaluating()
    life.evaluating()
    life.make_due()
    life.doorbell.rung.clear()
    for _ in range(dispatch.ENOUGH_RINGS[QueueName.MODELS] - 2):
        life.doorbell.ring(TaskName.EVALUATE_JOB, evaluating.job.id)

    assert dispatch.ring_for_due_rows(life.tools) == 2
    newest = {life.doorbell.rung.pop() for _ in range(2)}
    assert {task for task, _ in newest} == {TaskName.EVALUATE_JOB, TaskName.EXECUTE_JOB}
    assert (TaskName.EXECUTE_JOB, executing.job.id) in newest
