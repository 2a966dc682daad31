"""The contract frozen: the generated document still serves every client of the baseline."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from openapi_spec_validator import validate

from app.api import document
from tests.contract.compatibility import Document, breaches

BASELINE = yaml.safe_load(Path(__file__).with_name("baseline.yaml").read_text())


@pytest.fixture
def generated(web: Flask) -> Document:
    with web.app_context():
        return document.published(web.extensions["openapi"])


def test_the_baseline_is_itself_a_valid_document() -> None:
    validate(BASELINE)


def test_the_generated_document_takes_nothing_from_clients_of_the_baseline(
    generated: Document,
) -> None:
    assert breaches(BASELINE, generated) == []


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


def _add_a_code(new: Document) -> None:
    new["components"]["schemas"]["ErrorResponse"]["properties"]["code"]["enum"].append("new")


def _take_longer_requests(new: Document) -> None:
    new["components"]["schemas"]["CreateJobRequest"]["properties"]["request"]["maxLength"] = 9999


@pytest.mark.parametrize("plant", [_add_a_code, _take_longer_requests])
def test_what_is_added_is_no_breach(plant: Callable[[Any], None]) -> None:
    grown = copy.deepcopy(BASELINE)
    plant(grown)

    assert breaches(BASELINE, grown) == []
