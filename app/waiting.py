"""Requests that wait for a worker: only so many, or they would leave no thread for the others."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

SEATS = 16
LOOK_EVERY_SECONDS = 0.1

T = TypeVar("T")


class WaitingRoom:
    """One per process, shared by its threads."""

    def __init__(self, seats: int = SEATS) -> None:
        self._seats = threading.BoundedSemaphore(seats)
        self._never = threading.Event()

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
        """Look again and again until it is done or the time is up; returns the last look."""
        deadline = time.monotonic() + seconds
        seen = look()
        while not done(seen) and time.monotonic() < deadline:
            self._never.wait(LOOK_EVERY_SECONDS)
            seen = look()
        return seen
