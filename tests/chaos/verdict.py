"""When the tables are read for the last time: not before what may yet turn out to be wrong has.

Some rules allow a minute after all was calm. Where patience is shorter than that they could never
fail, so what would break them if it lasted is looked at until it is gone, or has lasted.
"""

from collections.abc import Callable
from dataclasses import replace
from threading import Event
from time import time

from tests.chaos.checker import FOUND_WITHIN_SECONDS, STUCK_AFTER_SECONDS, check
from tests.chaos.evidence import Evidence

LOOK_EVERY_SECONDS = 3.0
HORIZON_SECONDS = max(FOUND_WITHIN_SECONDS, STUCK_AFTER_SECONDS)
ALL_HAS_SHOWN_SECONDS = HORIZON_SECONDS + 5.0
"""After all was calm: whatever has lasted until then is wrong by its own rule."""
_never = Event()


def last_look(
    read: Callable[[], Evidence],
    *,
    clock: Callable[[], float] = time,
    rest: Callable[[float], object] = _never.wait,
) -> Evidence:
    """Read until nothing is wrong that only needs time to be seen, or something is wrong already.

    What is wrong at once is not waited for: it might be mended by then.
    """
    seen = read()
    while clock() < seen.calm_at + ALL_HAS_SHOWN_SECONDS and may_turn_out_wrong(seen):
        rest(LOOK_EVERY_SECONDS)
        seen = read()
    return seen


def may_turn_out_wrong(evidence: Evidence) -> bool:
    """Whether something is wrong only if it stays as it is."""
    later = replace(evidence, read_at=evidence.read_at + HORIZON_SECONDS)
    return not check(evidence) and bool(check(later))
