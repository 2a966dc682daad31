"""Real PostgreSQL and Valkey for every test that asks: started once, migrated once, copied."""

import logging
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from app import context
from app.factory import create_app
from config import logs
from config.settings import Settings, psycopg2_url
from gateways.http import HttpClient
from local.servers.temporary import temporary_servers
from local.stand_in.testing import StandInClient, running_stand_in
from models import migrate, schema, tables
from services import toolbox
from services.money import reconcile
from services.toolbox import Role, Toolbox
from tests.app.contract import CheckedClient, client_of
from tests.support import deadlines
from tests.support.canary import Listener, secrets_in
from tests.support.confidential import confidential_in
from tests.support.creators import OPS_TOKEN, VAULT_KEY
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.proofs import demanded
from tests.support.scheduling import pytest_xdist_make_scheduler

__all__ = ["pytest_xdist_make_scheduler"]

# A busy machine is no defect: examples here take milliseconds, and minutes on none.
# They are the same in every run: looking further is what `make fuzz` and `make stateful` are for.
settings.register_profile(
    "ours", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ours")

TEMPLATE = "honestwork_template"
EMPTYING = "; ".join(
    [
        "SET LOCAL session_replication_role = replica",
        *(f"DELETE FROM {table.name}" for table in reversed(tables.metadata.sorted_tables)),
    ]
)
_until_the_end = ExitStack()


@dataclass(frozen=True)
class Servers:
    """Addresses of the session's servers.

    ``template_url`` is a migrated database that nobody is in.
    """

    postgres_url: str
    redis_url: str

    @property
    def template_url(self) -> str:
        return database_at(self.postgres_url, TEMPLATE)


def database_at(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _start_servers() -> Servers:
    """Start both servers and migrate the template. From the main thread: they end with it."""
    postgres, valkey = _until_the_end.enter_context(temporary_servers())
    servers = Servers(postgres.url, valkey.url)
    _run_sql(servers.postgres_url, f"CREATE DATABASE {TEMPLATE}")
    migrate.upgrade(psycopg2_url(servers.template_url))
    return servers


def _run_sql(url: str, statement: str) -> None:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def pytest_configure_node(node: Any) -> None:
    """With xdist the controller starts the servers, and tells each worker where they are."""
    config = node.config
    if not hasattr(config, "_honestwork_servers"):
        config._honestwork_servers = _start_servers()
    servers = config._honestwork_servers
    node.workerinput["servers"] = [servers.postgres_url, servers.redis_url]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return demanded((yield))


def pytest_unconfigure() -> None:
    _until_the_end.close()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    given = getattr(request.config, "workerinput", {}).get("servers")
    return Servers(*given) if given else _start_servers()


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    worker = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    return int(worker.removeprefix("gw"))


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Whatever is waited for is so longer than a busy machine lets anybody stand still."""
    with pytest.MonkeyPatch.context() as patch:
        deadlines.wait_long_for_everything(patch)
        yield


@pytest.fixture(scope="session")
def database_url(servers: Servers, worker_number: int) -> Iterator[str]:
    """A migrated database for this xdist worker alone."""
    name = f"honestwork_{worker_number}"
    _run_sql(servers.postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield database_at(servers.postgres_url, name)
    _run_sql(servers.postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_url(servers: Servers, worker_number: int) -> str:
    """A database number of the Valkey for this xdist worker alone."""
    return urlsplit(servers.redis_url)._replace(path=f"/{worker_number}").geturl()


@pytest.fixture(scope="session")
def stand_in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInClient]:
    folder: Path = tmp_path_factory.mktemp("stand-in")
    with running_stand_in(folder) as client:
        yield client


@pytest.fixture
def stand_in(stand_in_process: StandInClient) -> StandInClient:
    """The world outside, as new."""
    stand_in_process.reset()
    return stand_in_process


@pytest.fixture(scope="session")
def built_tools(
    database_url: str, redis_url: str, stand_in_process: StandInClient
) -> Iterator[Toolbox]:
    given = Settings.load(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STAND_IN_URL": stand_in_process.url,
            "VAULT_KEYS": VAULT_KEY,
            "OPS_TOKEN": OPS_TOKEN,
            "REFUND_WAIT_SECONDS": "0",
            "INSTANT_WAIT_SECONDS": "0",
        }
    )
    tools = toolbox.build(given, Role.MONEY)
    reconcile.run(tools)  # as a worker does before its first payout; no test's faults may meet it
    empty(tools)
    yield tools
    tools.database.close()


def empty(tools: Toolbox) -> None:
    """Delete every row. The append-only triggers are put aside: only a superuser can do that."""
    with tools.database.transaction("test.empty") as session:
        session.connection().exec_driver_sql(EMPTYING)  # one round trip; this is done a lot


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture(scope="session")
def log_listener() -> Iterator[Listener]:
    """Every line that this process logs, as production would write it."""
    logs.set_up("json")
    listener = Listener()
    listener.setFormatter(logging.getLogger().handlers[0].formatter)
    logging.getLogger().handlers[:] = [listener]
    yield listener
    logging.getLogger().handlers.clear()


@pytest.fixture
def tools(
    built_tools: Toolbox,
    doorbell: RecordingDoorbell,
    stand_in: StandInClient,
    log_listener: Listener,
) -> Iterator[Toolbox]:
    """A toolbox on a real, empty database and the stand-in; ``doorbell`` rings nobody by itself.

    Whatever the test did, no line that was logged meanwhile may hold a secret.
    """
    log_listener.lines.clear()
    settings, http = built_tools.settings, HttpClient()
    yield built_tools.with_(
        doorbell=doorbell,
        price_feeds=toolbox.feeds_of(settings, http),  # that remember no failure
        payouts=toolbox.payouts_of(settings, http),  # that has not asked how old LNbits is
    )
    confidential = (
        confidential_in(built_tools.database, built_tools.settings) if log_listener.lines else set()
    )
    empty(built_tools)
    for line in log_listener.lines:
        assert not secrets_in(line, confidential=confidential), f"a secret was logged: {line}"


@pytest.fixture
def life(tools: Toolbox, doorbell: RecordingDoorbell, stand_in: StandInClient) -> Life:
    return Life(tools, doorbell, stand_in)


@pytest.fixture(scope="session")
def built_web(built_tools: Toolbox) -> Flask:
    return create_app(built_tools, schema_revision=schema.HEAD)


@pytest.fixture
def web(built_web: Flask, tools: Toolbox) -> Flask:
    """The web application with this test's tools. Building it costs more than a test does."""
    context.install(built_web, tools)
    return built_web


@pytest.fixture
def client(web: Flask) -> CheckedClient:
    """Holds every answer, and every request that is taken, against the OpenAPI document."""
    return client_of(web)
