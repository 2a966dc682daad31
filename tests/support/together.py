"""Several threads that start at the same moment: what only one may win, only one does."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
THREADS = 8
PATIENCE_SECONDS = 30.0


def together(*actions: Callable[[], T]) -> list[T | Exception]:
    """Run all at once, each in a thread of its own; what each returned or raised, in order."""
    barrier = threading.Barrier(len(actions), timeout=PATIENCE_SECONDS)

    def run(action: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - the test says which were expected
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def all_at_once(action: Callable[[], T]) -> list[T | Exception]:
    """The same action, eight times at once."""
    return together(*[action] * THREADS)
