"""The contract frozen: the generated document still serves every client of the baseline."""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from openapi_spec_validator import validate

from app.api import document
from tests.contract.compatibility import Document, breaches, named

FROZEN = Path(__file__).with_name("baseline.yaml").read_text()
BASELINE = yaml.safe_load(FROZEN)
DIGEST = "6fc403fb63976bf0abc2226c274c558f931968c3a45feab679a19b86be4cc553"
"""Of the frozen text. It changes with what is added there when the API grows, and with what a
changed contract demands; never because something that was published is gone or has another form.
"""


@pytest.fixture
def generated(web: Flask) -> Document:
    with web.app_context():
        return document.published(web.extensions["openapi"])


def test_the_baseline_is_itself_a_valid_document() -> None:
    validate(BASELINE)


def test_the_baseline_is_changed_by_nobody_who_does_not_mean_to() -> None:
    assert hashlib.sha256(FROZEN.encode()).hexdigest() == DIGEST


def test_the_generated_document_takes_nothing_from_clients_of_the_baseline(
    generated: Document,
) -> None:
    assert breaches(BASELINE, generated) == []


def test_whatever_is_published_is_frozen(generated: Document) -> None:
    """Or it could be taken away again, and no client of it would be remembered."""
    assert named(generated) - named(BASELINE) == set()


def _drop_operation(new: Document) -> None:
    del new["paths"]["/jobs/{id}"]["get"]


def _rename_operation(new: Document) -> None:
    new["paths"]["/jobs"]["post"]["operationId"] = "makeJob"


def _drop_status(new: Document) -> None:
    del new["paths"]["/jobs/{id}/refund"]["post"]["responses"]["202"]


def _demand_more(new: Document) -> None:
    new["components"]["schemas"]["CreateJobRequest"]["required"].append("metadata")


def _retype(new: Document) -> None:
    new["components"]["schemas"]["InvoiceInfo"]["properties"]["amountSats"]["type"] = "string"


def _lose_a_member(new: Document) -> None:
    del new["components"]["schemas"]["CostLedger"]["properties"]["workAmountSats"]


def _promise_less(new: Document) -> None:
    new["components"]["schemas"]["JobStatusResponse"]["required"].remove("state")


def _add_a_state(new: Document) -> None:
    new["components"]["schemas"]["JobState"]["enum"].append("paused")


def _move_the_server(new: Document) -> None:
    new["servers"] = [{"url": "/api/v2"}]


def _demand_a_parameter(new: Document) -> None:
    new["paths"]["/demo"]["get"]["parameters"].append(
        {"name": "token", "in": "query", "required": True}
    )


def _drop_the_receipt(new: Document) -> None:
    del new["components"]["schemas"]["InstantResult"]["properties"]["receipt"]


def _turn_the_receipt_into_a_text(new: Document) -> None:
    new["components"]["schemas"]["InstantResult"]["properties"]["receipt"] = {"type": "string"}


def _rename_a_cause(new: Document) -> None:
    debt = new["components"]["schemas"]["Debt"]["properties"]
    debt["reason"] = debt.pop("cause")


def _list_other_debts(new: Document) -> None:
    debts = new["components"]["schemas"]["JobStatusResponse"]["properties"]["debts"]
    debts["items"] = {"type": "string"}


def _drop_a_code(new: Document) -> None:
    schemas = new["components"]["schemas"]
    code = copy.deepcopy(schemas["ErrorResponse"]["properties"]["code"])
    code["enum"].remove("refund_already_paid")
    schemas["ErrorResponse"]["properties"]["code"] = code


def _drop_a_debts_state(new: Document) -> None:
    new["components"]["schemas"]["Debt"]["properties"]["state"]["enum"].remove("paid")


def _take_shorter_requests(new: Document) -> None:
    new["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]["maxLength"] = 3999


def _take_longer_requests_only(new: Document) -> None:
    new["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]["minLength"] = 2


def _take_other_slugs(new: Document) -> None:
    slug = new["components"]["schemas"]["CreateResourceRequest"]["properties"]["slug"]
    slug["pattern"] = "^[a-z]+$"


def _take_no_metadata(new: Document) -> None:
    metadata = new["components"]["schemas"]["CreateJobRequest"]["properties"]["metadata"]
    metadata["additionalProperties"] = False


def _ignore_members(new: Document) -> None:
    del new["components"]["schemas"]["CreateJobRequest"]["additionalProperties"]


@pytest.mark.parametrize(
    "plant",
    [
        _drop_operation,
        _rename_operation,
        _drop_status,
        _demand_more,
        _retype,
        _lose_a_member,
        _promise_less,
        _add_a_state,
        _move_the_server,
        _demand_a_parameter,
        _drop_the_receipt,
        _turn_the_receipt_into_a_text,
        _rename_a_cause,
        _list_other_debts,
        _drop_a_code,
        _drop_a_debts_state,
        _take_shorter_requests,
        _take_longer_requests_only,
        _take_other_slugs,
        _take_no_metadata,
        _ignore_members,
    ],
)
def test_a_breach_is_seen(plant: Callable[[Any], None]) -> None:
    broken = copy.deepcopy(BASELINE)
    plant(broken)

    assert len(breaches(BASELINE, broken)) == 1


SETTINGS_OF_A_MODEL = ("temperature", "maxTokens", "topP", "frequencyPenalty", "presencePenalty")
GONE = [
    *(f"schemas CreateResourceRequest properties {name}" for name in SETTINGS_OF_A_MODEL),
    *(f"schemas EditResourceRequest properties {name}" for name in SETTINGS_OF_A_MODEL),
    "schemas EditResourceRequest properties allowsUserMessage",
    "schemas EditCreatorRequest properties costCapPerDayUsd",
    "schemas ParameterRequest properties default",
    "schemas ErrorResponse properties errors items",
    "schemas PaymentReceipt properties network",
    "paths /jobs post responses 201 headers Location",
    "paths /jobs post responses 413",
    "paths /jobs post responses 415",
    "paths /jobs post responses 429 headers Retry-After",
    "paths /jobs/{id}/refund post responses 413",
    "paths /jobs/{id}/refund post responses 415",
    "paths /jobs/{id}/refund post responses 503 headers Retry-After",
    "paths /jobs/{id}/cancel post responses 413",
    "paths /jobs/{id}/cancel post responses 415",
    "paths /demo get responses 200 headers RateLimit",
    "paths /demo get responses 200 headers RateLimit-Policy",
    "paths /demo get responses 200 headers X-RateLimit-Remaining",
    "paths /instant/{creator}/{slug} post responses 402 headers PAYMENT-REQUIRED",
    "paths /instant/{creator}/{slug} post responses 413",
    "paths /instant/{creator}/{slug} post responses 415",
    "paths /instant/{creator}/{slug} post responses 422",
    "paths /creator patch",
    "paths /creator/usage get responses 200 content text/csv",
    "paths /creator/usage get parameters 0",
]
"""Places in the document, as a path of keys."""


def _place(document: Document, address: str) -> tuple[Any, Any]:
    """What holds the last key of an address, and that key."""
    *above, last = address.split()
    holder: Any = document | document["components"]
    for key in above:
        holder = holder[int(key)] if isinstance(holder, list) else holder[key]
    return holder, int(last) if isinstance(holder, list) else last


@pytest.mark.parametrize("address", GONE)
def test_nothing_that_was_published_may_go(address: str) -> None:
    broken = copy.deepcopy(BASELINE)
    holder, key = _place(broken, address)
    del holder[key]

    assert len(breaches(BASELINE, broken)) == 1


REQUEST_OF_A_DEMO = "paths /demo get parameters 0"
LIMIT_OF_A_PAGE = "paths /resources get parameters 0"
CHANGED: list[tuple[str, Any]] = [
    ("schemas ParameterRequest required", ["name", "required", "description"]),
    ("schemas ErrorResponse properties errors items", {"type": "string"}),
    ("schemas CreateJobRequest properties refundTo maxLength", 20),
    ("schemas CreateJobRequest properties refundTo pattern", "^[a-z]+$"),
    ("schemas CreateJobRequest properties refundTo enum", ["a@b.example"]),
    ("schemas CreateResourceRequest properties type enum", ["static"]),
    ("schemas ParameterRequest properties description maxLength", 10),
    (f"{REQUEST_OF_A_DEMO} schema", {"type": "integer", "maxLength": 10}),
    (f"{REQUEST_OF_A_DEMO} schema maxLength", 10),
    (f"{REQUEST_OF_A_DEMO} in", "header"),
    (f"{LIMIT_OF_A_PAGE} required", True),
    (f"{LIMIT_OF_A_PAGE} schema maximum", 10),
    (f"{LIMIT_OF_A_PAGE} schema default", 10),
    ("paths /jobs post responses 429 headers Retry-After schema type", "string"),
]


@pytest.mark.parametrize(("address", "value"), CHANGED)
def test_nothing_that_was_published_may_take_another_form(address: str, value: Any) -> None:
    broken = copy.deepcopy(BASELINE)
    holder, key = _place(broken, address)
    holder[key] = value

    assert breaches(BASELINE, broken) != []


UNFROZEN: list[tuple[str, Any]] = [
    ("paths /new", {"get": {"responses": {}}}),
    ("paths /jobs get", {"responses": {}}),
    ("paths /jobs parameters", [{"name": "tone", "in": "query"}]),
    ("paths /jobs post parameters", [{"name": "tone", "in": "query"}]),
    ("paths /jobs post responses 402", {"description": "Pay"}),
    ("paths /jobs post responses 201 headers ETag", {"schema": {"type": "string"}}),
    ("schemas CreateJobRequest properties tone", {"type": "string"}),
    ("schemas Debt properties since", {"type": "string"}),
    ("schemas HealthStatus properties status items", {"type": "string"}),
    ("schemas New", {"type": "object"}),
]


@pytest.mark.parametrize(("address", "value"), UNFROZEN)
def test_what_is_published_and_not_frozen_is_seen(address: str, value: Any) -> None:
    grown = copy.deepcopy(BASELINE)
    holder, key = _place(grown, address)
    holder[key] = value

    assert len(named(grown) - named(BASELINE)) == 1


def _add_a_code(new: Document) -> None:
    new["components"]["schemas"]["ErrorResponse"]["properties"]["code"]["enum"].append("new")


def _take_longer_requests(new: Document) -> None:
    new["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]["maxLength"] = 9999


def _take_another_type(new: Document) -> None:
    asked = new["components"]["schemas"]["CreateResourceRequest"]["properties"]
    asked["type"]["enum"].append("new")


def _offer_a_parameter(new: Document) -> None:
    new["paths"]["/resources"]["get"]["parameters"].append({"name": "sort", "in": "query"})


def _say_more_in_a_header(new: Document) -> None:
    made = new["paths"]["/jobs"]["post"]["responses"]["201"]
    made["headers"]["ETag"] = {"schema": {"type": "string"}}


@pytest.mark.parametrize(
    "plant",
    [
        _add_a_code,
        _take_longer_requests,
        _take_another_type,
        _offer_a_parameter,
        _say_more_in_a_header,
    ],
)
def test_what_is_added_is_no_breach(plant: Callable[[Any], None]) -> None:
    grown = copy.deepcopy(BASELINE)
    plant(grown)

    assert breaches(BASELINE, grown) == []
