"""`make run` on servers that somebody else keeps, with names and passwords that need quoting."""

from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
from psycopg2 import sql

from local.data_dir import DataDir
from local.environment import ROOT
from local.servers.postgresql import PostgreSQL
from local.servers.valkey import Valkey
from tests.local.tls import OPENSSL, make_identity, tls_before
from tests.machines.machine import Machine
from tests.support.proofs import needs

PASSWORD = "p@ss:w/ord%?#"
NAME, USER = "a %b", "us@er"


def make_database(url: str) -> str:
    """The address of an empty database with such names."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        role, database = sql.Identifier(USER), sql.Identifier(NAME)
        make_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        cursor.execute(make_role.format(role, sql.Literal(PASSWORD)))
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    who = f"{quote(USER)}:{quote(PASSWORD, safe='')}"
    return f"postgres://{who}@127.0.0.1:{urlsplit(url).port}/{quote(NAME)}"


def trust_everybody(postgres: PostgreSQL) -> None:
    (postgres.folder / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")


@needs(OPENSSL is not None, "there is no openssl to make a certificate")
@pytest.mark.parametrize("has_password", [True, False])
def test_given_servers_are_used_and_none_of_ours_is_started(
    folder: Path, has_password: bool
) -> None:
    identity = make_identity(folder)
    machine = Machine(checkout=ROOT, home=folder, environ={"ENV_FILE": ""})
    with (
        DataDir(folder / "theirs") as data,
        PostgreSQL(data, durable=False) as postgres,
        Valkey(data, durable=False) as valkey,
        tls_before(urlsplit(valkey.url).port or 0, identity) as port,
    ):
        database_url = make_database(postgres.url)
        if not has_password:
            trust_everybody(postgres)
            postgres.stop()
            postgres.start()
            database_url = database_url.replace(f":{quote(PASSWORD, safe='')}@", "@")
        redis_url = f"rediss://:{data.password('valkey')}@127.0.0.1:{port}/5"
        given = {
            "DATABASE_URL": database_url,
            "REDIS_URL": f"{redis_url}?ssl_ca_certs={quote(str(identity.certificate))}",
        }

        with machine.running(DATA_DIR=str(folder / "data"), **given) as product:
            product.wait_ready()
            product.stop()

    assert "postgres " not in product.log
    assert "valkey " not in product.log
    assert PASSWORD not in product.log
    made = {path.name.partition(".")[0] for path in (folder / "data").iterdir()}
    assert made == {"lock", "stand-in", "celerybeat-schedule", "vault", "ops"}


def test_given_a_database_of_a_newer_version_when_started_then_nothing_runs_on_it(
    folder: Path,
) -> None:
    machine = Machine(checkout=ROOT, home=folder, environ={"ENV_FILE": ""})
    with DataDir(folder / "theirs") as data, PostgreSQL(data, durable=False) as postgres:
        with closing(psycopg2.connect(postgres.url)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TABLE alembic_version (version_num varchar(32))")
            cursor.execute("INSERT INTO alembic_version VALUES ('9999')")

        answer = machine.make("run", DATA_DIR=str(folder / "data"), DATABASE_URL=postgres.url)

    assert answer.returncode != 0
    sentence, _makes_own = answer.stderr.splitlines()
    assert "could not be brought up to date" in sentence
    assert "revision 9999" in sentence
    assert "Listening at" not in answer.stdout


def test_given_a_database_that_does_not_answer_when_started_then_it_is_said(folder: Path) -> None:
    machine = Machine(checkout=ROOT, home=folder, environ={"ENV_FILE": ""})

    answer = machine.make(
        "run", DATA_DIR=str(folder / "data"), DATABASE_URL="postgresql://u:secret@127.0.0.1:9/x"
    )

    assert answer.returncode != 0
    sentence, _makes_own = answer.stderr.splitlines()
    assert "Connection refused" in sentence
    assert "secret" not in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout
