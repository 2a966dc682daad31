"""Who gives up when, and that nothing is judged before it could be found wrong."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.crowd import Caller, Crowd
from tests.chaos.evidence import Evidence, Row
from tests.chaos.log import Log
from tests.chaos.plans import draw
from tests.chaos.test_checker import AT, effects, evidence, money, tables
from tests.chaos.verdict import ALL_HAS_SHOWN_SECONDS, LOOK_EVERY_SECONDS, last_look
from tests.chaos.visitor import GaveUp, Street, Visitor

CALM_AT = AT + 100
OWED = {"refundAmountSats": 70, "refundState": "pending"}


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    with closing(Log(tmp_path / "log")) as log:
        yield Street(doors=(0, 0), world=0, log=log)


def caller(street: Street, state: str, job: Row | None = None, **more: Any) -> Caller:
    crowd = Crowd(
        street=street,
        seed=1,
        jobs=1,
        buys=0,
        shop=None,
        receivers=None,
        at_a_time=1,
        invoice_seconds=1,
    )
    return Caller(
        street=street,
        door=0,
        leave=crowd.left,
        crowd=crowd,
        plan=draw(1, 1),
        state=state,
        job=job or {},
        **more,
    )


def gives_up(visitor: Visitor) -> bool:
    try:
        asyncio.run(visitor.rest(0))
    except GaveUp:
        return True
    return False


def test_only_who_is_excused_gives_up_at_the_first_deadline(street: Street) -> None:
    street.deadline, street.last_deadline = time.time() - 1, time.time() + 60

    assert gives_up(caller(street, "complete", OWED, is_being_paid=True))
    assert not gives_up(caller(street, "complete", OWED))


def test_nobody_waits_longer_than_the_last_deadline(street: Street) -> None:
    street.deadline = street.last_deadline = time.time() - 1

    assert gives_up(caller(street, "complete", OWED))


def test_without_a_deadline_everybody_waits(street: Street) -> None:
    assert not gives_up(caller(street, "complete", OWED, is_being_paid=True))


@pytest.mark.parametrize(
    ("state", "job", "is_excused"),
    [
        ("awaiting_work_payment", {}, True),
        ("expired", {}, True),
        ("expired", OWED, False),
        ("executing", {}, False),
        ("complete", OWED, False),
        ("complete", OWED | {"refundTo": {"state": "trying"}}, True),
        ("complete", OWED | {"refundTo": {"state": "paying"}}, True),
        ("complete", OWED | {"refundTo": {"state": "given_up"}}, False),
        ("complete", OWED | {"refundTo": {"state": "waiting"}}, False),
    ],
)
def test_a_caller_is_excused_by_what_may_rightly_take_long(
    street: Street, state: str, job: Row, is_excused: bool
) -> None:
    assert caller(street, state, job).is_excused is is_excused


class Looks:
    """What is read each time, on a clock that only resting moves on."""

    def __init__(self, *seen: dict[str, Any]) -> None:
        self._seen = list(seen)
        self.now = CALM_AT + 20

    def read(self) -> Evidence:
        changes = self._seen.pop(0) if len(self._seen) > 1 else self._seen[0]
        return evidence(**{"read_at": self.now, "calm_at": CALM_AT} | changes)

    def rest(self, seconds: float) -> None:
        self.now += seconds

    def last(self) -> Evidence:
        return last_look(self.read, clock=lambda: self.now, rest=self.rest)


def hidden() -> dict[str, Any]:
    """Money that has come and that no feed has shown yet."""
    return {"effects": [*effects(), money("payment_in", "hidden", 5, AT + 90)]}


def test_what_is_in_order_is_read_once() -> None:
    looks = Looks({})

    assert check(looks.last()) == []
    assert looks.now == CALM_AT + 20


def test_what_is_only_late_is_looked_at_until_it_has_come() -> None:
    looks = Looks(hidden(), hidden(), {})

    assert check(looks.last()) == []
    assert looks.now == CALM_AT + 20 + 2 * LOOK_EVERY_SECONDS


def test_what_never_comes_is_found_although_patience_was_short() -> None:
    looks = Looks(hidden())
    assert check(looks.read()) == []

    assert [violation.invariant[:2] for violation in check(looks.last())] == ["I2"]
    assert looks.now < CALM_AT + ALL_HAS_SHOWN_SECONDS


def test_what_is_wrong_at_once_is_not_waited_for() -> None:
    rows = tables()
    rows["jobs"][0]["state"] = "awaiting_work_payment"
    looks = Looks({"tables": rows}, {})

    assert check(looks.last())
    assert looks.now == CALM_AT + 20


def test_nothing_is_waited_for_where_patience_was_long() -> None:
    looks = Looks({"effects": [*effects(), money("payment_in", "hidden", 5, AT + 215)]})
    looks.now = CALM_AT + 125

    assert check(looks.last()) == []
    assert looks.now == CALM_AT + 125
