"""Celery's settings, every one of them a decision (docs/adr/0001)."""

from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Queue
from kombu.transport.virtual import QoS

from config.queues import QUEUE_OF, QueueName
from config.settings import Settings

KEY_PREFIX = "honestwork:"

QoS.restore_at_shutdown = False
"""A connection that closes puts no message back: dispatch rings again anyway. Where the connection
is what broke, what it held would be written to a file of the system's temporary folder instead.
"""

CONNECT_AGAIN = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}
"""Seconds between two attempts while the broker is away, growing. Celery's own are 2 to 30 and no
setting changes them: after a longer outage the bell would be deaf for half a minute more.
"""


class _Connection(Connection):
    """kombu's own, that notices sooner that the broker is back."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Self:
        return super().ensure_connection(*args, **(CONNECT_AGAIN | kwargs))


class _Amqp(AMQP):
    """Celery's own, which makes the connections of workers and of beat."""

    Connection = _Connection


def broker_url(redis_url: str) -> str:
    """Say to kombu what an address means everywhere else.

    With ``rediss`` it would trust any certificate unless told not to; Unix sockets it calls
    otherwise.
    """
    address = urlsplit(redis_url)
    options = dict(parse_qsl(address.query))
    if address.scheme == "rediss":
        options.setdefault("ssl_cert_reqs", "required")
        address = address._replace(query=urlencode(options))
    if address.scheme == "unix":
        options["virtual_host"] = options.pop("db", "0")
        return f"redis+socket://{address.netloc}{address.path}?{urlencode(options)}"
    return address.geturl()


CONNECTIONS: dict[str, Any] = {
    "broker_transport_options": {
        "socket_timeout": 5,  # None, the default, hangs for ever on a frozen server
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "retry_on_timeout": False,
        "global_keyprefix": KEY_PREFIX,
        # a message that was taken is gone: to remember it is two transactions more for each,
        # and what was taken and lost is rung for again
        "ack_emulation": False,
    },
    "broker_connection_retry_on_startup": True,
    "broker_connection_retry": True,
    "broker_connection_max_retries": None,  # after 100, the default, the worker would exit
    "broker_pool_acquire_timeout": 2,
    "broker_heartbeat": 0,
}
"""How the broker is reached: soon again after it was away, and nobody hangs at it."""

MESSAGES: dict[str, Any] = {
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    },
    "result_backend": None,
    "task_ignore_result": True,
    "task_acks_late": False,  # a duplicate costs a claim, a late ack up to an hour
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_prefetch_count_reduction": False,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
}
"""A message is a hint and may be lost: nothing here tries to make Redis remember."""


def celery_settings(settings: Settings) -> dict[str, Any]:
    """All that Celery is told, for this deployment."""
    return {
        **CONNECTIONS,
        **MESSAGES,
        "broker_url": broker_url(settings.redis_url),
        "task_create_missing_queues": False,  # a typo must fail, not make a queue nobody reads
        "task_queues": [Queue(queue.value) for queue in QueueName],
        "task_default_queue": QueueName.TICKS.value,
        "task_routes": {task.value: {"queue": queue.value} for task, queue in QUEUE_OF.items()},
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_max_loop_interval": 1,
        "enable_utc": True,
        "timezone": "UTC",
    }


def make_celery(settings: Settings) -> Celery:
    """Build the Celery application: the doorbell sends with it, the workers receive with it."""
    celery = Celery("honestwork", amqp=_Amqp, set_as_current=False)
    celery.conf.update(celery_settings(settings))
    return celery
