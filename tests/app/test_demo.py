"""GET /api/demo: free, limited, run by a worker."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.demo_run import DemoRun, DemoState
from services.toolbox import Toolbox
from tests.app.conftest import Build, BusyDoorbell, taken
from tests.app.contract import Answer, CheckedClient
from tests.support.doorbell import RecordingDoorbell
from tests.support.lost_database import LostAt


def ask(client: CheckedClient, request: str = "Say something.", **who: str) -> Answer:
    return client.get("/api/demo", query_string={"request": request}, environ_base=who)


def runs(tools: Toolbox, state: DemoState | None = None) -> int:
    wanted = [] if state is None else [DemoRun.state == state]
    with tools.database.transaction("test.runs") as session:
        return session.scalar(select(func.count()).select_from(DemoRun).where(*wanted)) or 0


@pytest.fixture
def client(client_with: Build, busy_workers: BusyDoorbell) -> CheckedClient:
    """A deployment whose workers answer at once."""
    return client_with(collaborators={"doorbell": busy_workers})


def test_given_a_request_then_the_answer_holds_a_result(client: CheckedClient) -> None:
    response = ask(client)

    assert response.status_code == 200
    assert set(response.json) == {"result"}
    assert response.json["result"].strip()


def test_five_tries_an_hour_and_the_sixth_is_a_429_that_says_when(client: CheckedClient) -> None:
    tries = [ask(client) for _ in range(5)]

    refused = ask(client)

    assert [t.status_code for t in tries] == [200] * 5
    assert [t.headers["X-RateLimit-Remaining"] for t in tries] == ["4", "3", "2", "1", "0"]
    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    wait = int(refused.headers["Retry-After"])
    assert 3500 <= wait <= 3600
    assert refused.headers["RateLimit-Policy"] == '"demo";q=5;w=3600'
    assert refused.headers["RateLimit"] == f'"demo";r=0;t={wait}'
    assert refused.headers["X-RateLimit-Limit"] == "5"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["X-RateLimit-Reset"] == str(wait)


def test_given_the_oldest_try_is_an_hour_old_then_there_is_one_again(
    client: CheckedClient, tools: Toolbox
) -> None:
    for _ in range(5):
        ask(client)
    with tools.database.transaction("test.age") as session:
        oldest = select(func.min(DemoRun.id)).scalar_subquery()
        session.execute(
            update(DemoRun)
            .where(DemoRun.id == oldest)
            .values(created_at=DemoRun.created_at - timedelta(hours=1))
        )

    assert [ask(client).status_code, ask(client).status_code] == [200, 429]


def test_each_address_has_its_own_tries_and_all_processes_count_together(
    client: CheckedClient, client_with: Build, busy_workers: BusyDoorbell
) -> None:
    other_process = client_with(collaborators={"doorbell": busy_workers})
    for process in (client, other_process, client, other_process, client):
        assert ask(process, REMOTE_ADDR="192.0.2.1").status_code == 200

    assert ask(other_process, REMOTE_ADDR="192.0.2.1").status_code == 429
    assert ask(other_process, REMOTE_ADDR="192.0.2.2").status_code == 200


def test_ipv6_is_counted_by_64_bits_and_by_20_times_that_in_48(
    client_with: Build, busy_workers: BusyDoorbell
) -> None:
    client = client_with(demo_limit_per_hour=1, collaborators={"doorbell": busy_workers})

    same_64 = [ask(client, REMOTE_ADDR=f"2001:db8:1:1::{n}").status_code for n in (1, 2)]
    same_48 = [ask(client, REMOTE_ADDR=f"2001:db8:1:{n:x}::1").status_code for n in range(2, 22)]
    elsewhere = ask(client, REMOTE_ADDR="2001:db8:2:1::1").status_code

    assert same_64 == [200, 429]
    assert same_48 == [200] * 19 + [429]
    assert elsewhere == 200


BAD = [
    ({}, "request is missing."),
    ({"request": ""}, "request must not be blank."),
    ({"request": " \t\u00a0"}, "request must not be blank."),
    ({"request": "x" * 1001}, "request must have at most 1000 characters."),
    ({"request": "a\x00b"}, "request must not hold NUL characters or unpaired surrogates."),
]


@pytest.mark.parametrize(("query", "sentence"), BAD)
def test_a_request_that_is_none_is_a_400_and_costs_no_try(
    client: CheckedClient, tools: Toolbox, query: dict[str, str], sentence: str
) -> None:
    response = client.get("/api/demo", query_string=query)

    assert (response.status_code, response.json["error"]) == (400, sentence)
    assert runs(tools) == 0


@pytest.mark.parametrize("text", ["x" * 1000, "🙂" * 1000, "ünï %00 &request=", "%ff"])
def test_a_request_of_up_to_1000_characters_is_taken(client: CheckedClient, text: str) -> None:
    assert ask(client, text).status_code == 200


def test_a_head_runs_nothing_and_costs_no_try(client: CheckedClient, tools: Toolbox) -> None:
    refused = client.open("/api/demo", method="HEAD", query_string={"request": "Say something."})
    options = client.open("/api/demo", method="OPTIONS")

    assert refused.status_code == 405
    for answer in (refused, options):
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "OPTIONS"}
    assert runs(tools) == 0
    assert client.open("/api/healthz", method="HEAD").status_code == 200


def test_bytes_that_are_no_utf8_are_no_trouble(client: CheckedClient) -> None:
    assert client.get("/api/demo?request=%ff%fe%ed%a0%80").status_code == 200


def test_given_no_worker_in_time_then_503_and_the_try_is_given_back(
    client_with: Build, tools: Toolbox, doorbell: RecordingDoorbell
) -> None:
    client = client_with(demo_wait_seconds=0)

    response = ask(client)

    assert (response.status_code, response.json["code"]) == (503, "model_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["X-RateLimit-Remaining"] == "5"
    assert runs(tools, DemoState.ABANDONED) == runs(tools) == 1
    assert len(doorbell.rung) == 1


def test_given_a_run_that_was_given_back_when_a_worker_comes_late_then_no_model_is_called(
    client_with: Build, tools: Toolbox, doorbell: RecordingDoorbell, stand_in: StandInClient
) -> None:
    ask(client_with(demo_wait_seconds=0))

    doorbell.answer_all(tools)

    assert stand_in.counts().model_calls == 0
    assert runs(tools, DemoState.ABANDONED) == 1


def test_given_a_model_that_is_away_then_503_and_the_try_is_used(
    client: CheckedClient, tools: Toolbox, stand_in: StandInClient
) -> None:
    stand_in.arm(Fault(target="anthropic", kind=FaultKind.STATUS, status=529, text="SECRET"))

    response = ask(client)

    assert (response.status_code, response.json["code"]) == (503, "model_unavailable")
    assert "SECRET" not in response.text
    assert response.headers["X-RateLimit-Remaining"] == "4"
    assert runs(tools, DemoState.FAILED) == 1


def test_given_16_who_wait_then_the_next_is_a_503_at_once_that_costs_no_try(
    client: CheckedClient, tools: Toolbox
) -> None:
    room = client.application.extensions["waiting_room"]

    with taken(room, 16):
        refused = ask(client)
    after = ask(client)

    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert after.status_code == 200
    assert runs(tools) == 1


def test_given_15_who_wait_then_there_is_a_seat(client: CheckedClient) -> None:
    with taken(client.application.extensions["waiting_room"], 15):
        assert ask(client).status_code == 200


def test_given_that_the_budget_of_the_day_is_spent_then_503_and_no_try_is_taken(
    client_with: Build, tools: Toolbox
) -> None:
    client = client_with(demo_daily_budget_usd=0)

    response = ask(client)

    assert (response.status_code, response.json["code"]) == (503, "demo_budget_spent")
    assert int(response.headers["Retry-After"]) >= 1
    assert runs(tools) == 0


def test_the_process_that_answers_callers_calls_no_model(
    client_with: Build, stand_in: StandInClient
) -> None:
    ask(client_with(demo_wait_seconds=0))

    assert stand_in.counts().model_calls == 0


def test_forwarded_addresses_count_only_behind_trusted_proxies(
    client_with: Build, busy_workers: BusyDoorbell
) -> None:
    alone = client_with(demo_limit_per_hour=1, collaborators={"doorbell": busy_workers})
    behind_one = client_with(
        demo_limit_per_hour=1,
        trusted_proxy_hops=1,
        collaborators={"doorbell": busy_workers},
    )

    def forwarded(client: CheckedClient, addresses: str, peer: str) -> int:
        return client.get(
            "/api/demo?request=x",
            headers={"X-Forwarded-For": addresses},
            environ_base={"REMOTE_ADDR": peer},
        ).status_code

    assert forwarded(alone, "198.51.100.1", "192.0.2.1") == 200
    assert forwarded(alone, "198.51.100.2", "192.0.2.1") == 429
    assert forwarded(behind_one, "198.51.100.3", "192.0.2.9") == 200
    assert forwarded(behind_one, "1.1.1.1, 198.51.100.4", "192.0.2.9") == 200
    assert forwarded(behind_one, "9.9.9.9, 198.51.100.4", "192.0.2.9") == 429


def test_a_database_lost_while_a_try_is_waited_for_tells_how_many_are_left(
    client_with: Build, tools: Toolbox
) -> None:
    lost = ask(client_with(collaborators={"database": LostAt("demo.look", tools.database)}))

    again = ask(client_with(demo_wait_seconds=0))

    assert (lost.status_code, lost.json["code"]) == (503, "not_ready")
    left = [answer.headers["X-RateLimit-Remaining"] for answer in (lost, again)]
    assert left == ["4", "4"], "it was taken, and the next one given back"
