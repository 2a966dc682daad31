"""Waiting for something outside to become true."""

import time
from collections.abc import Callable


class NotInTime(Exception):
    """What was waited for did not happen; the message says what that was."""


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask every 50 ms until it is true. Raises NotInTime."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {seconds} s: {what}")
        time.sleep(0.05)  # noqa: TID251 - between two looks at the condition
