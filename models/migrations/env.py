"""Alembic's entry point. The address of the database comes from DATABASE_URL or from the caller."""

import os

from alembic import context
from sqlalchemy import create_engine, text

from config.settings import psycopg2_url
from models import tables

# A migration waits at most this long for a lock, so that it cannot stop a running service.
LOCK_TIMEOUT = "5s"


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or psycopg2_url(
        os.environ["DATABASE_URL"]
    )
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text("SELECT pg_advisory_lock(721120)"))  # one migrator at a time
        context.configure(connection=connection, target_metadata=tables.metadata)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
