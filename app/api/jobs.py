"""Jobs: create, read, claim the refund, cancel."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from http import HTTPStatus
from typing import Any
from uuid import UUID

from app import context, limits
from app.api import ApiBlueprint, presenting
from app.api.bodiless import bodiless
from app.api.documenting import JOB_ID, LOCATION, errors
from app.api.schemas import (
    ClaimRefundRequestSchema,
    ClaimRefundResponseSchema,
    CreateJobRequestSchema,
    CreateJobResponseSchema,
    JobStatusResponseSchema,
)
from models.payout import PayoutState
from services.errors import ErrorCode, InvalidRequest, NotNow
from services.jobs import intake
from services.jobs.admission import LIGHTNING_RETRY
from services.jobs.intake import JobView
from services.money import refunds
from services.money.refunds import Claim

jobs = ApiBlueprint(
    "jobs", __name__, url_prefix="/api", description="Paid work, from request to refund."
)

CROWDED_RETRY = timedelta(seconds=2)
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def is_job_id(text: str) -> bool:
    """Whether a job could have this id, in its canonical form."""
    return _CANONICAL_UUID.fullmatch(text) is not None


def parse_id(text: str, *, of: str = "job") -> UUID:
    """Read the id of a job, or of whatever else. Raises InvalidRequest(invalid_id)."""
    if not is_job_id(text):
        raise InvalidRequest(f"This is not a {of} id.", code=ErrorCode.INVALID_ID)
    return UUID(text)


def with_job(route: Callable[..., Any]) -> Callable[..., Any]:
    """Find the job before anything else is looked at: id 400, job 404, only then the body."""

    @wraps(route)
    def find_first(**path: str) -> Any:
        return route(view=intake.find(context.tools(), parse_id(path["id"])))

    return find_first


@jobs.route("/jobs", methods=["POST"])
@jobs.doc(operationId="createJob", tags=["jobs"])
@jobs.arguments(CreateJobRequestSchema)
@jobs.response(HTTPStatus.CREATED, CreateJobResponseSchema, headers=LOCATION)
@errors(jobs, 400, 413, 415, 429, 503)
def create_job(body: dict[str, Any]) -> Any:
    """Ask for work: answers with an invoice for the evaluation fee."""
    with context.turnstile().turn() as is_ours:
        if not is_ours:
            raise _crowded()
        view = intake.create(
            context.tools(),
            body["request"],
            client_key=limits.client().key,
            metadata=body.get("metadata"),
            refund_to=body.get("refund_to"),
        )
    location = f"/api/jobs/{view.job.public_id}"
    return presenting.created(view), HTTPStatus.CREATED, {"Location": location}


def _crowded() -> NotNow:
    return NotNow(
        "Lightning is busy with other jobs; no job was made, try again shortly.",
        code=ErrorCode.LIGHTNING_UNAVAILABLE,
        retry_after=CROWDED_RETRY,
    )


@jobs.route("/jobs/<string:id>", methods=["GET"], parameters=[JOB_ID])
@jobs.doc(operationId="getJob", tags=["jobs"])
@jobs.response(HTTPStatus.OK, JobStatusResponseSchema)
@errors(jobs, 400, 404, 503)
@with_job
def get_job(view: JobView) -> dict[str, Any]:
    """Read a job: its state, what to pay next, its result and its ledger."""
    return presenting.status(view)


@jobs.route("/jobs/<string:id>/refund", methods=["POST"], parameters=[JOB_ID])
@jobs.doc(operationId="claimRefund", tags=["jobs"])
@with_job
@jobs.arguments(ClaimRefundRequestSchema)
@jobs.response(HTTPStatus.OK, ClaimRefundResponseSchema)
@jobs.alt_response(
    HTTPStatus.ACCEPTED,
    schema=ClaimRefundResponseSchema,
    description="Under way; read the job, or send the same invoice again, to learn the end.",
)
@errors(jobs, 400, 404, 409, 413, 415, 503)
def claim_refund(body: dict[str, Any], view: JobView) -> Any:
    """Claim everything owed on a job with one invoice for exactly that amount. Safe to repeat."""
    tools = context.tools()
    claim = refunds.claim(tools, view.job, body["invoice"])
    room = context.waiting_room()
    with room.seat() as is_seated:
        settled = room.follow(
            claim,
            lambda: refunds.look(tools, claim.payout_id),
            done=lambda seen: seen.state is not PayoutState.SENDING,
            seconds=tools.settings.refund_wait_seconds if is_seated else 0,
        )
    if settled.state is PayoutState.FAILED:
        raise NotNow(
            "The refund could not be paid now. Nothing is lost; claim it again.",
            code=ErrorCode.LIGHTNING_UNAVAILABLE,
            retry_after=max(LIGHTNING_RETRY, refunds.still_to_wait(tools, view.job)),
        )
    return _refund_answer(settled)


def _refund_answer(claim: Claim) -> Any:
    is_paid = claim.state is PayoutState.PAID
    body = {
        "ok": is_paid,
        "refund_amount_sats": claim.amount,
        "payment_hash": claim.payment_hash,
        "message": "The refund was paid." if is_paid else "The refund is under way.",
        "refund_state": "paid" if is_paid else "pending",
    }
    return body, HTTPStatus.OK if is_paid else HTTPStatus.ACCEPTED


@jobs.route("/jobs/<string:id>/cancel", methods=["POST"], parameters=[JOB_ID])
@jobs.doc(operationId="cancelJob", tags=["jobs"])
@jobs.response(HTTPStatus.OK, JobStatusResponseSchema)
@errors(jobs, 400, 404, 409, 413, 415, 503)
@with_job
@bodiless
def cancel_job(view: JobView) -> dict[str, Any]:
    """Give up a job while its invoice is unpaid."""
    return presenting.status(intake.cancel(context.tools(), view.job.public_id))
