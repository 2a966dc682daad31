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
    ],
)
def test_a_breach_is_seen(plant: Callable[[Any], None]) -> None:
    broken = copy.deepcopy(BASELINE)
    plant(broken)

    assert len(breaches(BASELINE, broken)) == 1
