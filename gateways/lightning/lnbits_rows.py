"""One row of LNbits' lists, as far as it is not about an invoice: times, movements, marks."""

import re
from datetime import UTC, datetime
from typing import Any

from gateways.lightning import Movement, MovementState, PayoutMark
from models.money import Msats

_STATES = {
    "success": MovementState.SETTLED,
    "pending": MovementState.PENDING,
    "failed": MovementState.FAILED,
}
_MARK = re.compile(r"hw-j([1-9][0-9]{0,18})-([0-9a-f]{8})-p([1-9][0-9]{0,18})", re.ASCII)
_MARK_MEMBER = "honestwork"


def marked(mark: PayoutMark | None) -> dict[str, Any]:
    """What a request to pay says more: twice, because LNbits before 1.5.6 has no external id."""
    if mark is None:
        return {}
    text = f"hw-j{mark.job_id}-{mark.job_digits}-p{mark.payout_id}"
    return {"external_id": text, "extra": {_MARK_MEMBER: text}}


def movement(row: dict[str, Any]) -> Movement | None:
    """None for a row that makes no sense, or moves nothing."""
    amount, state = row.get("amount"), _STATES.get(str(row.get("status")))
    if type(amount) is not int or amount == 0 or state is None:
        return None
    return Movement(
        wallet_id=_text(row, "wallet_id"),
        payment_hash=_text(row, "payment_hash") or _text(row, "checking_id"),
        amount=Msats(amount),
        fee=_fee(row),
        state=state,
        changed_at=changed_at(row),
        mark=_mark(row),
        payment_request=_text(row, "bolt11") or _text(row, "payment_request"),
    )


def changed_at(row: dict[str, Any]) -> datetime:
    """For the record only, so money with a strange date is still money: it gets today's."""
    times = (_instant(row.get(name)) for name in ("updated_at", "time", "created_at"))
    return next((time for time in times if time is not None), datetime.now(UTC))


def _instant(value: object) -> datetime | None:
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        return datetime.fromtimestamp(value, UTC) if type(value) is int else None
    except (ValueError, OverflowError, OSError):
        return None


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _fee(row: dict[str, Any]) -> Msats:
    """LNbits writes fees as negative amounts."""
    fee = row.get("fee")
    return Msats(abs(fee) if type(fee) is int else 0)


def _mark(row: dict[str, Any]) -> PayoutMark | None:
    extra = row.get("extra")
    said = extra.get(_MARK_MEMBER) if isinstance(extra, dict) else None
    match = _MARK.fullmatch(said if isinstance(said, str) else _text(row, "external_id"))
    if match is None:
        return None
    return PayoutMark(job_id=int(match[1]), job_digits=match[2], payout_id=int(match[3]))
