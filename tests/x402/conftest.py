"""The rig for a whole session. Collected only with HONESTWORK_X402=1, which ``run`` sets."""

import os
from collections.abc import Iterator

import pytest

from tests.x402.rig import Rig, running_rig

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
