"""DATABASE_URL and REDIS_URL are honoured to the letter: passwords, odd names, TLS, sockets."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
from kombu import Connection
from kombu.exceptions import OperationalError as NoBroker
from psycopg2 import sql
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from config.broker import broker_url, make_celery
from config.settings import Settings
from local.data_dir import DataDir
from local.environment import honest_work, read_system
from local.processes import Program, free_port, spawn
from local.servers.valkey import Valkey, valkey_binary
from models import migrate, schema
from models.database import Database
from tests.conftest import Servers
from tests.local.running import ALL_REAL
from tests.local.scripted_postgres import scripted_postgres
from tests.local.tls import OPENSSL, Identity, make_identity, tls_before
from tests.support.proofs import needs

PASSWORD = "p@ss:w/ord%?#&é"
needs_openssl = needs(OPENSSL is not None, "there is no openssl to make a certificate")


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def odd_database(servers: Servers, worker_number: int) -> Iterator[str]:
    """The address of a database, a user and a password that need quoting everywhere."""
    name, user = f"a %b&{worker_number}", f"us@er%{worker_number}"
    with closing(psycopg2.connect(servers.postgres_url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        role, database = sql.Identifier(user), sql.Identifier(name)
        make_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        cursor.execute(make_role.format(role, sql.Literal(PASSWORD)))
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
        netloc = f"{quote(user, safe='')}:{quote(PASSWORD, safe='')}"
        netloc += f"@127.0.0.1:{urlsplit(servers.postgres_url).port}"
        yield f"postgresql://{netloc}/{quote(name)}"
        cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
        cursor.execute(sql.SQL("DROP ROLE {}").format(role))


def settings_with(**addresses: str) -> Settings:
    given = {
        "DATABASE_URL": "postgresql://db/x",
        "REDIS_URL": "redis://x",
        "STAND_IN_URL": "http://x",
    }
    return Settings.load(given | {name.upper(): value for name, value in addresses.items()})


def use(database_url: str) -> None:
    """Ask it something, as the product does."""
    with Database(database_url).reading("test.use") as session:
        session.execute(text("SELECT 1"))


def broker(redis_url: str) -> Connection:
    """As the doorbell and the workers connect."""
    connection: Connection = make_celery(settings_with(redis_url=redis_url)).connection_for_write()
    return connection


def rings(redis_url: str) -> bool:
    """Whether a message gets through."""
    with broker(redis_url) as connection, closing(connection.SimpleQueue("given")) as queue:
        queue.put({"n": 1})
        message = queue.get(timeout=30)
        message.ack()
        return bool(message.payload == {"n": 1})


def test_given_addresses_reach_every_process_letter_for_letter() -> None:
    given = {
        "DATABASE_URL": "postgres://u:p%40@h/a%25b?sslmode=verify-full&sslrootcert=/a%20b.pem",
        "REDIS_URL": "rediss://:p%2F@h:1/2?ssl_cert_reqs=none",
    }
    system = read_system({"ENV_FILE": ""} | ALL_REAL | given)

    table = honest_work(system, system.environ)

    for program in (table.migrate, *table.apps):
        assert {name: program.environ[name] for name in given} == given


def test_a_database_with_an_odd_name_user_and_password_is_migrated_and_used(
    odd_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", odd_database)

    assert not migrate.is_up_to_date(odd_database)
    assert migrate.main() == 0

    assert migrate.is_up_to_date(odd_database)
    assert migrate.main() == 0
    url = settings_with(database_url=odd_database).database_url
    assert migrate.revision_there(url) == schema.HEAD
    use(url)


@needs_openssl
def test_tls_parameters_of_the_database_are_used(identity: Identity) -> None:
    with scripted_postgres(identity.context) as seen:
        query = f"sslmode=verify-full&sslrootcert={quote(str(identity.certificate))}"
        url = f"postgresql://us%40er:secret@127.0.0.1:{seen.port}/a%25b?{query}"

        with pytest.raises(OperationalError, match="we have seen enough"):
            use(settings_with(database_url=url).database_url)

    assert seen.asked_for_tls
    assert (seen.startup["user"], seen.startup["database"]) == ("us@er", "a%b")


@needs_openssl
def test_a_database_with_a_certificate_that_nobody_vouches_for_is_not_talked_to(
    identity: Identity, tmp_path: Path
) -> None:
    other = make_identity(tmp_path)
    with scripted_postgres(identity.context) as seen:
        query = f"sslmode=verify-full&sslrootcert={quote(str(other.certificate))}"
        url = f"postgresql://user@127.0.0.1:{seen.port}/x?{query}"

        with pytest.raises(OperationalError, match="certificate verify failed"):
            use(settings_with(database_url=url).database_url)

    assert not seen.startup


def test_given_tls_is_required_then_a_database_without_it_is_not_talked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_postgres() as seen:
        url = f"postgresql://user:secret@127.0.0.1:{seen.port}/x?sslmode=require"
        monkeypatch.setenv("DATABASE_URL", url)

        assert migrate.main() == 1

    said = capsys.readouterr().err
    assert said.startswith("The database of DATABASE_URL cannot be used: ")
    assert "server does not support SSL" in said
    assert said.count("\n") == 1
    assert "secret" not in said
    assert seen.asked_for_tls
    assert not seen.startup


def test_a_database_that_lets_in_without_a_password_needs_none() -> None:
    with scripted_postgres() as seen:
        url = f"postgresql://somebody@127.0.0.1:{seen.port}/x?sslmode=disable"

        with pytest.raises(OperationalError, match="we have seen enough"):
            use(settings_with(database_url=url).database_url)

    assert not seen.asked_for_tls
    assert seen.startup["user"] == "somebody"


@pytest.mark.parametrize(
    ("url", "code", "sentence"),
    [
        ("", 2, "DATABASE_URL is not set"),
        ("nonsense", 2, "DATABASE_URL is no address of a PostgreSQL database."),
        ("postgresql://h:port/x", 2, "DATABASE_URL is no address of a PostgreSQL database."),
        ("mysql://h/x", 2, "DATABASE_URL is no address of a PostgreSQL database."),
        ("postgresql://u:secret@127.0.0.1:9/x", 1, "Connection refused"),
    ],
)
def test_a_database_that_cannot_be_migrated_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert migrate.main() == code

    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert "secret" not in said


def test_a_database_of_a_newer_version_is_left_as_it_is(
    odd_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(psycopg2.connect(odd_database)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE alembic_version (version_num varchar(32))")
        cursor.execute("INSERT INTO alembic_version VALUES ('9999')")
    monkeypatch.setenv("DATABASE_URL", odd_database)

    assert migrate.main() == 1

    said = capsys.readouterr().err
    assert "at revision 9999" in said
    assert said.count("\n") == 1
    with closing(psycopg2.connect(odd_database)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchall() == [("alembic_version",)]


@needs_openssl
def test_tls_parameters_of_the_broker_are_used(servers: Servers, identity: Identity) -> None:
    redis = urlsplit(servers.redis_url)
    assert redis.port
    with tls_before(redis.port, identity) as port:
        url = f"rediss://:{redis.password}@127.0.0.1:{port}/63"
        trusting = f"{url}?ssl_ca_certs={quote(str(identity.certificate))}"

        assert rings(trusting)
        assert rings(f"{trusting}&ssl_cert_reqs=required")
        assert rings(f"{url}?ssl_cert_reqs=none")


@needs_openssl
def test_a_broker_with_a_certificate_that_nobody_vouches_for_is_not_talked_to(
    servers: Servers, identity: Identity
) -> None:
    redis = urlsplit(servers.redis_url)
    assert redis.port
    with (
        tls_before(redis.port, identity) as port,
        broker(f"rediss://:{redis.password}@127.0.0.1:{port}/63") as connection,
        pytest.raises(NoBroker, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connection.ensure_connection(max_retries=1)


@pytest.mark.parametrize("password", [PASSWORD, ""])
@pytest.mark.parametrize("scheme", ["redis", "unix"])
def test_a_broker_is_reached_by_port_or_socket_with_any_password_or_none(
    folder: Path, scheme: str, password: str
) -> None:
    port, socket = free_port(), folder / "valkey.sock"
    configuration = [f"bind 127.0.0.1\nport {port}\nunixsocket {socket}\nsave ''\n"]
    if password:
        configuration.append(f'requirepass "{password}"\n')
    (folder / "valkey.conf").write_text("".join(configuration))
    given = f":{quote(password, safe='')}@" if password else ""
    address = f"127.0.0.1:{port}/7" if scheme == "redis" else f"{socket}?db=7"

    valkey = spawn(
        Program(
            name="valkey",
            argv=[str(valkey_binary()), "valkey.conf"],
            environ={},
            cwd=folder,
        ),
        output=subprocess.DEVNULL,
    )
    try:
        url = f"{scheme}://{given}{address}"
        with Connection(broker_url(url)) as connection:
            connection.ensure_connection(max_retries=20, interval_start=0, interval_step=1)
            assert not password or quote(password, safe="") not in connection.as_uri()
        assert rings(url)
    finally:
        valkey.kill()
        valkey.wait()


def test_the_broker_that_comes_along_takes_messages(data: DataDir) -> None:
    with Valkey(data, durable=False) as valkey:
        assert rings(valkey.url)
