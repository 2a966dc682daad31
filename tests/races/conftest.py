"""Whoever wins a race, afterwards the books are right."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from config.queues import EVERY
from local.stand_in.testing import StandInClient
from services.operate import ticks
from services.toolbox import Toolbox
from tests.support.books import assert_balanced


@pytest.fixture(autouse=True)
def duties_rest_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """They rest for hours: who comes last, on a machine that stood still, does not come in time for
    the next round.
    """
    for duty in EVERY:
        monkeypatch.setitem(EVERY, duty, timedelta(hours=1))
    monkeypatch.setattr(ticks, "TICK_LEASE", timedelta(hours=2))  # longer than a rest, as it is


@pytest.fixture(autouse=True)
def balanced_books(tools: Toolbox, stand_in: StandInClient) -> Iterator[None]:
    yield
    assert_balanced(tools, stand_in)
