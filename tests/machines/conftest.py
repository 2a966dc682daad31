"""Collected only with HONESTWORK_MACHINES=1, which ``run`` sets."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.servers.temporary import temporary_folder
from tests.machines.pythons import WANTED, found_pythons
from tests.support.asked_for import suite

SUITE = suite("machines", os.environ, set_by="tests/machines/run")  # noqa: TID251 - an entry point

collect_ignore_glob = SUITE.ignored
measured: list[str] = []


def pytest_report_header() -> list[str]:
    if not SUITE.is_asked_for:
        return SUITE.said
    found = found_pythons()
    return [f"python {version}: {found.get(version, 'not here')}" for version in WANTED]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in measured:
        terminalreporter.write_line(line)


@pytest.fixture
def measure() -> list[str]:
    """Lines that are shown when all is over: what was proved, and how long it took."""
    return measured


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every account can pass through."""
    with temporary_folder() as path:
        yield path
