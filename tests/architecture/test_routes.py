"""Who may call each route is decided here, in one table; a route that is not in it fails."""

import re
from enum import StrEnum
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.factory import create_app
from models import schema
from services.toolbox import Toolbox


class Access(StrEnum):
    PUBLIC = "anybody; what it costs us is limited"
    JOB_ID = "whoever knows the job's id"
    TOKEN = "whoever knows the token in the path"
    OPERATOR = "whoever has OPS_TOKEN"
    CREATOR = "whoever has a creator's API key, on what is that creator's"
    PAYER = "whoever pays, and the resource's own creator for a test"
    RUN_ID = "whoever knows the run's id"
    BENCH = "anybody, and only beside the Lightning stand-in"


ROUTES = {
    ("POST", "/api/creators"): Access.OPERATOR,
    ("GET", "/api/creator"): Access.CREATOR,
    ("PATCH", "/api/creator"): Access.CREATOR,
    ("POST", "/api/creator/api-key"): Access.CREATOR,
    ("PUT", "/api/creator/keys/<string:provider>"): Access.CREATOR,
    ("DELETE", "/api/creator/keys/<string:provider>"): Access.CREATOR,
    ("POST", "/api/creator/keys/<string:provider>/test"): Access.CREATOR,
    ("GET", "/api/instant/<string:creator>/<string:slug>"): Access.PUBLIC,
    ("POST", "/api/instant/<string:creator>/<string:slug>"): Access.PAYER,
    ("GET", "/api/instant/<string:creator>/<string:slug>/runs/<string:id>"): Access.RUN_ID,
    ("GET", "/api/resources"): Access.PUBLIC,
    ("GET", "/api/models"): Access.PUBLIC,
    ("GET", "/api/creator/resources"): Access.CREATOR,
    ("POST", "/api/creator/resources"): Access.CREATOR,
    ("GET", "/api/creator/resources/<string:slug>"): Access.CREATOR,
    ("PATCH", "/api/creator/resources/<string:slug>"): Access.CREATOR,
    ("POST", "/api/creator/resources/<string:slug>/pause"): Access.CREATOR,
    ("POST", "/api/creator/resources/<string:slug>/resume"): Access.CREATOR,
    ("POST", "/api/creator/resources/<string:slug>/archive"): Access.CREATOR,
    ("POST", "/api/creator/resources/<string:slug>/restore"): Access.CREATOR,
    ("GET", "/api/healthz"): Access.PUBLIC,
    ("GET", "/api/readyz"): Access.PUBLIC,
    ("GET", "/api/openapi.json"): Access.PUBLIC,
    ("GET", "/api/docs"): Access.PUBLIC,
    ("GET", "/api/docs/static/<path:filename>"): Access.PUBLIC,
    ("POST", "/api/jobs"): Access.PUBLIC,
    ("GET", "/api/demo"): Access.PUBLIC,
    ("GET", "/api/jobs/<string:id>"): Access.JOB_ID,
    ("GET", "/api/jobs/<string:id>/events"): Access.JOB_ID,
    ("POST", "/api/jobs/<string:id>/refund"): Access.JOB_ID,
    ("POST", "/api/jobs/<string:id>/cancel"): Access.JOB_ID,
    ("GET", "/api/creator/usage"): Access.CREATOR,
    ("GET", "/api/creator/earnings"): Access.CREATOR,
    ("POST", "/api/hooks/lnbits/<string:token>"): Access.TOKEN,
    ("POST", "/api/dev/stub/pay/<string:payment_hash>"): Access.BENCH,
}
AUTOMATIC = {"HEAD", "OPTIONS"}


def routes_of(web: Flask) -> set[tuple[str, str]]:
    return {
        (method, str(rule))
        for rule in web.url_map.iter_rules()
        for method in (rule.methods or set()) - AUTOMATIC
    }


def test_every_route_has_an_access_decision_and_every_decision_a_route(web: Flask) -> None:
    assert routes_of(web) == set(ROUTES)


def test_a_route_without_a_decision_would_be_seen(tools: Toolbox) -> None:
    another = create_app(tools, schema_revision=schema.HEAD)
    another.add_url_rule("/api/planted", "planted", lambda: "")

    assert routes_of(another) - set(ROUTES) == {("GET", "/api/planted")}


@pytest.mark.parametrize(
    ("method", "rule"), [route for route, access in ROUTES.items() if access is Access.JOB_ID]
)
def test_an_id_that_nobody_has_opens_nothing(client: FlaskClient, method: str, rule: str) -> None:
    address = rule.replace("<string:id>", str(uuid4()))

    assert client.open(address, method=method, json={}).status_code == 404


def test_a_token_that_nobody_has_opens_nothing(client: FlaskClient) -> None:
    assert client.post(f"/api/hooks/lnbits/{uuid4().hex}").status_code == 404


def test_no_route_lists_jobs(client: FlaskClient) -> None:
    for address in ("/api/jobs", "/api/jobs/"):
        assert client.get(address).status_code == 405


@pytest.mark.parametrize(
    "key", [None, "", "Bearer", "Bearer x", "Basic hwc_", "Bearer hwc_" + "A" * 43]
)
@pytest.mark.parametrize(
    ("method", "rule"),
    [route for route, access in ROUTES.items() if access in (Access.CREATOR, Access.OPERATOR)],
)
def test_a_key_that_nobody_has_opens_nothing(
    client: FlaskClient, method: str, rule: str, key: str | None
) -> None:
    """Before the body is looked at: what it should hold is nobody's business."""
    address = re.sub(r"<string:\w+>", "openrouter", rule)
    headers = {} if key is None else {"Authorization": key}

    response = client.open(address, method=method, json={"nonsense": 1}, headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json is not None
    assert response.json["code"] == "unauthorized"
