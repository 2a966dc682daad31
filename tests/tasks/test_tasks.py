"""A task is a name and one call; the doorbell carries one number, and may break without harm."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery
from sqlalchemy import select, text, update

from config.broker import KEY_PREFIX, make_celery
from config.queues import EVERY, QUEUE_OF, QueueName, TaskName
from models import database
from models.database import Database
from models.job import Job
from models.lifecycle import JobState
from models.tick import Tick
from services.doorbell import QUIET_SECONDS, CeleryDoorbell
from services.jobs import evaluation
from services.toolbox import Toolbox
from tasks import base, instant, jobs, money, ticks
from tasks.base import OnRecord
from tests.support import rows
from tests.support.canary import assert_tells_nothing
from tests.support.life import Life

WORK: dict[TaskName, Callable[[int], None]] = {
    TaskName.EVALUATE_JOB: jobs.evaluate_job,
    TaskName.EXECUTE_JOB: jobs.execute_job,
    TaskName.RUN_DEMO: jobs.run_demo,
    TaskName.SEND_PAYOUT: money.send_payout,
    TaskName.RETURN_MONEY: money.return_money,
    TaskName.EXECUTE_RUN: instant.execute_run,
    TaskName.SETTLE_RUN: instant.settle_run,
}
NOBODY = 987_654


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    """The real Valkey of this worker, empty before and after."""
    connection = redis.Redis.from_url(redis_url)
    connection.flushdb()
    yield connection
    connection.flushdb()
    connection.close()


@pytest.fixture
def celery(tools: Toolbox) -> Iterator[Celery]:
    app = make_celery(tools.settings)
    yield app
    app.close()


def _waiting(broker: redis.Redis, queue: QueueName) -> list[dict[str, Any]]:
    """The messages in a queue, newest first, as they lie in Redis."""
    raw: Any = broker.lrange(KEY_PREFIX + queue.value, 0, -1)
    return [json.loads(message) for message in raw]


def test_every_name_is_a_task(celery: Celery) -> None:
    celery.finalize()

    known = {name for name in celery.tasks if not name.startswith("celery.")}
    assert known == {name.value for name in TaskName}


def test_every_name_has_a_queue_and_what_is_no_row_comes_round() -> None:
    assert set(QUEUE_OF) == set(TaskName)
    assert set(EVERY) == set(TaskName) - set(WORK)
    assert all(interval <= timedelta(minutes=1) for interval in EVERY.values())


@pytest.mark.parametrize("name", sorted(WORK))
def test_a_ring_for_a_row_that_is_gone_does_nothing(life: Life, name: TaskName) -> None:
    base.install(life.tools)

    WORK[name](NOBODY)

    assert life.stand_in.counts().model_calls == 0


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_duty_runs_by_its_task(life: Life, celery: Celery, name: TaskName) -> None:
    base.install(life.tools)
    celery.finalize()

    celery.tasks[name.value]()

    assert rows.only(life.tools, Tick).name == name.value


def test_every_task_is_put_on_record(celery: Celery) -> None:
    celery.finalize()

    assert all(isinstance(celery.tasks[name.value], OnRecord) for name in TaskName)


def test_given_a_row_that_the_database_refuses_then_the_log_has_its_number_and_nothing_of_it(
    life: Life, celery: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL's DETAIL has the whole row: the id that opens it, and what was asked for."""
    view = life.evaluating()

    def broken(tools: Toolbox, job_id: int) -> None:
        with tools.database.transaction("test.break_a_rule") as session:
            session.execute(update(Job).where(Job.id == job_id).values(result="of no state"))

    monkeypatch.setattr(evaluation, "evaluate", broken)
    base.install(life.tools)
    celery.finalize()

    ended = celery.tasks[TaskName.EVALUATE_JOB.value].apply(args=(view.job.id,))

    assert ended.successful()
    assert f"'row': {view.job.id}," in caplog.text
    assert "'task': 'jobs.evaluate'" in caplog.text
    assert "CheckViolation" in caplog.text
    assert "broken" in caplog.text, "where it happened"
    confidential = (view.job.request, str(view.job.public_id), "of no state")
    assert_tells_nothing(caplog.text, confidential=confidential)


def test_a_row_that_is_waited_for_in_vain_is_no_lost_database(
    life: Life, celery: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    view = life.evaluating()
    this_job = select(Job.id).where(Job.id == view.job.id).with_for_update()

    def impatient(tools: Toolbox, _: int) -> None:
        with tools.database.transaction("test.impatient") as session:
            session.execute(text("SET LOCAL lock_timeout = '1ms'"))
            session.execute(this_job)

    monkeypatch.setattr(evaluation, "evaluate", impatient)
    base.install(life.tools)
    celery.finalize()

    with life.tools.database.transaction("test.hold") as session:
        session.execute(this_job)
        celery.tasks[TaskName.EVALUATE_JOB.value].apply(args=(view.job.id,))

    assert "database is busy" in caplog.text
    assert "'sqlstate': '55P03'" in caplog.text
    assert "impatient" in caplog.text, "where it happened"
    assert "database is away" not in caplog.text


def test_one_of_our_own_connections_that_is_waited_for_in_vain_is_no_lost_database(
    life: Life, celery: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "PLACE_SECONDS", 0)
    narrow = Database(life.tools.settings.database_url, connections=1)

    def crowded_out(tools: Toolbox, _: int) -> None:
        with tools.database.transaction("test.crowded_out") as session:
            session.execute(select(1))

    monkeypatch.setattr(evaluation, "evaluate", crowded_out)
    base.install(life.tools.with_(database=narrow))
    celery.finalize()

    with narrow.transaction("test.hold") as session:
        session.execute(select(1))
        celery.tasks[TaskName.EVALUATE_JOB.value].apply(args=(NOBODY,))
    narrow.close()

    assert "database is busy" in caplog.text
    assert "'error': 'TimeoutError'" in caplog.text
    assert "crowded_out" in caplog.text, "where it happened"
    assert "database is away" not in caplog.text


def test_an_unexpected_error_of_a_task_is_on_record_with_the_error_itself(
    life: Life, celery: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(evaluation, "evaluate", broken)
    base.install(life.tools)
    celery.finalize()

    celery.tasks[TaskName.EVALUATE_JOB.value].apply(args=(7,))

    (line,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "unexpected error" in line.getMessage()
    assert "ZeroDivisionError('a defect of ours')" in line.getMessage()


def test_a_ring_twice_or_thrice_is_one_piece_of_work(life: Life) -> None:
    view = life.evaluating()
    base.install(life.tools)

    for _ in range(3):
        jobs.evaluate_job(view.job.id)

    assert life.state(view) is JobState.AWAITING_WORK_PAYMENT
    assert life.stand_in.counts().model_calls == 1


def test_a_process_that_is_no_worker_has_no_toolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base._Installed, "toolbox", None)

    with pytest.raises(RuntimeError, match="worker"):
        ticks.poll_payments()


@pytest.mark.parametrize(
    ("name", "row_id"), [(TaskName.EVALUATE_JOB, 7), (TaskName.POLL_PAYMENTS, None)]
)
def test_a_ring_is_a_message_with_one_number_at_most_that_does_not_keep(
    broker: redis.Redis, celery: Celery, name: TaskName, row_id: int | None
) -> None:
    doorbell = CeleryDoorbell(celery)

    doorbell.ring(name, row_id)
    doorbell.answered()

    (message,) = _waiting(broker, QUEUE_OF[name])
    assert message["headers"]["task"] == name.value
    assert message["headers"]["argsrepr"] == ("()" if row_id is None else "[7]")
    keeps_for = datetime.fromisoformat(message["headers"]["expires"]) - datetime.now(UTC)
    assert timedelta(seconds=30) < keeps_for <= timedelta(seconds=60), "the worker's clock judges"
    assert message["headers"]["eta"] is None


def test_no_ring_ever_holds_more_than_the_number_of_the_row(
    broker: redis.Redis, celery: Celery, life: Life
) -> None:
    view = life.evaluating()
    doorbell = CeleryDoorbell(celery)

    doorbell.ring(TaskName.EVALUATE_JOB, view.job.id)
    doorbell.answered()

    lying_there = str(_waiting(broker, QueueName.MODELS))
    assert str(view.job.public_id) not in lying_there
    assert view.job.request not in lying_there


def test_a_broker_that_is_gone_holds_nobody_up_and_is_left_alone_for_a_while(
    tools: Toolbox,
) -> None:
    nowhere = make_celery(tools.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    clock = [1000.0]
    doorbell = CeleryDoorbell(nowhere, clock=lambda: clock[0])

    for row_id in range(50):
        doorbell.ring(TaskName.EVALUATE_JOB, row_id)
    finished = threading.Thread(target=doorbell.answered)
    finished.start()
    finished.join(timeout=20)

    assert not finished.is_alive(), "fifty rings cost one time-out, not fifty"
    assert doorbell._quiet_until == clock[0] + QUIET_SECONDS
    nowhere.close()


def test_a_ring_that_breaks_takes_no_other_with_it(tools: Toolbox) -> None:
    nonsense = make_celery(tools.settings.model_copy(update={"redis_url": "http://127.0.0.1/0"}))
    doorbell = CeleryDoorbell(nonsense)

    doorbell.ring(TaskName.EVALUATE_JOB, 1)
    doorbell.ring(TaskName.EVALUATE_JOB, 2)
    finished = threading.Thread(target=doorbell.answered, daemon=True)
    finished.start()
    finished.join(timeout=20)

    assert not finished.is_alive(), "both were looked at"
    nonsense.close()


def test_a_broker_that_comes_back_is_rung_again(broker: redis.Redis, celery: Celery) -> None:
    clock = [1000.0]
    doorbell = CeleryDoorbell(celery, clock=lambda: clock[0])
    doorbell._quiet_until = 1005.0
    doorbell.ring(TaskName.EVALUATE_JOB, 1)
    doorbell.answered()
    clock[0] = 1005.0

    doorbell.ring(TaskName.EVALUATE_JOB, 2)
    doorbell.answered()

    assert [m["headers"]["argsrepr"] for m in _waiting(broker, QueueName.MODELS)] == ["[2]"]


def test_an_emptied_broker_loses_no_job(broker: redis.Redis, celery: Celery, life: Life) -> None:
    view = life.evaluating()
    doorbell = CeleryDoorbell(celery)
    doorbell.ring(TaskName.EVALUATE_JOB, view.job.id)
    doorbell.answered()
    broker.flushdb()
    base.install(life.tools.with_(doorbell=doorbell))

    ticks.ring_for_due_rows()
    doorbell.answered()

    rung = [message["headers"]["argsrepr"] for message in _waiting(broker, QueueName.MODELS)]
    assert rung == [f"[{view.job.id}]"]
    assert rows.only(life.tools, Job).claim == 0


def test_rings_that_wait_in_a_queue_are_counted(broker: redis.Redis, celery: Celery) -> None:
    doorbell = CeleryDoorbell(celery)
    assert doorbell.unanswered(QueueName.MODELS) == 0
    for row_id in range(3):
        doorbell.ring(TaskName.EVALUATE_JOB, row_id)
    doorbell.ring(TaskName.SEND_PAYOUT, 1)
    doorbell.answered()

    assert doorbell.unanswered(QueueName.MODELS) == len(_waiting(broker, QueueName.MODELS)) == 3
    assert doorbell.unanswered(QueueName.TICKS) == 0


def test_rings_that_are_not_published_yet_are_counted_and_not_made_twice(
    broker: redis.Redis, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where publishing is slow dispatch would else lay hundreds a second before what is urgent."""
    doorbell = CeleryDoorbell(celery)
    publish, begun, go_on = doorbell._publish, threading.Event(), threading.Event()

    def slowly(task: TaskName, row_id: int | None) -> None:
        begun.set()
        assert go_on.wait(20)
        publish(task, row_id)

    monkeypatch.setattr(doorbell, "_publish", slowly)
    doorbell.ring(TaskName.EVALUATE_JOB, 0)
    assert begun.wait(20)

    for _ in range(3):
        for row_id in range(4):
            doorbell.ring(TaskName.EVALUATE_JOB, row_id)
        doorbell.ring(TaskName.SEND_PAYOUT, 1)
    counted = doorbell.unanswered(QueueName.MODELS), doorbell.unanswered(QueueName.MONEY)
    go_on.set()
    doorbell.answered()

    assert counted == (4, 1), "all but the first one, which is on its way"
    rung = [message["headers"]["argsrepr"] for message in _waiting(broker, QueueName.MODELS)]
    assert sorted(rung) == ["[0]", "[0]", "[1]", "[2]", "[3]"]
    assert doorbell.unanswered(QueueName.MODELS) == 5


def test_a_ring_can_be_made_again_once_it_was_published(
    broker: redis.Redis, celery: Celery
) -> None:
    doorbell = CeleryDoorbell(celery)

    for _ in range(2):
        doorbell.ring(TaskName.EVALUATE_JOB, 1)
        doorbell.answered()

    assert len(_waiting(broker, QueueName.MODELS)) == 2


def test_while_the_broker_is_gone_no_ring_counts_as_waiting(tools: Toolbox) -> None:
    nowhere = make_celery(tools.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))

    assert CeleryDoorbell(nowhere).unanswered(QueueName.MODELS) == 0
    nowhere.close()
