"""Beside the Lightning stand-in only: pay an invoice without a wallet. Not in the document."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, jsonify

from app import context
from app.api.bodiless import bodiless
from config.queues import TaskName
from gateways.errors import OutsideError
from services.errors import ErrorCode, NotFound, NotNow
from services.jobs.admission import LIGHTNING_RETRY
from services.operate import ticks

bench = Blueprint("bench", __name__, url_prefix="/api/dev/stub")


@bench.post("/pay/<string:payment_hash>")
@bodiless
def pay(payment_hash: str) -> Any:
    """Pay an invoice of the stand-in. Paying a paid one changes nothing."""
    payer = context.tools().bench_payer
    try:
        is_paid = payer is not None and payer.pay(payment_hash)
    except OutsideError as error:
        raise NotNow(
            "The stand-in does not answer.",
            code=ErrorCode.LIGHTNING_UNAVAILABLE,
            retry_after=LIGHTNING_RETRY,
        ) from error
    if not is_paid:
        raise NotFound("The stand-in knows no such invoice.", code=ErrorCode.NOT_FOUND)
    ticks.hurry(context.tools(), TaskName.POLL_PAYMENTS)
    return jsonify({"ok": True, "paymentHash": payment_hash}), HTTPStatus.OK
