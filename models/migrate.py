"""Bring the database to this code's schema: ``python -m models.migrate``.

Safe to repeat, and to run twice at once.
"""

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg2

from models import schema

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic and SQLAlchemy are imported where they are used: loading them takes a second, which every
# start of the product would wait for and only the first one of a version needs.


def configuration(url: str) -> "Config":
    """Alembic's configuration for one database; needs no alembic.ini."""
    from alembic.config import Config

    config = Config(toml_file="pyproject.toml")
    config.attributes["url"] = url
    return config


def upgrade(url: str, **waiting: str) -> None:
    """Run what is missing, each migration in its own transaction, one migrator at a time.

    ``waiting``: ``lock_timeout`` for a table and ``patience`` for another migrator, as PostgreSQL
    writes spans; 5 and 60 s unless told.
    """
    from alembic import command

    config = configuration(url)
    config.attributes.update(waiting)
    command.upgrade(config, "head")


def revision_there(url: str) -> str | None:
    """The revision that the database has; None = an empty database."""
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            revision: str | None = connection.scalar(
                text("SELECT version_num FROM alembic_version")
            )
            return revision
    finally:
        engine.dispose()


def main() -> int:
    """0 when the database is up to date, 1 when it cannot be, 2 when no database was named."""
    given = os.environ.get("DATABASE_URL", "")
    return 0 if is_up_to_date(given) else _bring_up_to_date(given)


def is_up_to_date(url: str) -> bool:
    """Whether there is nothing to do. False also when that could not be learned this quick way."""
    try:
        with closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT version_num FROM alembic_version")
            return bool(cursor.fetchall() == [(schema.HEAD,)])
    except psycopg2.Error:
        return False


def _bring_up_to_date(given: str) -> int:
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from config.settings import psycopg2_url

    url = psycopg2_url(given)
    if not url:
        return _refuse("DATABASE_URL is not set: it names the database to bring up to date.", 2)
    if not _is_address(url):
        return _refuse("DATABASE_URL is no address of a PostgreSQL database.", 2)
    try:
        upgrade(url)
    except CommandError:
        return _refuse(
            f"The database is at revision {revision_there(url)}, which this version of Honest Work"
            " does not know: run the newer version that made it."
        )
    except DBAPIError as error:
        if not isinstance(error.orig, _NOT_OUR_FAULT):
            raise
        return _refuse(f"The database of DATABASE_URL cannot be used: {_first_line(error.orig)}")
    return 0


_NOT_OUR_FAULT = (psycopg2.OperationalError, psycopg2.errors.InsufficientPrivilege)


def _is_address(url: str) -> bool:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).drivername == "postgresql+psycopg2"
    except (ArgumentError, ValueError):
        return False


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _refuse(sentence: str, code: int = 1) -> int:
    sys.stderr.write(f"{sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
