"""The entry point of beat: ``celery -A workers.beat beat``.

It knows names and intervals, and no database.
"""

import os
import sys
from pathlib import Path
from typing import Any

import structlog
from celery.beat import PersistentScheduler
from celery.signals import beat_init, setup_logging

from config import logs
from config.broker import make_celery
from config.settings import Settings, SettingsError
from workers.schedule import beat_schedule

logger = structlog.get_logger(__name__)


def _settings() -> Settings:
    try:
        return Settings.load(os.environ)
    except SettingsError as error:
        sys.exit(f"Cannot start:\n{error}")


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up(settings.log_format)


@beat_init.connect
def _say_ready(**_: Any) -> None:
    logger.info("beat ready")


class Scheduler(PersistentScheduler):
    """Celery's own, for a fresh checkout as well: the folder of its file need not be there yet."""

    def setup_schedule(self) -> None:
        named: str = self.schedule_filename  # type: ignore[attr-defined]
        Path(named).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().setup_schedule()


settings = _settings()
app = make_celery(settings)
app.conf.beat_schedule = beat_schedule()
app.conf.beat_scheduler = Scheduler
