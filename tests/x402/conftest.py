"""The rig for a whole session. Collected only with HONESTWORK_X402=1, which ``run`` sets."""

import os
from collections.abc import Iterator

import pytest

from tests.x402.rig import Rig, running_rig
from tests.x402.shops import Creator, Market, NaiveShop, market, naive_shop

ENVIRON = dict(os.environ)  # noqa: TID251 - an entry point
IS_ASKED_FOR = ENVIRON.get("HONESTWORK_X402") == "1"
REASON = "tests/x402: left out, HONESTWORK_X402=1 is not set (`make test-x402` sets it)"

collect_ignore_glob = [] if IS_ASKED_FOR else ["test_*.py"]


def pytest_report_header() -> list[str]:
    return [] if IS_ASKED_FOR else [REASON]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not IS_ASKED_FOR:
        terminalreporter.write_line(REASON)


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
