"""What beat sends: every duty at its interval, and worthless soon after, so that no pile grows."""

from typing import Any

from config.queues import QUEUE_OF, TaskName
from services.operate.ticks import DUTIES

EXPIRES_AFTER_INTERVALS = 3


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Celery's beat_schedule, made from the duties."""
    return {name.value: _entry(name) for name in DUTIES}


def _entry(name: TaskName) -> dict[str, Any]:
    every = DUTIES[name].every
    return {
        "task": name.value,
        "schedule": every,
        "options": {
            "queue": QUEUE_OF[name].value,
            "expires": every.total_seconds() * EXPIRES_AFTER_INTERVALS,
        },
    }
