"""Liveness and readiness."""

from http import HTTPStatus
from typing import Any

from flask import current_app

from app import context
from app.api import ApiBlueprint
from app.api.documenting import WHEN_TO_COME_BACK
from app.api.schemas import HealthStatusSchema, ReadinessSchema, UnreadySchema
from app.errors import DATABASE_RETRY, in_seconds, problem
from services.errors import ErrorCode
from services.operate import health as checks
from services.operate.health import Readiness

NO_DATABASE = "The database cannot be used."
OTHER_SCHEMA = "The database is that of another version of this service."

health = ApiBlueprint("health", __name__, url_prefix="/api", description="Is it alive, is it well?")


@health.route("/healthz", methods=["GET"])
@health.doc(operationId="healthCheck", tags=["health"])
@health.response(HTTPStatus.OK, HealthStatusSchema)
def health_check() -> dict[str, str]:
    """Say that this process answers; asks nobody else."""
    return {"status": "ok"}


@health.route("/readyz", methods=["GET"])
@health.doc(operationId="readinessCheck", tags=["health"])
@health.response(HTTPStatus.OK, ReadinessSchema)
@health.alt_response(
    HTTPStatus.SERVICE_UNAVAILABLE,
    schema=UnreadySchema,
    description="The database or its schema cannot be used.",
    headers=WHEN_TO_COME_BACK,
)
def readiness_check() -> Any:
    """Say what works and what does not, with figures."""
    seen = checks.check(context.tools(), schema_revision=current_app.config["SCHEMA_REVISION"])
    shown = {"readiness": seen.status.value, "checks": seen.parts}
    if seen.status is not Readiness.UNREADY:
        return {"status": seen.status.value, **shown}
    why = OTHER_SCHEMA if seen.parts["database"]["ok"] else NO_DATABASE
    unready = problem(503, ErrorCode.NOT_READY, why, members=shown)
    unready.headers["Retry-After"] = in_seconds(DATABASE_RETRY)
    return unready
