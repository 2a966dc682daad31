"""A price feed that is left alone for a while after it failed, so that a limit is not run into for
ever.
"""

import time
from collections.abc import Callable
from datetime import timedelta

from gateways.errors import OutsideError, Unavailable
from gateways.prices import FeedPrice, PriceFeed

FIRST_REST = timedelta(seconds=30)
LONGEST_REST = timedelta(minutes=10)


class RestingFeed:
    """``PriceFeed`` around another. Remembers per process: at worst each process asks once more."""

    def __init__(self, feed: PriceFeed, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = feed.name
        self._feed = feed
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0

    def fetch(self) -> FeedPrice:
        """As the protocol says; Unavailable(resting) without asking while it rests."""
        if self._clock() < self._rests_until:
            raise Unavailable(f"{self.name} rests after a failure", code="resting")
        try:
            price = self._feed.fetch()
        except OutsideError as error:
            self._rest(error.retry_after)
            raise
        self._failures = 0
        return price

    def _rest(self, wish: timedelta | None) -> None:
        """30 s, 1 min, 2 min … up to 10 min, and never less than they asked for."""
        rest = min(FIRST_REST * 2**self._failures, LONGEST_REST)
        self._failures = min(self._failures + 1, 10)
        self._rests_until = self._clock() + max(rest, wish or rest).total_seconds()
