"""The servers that come along: they keep what they were given, and let nobody else in."""

import os
import signal
import stat
import sys
from pathlib import Path

import psycopg2
import pytest
import redis

from local.data_dir import DataDir
from local.processes import StartError, check_port, free_port
from local.servers.postgresql import PostgreSQL
from local.servers.temporary import temporary_servers
from local.servers.valkey import Valkey
from local.unprivileged import SHARED_PLACE
from tests.local.running import wait_until_gone
from tests.support.proofs import needs

needs_root = needs(os.geteuid() == 0, "only root has to hand PostgreSQL to another account")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


def write_row(postgres: PostgreSQL) -> None:
    with psycopg2.connect(postgres.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (value text)")
        cursor.execute("INSERT INTO kept VALUES ('a row')")
    connection.close()


def read_row(postgres: PostgreSQL) -> str:
    with psycopg2.connect(postgres.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM kept")
        row = cursor.fetchone()
    connection.close()
    assert row is not None
    return str(row[0])


def client(valkey: Valkey) -> "redis.Redis":
    return redis.Redis.from_url(valkey.url, decode_responses=True)


def test_given_written_data_when_the_servers_are_restarted_then_it_is_still_there(
    data: DataDir,
) -> None:
    with PostgreSQL(data) as postgres, Valkey(data) as valkey:
        write_row(postgres)
        client(valkey).set("kept", "a value")

    with PostgreSQL(data) as postgres, Valkey(data) as valkey:
        assert read_row(postgres) == "a row"
        assert client(valkey).get("kept") == "a value"


def test_given_committed_data_when_the_servers_are_killed_then_it_is_still_there(
    data: DataDir,
) -> None:
    postgres, valkey = PostgreSQL(data).start(), Valkey(data).start()
    write_row(postgres)
    client(valkey).set("kept", "a value")
    client(valkey).waitaof(1, 0, 60_000)
    assert postgres.pid
    assert valkey.pid
    os.kill(postgres.pid, signal.SIGKILL)
    os.kill(valkey.pid, signal.SIGKILL)
    wait_until_gone([postgres.pid, valkey.pid])
    postgres.stop()  # as a parent does with what is dead
    valkey.stop()

    with PostgreSQL(data) as again, Valkey(data) as valkey_again:
        assert read_row(again) == "a row"
        assert client(valkey_again).get("kept") == "a value"


def test_the_broker_refuses_writes_rather_than_forgetting(data: DataDir) -> None:
    with Valkey(data) as valkey:
        settings = client(valkey).config_get("maxmemory-policy", "appendonly", "appendfsync")

    assert settings == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }


def test_nobody_is_let_in_without_the_password(data: DataDir) -> None:
    with PostgreSQL(data, durable=False) as postgres, Valkey(data, durable=False) as valkey:
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(postgres.url.replace(data.password("postgres"), "guess"))
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(valkey.url.replace(data.password("valkey"), "guess")).ping()


def test_the_log_tells_what_failed_and_nothing_of_what_was_said(data: DataDir) -> None:
    with PostgreSQL(data, durable=False) as postgres:
        write_row(postgres)
        connection = psycopg2.connect(postgres.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE UNIQUE INDEX once ON kept (value)")
            with pytest.raises(psycopg2.errors.UniqueViolation, match="a row"):
                cursor.execute("INSERT INTO kept VALUES ('a row')")
        connection.close()

    log = (data.path / "postgres.log").read_text()
    assert 'violates unique constraint "once"' in log
    assert "a row" not in log


@needs_proc
def test_passwords_stand_in_private_files_and_on_no_command_line(data: DataDir) -> None:
    with PostgreSQL(data, durable=False) as postgres, Valkey(data, durable=False) as valkey:
        passwords = [data.password(name).encode() for name in ("postgres", "valkey")]
        lines = b"".join(
            Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (postgres.pid, valkey.pid)
        )

    assert not any(password in lines for password in passwords)
    for name in ("postgres.password", "valkey.password", "valkey/valkey.conf"):
        assert stat.S_IMODE((data.path / name).stat().st_mode) == 0o600


def test_given_a_data_folder_in_use_when_another_wants_it_then_one_sentence_names_the_first(
    data: DataDir,
) -> None:
    with pytest.raises(StartError, match=f"process {os.getpid()}"):
        DataDir(data.path)


def test_a_data_folder_that_was_let_go_can_be_taken(folder: Path) -> None:
    with DataDir(folder / "data") as first:
        password = first.password("postgres")

    with DataDir(folder / "data") as second:
        assert second.password("postgres") == password


def test_given_data_of_another_postgresql_when_started_then_both_versions_are_named(
    data: DataDir,
) -> None:
    cluster = PostgreSQL(data, durable=False)
    cluster.prepare()
    (cluster.folder / "PG_VERSION").write_text("9\n")

    with pytest.raises(StartError, match=r"PostgreSQL 9 .* is \d\d"):
        PostgreSQL(data, durable=False).start()


def test_given_an_interrupted_first_start_when_started_again_then_the_cluster_is_made_anew(
    data: DataDir,
) -> None:
    postgres = PostgreSQL(data, durable=False)
    half = data.path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    with postgres:
        write_row(postgres)


@needs_root
def test_given_a_closed_folder_above_when_root_starts_then_data_is_elsewhere_and_nothing_opened(
    tmp_path: Path,
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with DataDir(closed / "data") as data:
        with PostgreSQL(data) as postgres:
            write_row(postgres)
        with PostgreSQL(data) as postgres:
            assert read_row(postgres) == "a row"
        place = postgres.folder

        postgres.discard()

    assert place.is_relative_to(SHARED_PLACE)
    assert not place.exists()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_given_the_place_elsewhere_was_emptied_when_started_then_no_empty_database_replaces_it(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o700)
    with DataDir(tmp_path / "data") as data:
        first = PostgreSQL(data, durable=False)
        first.prepare()
        first.discard()

        with pytest.raises(StartError, match="which is gone"):
            PostgreSQL(data, durable=False).start()


@needs_root
def test_given_somebody_else_took_the_place_elsewhere_when_started_then_it_is_not_trusted(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o700)
    with DataDir(tmp_path / "data") as data:
        first = PostgreSQL(data, durable=False)
        first.prepare()
        place = first.folder.parent
        os.chown(place, 65534, 65534)

        with pytest.raises(StartError, match="not ours"):
            PostgreSQL(data, durable=False).start()
        first.discard()


def test_until_it_has_been_ready_a_server_leaves_a_taken_port_for_another(
    data: DataDir, monkeypatch: pytest.MonkeyPatch, taken_port: int
) -> None:
    offers = iter([taken_port, free_port()])
    monkeypatch.setattr("local.servers.server.free_port", lambda: next(offers))

    with Valkey(data, durable=False) as valkey:
        assert client(valkey).ping()

    assert f":{taken_port}/" not in valkey.url


def test_servers_for_a_test_session_leave_nothing_behind() -> None:
    with temporary_servers() as (postgres, valkey):
        cluster, pids = postgres.folder, [postgres.pid, valkey.pid]
        assert cluster.exists()

    assert not cluster.exists()
    wait_until_gone([pid for pid in pids if pid])


def test_a_taken_port_is_named_in_one_sentence(taken_port: int) -> None:
    with pytest.raises(StartError, match=str(taken_port)) as problem:
        check_port("127.0.0.1", taken_port)

    assert problem.value.exit_code == 2
    assert "\n" not in str(problem.value)


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(StartError, match=r"no-such-host\.invalid"):
        check_port("no-such-host.invalid", 8000)
