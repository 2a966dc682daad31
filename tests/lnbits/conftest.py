"""The rig for a whole session. Collected only with HONESTWORK_LNBITS=1, which ``run`` sets."""

import os
from collections.abc import Iterator

import pytest

from local.stand_in.testing import StandInClient
from tests.lnbits.rig import Rig, running_rig
from tests.lnbits.shop import Shop, open_shop
from tests.support.asked_for import suite
from tests.support.canary import Listener
from tests.support.doorbell import RecordingDoorbell

ENVIRON = dict(os.environ)  # noqa: TID251 - an entry point
SUITE = suite("lnbits", ENVIRON, set_by="`make test-lnbits`")

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
    """Both LNbits, without any fault; whatever a test breaks is mended after it."""
    yield running
    running.mend()


@pytest.fixture
def shop(
    rig: Rig,
    database_url: str,
    redis_url: str,
    stand_in: StandInClient,
    doorbell: RecordingDoorbell,
    log_listener: Listener,
) -> Iterator[Shop]:
    with open_shop(
        rig,
        database_url=database_url,
        redis_url=redis_url,
        doorbell=doorbell,
        stand_in=stand_in,
        log=log_listener,
    ) as opened:
        yield opened
