"""Requests that wait for a worker: only so many, or they would leave no thread for the others."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

SEATS = 16
FIRST_PAUSE_SECONDS = 0.02
"""Most of what is waited for takes a tenth of a second or two."""
LONGEST_PAUSE_SECONDS = 0.25
LONGER_BY = 1.5

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
        is_seated = self._seats.acquire(blocking=False)
        try:
            yield is_seated
        finally:
            if is_seated:
                self._seats.release()

    def until(self, look: Callable[[], T], *, done: Callable[[T], bool], seconds: float) -> T:
        """Look again, less and less often, until it is done or the time is up.

        Returns the last look, which is made when the time is up and not before.
        """
        deadline = self._clock() + seconds
        pause = FIRST_PAUSE_SECONDS
        seen = look()
        while not done(seen) and (left := deadline - self._clock()) > 0:
            self._pause(min(pause, left))
            pause = min(pause * LONGER_BY, LONGEST_PAUSE_SECONDS)
            seen = look()
        return seen
