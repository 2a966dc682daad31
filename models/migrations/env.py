"""Alembic's entry point. The address of the database comes from DATABASE_URL or from the caller."""

import os
from typing import Any

from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, select, text

from config.settings import psycopg2_url
from models import tables
from models.locks import Lock

# A migration waits at most this long for a table, so that it cannot stop a running service.
LOCK_TIMEOUT = "5s"
# And so long for another migrator, behind which there is nothing left to do.
PATIENCE = "60s"


def _number(_context: Any, _revision: Any, scripts: list[MigrationScript]) -> None:
    """Give a new migration the number after the last: two branches that add one collide in git."""
    last = ScriptDirectory.from_config(context.config).get_current_head() or "0"
    for script in scripts:
        script.rev_id = f"{int(last) + 1:04d}"


def run() -> None:
    url = context.config.attributes.get("url") or psycopg2_url(os.environ["DATABASE_URL"])
    engine = create_engine(url)
    with engine.connect() as connection:
        patience = context.config.attributes.get("patience", PATIENCE)
        lock_timeout = context.config.attributes.get("lock_timeout", LOCK_TIMEOUT)
        connection.execute(text(f"SET lock_timeout = '{patience}'"))
        connection.execute(select(func.pg_advisory_lock(Lock.MIGRATION.value)))
        connection.execute(text(f"SET lock_timeout = '{lock_timeout}'"))
        context.configure(
            connection=connection,
            target_metadata=tables.metadata,
            process_revision_directives=_number,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
