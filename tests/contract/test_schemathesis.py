"""Whatever the document allows or forbids, the service answers as the document says.

schemathesis makes the requests: what stands at the edges of every schema, and what chance brings,
allowed and forbidden. Where a request names a job, it is one of the village's.
"""

import tomllib
from pathlib import Path
from typing import Any
from uuid import UUID
from zlib import crc32

import hypothesis
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.specs.openapi.schemas import OpenApiSchema

from app import openapi
from local.stand_in.faults import Fault, FaultKind
from models.lifecycle import JobState
from models.slug import is_slug
from tests.contract.conftest import OPS_TOKEN
from tests.contract.effort import ASKED_FOR
from tests.contract.village import ROADS, Village, Workers

NO_JOB_IN = 8
"""One of so many ids stays that of no job."""
NOBODY_COMES_IN = 5
"""At one of so many requests, no worker is at hand."""
WEATHER = (
    *[None] * 12,
    Fault(target="lnbits", kind=FaultKind.STATUS, times=9),
    Fault(target="lnbits", kind=FaultKind.RESET, after_effect=True),
    Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_FAILED),
    Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING),
    Fault(target="anthropic", kind=FaultKind.EMPTY),
    Fault(target="anthropic", kind=FaultKind.STATUS, status=529, times=9),
)
LEFT_TO_FUZZ = [
    {"include-operation-id": "createResource", "phases": {"coverage": {"enabled": False}}}
]
"""Its many members have so many edges that thinking them up takes half a minute."""
OF_SHAPE = {"invalid_request", "invalid_json", "invalid_id", "unsupported_media_type"}
"""Codes that say: the document forbids this."""


def _config() -> SchemathesisConfig:
    """The checks are the file's; how much is tried is decided here."""
    read = tomllib.loads(Path(__file__).with_name("schemathesis.toml").read_text("utf-8"))
    read["seed"] = ASKED_FOR.seed
    read["generation"] |= {
        "max-examples": ASKED_FOR.examples,
        "deterministic": ASKED_FOR.is_repeatable,
    }
    if ASKED_FOR.is_repeatable:
        read["operations"] += LEFT_TO_FUZZ
    return SchemathesisConfig.from_dict(read)


@pytest.fixture(scope="session")
def document() -> OpenApiSchema:
    return schemathesis.openapi.from_dict(openapi.with_defaults(), config=_config())


OPERATIONS = (
    "GET /healthz",
    "GET /readyz",
    "POST /jobs",
    "GET /jobs/{id}",
    "POST /jobs/{id}/refund",
    "POST /jobs/{id}/cancel",
    "GET /demo",
    "GET /resources",
    "GET /models",
    "GET /instant/{creator}/{slug}",
    "POST /instant/{creator}/{slug}",
    "GET /instant/{creator}/{slug}/runs/{id}",
    "POST /creators",
    "GET /creator",
    "PATCH /creator",
    "POST /creator/api-key",
    "PUT /creator/keys/{provider}",
    "DELETE /creator/keys/{provider}",
    "POST /creator/keys/{provider}/test",
    "GET /creator/resources",
    "POST /creator/resources",
    "GET /creator/resources/{slug}",
    "PATCH /creator/resources/{slug}",
    "POST /creator/resources/{slug}/pause",
    "POST /creator/resources/{slug}/resume",
    "POST /creator/resources/{slug}/archive",
    "POST /creator/resources/{slug}/restore",
    "GET /creator/usage",
    "GET /creator/earnings",
)
NO_KEY_IN = 16
"""One of so many requests to a creator's address comes without the creator's key."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_as_documented(
    name: str, document: OpenApiSchema, web: Flask, village: Village, doorbell: Workers
) -> None:
    """What ``@schema.parametrize()`` would make, but made here.

    That one makes requests while pytest collects, which costs every run seconds; and with
    pytest 9.2 all of its tests have one name, of which pytest-xdist runs the first alone.
    """
    method, path = name.split()
    test = build_operation_test(
        config=document.config,
        operation=document[path][method],
        test_func=_try,
        given_kwargs={},
        feedback=FeedbackSources(),
    )
    test(web=web, village=village, doorbell=doorbell)


def test_no_operation_is_left_out(document: OpenApiSchema) -> None:
    served = {
        f"{method.upper()} {path}"
        for path, methods in document.raw_schema["paths"].items()
        for method in methods
        if method != "parameters"
    }

    assert served == set(OPERATIONS)


def _try(case: Case[Any], web: Flask, village: Village, doorbell: Workers) -> None:
    """Send one request into the village, and hold the answer against the document."""
    dice = crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace"))
    kind = _move_in(case, village, dice)
    _do_business(case, village, dice)
    doorbell.are_prompt = dice % NOBODY_COMES_IN > 0
    _let_weather_be(village, WEATHER[dice // 7 % len(WEATHER)])

    response = case.call_and_validate(app=web)

    doorbell.are_prompt = False
    doorbell.rung.clear()
    village.stand_in.disarm()
    _assert_refused_for_no_shape(case, response)
    if kind is not None and case.method == "POST" and response.status_code in {200, 202, 503}:
        village.gone(kind)


def _move_in(case: Case[Any], village: Village, dice: int) -> str | None:
    """Let a request that names some job name one of the village, and often claim rightly."""
    if not case.operation.path.startswith("/jobs"):
        return None
    if not _is_id(case.path_parameters.get("id")) or dice % NO_JOB_IN == 0:
        return None
    kind = sorted(ROADS)[dice // NO_JOB_IN % len(ROADS)]
    case.path_parameters["id"] = str(village.job(kind).job.public_id)
    if _is_claim(case.body) and dice % 3:
        case.body = {"invoice": village.invoice_for(kind)}
    return kind


def _do_business(case: Case[Any], village: Village, dice: int) -> None:
    """Let a request to a creator's address be the creator's, and often name what is published."""
    path = case.operation.path
    if path.startswith(("/creator", "/instant")) and dice % NO_KEY_IN:
        token = OPS_TOKEN if path == "/creators" else village.publisher().api_key
        case.headers["Authorization"] = f"Bearer {token}"
    if "slug" in case.path_parameters and dice % 3 and _is_slug(case.path_parameters["slug"]):
        case.path_parameters["slug"] = village.slug(dice)
        if "creator" in case.path_parameters:
            case.path_parameters["creator"] = village.publisher().creator.handle


def _is_slug(text: Any) -> bool:
    return isinstance(text, str) and is_slug(text)


def _is_id(text: Any) -> bool:
    try:
        return bool(str(UUID(text)) == text.lower())
    except (ValueError, AttributeError, TypeError):
        return False


def _is_claim(body: Any) -> bool:
    return isinstance(body, dict) and set(body) == {"invoice"} and isinstance(body["invoice"], str)


def _let_weather_be(village: Village, fault: Fault | None) -> None:
    if fault is not None:
        village.stand_in.arm(fault)


def _assert_refused_for_no_shape(case: Case[Any], response: Any) -> None:
    """What the document allows may be no good invoice, but its shape is never the reason."""
    if case.meta is not None and case.meta.generation.mode.is_positive:
        code = response.json().get("code") if response.status_code >= 400 else None
        assert code not in OF_SHAPE, f"refused as {code}, though the document allows it: {case!r}"


def test_one_request_after_another_is_answered_as_documented(
    document: OpenApiSchema, web: Flask, doorbell: Workers
) -> None:
    """A job that was made is there, can be given up, and is then given up for good."""
    doorbell.are_prompt = True

    @hypothesis.seed(ASKED_FOR.seed)
    class Caller(document.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"app": web}

    Caller.run(
        settings=hypothesis.settings(
            max_examples=max(5, ASKED_FOR.examples // 4),
            stateful_step_count=6,
            derandomize=ASKED_FOR.is_repeatable,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )


def test_the_village_has_jobs_of_every_state(village: Village) -> None:
    assert {village.job(kind).job.state for kind in ROADS} == set(JobState)


@pytest.mark.parametrize(
    ("hidden", "seen"), [("200", "Undocumented status code"), ("jobId", "jobId")]
)
def test_given_a_document_that_says_something_else_then_it_is_seen(
    web: Flask, village: Village, hidden: str, seen: str
) -> None:
    """Or all of the above could pass for nothing."""
    other = openapi.with_defaults()
    if hidden == "200":
        del other["paths"]["/jobs/{id}"]["get"]["responses"]["200"]
    else:
        other["components"]["schemas"]["JobStatusResponse"]["properties"][hidden] = {"type": "null"}
    read_job = schemathesis.openapi.from_dict(other, config=_config())["/jobs/{id}"]["GET"]
    someone = str(village.job("complete").job.public_id)

    with pytest.raises(FailureGroup, match=seen):
        read_job.Case(path_parameters={"id": someone}).call_and_validate(app=web)
