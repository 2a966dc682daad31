"""Whatever the document allows or forbids, the service answers as the document says.

schemathesis makes the requests: what stands at the edges of every schema, and what chance brings,
allowed and forbidden. Where a request names a job, it is one of the village's.
"""

import tomllib
from pathlib import Path
from typing import Any
from uuid import UUID
from zlib import crc32

import schemathesis
from flask import Flask
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response

from app import openapi
from tests.contract.effort import ASKED_FOR
from tests.contract.village import Village, Workers

JOB = "{id}"
UNKNOWN_IN = 8
"""One of so many ids stays that of no job."""


def _config() -> SchemathesisConfig:
    """The checks are the file's; how much is tried is decided here."""
    read = tomllib.loads(Path(__file__).with_name("schemathesis.toml").read_text("utf-8"))
    read["seed"] = ASKED_FOR.seed
    read["generation"] |= {
        "max-examples": ASKED_FOR.examples,
        "deterministic": ASKED_FOR.is_repeatable,
    }
    return SchemathesisConfig.from_dict(read)


api = schemathesis.openapi.from_dict(openapi.with_defaults(), config=_config())


@api.parametrize()
def test_every_answer_is_as_documented(
    case: Case[Any], web: Flask, village: Village, doorbell: Workers
) -> None:
    dice = _dice(case)
    kind = _move_in(case, village, dice)
    doorbell.are_prompt = dice % 5 > 0

    response = case.call_and_validate(app=web)

    doorbell.are_prompt = False
    doorbell.rung.clear()
    if kind is not None and case.method == "POST" and response.status_code < 300:
        village.renew(kind)


def _dice(case: Case[Any]) -> int:
    """Chance that is the same for the same request, so that a failure can be seen again."""
    return crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace"))


def _move_in(case: Case[Any], village: Village, dice: int) -> str | None:
    """Let a request that names some job name one of the village, and often claim rightly."""
    if JOB not in case.path or not _is_id(case.path_parameters.get("id")):
        return None
    if dice % UNKNOWN_IN == 0:
        return None
    kind = sorted(village.jobs)[dice // UNKNOWN_IN % len(village.jobs)]
    case.path_parameters["id"] = str(village.jobs[kind].job.public_id)
    if _is_claim(case.body) and dice % 3:
        case.body = {"invoice": village.invoice_for(kind)}
    return kind


def _is_id(text: Any) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except (ValueError, AttributeError, TypeError):
        return False


def _is_claim(body: Any) -> bool:
    return isinstance(body, dict) and set(body) == {"invoice"} and isinstance(body["invoice"], str)
