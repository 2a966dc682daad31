"""What the tests of the bench share."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.data_dir import DataDir
from local.processes import free_port
from local.servers.temporary import temporary_folder


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every account can pass through."""
    with temporary_folder() as path:
        yield path


@pytest.fixture
def data(folder: Path) -> Iterator[DataDir]:
    """A data folder that we hold."""
    with DataDir(folder / "data") as held:
        yield held
