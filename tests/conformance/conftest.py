"""Shared by the conformance tests: a scripted server, and an HTTP client as the toolbox has one."""

from collections.abc import Iterator

import pytest

from gateways.http import HttpClient
from tests.conformance.scripted_server import ScriptedServer, scripted_server


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture(scope="session")
def http() -> HttpClient:
    return HttpClient()
