"""Beside the Lightning stand-in only: pay an invoice without a wallet. Not part of the documented API."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, jsonify

from app import context
from config.queues import TaskName
from services.errors import ErrorCode, NotFound
from services.operate import ticks

bench = Blueprint("bench", __name__, url_prefix="/api/dev/stub")


@bench.post("/pay/<string:payment_hash>")
def pay(payment_hash: str) -> Any:
    """Pay an invoice of the stand-in. Paying a paid one changes nothing."""
    payer = context.tools().bench_payer
    if payer is None or not payer.pay(payment_hash):
        raise NotFound("The stand-in knows no such invoice.", code=ErrorCode.NOT_FOUND)
    ticks.hurry(context.tools(), TaskName.POLL_PAYMENTS)
    return jsonify({"ok": True, "paymentHash": payment_hash}), HTTPStatus.OK
