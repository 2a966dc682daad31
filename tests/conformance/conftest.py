"""Shared by the conformance tests: a scripted server, and an HTTP client as the toolbox has one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateways.http import HttpClient
from tests.conformance.internet import OPENSSL, Internet, internet_of, make_certificate
from tests.conformance.scripted_server import ScriptedServer, scripted_server
from tests.support.proofs import not_proved


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def closed_url() -> Iterator[str]:
    """An address that refuses connections: bound, so nobody else gets it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="session")
def http() -> HttpClient:
    return HttpClient()


@pytest.fixture(scope="session")
def names_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if OPENSSL is None:
        not_proved("there is no openssl to make a certificate")
    return make_certificate(tmp_path_factory.mktemp("names"))


@pytest.fixture
def internet(names_certificate: tuple[Path, Path]) -> Iterator[Internet]:
    with internet_of(names_certificate) as running:
        yield running
