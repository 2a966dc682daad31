"""The entry point of workers: ``celery -A workers.celery_app worker``.

``WORKER_ROLE=money`` makes the one kind of process that may hold the key that pays.
"""

import os
import sys
import threading
from functools import partial
from typing import Any

from celery.signals import setup_logging, worker_init, worker_ready

from config import logs
from config.broker import make_celery
from config.queues import EVERY
from config.settings import Settings, SettingsError
from models.creator import Provider
from services import toolbox
from services.operate import startup
from services.toolbox import Role, Toolbox
from tasks import base, instant, jobs, money, ticks
from workers import heartbeat

TASK_MODULES = (instant, jobs, money, ticks)
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
def _equip(**_: Any) -> None:
    """Build the toolbox of this worker, refuse what must be refused, and start the heartbeat."""
    role = Role(os.environ.get("WORKER_ROLE", Role.MODELS.value))
    try:
        tools = toolbox.build(settings, role)
        startup.check(tools)
        startup.check_stored(tools)
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")
    base.install(tools)
    heartbeat.start(tools)
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
    for load in loads:
        timer = threading.Timer(WARM_UP_AFTER_SECONDS, load)
        timer.daemon = True
        timer.start()


settings = _settings()
app = make_celery(settings)
app.set_default()  # the tasks are shared: they belong to the default application
