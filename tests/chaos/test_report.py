"""The figures of a run say what they are called."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.chaos.evidence import Evidence, Row
from tests.chaos.report import MONEY_TAKE_OVER, TAKE_OVER, recoveries
from tests.chaos.test_checker import AT, act, evidence, tables


def times(column: str, *seconds: float) -> list[Row]:
    """Rows of which only a time counts."""
    return [{column: datetime.fromtimestamp(AT + after, UTC)} for after in seconds]


def worked(
    *acts: Iterable[Row],
    models: tuple[float, ...] = (),
    payments: tuple[float, ...] = (),
    refunds: tuple[float, ...] = (),
) -> Evidence:
    """Acts, and when workers of each kind did something."""
    rows = tables() | {
        "attempts": [
            {"id": number, "job_id": number, **row}
            for number, row in enumerate(times("started_at", *models))
        ],
        "receipts": times("received_at", *payments),
        "payouts": [*times("settled_at", *refunds), {"settled_at": None}],
    }
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
    seen.tables["job_events"] += times("at", 0.02)

    assert longest(recoveries(seen)) == {"flush": 4.0}
    assert recoveries(seen)["flush"]["beyond the goal"] == 1


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
