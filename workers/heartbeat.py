"""One thread per process keeps every row that this process holds."""

import threading

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

BEATS_PER_LEASE = 4


def start(tools: Toolbox) -> threading.Event:
    """Start the heartbeat; setting the event that it returns stops it.

    A beat that fails is only missed: three may be, before a row is anybody's.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(tools, stop), name="heartbeat", daemon=True)
    thread.start()
    return stop


def _beat(tools: Toolbox, stop: threading.Event) -> None:
    interval = tools.leases.lease.total_seconds() / BEATS_PER_LEASE
    while not stop.wait(interval):
        try:
            tools.leases.renew(tools.database)
        except SQLAlchemyError as error:
            logger.warning("heartbeat missed", error=type(error).__name__)
