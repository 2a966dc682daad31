"""The OpenAPI document: valid, with the names that clients know, and no leftovers."""

import json
import re
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from openapi_spec_validator import validate

from app import openapi
from config.settings import Settings
from models.lifecycle import JobState
from services.jobs import intake
from tests.app.conftest import Build
from tests.app.contract import CheckedClient, Contract, client_of

OPERATIONS = {
    "healthCheck": ("get", "/healthz", "health", {"200"}),
    "readinessCheck": ("get", "/readyz", "health", {"200", "503"}),
    "createJob": ("post", "/jobs", "jobs", {"201", "400", "413", "415", "429", "503"}),
    "getJob": ("get", "/jobs/{id}", "jobs", {"200", "400", "404", "503"}),
    "claimRefund": (
        *("post", "/jobs/{id}/refund", "jobs"),
        {"200", "202", "400", "404", "409", "413", "415", "503"},
    ),
    "cancelJob": (
        *("post", "/jobs/{id}/cancel", "jobs"),
        {"200", "400", "404", "409", "413", "415", "503"},
    ),
    "runDemo": ("get", "/demo", "demo", {"200", "400", "429", "503"}),
    "listResources": ("get", "/resources", "resources", {"200", "400", "503"}),
    "listModels": ("get", "/models", "resources", {"200", "503"}),
    "priceInstant": (
        *("get", "/instant/{creator}/{slug}", "instant"),
        {"402", "404", "405", "503"},
    ),
    "runInstant": (
        *("post", "/instant/{creator}/{slug}", "instant"),
        {"200", "202", "400", "401", "402", "404", "409", "410", "413", "415", "422", "429", "503"},
    ),
    "readInstantRun": (
        *("get", "/instant/{creator}/{slug}/runs/{id}", "instant"),
        {"200", "202", "400", "404", "410", "503"},
    ),
    "createCreator": (
        *("post", "/creators", "creators"),
        {"201", "400", "401", "409", "413", "415", "503"},
    ),
    "getCreator": ("get", "/creator", "creators", {"200", "401", "503"}),
    "editCreator": (
        *("patch", "/creator", "creators"),
        {"200", "400", "401", "413", "415", "503"},
    ),
    "renewApiKey": (
        *("post", "/creator/api-key", "creators"),
        {"200", "400", "401", "413", "415", "503"},
    ),
    "saveKey": (
        *("put", "/creator/keys/{provider}", "creators"),
        {"200", "400", "401", "404", "413", "415", "503"},
    ),
    "deleteKey": (
        *("delete", "/creator/keys/{provider}", "creators"),
        {"200", "400", "401", "404", "413", "415", "503"},
    ),
    "testKey": (
        *("post", "/creator/keys/{provider}/test", "creators"),
        {"200", "400", "401", "404", "413", "415", "503"},
    ),
    "listOwnResources": (
        *("get", "/creator/resources", "creators"),
        {"200", "400", "401", "503"},
    ),
    "createResource": (
        *("post", "/creator/resources", "creators"),
        {"201", "400", "401", "409", "413", "415", "503"},
    ),
    "getOwnResource": (
        *("get", "/creator/resources/{slug}", "creators"),
        {"200", "401", "404", "503"},
    ),
    "editResource": (
        *("patch", "/creator/resources/{slug}", "creators"),
        {"200", "400", "401", "404", "413", "415", "503"},
    ),
    **{
        f"{verb}Resource": (
            *("post", f"/creator/resources/{{slug}}/{verb}", "creators"),
            {"200", "400", "401", "404", "413", "415", "503"},
        )
        for verb in ("pause", "resume", "archive", "restore")
    },
    "getUsage": ("get", "/creator/usage", "creators", {"200", "400", "401", "503"}),
    "getEarnings": ("get", "/creator/earnings", "creators", {"200", "400", "401", "503"}),
}
REQUESTS = {
    *("CreateJobRequest", "ClaimRefundRequest", "CreateResourceRequest", "EditResourceRequest"),
    *("CreateCreatorRequest", "EditCreatorRequest", "SaveKeyRequest", "ParameterRequest"),
}
SCHEMAS = {
    *("HealthStatus", "ErrorResponse", "InvoiceInfo", "CreateJobRequest", "CreateJobResponse"),
    *("JobState", "JobStatusResponse", "PricingBreakdown", "CostLedger"),
    *("ClaimRefundRequest", "ClaimRefundResponse", "DemoResponse"),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.with_defaults()


def test_it_is_a_valid_openapi_3_1_document(document: dict[str, Any]) -> None:
    validate(document)

    assert document["openapi"].startswith("3.1")


def test_its_names_are_those_that_clients_were_generated_from(document: dict[str, Any]) -> None:
    assert document["info"]["title"] == "Api"
    assert [server["url"] for server in document["servers"]] == ["/api"]
    assert [tag["name"] for tag in document["tags"]] == [
        *("health", "jobs", "demo"),
        *("resources", "instant", "creators"),
    ]
    assert set(document["components"]["schemas"]) >= SCHEMAS


def test_its_operations_and_their_answers_are_exactly_these(document: dict[str, Any]) -> None:
    found = {
        operation["operationId"]: (method, path, *operation["tags"], set(operation["responses"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }

    assert found == OPERATIONS


def test_every_route_of_the_application_is_in_it_or_known_to_be_outside(
    web: Flask, document: dict[str, Any]
) -> None:
    outside = ("/api/openapi.json", "/api/docs", "/api/dev/", "/api/hooks/")
    planned = "/api/jobs/<string:id>/events"
    routes = {
        re.sub(r"<string:(\w+)>", r"{\1}", str(rule)).removeprefix("/api")
        for rule in web.url_map.iter_rules()
        if not str(rule).startswith((*outside, planned))
    }

    assert routes == set(document["paths"])


def test_the_states_of_a_job_are_one_shared_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/JobState"}

    assert schemas["JobState"]["enum"] == [state.value for state in JobState]
    assert schemas["JobStatusResponse"]["properties"]["state"] == reference
    assert schemas["CreateJobResponse"]["properties"]["state"] == reference


def test_unknown_members_are_forbidden_in_requests_and_only_there(
    document: dict[str, Any],
) -> None:
    closed = {
        name
        for name, schema in document["components"]["schemas"].items()
        if schema.get("additionalProperties") is False
    }

    assert closed == REQUESTS


def test_every_error_is_offered_as_problem_json_too(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method == "parameters":
                continue
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert set(response["content"]) == {
                        "application/json",
                        "application/problem+json",
                    }


def test_nothing_of_the_framework_is_left_in_it(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    answers = {
        (operation["operationId"], status)
        for methods in document["paths"].values()
        for method, operation in methods.items()
        if method != "parameters"
        for status in operation["responses"]
    }

    for leftover in ("DEFAULT_ERROR", "Pagination", "Unprocessable"):
        assert leftover not in text
    assert not [answer for answer in answers if answer[1] == "default"]
    assert {answer for answer in answers if answer[1] == "422"} <= {("runInstant", "422")}


def test_limits_are_those_of_the_deployment(client_with: Build) -> None:
    client = client_with(request_max_chars=77, demo_request_max_chars=7)

    served = client.get("/api/openapi.json").json

    request = served["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]
    assert request["maxLength"] == 77
    assert served["paths"]["/demo"]["get"]["parameters"][0]["schema"]["maxLength"] == 7


def test_the_served_document_is_the_printed_one(web: Flask, document: dict[str, Any]) -> None:
    assert client_of(web).get("/api/openapi.json").json == document


def test_it_is_printed_without_any_server_or_environment() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "app.openapi"],
        env={},
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )

    assert json.loads(printed.stdout) == openapi.with_defaults()
    assert printed.stderr == ""


def test_the_judge_of_all_these_tests_sees_what_is_not_documented(web: Flask) -> None:
    """Or every test in this folder could pass for nothing."""
    spec = openapi.with_defaults()
    del spec["components"]["schemas"]["HealthStatus"]["properties"]["status"]
    del spec["paths"]["/readyz"]["get"]["responses"]["200"]
    client = CheckedClient(web, web.response_class)
    client.contract = Contract(spec)

    with pytest.raises(AssertionError, match="not a HealthStatus"):
        client.get("/api/healthz")
    with pytest.raises(AssertionError, match="200 is not documented"):
        client.get("/api/readyz")


def test_the_judge_sees_a_defect_of_ours_unless_it_was_planted(
    client: CheckedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However well it is told."""

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(intake, "find", broken)

    with pytest.raises(AssertionError, match="a defect of ours"):
        client.get(f"/api/jobs/{uuid4()}")
    with client.expecting_a_defect():
        assert client.get(f"/api/jobs/{uuid4()}").status_code == 500


def test_the_judge_sees_a_document_that_forbids_what_is_taken(web: Flask) -> None:
    spec = openapi.with_defaults()
    spec["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]["maxLength"] = 3
    client = CheckedClient(web, web.response_class)
    client.contract = Contract(spec)

    with pytest.raises(AssertionError, match="the document forbids it"):
        client.post("/api/jobs", json={"request": "four"})


def test_the_judge_sees_a_document_that_allows_what_is_refused(web: Flask) -> None:
    spec = openapi.with_defaults()
    del spec["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]["pattern"]
    client = CheckedClient(web, web.response_class)
    client.contract = Contract(spec)

    with pytest.raises(AssertionError, match="the document allows it"):
        client.post("/api/jobs", json={"request": "   "})


def test_the_addresses_it_is_made_with_lead_nowhere() -> None:
    settings = Settings.load(openapi.NOWHERE)

    assert all("nowhere" in address for address in openapi.NOWHERE.values())
    assert settings.lightning_is_stand_in
