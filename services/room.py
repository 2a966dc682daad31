"""How many threads of a worker runs may hold at once: others have work to do as well.

Who finds no room leaves the row due; dispatch rings for it again within a second.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

RUNS_AT_ONCE = 60
"""Of the hundred threads of the models worker: a provider that hangs leaves some for jobs."""
RUNS_OF_ONE_CREATOR = 30
"""Of those: a creator whose server hangs, or who lets it hang, leaves some for the others."""
SETTLEMENTS_AT_ONCE = 4
"""Of the sixteen of the money worker: a facilitator that hangs leaves some for Lightning."""
PAYOUTS_AT_ONCE = 8
"""Of the same: an LNbits that hangs leaves some to settle, and for the duties."""


class Room:
    """For so many at a time, in this process."""

    def __init__(self, places: int, *, each: int | None = None) -> None:
        """Of ``places`` nobody has more than ``each``."""
        self._places = places
        self._each = places if each is None else each
        self._taken: Counter[int | None] = Counter()
        self._left = threading.Condition()

    @contextmanager
    def place(self, of: int | None = None, *, patience: timedelta = timedelta(0)) -> Iterator[bool]:
        """Take a place for ``of`` if one is free, or becomes so in time; False = none is."""
        is_taken = self._take(of, patience)
        try:
            yield is_taken
        finally:
            if is_taken:
                self._leave(of)

    def _take(self, of: int | None, patience: timedelta) -> bool:
        with self._left:
            is_free = self._left.wait_for(lambda: self._is_free(of), patience.total_seconds())
            if is_free:
                self._taken[of] += 1
            return is_free

    def _is_free(self, of: int | None) -> bool:
        return self._taken.total() < self._places and self._taken[of] < self._each

    def _leave(self, of: int | None) -> None:
        with self._left:
            self._taken[of] -= 1
            if not self._taken[of]:
                del self._taken[of]
            self._left.notify_all()
