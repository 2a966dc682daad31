"""One thread per process keeps every row that this process holds."""

import threading
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.operate import ticks
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


def interval(lease: timedelta) -> timedelta:
    """Duties have a lease of their own, which may be the shorter one."""
    return min(lease, ticks.TICK_LEASE) / BEATS_PER_LEASE


def _beat(tools: Toolbox, stop: threading.Event) -> None:
    while not stop.wait(interval(tools.leases.lease).total_seconds()):
        try:
            tools.leases.renew(tools.database)
        except SQLAlchemyError as error:
            logger.warning("heartbeat missed", error=type(error).__name__)
