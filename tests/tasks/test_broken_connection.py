"""A connection to the broker ends: nobody puts its messages back, and soon there is another."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection

from config.broker import CONNECT_AGAIN, KEY_PREFIX, make_celery
from config.queues import QueueName
from local.processes import LOOPBACK
from services.toolbox import Toolbox


def hold_a_message(connection: Connection) -> None:
    """Send one and take it, without acknowledging it."""
    queue = connection.SimpleQueue(QueueName.TICKS.value)
    queue.put("ring")
    queue.get(timeout=60)


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


class _SeenEnoughError(Exception):
    pass


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections: bound, so that nobody else gets it."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield f"redis://{LOOPBACK}:{bound.getsockname()[1]}/0"


def test_while_the_broker_is_away_a_worker_tries_again_at_least_every_second(
    tools: Toolbox, nobody: str
) -> None:
    celery = make_celery(tools.settings.model_copy(update={"redis_url": nobody}))
    connection: Any = celery.connection_for_read()
    pauses: list[float] = []

    def note(_: Exception, seconds: float) -> None:
        """What Celery's consumer and beat hand in, but for the logging."""
        pauses.append(seconds)
        if len(pauses) == 4:
            raise _SeenEnoughError

    with pytest.raises(_SeenEnoughError):
        connection.ensure_connection(note, None)

    assert pauses == [pytest.approx(pause) for pause in (0.2, 0.4, 0.6, 0.8)]
    assert CONNECT_AGAIN["interval_max"] == 1
    celery.close()
