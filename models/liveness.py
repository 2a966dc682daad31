"""Whether a pooled connection still leads to PostgreSQL, without asking each time.

Whatever ends a connection is heard on its socket: an idle one has nothing else to say. Asking, a
whole round trip, was a fifth of what a transaction costs.
"""

import select
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

IDLE_SECONDS = 1
"""Who was silent for longer is asked: of a machine that was switched off nothing is heard."""
_RETURNED_AT = "returned_at"


def watch(engine: Engine) -> None:
    """Replace connections that have ended before anybody uses them."""

    def look(connection: Any, record: Any, _: object) -> None:
        returned_at = record.info.get(_RETURNED_AT)  # a new connection has none
        if returned_at is None or _is_surely_alive(connection, returned_at):
            return
        if not _answers(engine, connection):
            raise InvalidatePoolError

    event.listen(engine, "checkout", look)
    event.listen(engine, "checkin", _note)


def _note(_: object, record: Any) -> None:
    record.info[_RETURNED_AT] = time.monotonic()


def _is_surely_alive(connection: Any, returned_at: float) -> bool:
    was_just_used = time.monotonic() - returned_at < IDLE_SECONDS
    return was_just_used and not connection.closed and not _has_heard(connection.fileno())


def _has_heard(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
