"""The connection: what a transaction may rely on."""

from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy import event, text

from models import liveness
from models.database import Database


@pytest.fixture
def narrow(database_url: str) -> Iterator[Database]:
    """One that holds a single connection."""
    database = Database(
        database_url.replace("postgresql://", "postgresql+psycopg2://", 1), connections=1
    )
    yield database
    database.close()


def test_options_of_the_address_are_kept_beside_ours(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    url = database_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    database = Database(f"{url}{separator}options=-c%20search_path%3Dpg_catalog")

    with database.transaction("test.options") as session:
        shown = {
            name: session.scalar(text(f"SHOW {name}"))
            for name in ("search_path", "TimeZone", "statement_timeout")
        }
    database.close()

    assert shown == {"search_path": "pg_catalog", "TimeZone": "UTC", "statement_timeout": "1min"}


def test_given_a_backend_was_terminated_when_its_connection_is_used_again_then_it_is_a_new_one(
    narrow: Database, database_url: str
) -> None:
    before = _backend(narrow)
    _terminate(database_url, before)

    after = _backend(narrow)

    assert after != before


def test_given_a_connection_was_used_just_now_when_it_is_used_again_then_nothing_is_asked_first(
    narrow: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "IDLE_SECONDS", 60)  # longer than a machine stands still
    before = _backend(narrow)
    asked = _questions(narrow)

    after = _backend(narrow)

    assert (after, asked) == (before, [])


def test_given_a_connection_was_idle_for_long_when_it_is_used_again_then_it_is_asked_first(
    narrow: Database,
) -> None:
    event.listen(narrow.engine, "checkin", lambda _, record: record.info.update(returned_at=0))
    before = _backend(narrow)
    asked = _questions(narrow)

    after = _backend(narrow)

    assert (after, len(asked)) == (before, 1)


def test_a_connection_that_dies_while_it_is_given_back_leaves_its_place_to_another(
    narrow: Database, database_url: str
) -> None:
    """What was read by then was read, and the next one need not wait for a place."""
    for _ in range(2):
        before = _reader(narrow)
        with narrow.reading("test.read") as session:
            session.scalar(text("SELECT 1"))
            _terminate(database_url, before)

        assert _reader(narrow) != before


def test_a_reading_says_nothing_but_its_statement(narrow: Database, database_url: str) -> None:
    for _ in range(2):
        backend = _reader(narrow)

    assert _last_words(database_url, backend) == READER


READER = "SELECT pg_backend_pid()"


def _reader(database: Database) -> int:
    """Which of PostgreSQL's processes is read from."""
    with database.reading("test.reader") as session:
        return int(session.scalar(text(READER)) or 0)


def _last_words(url: str, backend: int) -> str:
    """What a process of PostgreSQL was told last."""
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", (backend,))
        (told,) = cursor.fetchone() or ("",)
    connection.close()
    return str(told)


def _backend(database: Database) -> int:
    """Which of PostgreSQL's processes serves us."""
    with database.transaction("test.backend") as session:
        return int(session.scalar(text("SELECT pg_backend_pid()")) or 0)


def _terminate(url: str, backend: int) -> None:
    """Returns when it is gone."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))
    connection.close()


def _questions(database: Database) -> list[object]:
    """Every time the engine asks from now on whether a connection is alive."""
    asked: list[object] = []
    ask = database.engine.dialect.do_ping

    def ask_and_tell(connection: object) -> bool:
        asked.append(connection)
        return bool(ask(connection))  # type: ignore[arg-type]

    database.engine.dialect.do_ping = ask_and_tell  # type: ignore[method-assign,assignment]
    return asked
