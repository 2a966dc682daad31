"""The migrations make what the models say, down to what Alembic does not compare."""

from collections.abc import Iterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from config.settings import psycopg2_url
from models import migrate, schema, tables

MADE_BY_MODELS = "made_by_models"
CONSTRAINTS = """
    SELECT t.relname, c.conname, pg_get_constraintdef(c.oid)
    FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE n.nspname = :schema AND c.contype IN ('c', 'u', 'f', 'p')
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = :schema"
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default,
           numeric_precision, numeric_scale, character_maximum_length
    FROM information_schema.columns WHERE table_schema = :schema
"""


def scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(migrate.configuration("postgresql://nowhere"))


def test_there_is_one_newest_migration_and_the_code_wants_it() -> None:
    assert scripts().get_heads() == [schema.HEAD]
    assert migrate.revision_here("postgresql://nowhere") == schema.HEAD


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = sorted(script.revision for script in scripts().walk_revisions())

    assert numbers == [f"{n:04d}" for n in range(1, len(numbers) + 1)]


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    """The migrated database, with the models' own tables in a schema beside; nothing is kept."""
    engine = create_engine(psycopg2_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {MADE_BY_MODELS}"))
        connection.execute(text(f"SET LOCAL search_path TO {MADE_BY_MODELS}"))
        tables.metadata.create_all(connection)
        yield connection
        connection.rollback()


def rows(connection: Connection, query: str, schema_name: str) -> set[tuple[str, ...]]:
    """What the catalogue says of a schema, with the schema's own name left out."""
    found = connection.execute(text(query), {"schema": schema_name})
    return {
        tuple(str(value).replace(f"{schema_name}.", "") for value in row)
        for row in found
        if row[0] != "alembic_version"
    }


@pytest.mark.parametrize(
    "query", [CONSTRAINTS, INDEXES, COLUMNS], ids=["constraints", "indexes", "columns"]
)
def test_the_migrated_database_is_the_one_that_the_models_describe(
    database: Connection, query: str
) -> None:
    migrated = rows(database, query, "public")

    assert len(migrated) > 20
    assert migrated == rows(database, query, MADE_BY_MODELS)


def test_a_check_that_the_migrations_lack_would_be_found(database: Connection) -> None:
    planted = text(f"ALTER TABLE {MADE_BY_MODELS}.jobs ADD CHECK (version > 0)")

    database.execute(planted)

    assert rows(database, CONSTRAINTS, "public") != rows(database, CONSTRAINTS, MADE_BY_MODELS)


@pytest.mark.parametrize(
    ("table", "trigger"),
    [
        ("ledger_entries", "ledger_entries_append_only"),
        ("job_events", "job_events_append_only"),
        ("jobs", "jobs_failed_owes"),
    ],
)
def test_the_guards_that_no_model_can_describe_are_there(
    database: Connection, table: str, trigger: str
) -> None:
    query = text("SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(:name)")

    found = set(database.scalars(query, {"name": f"public.{table}"}))

    assert trigger in found
