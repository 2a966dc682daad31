"""Waiting until something outside is so."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY_SECONDS = 0.05
PATIENCE_SECONDS = 180.0
"""For what takes a moment on a quiet machine, and a restart or two on a busy one."""

T = TypeVar("T")
_never = threading.Event()


def wait_until(
    what: str,
    look: Callable[[], T],
    done: Callable[[T], bool] = bool,
    *,
    seconds: float = PATIENCE_SECONDS,
    every: float = LOOK_EVERY_SECONDS,
) -> T:
    """Look until it is done and return the last look; an AssertionError says what never came."""
    deadline = time.monotonic() + seconds
    while not done(seen := look()):
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}; {seen!r}"
        _never.wait(every)
    return seen
