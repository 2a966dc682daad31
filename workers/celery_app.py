"""The entry point of workers and beat: ``celery -A workers.celery_app worker|beat``.

``WORKER_ROLE=money`` makes the one kind of process that may hold the key that pays.
"""

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init

from config import logs
from config.broker import make_celery
from config.settings import Settings, SettingsError
from services import toolbox
from services.operate import startup
from services.toolbox import Role
from tasks import base, jobs, money, ticks
from workers import heartbeat
from workers.schedule import beat_schedule

TASK_MODULES = (jobs, money, ticks)


def make_app(settings: Settings) -> Celery:
    """The Celery application with every task and the schedule."""
    app = make_celery(settings)
    app.set_default()  # the tasks are shared: they belong to the default application
    app.conf.beat_schedule = beat_schedule()
    return app


def _settings() -> Settings:
    try:
        return Settings.load(os.environ)
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up(os.environ.get("LOG_FORMAT", "pretty"))


@worker_init.connect
def _equip(**_: Any) -> None:
    """Build the toolbox of this worker, refuse what must be refused, and start the heartbeat."""
    role = Role(os.environ.get("WORKER_ROLE", Role.MODELS.value))
    try:
        tools = toolbox.build(settings, role)
        startup.check(tools)
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")
    base.install(tools)
    heartbeat.start(tools)


settings = _settings()
app = make_app(settings)
