"""Which claimed rows this process holds, so that one heartbeat can keep them all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from models import due
from models.database import Database


class Leases:
    """Thread-safe. ``renew`` is called by one thread per process, four times a lease."""

    def __init__(self, lease: timedelta) -> None:
        self.lease = lease
        self._held: set[tuple[type[due.Kept], due.Key, int]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, model: type[due.Kept], row_id: due.Key, claim: int) -> Iterator[None]:
        """Keep a claimed row while the body calls outside."""
        entry = (model, row_id, claim)
        with self._lock:
            self._held.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(entry)

    def renew(self, database: Database) -> int:
        """Renew everything held, one UPDATE a table; returns how many rows are still ours.

        A row that was taken over is forgotten here: what its holder records will match nothing.
        """
        with self._lock:
            held = set(self._held)
        kept: set[tuple[type[due.Kept], due.Key, int]] = set()
        for model in {entry[0] for entry in held}:
            rows = [(row_id, claim) for of, row_id, claim in held if of is model]
            with database.transaction("leases.renew") as session:
                kept |= {(model, *row) for row in due.keep(session, model, rows, lease=self.lease)}
        with self._lock:
            self._held -= held - kept
        return len(kept)
