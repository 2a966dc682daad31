"""Liveness asks nobody; readiness tells parts and figures and no balances."""

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest

from app.factory import create_app
from config.queues import TaskName
from config.settings import psycopg2_url
from local.stand_in.testing import StandInClient
from models.database import Database
from services.operate import ticks
from services.toolbox import Toolbox
from tests.app.conftest import Build
from tests.app.contract import CheckedClient, client_of
from tests.support.canary import Listener
from tests.support.life import Life


def test_liveness_is_ok_and_nothing_more(client: CheckedClient) -> None:
    response = client.get("/api/healthz")

    assert response.status_code == 200
    assert response.json == {"status": "ok"}


def test_liveness_does_not_need_the_database(client_with: Build) -> None:
    client = client_with(
        collaborators={"database": Database("postgresql+psycopg2://127.0.0.1:1/x")}
    )

    assert client.get("/api/healthz").status_code == 200


def test_given_duties_that_never_ran_then_it_is_degraded_with_200(client: CheckedClient) -> None:
    response = client.get("/api/readyz")

    assert response.status_code == 200
    assert response.json["status"] == response.json["readiness"] == "degraded"
    assert response.json["checks"]["database"]["ok"] is True
    assert response.json["checks"]["duties"]["ok"] is False


def test_given_that_all_duties_ran_then_it_is_ready(client: CheckedClient, tools: Toolbox) -> None:
    for name in ticks.DUTIES:
        assert ticks.run(tools, name)

    response = client.get("/api/readyz")

    assert (response.status_code, response.json["status"]) == (200, "ready")
    assert response.json["readiness"] == "ready"


def test_given_another_schema_then_503(tools: Toolbox) -> None:
    client = client_of(create_app(tools, schema_revision="9999"))

    response = client.get("/api/readyz")

    assert response.status_code == 503
    assert (response.json["status"], response.json["readiness"]) == (503, "unready")
    assert response.json["checks"]["migrations"]["ok"] is False
    assert response.json["error"] == "The database is that of another version of this service."


def test_given_a_database_that_is_away_then_503_with_an_error_for_people(
    client_with: Build,
) -> None:
    nowhere = Database("postgresql+psycopg2://nobody:SECRET@127.0.0.1:1/none")
    client = client_with(collaborators={"database": nowhere})

    response = client.get("/api/readyz")

    assert response.status_code == 503
    assert (response.json["status"], response.json["code"]) == (503, "not_ready")
    assert response.json["readiness"] == "unready"
    assert response.json["error"] == "The database cannot be used."
    assert int(response.headers["Retry-After"]) >= 1
    assert "SECRET" not in response.text


@pytest.fixture
def stranger(database_url: str) -> Iterator[str]:
    """The same database, for a role that may come in and read nothing."""
    with closing(psycopg2.connect(database_url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("CREATE ROLE stranger LOGIN PASSWORD 'SECRET'")
        host = urlsplit(database_url).netloc.rpartition("@")[2]
        yield urlsplit(database_url)._replace(netloc=f"stranger:SECRET@{host}").geturl()
        cursor.execute("DROP ROLE stranger")


def test_given_a_database_that_may_not_be_read_then_503_and_a_line_in_the_log(
    client_with: Build, stranger: str, log_listener: Listener
) -> None:
    database = Database(psycopg2_url(stranger))
    client = client_with(collaborators={"database": database})

    response = client.get("/api/readyz")
    database.close()

    assert (response.status_code, response.json["readiness"]) == (503, "unready")
    assert response.json["checks"] == {"database": {"ok": False}}
    assert [line for line in log_listener.lines if "InsufficientPrivilege" in line]
    assert "SECRET" not in response.text


def test_readiness_tells_no_balances_and_asks_nobody_outside(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    life.complete()
    ticks.run(life.tools, TaskName.REFRESH_PRICE)
    before = len(stand_in.effects())

    body = client.get("/api/readyz").text.lower()

    assert len(stand_in.effects()) == before
    assert not [word for word in ("sats", "balance", "wallet", "usd") if word in body]


def test_unreadiness_is_a_problem_for_those_who_prefer_it(tools: Toolbox) -> None:
    client = client_of(create_app(tools, schema_revision="9999"))

    response = client.get("/api/readyz", headers={"Accept": "application/problem+json"})

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")


@pytest.mark.parametrize("path", ["/api/healthz", "/api/readyz"])
def test_no_address_of_ours_is_told(client: CheckedClient, tools: Toolbox, path: str) -> None:
    text = client.get(path).text

    assert tools.settings.database_url not in text
    assert "127.0.0.1" not in text
