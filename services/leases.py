"""Which claimed rows this process holds, so that one heartbeat can keep them all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter

from sqlalchemy.exc import SQLAlchemyError

from models import due
from models.database import Database


@dataclass(frozen=True, kw_only=True)
class _Entry:
    model: type[due.Kept]
    key: due.Key
    claim: int
    lease: timedelta


class Leases:
    """Thread-safe. ``renew`` is called by one thread per process, four times in the shortest lease.

    A row is kept for the lease of its process, or for the one that it is held with.
    """

    def __init__(self, lease: timedelta) -> None:
        self.lease = lease
        self._held: set[_Entry] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(
        self, model: type[due.Kept], key: due.Key, claim: int, *, lease: timedelta | None = None
    ) -> Iterator[None]:
        """Keep a claimed row while the body calls outside."""
        entry = _Entry(model=model, key=key, claim=claim, lease=lease or self.lease)
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
        The shortest lease comes first, and a table that cannot be written stops no other; then the
        last SQLAlchemyError is raised.
        """
        with self._lock:
            held = set(self._held)
        error: SQLAlchemyError | None = None
        ours = 0
        for model, lease in sorted({(e.model, e.lease) for e in held}, key=itemgetter(1)):
            entries = {entry for entry in held if (entry.model, entry.lease) == (model, lease)}
            try:
                kept = _renewed(database, model, entries, lease)
            except SQLAlchemyError as failure:
                error = failure
                continue
            with self._lock:
                self._held -= entries - kept
            ours += len(kept)
        if error is not None:
            raise error
        return ours


def _renewed(
    database: Database, model: type[due.Kept], entries: set[_Entry], lease: timedelta
) -> set[_Entry]:
    """Those of them that are still ours."""
    with database.transaction("leases.renew") as session:
        ours = due.keep(session, model, [(e.key, e.claim) for e in entries], lease=lease)
    return {entry for entry in entries if (entry.key, entry.claim) in ours}
