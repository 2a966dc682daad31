"""Usage and earnings over HTTP: for their creator only, in exact numbers, also as a table."""

import base64
import csv
import io
from decimal import Decimal
from typing import Any

import pytest
import simplejson

from gateways.vault import Vault
from models.run import RunState
from services.instant import creators
from services.toolbox import Toolbox
from tests.app.conftest import Build
from tests.app.contract import CheckedClient
from tests.support.run_rows import Shop, open_shop

VAULT = Vault((base64.urlsafe_b64encode(bytes(range(32))).decode(),))
ROUTES = ("/api/creator/usage", "/api/creator/earnings")


@pytest.fixture
def open_for_creators(client_with: Build) -> CheckedClient:
    return client_with(collaborators={"vault": VAULT})


class Visitor:
    """A creator with a shop and a browser."""

    def __init__(self, tools: Toolbox, client: CheckedClient) -> None:
        new = creators.register(tools.with_(vault=VAULT), "ann", {})
        self.shop = Shop(tools, new.creator)
        self.shop.publish("poem", price_usd_micros=100_001)
        self._client = client
        self._headers = {"Authorization": f"Bearer {new.api_key}"}

    def get(self, address: str) -> Any:
        return self._client.get(address, headers=self._headers)

    def json(self, address: str) -> Any:
        response = self.get(address)
        assert response.status_code == 200
        return simplejson.loads(response.data, use_decimal=True)


@pytest.fixture
def ann(tools: Toolbox, open_for_creators: CheckedClient) -> Visitor:
    return Visitor(tools, open_for_creators)


def test_a_paid_run_is_shown_with_exact_amounts_and_earns_them(ann: Visitor) -> None:
    run = ann.shop.add_run("poem", fee_usd_micros=3, model_cost_usd=Decimal("0.0000000007"))

    (shown,) = ann.json("/api/creator/usage")["runs"]
    earned = ann.json("/api/creator/earnings")

    assert shown == {
        "run": run.id,
        "resource": "poem",
        "version": 1,
        "status": "succeeded",
        "ownerTest": False,
        "caller": run.payer,
        "network": "eip155:84532",
        "asset": run.asset,
        "transaction": run.transaction,
        "priceUsd": Decimal("0.100001"),
        "paidUsd": Decimal("0.100001"),
        "platformFeeUsd": Decimal("0.000003"),
        "netUsd": Decimal("0.099998"),
        "modelCostUsd": Decimal("0.0000000007"),
        "createdAt": shown["createdAt"],
        "endedAt": shown["endedAt"],
        "durationMs": 2000,
    }
    figures = {
        "calls": 1,
        "failedCalls": 0,
        "refusedCalls": 0,
        "openCalls": 0,
        "unknownCostCalls": 0,
        "grossUsd": Decimal("0.100001"),
        "platformFeeUsd": Decimal("0.000003"),
        "netUsd": Decimal("0.099998"),
        "feeDueUsd": Decimal("0.000003"),
        "modelCostUsd": Decimal("0.0000000007"),
    }
    assert {name: earned[name] for name in figures} == figures
    (poem,) = earned["resources"]
    assert poem == {"resource": "poem", "ownerTests": earned["ownerTests"], **figures}


def test_what_a_run_was_asked_answered_and_paid_with_is_not_shown(ann: Visitor) -> None:
    run = ann.shop.add_run("poem")

    for route in (*ROUTES, f"{ROUTES[0]}?format=csv"):
        text = ann.get(route).text
        assert str(run.public_id) not in text
        assert str(run.nonce) not in text
        assert "payment-canary" not in text


def test_owner_tests_stand_apart(ann: Visitor) -> None:
    ann.shop.add_run("poem", is_owner_test=True, model_cost_usd=Decimal("0.5"))

    earned = ann.json("/api/creator/earnings")
    (shown,) = ann.json("/api/creator/usage")["runs"]

    assert (earned["calls"], earned["grossUsd"], earned["modelCostUsd"]) == (0, 0, 0)
    assert (earned["ownerTests"]["calls"], earned["ownerTests"]["modelCostUsd"]) == (
        1,
        Decimal("0.5"),
    )
    assert (shown["ownerTest"], "caller" in shown) == (True, False)


def test_pages_follow_each_other_by_cursor_and_by_link(ann: Visitor) -> None:
    runs = [ann.shop.add_run("poem").id for _ in range(5)]

    seen: list[int] = []
    response = ann.get("/api/creator/usage?limit=2&status=succeeded")
    while True:
        seen += [run["run"] for run in response.json["runs"]]
        if "Link" not in response.headers:
            break
        link = response.headers["Link"].partition(">")[0].removeprefix("<")
        assert f"cursor={response.json['nextCursor']}" in link
        response = ann.get(link)

    assert seen == runs[::-1]
    assert "nextCursor" not in response.json


def test_as_csv_the_log_has_the_same_members_and_all_rows(ann: Visitor) -> None:
    for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.SETTLING) * 20:
        ann.shop.add_run("poem", state)

    response = ann.get("/api/creator/usage?format=csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    shown = ann.get("/api/creator/usage?limit=10000").json["runs"]

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert len(rows) == 60
    for row, run in zip(rows, shown, strict=True):
        given = {name: value for name, value in row.items() if value}
        assert given.keys() == run.keys()
        assert (given["run"], given["status"]) == (str(run["run"]), run["status"])
        assert (given["ownerTest"], given["priceUsd"]) == ("false", "0.100001")


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=10001", "limit=x", "cursor=-1", "cursor=x", f"cursor={'1' * 19}"),
        *("status=paid", "format=xml", "resource=A", "resource=a%0a", "ownerTest=perhaps"),
        *("since=yesterday", "since=2026-01-01T00:00:00", "until=2026-13-01T00:00:00Z"),
    ],
)
def test_a_query_that_means_nothing_is_refused_by_name(ann: Visitor, query: str) -> None:
    response = ann.get(f"/api/creator/usage?{query}")

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"
    assert " must be " in response.json["error"]


def test_a_span_of_time_narrows_both(ann: Visitor) -> None:
    ann.shop.add_run("poem")

    for span, calls in (
        ("since=2020-01-01T00:00:00Z", 1),
        ("since=0066-05-20T13:12:06%2B18:44", 1),
        ("since=0001-01-01T00:00:00%2B14:00", 1),
        ("until=9999-12-31T23:59:59-14:00", 1),
        ("until=2020-01-01T02:00:00%2B02:00", 0),
    ):
        assert len(ann.json(f"/api/creator/usage?{span}")["runs"]) == calls
        assert ann.json(f"/api/creator/earnings?{span}")["calls"] == calls


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer hwc_" + "x" * 43}, {"Authorization": "Basic eDp5"}],
    ids=["none", "a wrong key", "another scheme"],
)
def test_without_a_creators_key_nothing_is_shown(
    open_for_creators: CheckedClient, route: str, headers: dict[str, str]
) -> None:
    response = open_for_creators.get(f"{route}?limit=nonsense", headers=headers)

    assert response.status_code == 401
    assert response.json["code"] == "unauthorized"


def test_a_creator_reads_nothing_of_another(tools: Toolbox, ann: Visitor) -> None:
    open_shop(tools, "poem").add_run("poem")

    assert ann.json("/api/creator/usage") == {"runs": []}
    assert ann.json("/api/creator/earnings")["calls"] == 0
