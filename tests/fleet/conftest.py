"""Collected only with HONESTWORK_FLEET=1, which ``run`` sets."""

import os
from collections.abc import Iterator

import pytest

from config.settings import Settings
from services import toolbox
from services.toolbox import Role
from tests.fleet.fleet import Fleet, running_fleet
from tests.journeys.books import Books
from tests.support.asked_for import suite
from tests.support.books import assert_balanced

SUITE = suite("fleet", os.environ, set_by="tests/fleet/run")  # noqa: TID251 - an entry point

collect_ignore_glob = SUITE.ignored
measured: list[str] = []


def pytest_report_header() -> list[str]:
    return SUITE.said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in measured:
        terminalreporter.write_line(line)


@pytest.fixture
def measure() -> list[str]:
    """Lines that are shown when all is over."""
    return measured


@pytest.fixture(scope="session")
def running() -> Iterator[Fleet]:
    with running_fleet() as fleet:
        yield fleet


@pytest.fixture
def books(running: Fleet) -> Iterator[Books]:
    tools = toolbox.build(Settings.load(running.product.environ("web")), Role.WEB)
    try:
        yield Books(tools)
    finally:
        tools.database.close()


@pytest.fixture
def fleet(running: Fleet, books: Books) -> Iterator[Fleet]:
    """Whatever a test does to it: afterwards every sat is accounted for."""
    yield running
    assert_balanced(books.tools, running.wallet)
    assert books.wallet_msats() == running.doors[0].service_balance_msats()
