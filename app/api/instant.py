"""Instant resources: ask for the price, pay in the same request, get the result."""

import re
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from app import auth, context
from app.api import ApiBlueprint, bodiless, instant_answers, payment_required
from app.api.documenting import CREATOR, RUN_ID, SAID, SLUG, WHEN_TO_COME_BACK, errors
from app.api.instant_schemas import (
    InstantResultSchema,
    PaymentRequiredSchema,
    RunUnderWaySchema,
    UnavailableResourceSchema,
)
from app.api.jobs import parse_id
from app.errors import DATABASE_RETRY
from gateways.x402 import MalformedPayment, Payment, PaymentRefused, wire
from models.run import WORKING_RUNS, Run, RunState
from services import defects
from services.defects import DATABASE_LOST
from services.errors import ErrorCode, InvalidRequest, NotNow, Unauthorized
from services.instant import creators, intake
from services.instant.resources import OnSale

logger = structlog.get_logger(__name__)

instant = ApiBlueprint(
    "instant", __name__, url_prefix="/api", description="Runs of what creators publish, paid each."
)

PATH = "/instant/<string:creator>/<string:slug>"
asks_to_pay = instant.alt_response(
    HTTPStatus.PAYMENT_REQUIRED,
    schema=PaymentRequiredSchema,
    description=SAID[402],
    headers={
        wire.REQUIRED_HEADER: {
            "description": "What x402 version 2 reads: base64 of JSON.",
            "schema": {"type": "string"},
        }
    },
)
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{16,255}", re.ASCII)


@instant.route(PATH, methods=["GET"], parameters=[CREATOR, SLUG])
@instant.doc(operationId="priceInstant", tags=["instant"])
@asks_to_pay
@errors(instant, 404, 405, 503)
def price_instant(creator: str, slug: str) -> Response:
    """Ask what a run costs and wants: answers 402 whenever one could be bought."""
    sale = _find(creator, slug)
    if {wire.SIGNATURE_HEADER, wire.V1_PAYMENT_HEADER} & {name for name, _ in _given()}:
        raise MethodNotAllowed(valid_methods=["POST"])
    return _ask_to_pay(sale)


def _given() -> list[tuple[str, str]]:
    return [(name.upper(), value) for name, value in request.headers.items()]


@instant.route(PATH, methods=["POST"], parameters=[CREATOR, SLUG])
@instant.doc(operationId="runInstant", tags=["instant"])
@instant.response(HTTPStatus.OK, InstantResultSchema)
@instant.alt_response(
    HTTPStatus.ACCEPTED,
    schema=RunUnderWaySchema,
    description="It takes longer; statusUrl tells the end.",
)
@asks_to_pay
@instant.alt_response(
    HTTPStatus.SERVICE_UNAVAILABLE,
    schema=UnavailableResourceSchema,
    description=SAID[503],
    headers=WHEN_TO_COME_BACK,
)
@errors(instant, 400, 401, 404, 409, 410, 413, 415, 422, 429)
def run_instant(creator: str, slug: str) -> Any:
    """Run it: without a payment answers 402 with the price, with one the result."""
    sale = _find(creator, slug)
    if is_owner_test():
        return _answer(sale, _try_out(sale))
    try:
        payment = _payment()
        if payment is None:
            return _ask_to_pay(sale)
        run = _bought(sale, payment)
    except PaymentRefused as refusal:
        intake.check_sellable(context.tools(), sale)  # or a price would be named in vain
        return payment_required.answer(sale, error=refusal.reason)
    return _answer(sale, run)


def is_owner_test() -> bool:
    """Whether a creator tries out what is theirs; that they are its creator is not said yet."""
    return request.headers.get("X-Owner-Test", "").lower() == "true"


def _find(creator: str, slug: str) -> OnSale:
    tools = context.tools()
    creators.require_instant(tools)
    return intake.find(tools, creator, slug)


def _ask_to_pay(sale: OnSale) -> Response:
    intake.check_sellable(context.tools(), sale)
    return payment_required.answer(sale)


def _payment() -> Payment | None:
    """What is presented. Raises InvalidRequest for what cannot be read as a payment."""
    try:
        return wire.payment_of(
            request.headers.get(wire.SIGNATURE_HEADER),
            request.headers.get(wire.V1_PAYMENT_HEADER),
        )
    except MalformedPayment as error:
        raise InvalidRequest(str(error), code=ErrorCode.MALFORMED_PAYMENT) from error


def _bought(sale: OnSale, payment: Payment) -> Run:
    """The run of this payment, bought now or before.

    Raises NotNow when the database is lost: this payment may have its run all the same.
    """
    try:
        return _bought_before_or_now(sale, payment)
    except DATABASE_LOST as error:
        defects.log(logger, error)
        raise NotNow(
            "The service is not ready at the moment, and cannot say whether this payment was taken;"
            " send the same payment again, and no other: it is charged once at most.",
            code=ErrorCode.NOT_READY,
            retry_after=DATABASE_RETRY,
        ) from error


def _bought_before_or_now(sale: OnSale, payment: Payment) -> Run:
    tools = context.tools()
    key = intake.caller_key(payment, _idempotency_key())
    known = intake.bought_before(tools, sale, payment, key)
    if known is not None:
        return known
    intake.require_shelved(sale)
    url = payment_required.resource_url(sale)
    return intake.buy(tools, sale, payment, bodiless.given(), key=key, url=url)


def _idempotency_key() -> str | None:
    """Raises InvalidRequest: a key that was ignored would let a caller believe it is kept."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise InvalidRequest(
            "An Idempotency-Key has 16 to 255 visible ASCII characters.",
            code=ErrorCode.INVALID_IDEMPOTENCY_KEY,
        )
    return key


def _try_out(sale: OnSale) -> Run:
    if auth.creator().id != sale.creator.id:
        raise Unauthorized("Only its creator may test it.", code=ErrorCode.UNAUTHORIZED)
    return intake.try_out(context.tools(), sale, bodiless.given())


def _answer(sale: OnSale, run: Run) -> Response:
    """Wait for the end, not for ever, and say what came of it."""
    seen = _wait(run)
    if seen.state in WORKING_RUNS or seen.state is RunState.DOUBTFUL:
        return instant_answers.under_way(sale, seen)
    if seen.state is RunState.REFUSED:
        return payment_required.answer(sale, error=seen.error_code)
    if instant_answers.is_settlement_failure(seen):
        response = payment_required.answer(sale, error=_why_not_settled(seen))
        instant_answers.add_payment_response(response, seen)
        return response
    return instant_answers.bought(seen)


def _why_not_settled(run: Run) -> str:
    return str((run.settlement or {}).get("errorReason", run.error_code))


def _wait(run: Run) -> Run:
    tools, room = context.tools(), context.waiting_room()
    with room.seat() as is_seated:
        return room.follow(
            run,
            lambda: intake.look(tools, run.id),
            done=lambda seen: seen.state not in WORKING_RUNS,
            seconds=tools.settings.instant_wait_seconds if is_seated else 0,
        )


@instant.route(f"{PATH}/runs/<string:id>", methods=["GET"], parameters=[CREATOR, SLUG, RUN_ID])
@instant.doc(operationId="readInstantRun", tags=["instant"])
@instant.response(HTTPStatus.OK, InstantResultSchema)
@instant.alt_response(
    HTTPStatus.ACCEPTED, schema=RunUnderWaySchema, description="Not at its end yet."
)
@errors(instant, 400, 404, 410, 503)
def read_run(creator: str, slug: str, id: str) -> Any:  # noqa: A002 - what logs look for
    """Read a run: how far it is, its result, or that it failed and nothing was charged."""
    sale = _find(creator, slug)
    run = intake.by_public_id(context.tools(), sale, parse_id(id, of="run"))
    return instant_answers.status(sale, run)
