"""Bring the database to this code's schema: ``python -m models.migrate``. Safe to repeat and to run twice at once."""

import os
import sys

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, inspect, text

from config.settings import psycopg2_url


def configuration(url: str) -> Config:
    """Alembic's configuration for one database; needs no alembic.ini."""
    config = Config(toml_file="pyproject.toml")
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Run what is missing, each migration in its own transaction."""
    command.upgrade(configuration(url), "head")


def revision_here(url: str) -> str:
    """The revision that this code wants."""
    return ScriptDirectory.from_config(configuration(url)).get_current_head() or ""


def revision_there(url: str) -> str | None:
    """The revision that the database has; None = an empty database."""
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
    url = psycopg2_url(os.environ["DATABASE_URL"])
    try:
        upgrade(url)
    except CommandError:
        sys.stderr.write(
            f"The database is at revision {revision_there(url)}, which this version of Honest Work"
            " does not know: run the newer version that made it.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
