"""The rig for a whole session. Collected only with HONESTWORK_X402=1, which ``run`` sets."""

import os
from collections.abc import Iterator

import pytest

from tests.support.asked_for import suite
from tests.x402.rig import Rig, running_rig
from tests.x402.shops import Creator, Market, NaiveShop, market, naive_shop

ENVIRON = dict(os.environ)  # noqa: TID251 - an entry point
SUITE = suite("x402", ENVIRON, set_by="`make test-x402`")

collect_ignore_glob = SUITE.ignored


def pytest_report_header() -> list[str]:
    return SUITE.said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in SUITE.said:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def running() -> Iterator[Rig]:
    with running_rig(ENVIRON) as started:
        yield started


@pytest.fixture
def rig(running: Rig) -> Iterator[Rig]:
    """Chain and facilitator, without any fault; whatever a test breaks is mended after it."""
    running.mend()
    yield running
    running.mend()


@pytest.fixture(scope="session")
def running_market(running: Rig) -> Iterator[Market]:
    with market(running) as opened:
        yield opened


@pytest.fixture
def shop(rig: Rig, running_market: Market) -> Iterator[Creator]:
    """A new creator of the product, on a rig without any fault."""
    running_market.stand_in.disarm()
    yield running_market.creator()
    running_market.stand_in.disarm()
    running_market.stand_in.release()


@pytest.fixture(scope="session")
def running_naive_shop(running: Rig) -> Iterator[NaiveShop]:
    with naive_shop(running) as opened:
        yield opened


@pytest.fixture
def naive(rig: Rig, running_naive_shop: NaiveShop) -> NaiveShop:
    return running_naive_shop
