"""A witness of the machine: when it stood still, nobody in the fleet can be blamed for that."""

import threading
import time
from collections.abc import Callable, Iterable

from tests.chaos.log import Line, Log

LOOKS_EVERY_SECONDS = 0.1
WORTH_MENTIONING_SECONDS = 1.0
STOOD_STILL = "stood_still"

Span = tuple[float, float]


class Witness:
    """While its body runs, notes every span in which it should have been awake and was not."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        awake_at = self._clock()
        while not self._over.wait(LOOKS_EVERY_SECONDS):
            now = self._clock()
            if now - awake_at > WORTH_MENTIONING_SECONDS:
                self._log.write_at(now, STOOD_STILL, began=awake_at, ended=now)
            awake_at = now

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def standstills(lines: Iterable[Line]) -> list[Span]:
    """When the machine stood still, by what its witness noted."""
    return [(line["began"], line["ended"]) for line in lines if line["what"] == STOOD_STILL]
