"""The migrations make what the models say, down to what Alembic does not compare."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from config.settings import psycopg2_url
from models import migrate, schema, tables
from tests.architecture.source import ROOT

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


def scripts(folder: Path | None = None) -> ScriptDirectory:
    """Of the house, or of a copy of it."""
    config = migrate.configuration("postgresql://nowhere")
    if folder is not None:
        config.set_main_option("script_location", str(folder))
    return ScriptDirectory.from_config(config)


def unnumbered(found: ScriptDirectory) -> set[str]:
    """Revisions that are not the next number, and numbers that are no revision."""
    revisions = {script.revision for script in found.walk_revisions()}
    return revisions ^ {f"{n:04d}" for n in range(1, len(revisions) + 1)}


def test_there_is_one_newest_migration_and_the_code_wants_it() -> None:
    assert scripts().get_heads() == [schema.HEAD]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert unnumbered(scripts()) == set()


NEXT, LATER = f"{int(schema.HEAD) + 1:04d}", f"{int(schema.HEAD) + 2:04d}"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The migrations of the house, to add another one to them."""
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(ROOT / "models/migrations", tmp_path / "migrations", ignore=ignored)


def plant(folder: Path, revision: str, *, after: str) -> ScriptDirectory:
    text = f'revision = "{revision}"\ndown_revision = "{after}"\n'
    (folder / "versions" / f"{revision}_planted.py").write_text(text)
    return scripts(folder)


def test_a_second_newest_migration_would_be_seen(copied: Path) -> None:
    assert scripts(copied).get_heads() == [schema.HEAD]

    two = plant(copied, NEXT, after=f"{int(schema.HEAD) - 1:04d}")

    assert sorted(two.get_heads()) == [schema.HEAD, NEXT]


def test_a_migration_that_the_code_does_not_want_yet_would_be_seen(copied: Path) -> None:
    assert plant(copied, NEXT, after=schema.HEAD).get_heads() == [NEXT]


def test_a_gap_in_the_numbers_would_be_seen(copied: Path) -> None:
    assert unnumbered(plant(copied, LATER, after=schema.HEAD)) == {NEXT, LATER}


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


def differences(connection: Connection, query: str) -> set[tuple[str, ...]]:
    """What only the migrations, or only the models make."""
    migrated = rows(connection, query, "public")
    assert len(migrated) > 20
    return migrated ^ rows(connection, query, MADE_BY_MODELS)


@pytest.mark.parametrize(
    "query", [CONSTRAINTS, INDEXES, COLUMNS], ids=["constraints", "indexes", "columns"]
)
def test_the_migrated_database_is_the_one_that_the_models_describe(
    database: Connection, query: str
) -> None:
    assert differences(database, query) == set()


@pytest.mark.parametrize(
    ("query", "planted"),
    [
        (CONSTRAINTS, "ALTER TABLE {}.jobs ADD CHECK (version > 0)"),
        (CONSTRAINTS, "ALTER TABLE {}.jobs DROP CONSTRAINT ck_jobs_state_known"),
        (INDEXES, "DROP INDEX {}.ix_jobs_due"),
        (INDEXES, "CREATE INDEX planted ON {}.jobs (version)"),
        (INDEXES, "DROP INDEX {0}.ix_jobs_due; CREATE INDEX ix_jobs_due ON {0}.jobs (due_at)"),
        (COLUMNS, "ALTER TABLE {}.jobs ADD COLUMN planted integer"),
        (COLUMNS, "ALTER TABLE {}.jobs DROP COLUMN version"),
        (COLUMNS, "ALTER TABLE {}.jobs ALTER COLUMN version TYPE integer"),
        (COLUMNS, "ALTER TABLE {}.jobs ALTER COLUMN version DROP NOT NULL"),
        (COLUMNS, "ALTER TABLE {}.jobs ALTER COLUMN version SET DEFAULT 7"),
    ],
)
def test_what_the_migrations_make_otherwise_would_be_found(
    database: Connection, query: str, planted: str
) -> None:
    database.execute(text(planted.format(MADE_BY_MODELS)))

    assert differences(database, query) != set()


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
