"""How LNbits reads the order for an invoice, and what it says of one that it cannot take."""

import re
import secrets
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from local.stand_in.node import DEFAULT_EXPIRY_SECONDS, MAX_SATS, InvoiceOrder, too_high
from local.stand_in.wire import Ending, Reply, json_reply

MAX_MEMO = 640
MAX_EXTERNAL_ID = 256


class Answer(Exception):
    """An answer that ends the request here and now."""

    def __init__(self, status: int, body: object, *, ending: Ending = Ending.KEEP) -> None:
        super().__init__(status)
        reply = json_reply(body, status=status)
        self.reply = Reply(status=status, body=reply.body, ending=ending)


def refusal(status: int, detail: str) -> Answer:
    return Answer(status, {"detail": detail})


def invalid(field: str) -> Answer:
    """What FastAPI says of a field: a list where other answers have a string."""
    problem = {"loc": ["body", field], "msg": "Value error", "type": "value_error"}
    return Answer(400, {"detail": [problem]})


def broken() -> Answer:
    """An error of LNbits' own. The connection is dead afterwards, and nobody was told."""
    detail = f"Unexpected error! ID: {secrets.token_hex(4)}"
    return Answer(500, {"detail": detail}, ending=Ending.CLOSE)


def order_of(body: Mapping[str, Any]) -> InvoiceOrder:
    sats, expiry = _sats(body), body.get("expiry")
    if not isinstance(expiry, int | None) or (expiry is not None and expiry < 0):
        raise broken()
    if body.get("payment_hash"):
        raise Answer(520, _failed("Hold invoices are not supported by this wallet."))
    return InvoiceOrder(
        sats=sats,
        memo=_memo(body),
        expiry_seconds=expiry or DEFAULT_EXPIRY_SECONDS,
        description_hash=_description_hash(body),
        webhook=body.get("webhook"),
        external_id=external_id_of(body),
        extra=body.get("extra") or {},
    )


def _failed(detail: str) -> dict[str, object]:
    return {"detail": detail, "status": "failed"}


def _sats(body: Mapping[str, Any]) -> int:
    """Rounded down to whole sats, which makes half a sat an invoice of any amount."""
    unit, amount = body.get("unit", "sat"), body.get("amount")
    if unit == "USD":
        raise refusal(400, "Could not get exchange rate for USD.")
    if unit != "sat":
        raise invalid("unit")
    if amount is None:
        raise broken()
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or amount < 0:
        raise invalid("amount")
    if amount == 0:
        raise Answer(520, _failed("Amountless invoices not supported."))
    sats = int(Decimal(amount).to_integral_value(rounding=ROUND_FLOOR))
    if sats > MAX_SATS:
        raise Answer(520, _failed(too_high(sats)))
    return sats


def _memo(body: Mapping[str, Any]) -> str:
    """At 640 LNbits' own check still passes, but BOLT11 has no room for it."""
    memo = body.get("memo") or ""
    if not isinstance(memo, str) or len(memo.encode()) >= MAX_MEMO:
        raise invalid("memo")
    return memo


def _description_hash(body: Mapping[str, Any]) -> bytes | None:
    text = body.get("description_hash")
    if text is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", str(text)):
        raise broken()
    return bytes.fromhex(text)


def external_id_of(body: Mapping[str, Any]) -> str | None:
    external_id = body.get("external_id")
    if external_id is None:
        return None
    text = str(external_id)
    if not text or len(text) > MAX_EXTERNAL_ID or re.search(r"\s", text):
        raise invalid("external_id")
    return text
