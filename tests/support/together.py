"""Several threads that start at the same moment: what only one may win, only one does."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

import pytest
from sqlalchemy import text

from services.toolbox import Toolbox

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


@contextmanager
def just_before(
    tools: Toolbox, module: ModuleType, name: str, action: Callable[[], T]
) -> Iterator[Callable[[], T]]:
    """Somebody else begins this just before that function is called first, and gets as far as our
    locks let it; how that ended.
    """
    begun: list[Future[T]] = []
    as_it_is: Callable[..., object] = getattr(module, name)

    def after_somebody(*args: object, **kwargs: object) -> object:
        if not begun:
            begun.append(pool.submit(action))
            _until_it_stands_or_ends(tools, begun[0])
        return as_it_is(*args, **kwargs)

    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, after_somebody)
        yield lambda: begun[0].result(PATIENCE_SECONDS)


def _until_it_stands_or_ends(tools: Toolbox, other: Future[T]) -> None:
    """Until the other one waits for a lock of ours, or did not have to."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not other.done():
        with tools.database.reading("test.waiting") as session:
            if session.scalar(waiting):
                return
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
