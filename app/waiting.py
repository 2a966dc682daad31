"""Requests that wait for somebody else: only so many, or no thread would be left for the others.

Of ``THREADS`` at most ``SEATS`` wait for a worker, and ``ASKING`` and ``IN_LINE`` for LNbits.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from services import defects
from services.defects import DATABASE_LOST

logger = structlog.get_logger(__name__)

THREADS = 64
"""As the Procfile says."""
SEATS = 16
ASKING = 24
"""More than LNbits serves at a time: it makes some twenty invoices a second, one by one."""
IN_LINE = 8
KEY_CHECKS = 4
"""Of the seats so many may be taken by creators whose provider is asked about a key."""
TURN_SECONDS = 2.0
"""How long to wait in line; then the caller had better come again."""
FIRST_PAUSE_SECONDS = 0.04
"""Most of what is waited for takes a tenth of a second or two."""
LONGEST_PAUSE_SECONDS = 0.5
LONGER_BY = 2

T = TypeVar("T")


class WaitingRoom:
    """One per process, shared by its threads."""

    def __init__(
        self,
        seats: int = SEATS,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._seats = threading.BoundedSemaphore(seats)
        self._clock = clock
        self._pause = pause or threading.Event().wait

    @contextmanager
    def seat(self) -> Iterator[bool]:
        """Take a seat if one is free; False = all are taken, so do not wait."""
        with _taken(self._seats, seconds=0) as is_seated:
            yield is_seated

    def until(self, look: Callable[[], T], *, done: Callable[[T], bool], seconds: float) -> T:
        """Look again, less and less often, until it is done or the time is up.

        Returns the last look, which is made when the time is up and not before.
        """
        return self._go_on(self._clock() + seconds, look(), look, done)

    def _go_on(
        self, deadline: float, seen: T, look: Callable[[], T], done: Callable[[T], bool]
    ) -> T:
        pause = FIRST_PAUSE_SECONDS
        while not done(seen) and (left := deadline - self._clock()) > 0:
            self._pause(min(pause, left))
            pause = min(pause * LONGER_BY, LONGEST_PAUSE_SECONDS)
            seen = look()
        return seen

    def follow(
        self, known: T, look: Callable[[], T], *, done: Callable[[T], bool], seconds: float
    ) -> T:
        """``until``, of what is on record and was ``known`` just now, so that nobody looks at once.

        Without a database it returns what was ``known``: whoever waits is told so.
        """
        try:
            return self._go_on(self._clock() + seconds, known, look, done)
        except DATABASE_LOST as error:
            defects.log(logger, error)
            return known


class Turnstile:
    """Lets so many requests through to an outside system at a time; one of each per process,
    shared by its threads.

    A hung LNbits, say, holds these for as long as a call may take, and not one thread more.
    """

    def __init__(
        self, asking: int = ASKING, in_line: int = IN_LINE, *, seconds: float = TURN_SECONDS
    ) -> None:
        self._inside = threading.BoundedSemaphore(asking)
        self._anywhere = threading.BoundedSemaphore(asking + in_line)
        self._seconds = seconds

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait for one's turn, not for long; False = too many are before us."""
        with _taken(self._anywhere, seconds=0) as is_here:
            if not is_here:
                yield False
                return
            with _taken(self._inside, seconds=self._seconds) as is_inside:
                yield is_inside


@contextmanager
def _taken(places: threading.BoundedSemaphore, *, seconds: float) -> Iterator[bool]:
    is_taken = places.acquire(timeout=seconds) if seconds else places.acquire(blocking=False)
    try:
        yield is_taken
    finally:
        if is_taken:
            places.release()
