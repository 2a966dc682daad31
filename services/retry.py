"""When to try again. Pure values: the row remembers, each try is a new message."""

import random
from datetime import timedelta

FIRST_DELAY = timedelta(seconds=2)
LONGEST_DELAY = timedelta(minutes=5)
JITTER = 0.25
CRASHES_ARE_POISON = 3
"""So many workers died in one and the same call: it is not made again."""


def backoff(failures: int, *, retry_after: timedelta | None = None) -> timedelta:
    """How long to wait after this many failures in a row (from 1): 2, 4, 8 … s up to 5 min, ± 25 %.

    A provider's own wish (``Retry-After``) is never undercut.
    """
    doubled = FIRST_DELAY * 2 ** min(max(failures, 1) - 1, 10)
    delay = jittered(min(doubled, LONGEST_DELAY))
    return max(delay, retry_after) if retry_after else delay


def patience(waited: timedelta, *, at_least: timedelta, at_most: timedelta) -> timedelta:
    """How long to wait when we have waited so long already: an eighth, within bounds, ± 25 %.

    Exponential without a counter: the row's own age is the memory.
    """
    return jittered(min(max(waited / 8, at_least), at_most))


def jittered(delay: timedelta) -> timedelta:
    """Spread a delay by ± 25 %, so that what failed together does not come back together."""
    return delay * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - guards nothing
