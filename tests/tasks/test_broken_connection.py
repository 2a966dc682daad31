"""Messages that a worker holds when its connection ends are hints: nobody puts them back."""

from typing import Any

import redis
from celery import Celery
from kombu import Connection

from config.broker import KEY_PREFIX, make_celery
from config.queues import QueueName
from services.toolbox import Toolbox


def hold_a_message(connection: Connection) -> None:
    """Send one and take it, without acknowledging it."""
    queue = connection.SimpleQueue(QueueName.TICKS.value)
    queue.put("ring")
    queue.get(timeout=5)


def test_a_connection_that_closes_puts_nothing_back_because_a_broken_one_could_not(
    tools: Toolbox, redis_url: str
) -> None:
    broker: Any = redis.Redis.from_url(redis_url)
    broker.flushdb()
    celery: Celery = make_celery(tools.settings)
    connection = celery.connection_for_write()
    hold_a_message(connection)

    connection.close()

    assert broker.llen(KEY_PREFIX + QueueName.TICKS.value) == 0
    broker.flushdb()
    broker.close()
    celery.close()
