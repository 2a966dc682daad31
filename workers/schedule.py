"""What beat sends: every duty at its interval, and worthless soon after, so that no pile grows."""

from typing import Any

from config.queues import EVERY, HOSTS_CLOCKS_DIFFER, QUEUE_OF, TaskName

EXPIRES_AFTER_INTERVALS = 3


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Celery's beat_schedule, made from the intervals."""
    return {name.value: _entry(name) for name in EVERY}


def _entry(name: TaskName) -> dict[str, Any]:
    every = EVERY[name]
    return {
        "task": name.value,
        "schedule": every,
        "options": {
            "queue": QUEUE_OF[name].value,
            "expires": max(every * EXPIRES_AFTER_INTERVALS, HOSTS_CLOCKS_DIFFER).total_seconds(),
        },
    }
