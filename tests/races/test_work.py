"""Work, from many workers at once: done once, paid for once, counted once."""

from collections.abc import Callable

import pytest

from config.queues import TaskName
from models import due
from models.attempt import Attempt, Step
from models.demo_run import DemoRun, DemoState
from models.job import Job
from models.lifecycle import JobState
from models.tick import Tick
from services.errors import TooManyRequests
from services.jobs import demo, evaluation, execution, steps
from services.jobs.demo import Client
from services.jobs.intake import JobView
from services.jobs.steps import Assignment
from services.operate import ticks
from tests.support import rows
from tests.support.life import Life
from tests.support.together import all_at_once, together

CLIENT = Client(key="2001:db8::/64", network="2001:db8::/48")


def _take(life: Life, job_id: int, step: Step) -> Assignment | None:
    return steps.take(life.tools, job_id, step, model="m", prompt_version="p@1")


@pytest.mark.parametrize("step", [Step.EVALUATE, Step.EXECUTE])
def test_a_due_job_that_many_workers_take_is_taken_by_one(life: Life, step: Step) -> None:
    view = life.evaluating() if step is Step.EVALUATE else life.executing()

    results = all_at_once(lambda: _take(life, view.job.id, step))

    taken = [result for result in results if result is not None]
    assert len(taken) == 1
    assert isinstance(taken[0], Assignment)
    of_step = [row for row in rows.all_of(life.tools, Attempt) if row.step is step]
    assert len(of_step) == 1


def test_a_job_that_many_workers_evaluate_costs_one_call(life: Life) -> None:
    view = life.evaluating()

    results = all_at_once(lambda: evaluation.evaluate(life.tools, view.job.id))

    assert results == [None] * 8
    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert life.stand_in.counts().model_calls == 1


def test_a_job_that_many_workers_execute_costs_one_call_and_is_delivered_once(
    life: Life,
) -> None:
    view = life.executing()

    results = all_at_once(lambda: execution.execute(life.tools, view.job.id))

    assert results == [None] * 8
    assert life.state(view) is JobState.COMPLETE
    assert life.stand_in.counts().model_calls == 2
    assert rows.history(life.tools, view)[-2:] == ["work_paid", "delivered"]


def test_of_a_zombie_and_its_successor_one_delivers_and_both_calls_are_on_record(
    life: Life,
) -> None:
    view = life.executing()
    assignments = []
    for _ in range(2):
        assignments.append(_take(life, view.job.id, Step.EXECUTE))
        rows.change(life.tools, Job, due_at=Job.created_at)

    def finishing(assignment: Assignment | None) -> Callable[[], None]:
        assert assignment is not None

        def finish() -> None:
            question = execution._question(life.tools, assignment.job)
            answer = steps.ask(life.tools, assignment, question)
            if answer is not None:
                execution._act_on(life.tools, assignment, answer)

        return finish

    results = together(*[finishing(assignment) for assignment in assignments])

    assert results == [None, None]
    assert life.state(view) is JobState.COMPLETE
    assert rows.outcomes(life.tools, view) == ["answered", "superseded", "answered"]
    assert len(life.debts(view)) == 1


def test_a_stored_answer_that_many_deliver_is_delivered_once(life: Life) -> None:
    view = life.executing()
    assignment = _take(life, view.job.id, Step.EXECUTE)
    assert assignment is not None
    answer = steps.ask(life.tools, assignment, execution._question(life.tools, assignment.job))
    assert answer is not None

    results = all_at_once(lambda: execution._act_on(life.tools, assignment, answer))

    assert results == [None] * 8
    assert rows.history(life.tools, view).count("delivered") == 1
    assert len(life.debts(view)) == 1


def test_a_job_that_many_give_up_owes_once(life: Life) -> None:
    view = life.executing()
    rows.change(life.tools, Job, give_up_at=Job.created_at)

    results = all_at_once(lambda: _take(life, view.job.id, Step.EXECUTE))

    assert results == [None] * 8
    assert life.state(view) is JobState.FAILED
    assert [cause for cause, _, _ in life.debts(view)] == ["failed_work"]


@pytest.mark.parametrize("name", [TaskName.POLL_PAYMENTS, TaskName.DISPATCH])
def test_a_duty_that_many_start_runs_once(life: Life, name: TaskName) -> None:
    results = all_at_once(lambda: ticks.run(life.tools, name))

    assert sorted(results, key=str) == [False] * 7 + [True]
    assert rows.only(life.tools, Tick).claim == 2  # begun once, and over once


def test_two_beats_cost_no_request_more_than_one(life: Life) -> None:
    together(*[lambda: ticks.run(life.tools, TaskName.POLL_PAYMENTS)] * 2)

    assert life.stand_in.counts().requests["GET /api/v1/payments/paginated"] == 1


def test_of_many_who_try_the_demo_at_once_only_so_many_are_admitted(life: Life) -> None:
    results = all_at_once(lambda: demo.admit(life.tools, "Hello?", CLIENT))

    assert sum(isinstance(result, TooManyRequests) for result in results) == 3
    assert len(rows.all_of(life.tools, DemoRun)) == life.tools.settings.demo_limit_per_hour


def test_a_demo_run_that_is_begun_and_abandoned_at_once_is_one_of_both(life: Life) -> None:
    run_id, _ = demo.admit(life.tools, "Hello?", CLIENT)

    begun, abandoned = together(
        lambda: demo._take(life.tools, run_id) is not None,
        lambda: demo.abandon(life.tools, run_id),
    )

    assert [begun, abandoned].count(True) == 1
    state = rows.only(life.tools, DemoRun).state
    assert state is (DemoState.RUNNING if begun else DemoState.ABANDONED)


def test_a_heartbeat_that_meets_a_takeover_does_not_take_the_row_back(life: Life) -> None:
    view = life.evaluating()
    first = _take(life, view.job.id, Step.EVALUATE)
    assert first is not None
    rows.change(life.tools, Job, due_at=Job.created_at)

    def beat() -> object:
        with life.tools.database.transaction("test.keep") as session:
            held = [(view.job.id, first.claim)]
            return due.keep(session, Job, held, lease=life.tools.settings.lease)

    together(lambda: _take(life, view.job.id, Step.EVALUATE), beat)

    job = life.view(JobView(job=view.job, invoices={}, debts=[])).job
    took_over = job.claim == first.claim + 1
    assert took_over or job.claim == first.claim
    assert (beat() == set()) is took_over
