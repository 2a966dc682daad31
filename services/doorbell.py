"""The doorbell: tells a worker that a row is due. It may ring in vain, late, twice or not at all.

The row stays due until somebody claims it and dispatch rings again every second, so losing a ring
costs a moment and never a job.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from config.queues import HOSTS_CLOCKS_DIFFER, QUEUE_OF, QueueName, TaskName

logger = structlog.get_logger(__name__)

RING_EXPIRES_SECONDS = HOSTS_CLOCKS_DIFFER.total_seconds()
"""A ring that waited longer is worth nothing: dispatch has rung again. What keeps a queue short is
that dispatch counts what waits in it (``ENOUGH_RINGS``), expired or not.
"""
QUIET_SECONDS = 1
"""After a failure nothing is published for so long: not every ring shall cost a time-out.

No longer than dispatch takes to ring again: work goes on soon after the broker is back.
"""
BACKLOG = 10_000
ASK_SECONDS = 2
"""How long to wait for a connection to ask with."""


_Ring = tuple[TaskName, int | None]


class Doorbell(Protocol):
    def ring(self, task: TaskName, row_id: int | None = None) -> None:
        """Wake a worker for a row, or for a duty. Never blocks or raises; call after the commit."""

    def unanswered(self, queue: QueueName) -> int:
        """How many rings wait for the workers of a queue, published or not, as far as one can tell.

        0 while the broker is away. Asks outside, never raises.
        """


class CeleryDoorbell:
    """Publishes from one thread of its own, started at the first ring, so after any fork.

    A ring that is not published yet is not made a second time: dispatch rings again every second,
    and behind minutes of such rings each new one would come too late.
    """

    def __init__(self, celery: Celery, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._celery = celery
        self._clock = clock
        self._rings: queue.Queue[_Ring] = queue.Queue(BACKLOG)
        self._unpublished: set[_Ring] = set()
        """What is in ``_rings``."""
        self._quiet_until = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self, task: TaskName, row_id: int | None = None) -> None:
        self._start()
        with self._lock:
            if (task, row_id) in self._unpublished:
                return
            try:
                self._rings.put_nowait((task, row_id))
            except queue.Full:
                logger.warning("doorbell backlog full", task=task.value)
            else:
                self._unpublished.add((task, row_id))

    def unanswered(self, queue: QueueName) -> int:
        if self._clock() < self._quiet_until:
            return 0
        with self._lock:
            unpublished = sum(QUEUE_OF[task] is queue for task, _ in self._unpublished)
        return unpublished + self._published(queue)

    def _published(self, queue: QueueName) -> int:
        try:
            with self._celery.producer_pool.acquire(block=True, timeout=ASK_SECONDS) as producer:
                channel: Any = producer.channel
                # Declaring makes nothing on Redis; it is how kombu says the length.
                return int(channel.queue_declare(queue.value).message_count)
        except (KombuError, RedisError, OSError) as error:
            logger.warning("doorbell is deaf", error=type(error).__name__)
            return 0

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._publish_for_ever, daemon=True)
                self._thread.start()

    def _publish_for_ever(self) -> None:
        while True:
            task, row_id = self._rings.get()
            with self._lock:
                self._unpublished.discard((task, row_id))
            try:
                if self._clock() >= self._quiet_until:
                    self._publish(task, row_id)
            except Exception:
                logger.exception("doorbell has broken")  # and rings for the next one all the same
            finally:
                self._rings.task_done()

    def _publish(self, task: TaskName, row_id: int | None) -> None:
        try:
            self._celery.send_task(
                task.value,
                args=[] if row_id is None else [row_id],
                queue=QUEUE_OF[task].value,
                expires=RING_EXPIRES_SECONDS,
                ignore_result=True,
            )
        except (KombuError, RedisError, OSError) as error:
            self._quiet_until = self._clock() + QUIET_SECONDS
            logger.warning("doorbell is mute", error=type(error).__name__)

    def answered(self) -> None:
        """Wait until everything rung so far was published or dropped. For tests."""
        self._rings.join()
