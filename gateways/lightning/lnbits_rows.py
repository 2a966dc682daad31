"""What LNbits' rows say of invoices, payments, payouts and movements. Asks nothing."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from gateways import bolt11
from gateways.errors import Unavailable
from gateways.lightning import (
    NO_FEE,
    InvoiceReading,
    InvoiceState,
    IssuedInvoice,
    Movement,
    MovementState,
    PayoutMark,
    PayoutOutcome,
    PayoutReading,
    SettledPayment,
)
from models.money import Msats, Sats, msats

_STATES = {
    "success": MovementState.SETTLED,
    "pending": MovementState.PENDING,
    "failed": MovementState.FAILED,
}
_MARK = re.compile(r"hw-j([1-9][0-9]{0,18})-([0-9a-f]{8})-p([1-9][0-9]{0,18})", re.ASCII)
_MARK_MEMBER = "honestwork"


HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


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
        fee=_fee(row) if amount < 0 else _fee_taken(row, amount),
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


def _fee_taken(row: dict[str, Any], amount: int) -> Msats:
    """What was taken off income, by whatever sign: LNbits takes it off the balance by either.

    More than there was is no fee and not believed; a balance that is lower by it is a shortfall.
    """
    fee = _fee(row)
    return fee if fee <= amount else NO_FEE


def _mark(row: dict[str, Any]) -> PayoutMark | None:
    extra = row.get("extra")
    said = extra.get(_MARK_MEMBER) if isinstance(extra, dict) else None
    match = _MARK.fullmatch(said if isinstance(said, str) else _text(row, "external_id"))
    if match is None:
        return None
    return PayoutMark(job_id=int(match[1]), job_digits=match[2], payout_id=int(match[3]))


def issued(row: dict[str, Any], amount: Sats) -> IssuedInvoice:
    """The invoice that was asked for, of so much. Raises Unavailable when it is not.

    It has a new name since 1.0 and both in between.
    """
    text = row.get("bolt11") or row.get("payment_request")
    try:
        invoice = bolt11.read(text if isinstance(text, str) else "")
    except bolt11.NotABolt11 as error:
        raise Unavailable("LNbits: the invoice is no BOLT11", code="bad_invoice") from error
    if invoice.payment_hash != row.get("payment_hash") or invoice.amount != msats(amount):
        raise Unavailable("LNbits: not the invoice that was asked for", code="wrong_invoice")
    return IssuedInvoice(payment_hash=invoice.payment_hash, payment_request=invoice.payment_request)


def settled(row: dict[str, Any]) -> SettledPayment | None:
    """The money of an incoming row that has settled; None for any other row."""
    amount, payment_hash = row.get("amount"), row.get("payment_hash")
    if row.get("status") != "success" or type(amount) is not int or amount <= 0:
        return None
    if not isinstance(payment_hash, str) or not HASH.fullmatch(payment_hash):
        return None
    return SettledPayment(
        payment_hash=payment_hash,
        amount=Msats(amount),
        fee=_fee_taken(row, amount),
        settled_at=changed_at(row),
    )


def best_states(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, InvoiceState]]:
    """By hash. One hash may have two rows; one that is paid comes last and so wins."""
    states = [(row["payment_hash"], _state(row)) for row in rows if _is_incoming(row)]
    yield from sorted(states, key=lambda found: found[1].reading is InvoiceReading.PAID)


def _is_incoming(row: dict[str, Any]) -> bool:
    amount = row.get("amount")
    return type(amount) is int and amount > 0


def _state(row: dict[str, Any]) -> InvoiceState:
    """Failed is UNPAID: LNbits says so of whatever has expired, and may say success later."""
    paid = settled(row)
    if paid is not None:
        return InvoiceState(reading=InvoiceReading.PAID, payment=paid)
    if row.get("status") in {"pending", "failed"}:
        return InvoiceState(reading=InvoiceReading.UNPAID)
    return InvoiceState(reading=InvoiceReading.UNKNOWN)


def state_of(payment_hash: str, answer: dict[str, Any]) -> InvoiceState:
    """What the answer about one hash says of an invoice of ours."""
    row = answer.get("details")
    if not isinstance(row, dict) or not _is_incoming(row):
        return InvoiceState(reading=InvoiceReading.UNKNOWN)
    if answer.get("paid") is True:
        return _state({**row, "payment_hash": payment_hash, "status": "success"})
    # Without a status LNbits could not ask its node.
    return _state({**row, "status": answer.get("status")})


def unknown(code: str) -> PayoutReading:
    """Nothing was learnt; ``code`` says why."""
    return PayoutReading(outcome=PayoutOutcome.UNKNOWN, code=code)


def payout_reading(payment_hash: str, answer: dict[str, Any]) -> PayoutReading:
    """What the answer about one hash says of a payment that we sent."""
    row = answer.get("details")
    if not isinstance(row, dict):
        return unknown("wrong_key")  # which LNbits treats as no key: no details
    amount = row.get("amount")
    if type(amount) is not int or amount >= 0:
        return unknown("incoming_row")
    if row.get("payment_hash", payment_hash) != payment_hash:
        return unknown("wrong_row")
    outcome = _payout_outcome(answer, row)
    if outcome is not PayoutOutcome.PAID:
        return PayoutReading(outcome=outcome, code=outcome.value)
    return PayoutReading(
        outcome=outcome,
        fee=_fee(row),
        preimage=_preimage(payment_hash, answer, row),
        code=outcome.value,
    )


def _payout_outcome(answer: dict[str, Any], row: dict[str, Any]) -> PayoutOutcome:
    """What all the places that speak of the state agree on; UNKNOWN when they contradict."""
    said = {str(value) for value in (answer.get("status"), row.get("status")) if value is not None}
    paid = answer.get("paid")
    if paid is True:
        said.add("success")
    if said == {"success"} and (paid is True or paid is None):
        return PayoutOutcome.PAID
    if paid is not False:
        return PayoutOutcome.UNKNOWN
    if said == {"failed"} and answer.get("status") == "failed":
        return PayoutOutcome.FAILED
    return PayoutOutcome.PENDING if said == {"pending"} else PayoutOutcome.UNKNOWN


def _preimage(payment_hash: str, answer: dict[str, Any], row: dict[str, Any]) -> str | None:
    """The proof of payment, if it is one: some backends give zeros or nothing for a paid one."""
    for value in (answer.get("preimage"), row.get("preimage")):
        if isinstance(value, str) and HASH.fullmatch(value.lower()):
            digest = hashlib.sha256(bytes.fromhex(value)).hexdigest()
            if digest == payment_hash:
                return value.lower()
    return None
