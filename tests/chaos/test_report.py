"""The figures of a run say what they are called."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.chaos.evidence import Evidence, Row
from tests.chaos.report import MONEY_TAKE_OVER, TAKE_OVER, recoveries
from tests.chaos.test_checker import AT, act, evidence, tables


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(AT + seconds, UTC)


def worked(
    *acts: Iterable[Row],
    models: tuple[float, ...] = (),
    payments: tuple[float, ...] = (),
    refunds: tuple[float, ...] = (),
    could: float = -10,
) -> Evidence:
    """Acts, when workers of each kind did something, and since when they could do it."""
    calls = list(enumerate(models))
    rows = tables() | {
        "attempts": [{"id": n, "job_id": n, "started_at": when(done)} for n, done in calls],
        "job_events": [
            {"job_id": n, "target": "evaluating", "at": when(min(could, done))} for n, done in calls
        ],
        "receipts": [{"received_at": when(d), "settled_at": when(min(could, d))} for d in payments],
        "payouts": [{"settled_at": when(d), "created_at": when(min(could, d))} for d in refunds],
    }
    rows["payouts"].append({"settled_at": None, "created_at": when(could)})
    return evidence(tables=rows, acts=[line for of_act in acts for line in of_act])


def longest(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {kind: figures["max"] for kind, figures in found.items()}


FLUSH = act("flush", "valkey", AT, AT)


def test_work_has_gone_on_when_workers_of_both_kinds_have() -> None:
    seen = worked(FLUSH, models=(-1, 0.5, 5), payments=(-1, 2, 4), refunds=(3,))

    assert longest(recoveries(seen)) == {"flush": 2.0}


def test_a_refund_is_work_of_the_money_workers() -> None:
    seen = worked(FLUSH, models=(0.5,), payments=(2,), refunds=(1,))

    assert longest(recoveries(seen)) == {"flush": 1.0}


def test_a_job_that_a_door_has_made_is_no_work_of_a_worker() -> None:
    seen = worked(FLUSH, models=(4,), payments=(4,))
    seen.tables["job_events"].append({"job_id": 9, "target": "awaiting", "at": when(0.02)})

    assert longest(recoveries(seen)) == {"flush": 4.0}
    assert recoveries(seen)["flush"]["beyond the goal"] == 1


def test_nobody_is_late_while_there_is_nothing_to_do() -> None:
    seen = worked(FLUSH, models=(7, 8), payments=(6.5, 9), could=6)

    assert longest(recoveries(seen)) == {"flush": 1.0}


def test_after_the_last_work_of_a_kind_nothing_is_said_of_an_act() -> None:
    assert recoveries(worked(FLUSH, models=(1,), payments=(-1,))) == {}


def test_a_money_worker_is_taken_over_from_when_payments_are_taken_in_again() -> None:
    kill = act("kill", "worker-money-2", AT, AT)
    seen = worked(kill, models=(0.1,), payments=(-1, 7, 9), refunds=(0.1,))

    assert longest(recoveries(seen)) == {MONEY_TAKE_OVER: 7.0}


def test_the_kill_of_a_door_or_of_beat_is_no_take_over() -> None:
    seen = worked(act("kill", "web", AT, AT), models=(1,), payments=(1,))

    assert recoveries(seen) == {}


def test_of_an_act_that_another_one_follows_at_once_nothing_is_said() -> None:
    another = [line | {"number": 2} for line in act("kill", "web", AT + 1, AT + 1)]

    assert recoveries(worked(FLUSH, another, models=(2,), payments=(2,))) == {}


def test_a_call_that_a_killed_worker_held_is_taken_over() -> None:
    seen = worked(act("kill", "worker-models", AT + 1, AT + 1), models=(0, 8))
    for row in seen.tables["attempts"]:
        row.update(job_id=1, outcome=None)

    assert longest(recoveries(seen)) == {TAKE_OVER: 7.0}
