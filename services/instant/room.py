"""How many threads of a worker runs may hold at once: others have work to do as well.

Who finds no room leaves the row due; dispatch rings for it again within a second.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

WORKING = 60
"""Of the hundred threads of the models worker: a provider that hangs leaves some for jobs."""
SETTLING = 4
"""Of the eight of the money worker: a facilitator that hangs leaves some for Lightning."""


class Room:
    """For so many at a time, in this process."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place if one is free; False = none is."""
        is_taken = self._places.acquire(blocking=False)
        try:
            yield is_taken
        finally:
            if is_taken:
                self._places.release()
