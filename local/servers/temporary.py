"""Servers and folders that are thrown away."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.data_dir import DataDir
from local.servers.postgresql import PostgreSQL
from local.servers.valkey import Valkey


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for data that is thrown away. As root, PostgreSQL's account can pass through it,
    which it cannot through pytest's: nothing is left elsewhere then.
    """
    with tempfile.TemporaryDirectory(prefix="honestwork-") as name:
        if os.geteuid() == 0:
            Path(name).chmod(0o711)
        yield Path(name)


@contextmanager
def temporary_servers() -> Iterator[tuple[PostgreSQL, Valkey]]:
    """Both servers for one test session: fast, empty, gone at the end. Use from the main thread."""
    with temporary_folder() as folder, DataDir(folder) as data:
        postgres, valkey = PostgreSQL(data, durable=False), Valkey(data, durable=False)
        try:
            with postgres, valkey:
                yield postgres, valkey
        finally:
            postgres.discard()
