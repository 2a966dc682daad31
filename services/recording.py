"""Writing down what cannot be had again: the database is asked until it takes it."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from services import retry
from services.defects import DATABASE_LOST

logger = structlog.get_logger(__name__)

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_PAUSE = timedelta(seconds=2)

T = TypeVar("T")


def insist(
    record: Callable[[], T],
    *,
    for_long: timedelta,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] | None = None,
) -> T:
    """Run a transaction again while the database is away or busy; raise when ``for_long`` is up.

    A restart or a lock must not cost a model call. ``record`` must be safe to repeat after a commit
    whose answer was lost.
    """
    wait = pause or threading.Event().wait
    began = clock()
    while True:
        try:
            return record()
        except DATABASE_LOST as error:
            waited = timedelta(seconds=clock() - began)
            if waited >= for_long:
                raise
            logger.warning("not recorded yet", error=type(error).__name__)
        next_try = retry.patience(waited, at_least=FIRST_PAUSE, at_most=LONGEST_PAUSE)
        wait(next_try.total_seconds())
