"""Limits, met by many requests at once: they hold, and when the crowd is gone there is room again.

Of those that race for the last places some may be turned away that one by one had found room.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.orm import Session

from local.stand_in.faults import Fault
from models.database import Database
from models.job import Job
from services.errors import ErrorCode, NotNow, TooManyRequests
from services.jobs import intake
from services.jobs.intake import JobView
from tests.support import rows
from tests.support.life import Life
from tests.support.together import PATIENCE_SECONDS, THREADS, together

ROOM = 3


class _AllCountFirst:
    """A database in which no job is made before every request was admitted or turned away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted = 0
        self._changed = threading.Condition()

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        if name == "intake.create":
            self._wait_for_the_others()
        try:
            with self._database.transaction(name) as session:
                yield session
        finally:
            if name == "intake.admit":
                self._count()

    def _count(self) -> None:
        with self._changed:
            self._counted += 1
            self._changed.notify_all()

    def _wait_for_the_others(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._counted >= THREADS, PATIENCE_SECONDS)


def _create_at_once(
    life: Life, client: Callable[[int], str], **settings: Any
) -> list[JobView | Exception]:
    tools = life.tools.with_(
        settings=life.tools.settings.model_copy(update=settings),
        database=_AllCountFirst(life.tools.database),
    )

    def creating(number: int) -> Callable[[], JobView]:
        return lambda: intake.create(tools, "Hello?", client_key=client(number))

    return together(*[creating(number) for number in range(THREADS)])


def _refusals(results: list[JobView | Exception]) -> set[tuple[type, object]]:
    errors = [result for result in results if isinstance(result, Exception)]
    return {(type(error), getattr(error, "code", None)) for error in errors}


def _fill_up(life: Life, client: str, **settings: Any) -> None:
    """Create one by one until there is no room any more."""
    changed = life.tools.settings.model_copy(update=settings)
    tools = life.tools.with_(settings=changed)
    while len(rows.all_of(life.tools, Job)) < ROOM:
        intake.create(tools, "Hello?", client_key=client)
    with pytest.raises(TooManyRequests):
        intake.create(tools, "Hello?", client_key=client)


def test_one_client_opens_no_more_invoices_at_once_than_one_by_one(life: Life) -> None:
    results = _create_at_once(life, lambda _: "192.0.2.1", open_invoices_per_client=ROOM)

    assert len(rows.all_of(life.tools, Job)) <= ROOM
    assert _refusals(results) == {(TooManyRequests, ErrorCode.TOO_MANY_OPEN_INVOICES)}
    _fill_up(life, "192.0.2.1", open_invoices_per_client=ROOM)
    assert len(rows.all_of(life.tools, Job)) == ROOM


def test_all_clients_together_open_no_more_invoices_at_once_than_one_by_one(life: Life) -> None:
    results = _create_at_once(life, lambda number: f"192.0.2.{number}", open_invoices_max=ROOM)

    assert len(rows.all_of(life.tools, Job)) <= ROOM
    assert _refusals(results) == {(TooManyRequests, ErrorCode.TOO_MANY_OPEN_INVOICES)}
    _fill_up(life, "192.0.2.200", open_invoices_max=ROOM)
    assert len(rows.all_of(life.tools, Job)) == ROOM


@pytest.mark.parametrize("is_well", [True, False], ids=["LNbits is well", "LNbits is ill"])
def test_lnbits_is_asked_for_no_more_invoices_than_half_of_its_limit(
    life: Life, is_well: bool
) -> None:
    if not is_well:
        life.stand_in.arm(Fault(target="lnbits.create", kind="status", status=503, times=THREADS))

    results = _create_at_once(
        life,
        lambda number: f"192.0.2.{number}",
        lnbits_requests_per_minute=2 * ROOM,
        lnbits_url=life.stand_in.url,
        lnbits_invoice_key="stand-in-invoice-key",
    )

    asked = life.stand_in.counts().requests.get("POST /api/v1/payments", 0)
    assert asked <= ROOM
    assert len(rows.all_of(life.tools, Job)) == (asked if is_well else 0)
    assert _refusals(results) == {(NotNow, ErrorCode.LIGHTNING_UNAVAILABLE)}
