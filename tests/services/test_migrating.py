"""Migrating twice at once: the second waits for the first, and finds nothing to do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from config.settings import psycopg2_url
from models import migrate
from tests.journeys.waiting import wait_until

ONE_MIGRATOR = 721_120
TABLE_PATIENCE_MS = 50
WAITED = """
    SELECT extract(epoch FROM clock_timestamp() - query_start) * 1000
    FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND objid = :lock AND NOT granted
"""


@pytest.fixture
def first(database_url: str) -> Iterator[Connection]:
    """Somebody who migrates already, and takes a while."""
    engine = create_engine(psycopg2_url(database_url), poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({ONE_MIGRATOR})"))
        yield connection


def test_a_second_migrator_waits_longer_for_the_first_than_a_migration_does_for_a_table(
    database_url: str, first: Connection
) -> None:
    def waited_ms() -> float:
        return float(first.scalar(text(WAITED), {"lock": ONE_MIGRATOR}) or 0)

    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(
            migrate.upgrade,
            psycopg2_url(database_url),
            lock_timeout=f"{TABLE_PATIENCE_MS}ms",
        )
        wait_until("it waits", lambda: second.done() or waited_ms() > 3 * TABLE_PATIENCE_MS)
        assert not second.done()
        first.execute(text(f"SELECT pg_advisory_unlock({ONE_MIGRATOR})"))
        second.result()


def test_a_second_migrator_does_not_wait_for_ever(database_url: str, first: Connection) -> None:
    with pytest.raises(OperationalError, match="lock timeout"):
        migrate.upgrade(psycopg2_url(database_url), patience="50ms")
