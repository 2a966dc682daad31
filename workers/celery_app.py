"""The entry point of workers: ``celery -A workers.celery_app worker``.

``WORKER_ROLE=money`` makes the one kind of process that may hold the key that pays, so that kind
alone may serve the queues that need it.
"""

import os
import sys
import threading
from functools import partial
from typing import Any

import structlog
from celery.signals import setup_logging, worker_init, worker_ready

from config import garbage, logs
from config.broker import make_celery
from config.queues import EVERY, QueueName
from config.settings import Settings, SettingsError
from models.creator import Provider
from services import toolbox
from services.operate import startup
from services.toolbox import Role, Toolbox
from tasks import base, instant, jobs, money, ticks
from workers import heartbeat

logger = structlog.get_logger(__name__)

TASK_MODULES = (instant, jobs, money, ticks)
WORKER_ROLES = (Role.MONEY, Role.MODELS)
NEED_THE_MONEY_ROLE = (QueueName.TICKS, QueueName.MONEY)
WARM_UP_AFTER_SECONDS = 3.0


def _settings() -> Settings:
    try:
        return Settings.load(os.environ)
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up(settings.log_format)


@worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    """Be ready for tasks, or end: Celery only logs what is raised here, and would take messages."""
    try:
        _equip(_role(serves=list(sender.app.amqp.queues.consume_from)))
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")
    except Exception:
        logs.set_up(settings.log_format)  # Celery asks for it later
        logger.exception("cannot start")
        sys.exit(1)


def _role(*, serves: list[str]) -> Role:
    """Which of the two this worker is. Raises SettingsError when it may not serve these queues."""
    said = os.environ.get("WORKER_ROLE") or Role.MODELS.value
    if said not in WORKER_ROLES:
        raise SettingsError(f"WORKER_ROLE={said} is no role of a worker: it is money or models.")
    needing = [queue.value for queue in NEED_THE_MONEY_ROLE if queue in serves]
    if needing and said != Role.MONEY:
        raise SettingsError(
            f"This worker serves {' and '.join(needing)} (-Q), and only WORKER_ROLE=money may."
        )
    return Role(said)


def _equip(role: Role) -> None:
    """Build the toolbox of this worker, refuse what must be refused, and start the heartbeat."""
    tools = toolbox.build(settings, role)
    startup.check(tools)
    startup.check_stored(tools)
    base.install(tools)
    heartbeat.start(tools)
    garbage.settle()
    at_once = _warm_up if role is Role.MODELS else _do_every_duty
    worker_ready.connect(lambda **_: at_once(tools), weak=False)


def _do_every_duty(tools: Toolbox) -> None:
    """Beat sends a duty only after its first interval; after a pause none should wait for that."""
    for name in EVERY:
        tools.doorbell.ring(name)


def _warm_up(tools: Toolbox) -> None:
    """Load the models' SDKs soon, so that no caller waits for an import, which takes seconds.

    Not at once: the processes that start beside this one need the CPU first.
    """
    models = {settings.eval_model, settings.work_model}
    loads = [partial(tools.language_model, model) for model in models]
    if tools.vault is not None:
        loads.append(partial(tools.creator_model, Provider.OPENROUTER, "none"))

    def warm_up() -> None:
        for load in loads:
            try:
                load()
            except Exception:
                logger.exception("not loaded yet")
        garbage.settle()

    timer = threading.Timer(WARM_UP_AFTER_SECONDS, warm_up)
    timer.daemon = True
    timer.start()


settings = _settings()
app = make_celery(settings)
app.set_default()  # the tasks are shared: they belong to the default application
