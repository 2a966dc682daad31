"""Owed money that goes back by itself, to where the caller said when the job was created.

A receiver is asked for an invoice of exactly what is owed, and the payout is opened as if the
caller had claimed with it (``refunds.open_payout``): from then on it is like any other. An invoice
that was fetched and not committed is forgotten, which is harmless: nobody has paid it, nobody will.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Self

import structlog
from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.bolt11 import Bolt11
from gateways.errors import OutsideError, Refused
from models import due, return_moves
from models.debt import DebtState
from models.money import Sats, msats
from models.refund_destination import (
    LONGEST_DELAY,
    WINDOW,
    DestinationState,
    RefundDestination,
)
from services import retry
from services.errors import Conflict, ErrorCode, InvalidRequest
from services.money import refund_invoice, refunds
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

AMBIGUOUS = timedelta(hours=1)
"""Tried so long when it may be a wrong address and may be a bad hour of the receiver."""
AT_ONCE = timedelta(0)
FIRST_DELAY = timedelta(seconds=10)
BUSY_DELAY = timedelta(seconds=5)
BEHIND_ANOTHER_PAYOUT = timedelta(seconds=30)


class Trouble(StrEnum):
    """Why it was not paid there, each with what the caller reads and how long it is tried."""

    meaning: str
    patience: timedelta

    def __new__(cls, code: str, meaning: str, patience: timedelta = AT_ONCE) -> Self:
        """Make a member that is its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.patience = patience
        return member

    NOT_FOUND = "not_found", "The receiver's host knows nobody of this name."
    NOT_LNURL_PAY = "not_lnurl_pay", "The address leads to something that is no LNURL-pay."
    AMOUNT_LIMITS = "amount_limits", "The amount owed is outside what the receiver accepts."
    NOT_ALLOWED = "not_allowed", "The address leads to where this service may not ask."
    BAD_INVOICE = "bad_invoice", "The receiver's invoice cannot be paid."
    WRONG_AMOUNT = "wrong_amount", "The receiver's invoice is for another amount than was asked."
    WRONG_NETWORK = "wrong_network", "The receiver's invoice is for another Lightning network."
    REFUSED = "refused", "The receiver's host refuses to answer."
    NO_SUCH_NAME = "no_such_name", "The receiver's host cannot be found.", AMBIGUOUS
    DECLINED = "receiver_error", "The receiver answers that it cannot be paid now.", AMBIGUOUS
    UNREADABLE = "unreadable", "The receiver's host answers something unreadable.", AMBIGUOUS
    NO_ANSWER = "no_answer", "The receiver's host does not answer.", WINDOW
    PAYMENT_FAILED = "payment_failed", "Lightning could not deliver the payment.", WINDOW


_BY_CODE = {trouble.value: trouble for trouble in Trouble}
_NOT_ALLOWED = {"not_public", "own_host", "port", "bad_request", "redirects", "not_a_receiver"}
_UNREADABLE = {"not_json", "not_an_object", "too_large", "encoded"}
_OF_INVOICE = {
    ErrorCode.INVOICE_WRONG_NETWORK: Trouble.WRONG_NETWORK,
    ErrorCode.INVOICE_AMOUNT_MISMATCH: Trouble.WRONG_AMOUNT,
}


def trouble_of(error: OutsideError) -> Trouble:
    """What a receiver's failure is to the caller: never in the receiver's words."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.code in _NOT_ALLOWED:
        return Trouble.NOT_ALLOWED
    if error.code in _UNREADABLE:
        return Trouble.UNREADABLE
    return Trouble.REFUSED if isinstance(error, Refused) else Trouble.NO_ANSWER


def meaning_of(code: str | None) -> str | None:
    """What the caller reads of a failure on record; None = there is none."""
    return None if code is None else _BY_CODE[code].meaning


@dataclass(frozen=True, kw_only=True)
class _Errand:
    """A destination that this worker holds, and what is to be paid there."""

    id: int
    claim: int
    job_id: int
    address: str
    amount: Sats
    waited: timedelta
    """Since the trying began."""


class _AmountMoved(Exception):
    """A debt came while the receiver was asked: ask again for more."""


class _NotOurs(Exception):
    """Another worker holds the destination now."""


def attempt(tools: Toolbox, destination_id: int) -> None:
    """Try once to open the payout. Safe to call any number of times, from anywhere, at once."""
    errand = _take(tools, destination_id)
    if errand is None:
        return
    with tools.leases.hold(RefundDestination, errand.id, errand.claim):
        try:
            invoice = _fetch(tools, errand)
        except OutsideError as error:
            _record_outside(tools, errand, error)
            return
        except InvalidRequest as error:
            _record(tools, errand, _OF_INVOICE.get(error.code, Trouble.BAD_INVOICE))
            return
        _open(tools, errand, invoice)


def _take(tools: Toolbox, destination_id: int) -> _Errand | None:
    """Claim a destination and read what is to do; what needs no asking is settled here."""
    trying = RefundDestination.state == DestinationState.TRYING
    with tools.database.transaction("returns.claim") as session:
        claimed = due.claim(
            session, RefundDestination, destination_id, lease=tools.settings.lease, where=trying
        )
        if claimed is None:
            return None
        destination = claimed.row
        assert destination.trying_since is not None
        waited = claimed.at - destination.trying_since
        if _end_without_asking(session, destination, waited):
            return None
        return_moves.note_try(session, destination.id)
        return _Errand(
            id=destination.id,
            claim=claimed.number,
            job_id=destination.job_id,
            address=destination.address,
            amount=refunds.uncovered(session, destination.job_id),
            waited=waited,
        )


def _end_without_asking(
    session: Session, destination: RefundDestination, waited: timedelta
) -> bool:
    """Move the destination on, or put it off, if nobody need be asked now; False = ask."""
    held = (session, destination.id, destination.claim)
    unpaid = return_moves.unpaid(session, destination.job_id)
    if DebtState.PAYING in unpaid:
        due.put_off(session, RefundDestination, *held[1:], delay=BEHIND_ANOTHER_PAYOUT)
        return True
    if DebtState.OWED not in unpaid:
        return_moves.end_return(*held, to=DestinationState.WAITING)
        return True
    if _was_tried(destination) and waited >= WINDOW:
        why = destination.last_error or Trouble.NO_ANSWER.value
        return_moves.end_return(
            *held,
            to=DestinationState.GIVEN_UP,
            last_error=why,
            last_tried_at=func.now(),  # what failed before is not the claimer's doing
        )
        return True
    return False


def _was_tried(destination: RefundDestination) -> bool:
    """Also if each worker has died over it, with no failure on record, or found no seat to ask."""
    since, last = destination.trying_since, destination.last_tried_at
    return bool(destination.failures) or (since is not None and last is not None and last >= since)


def _fetch(tools: Toolbox, errand: _Errand) -> Bolt11:
    """Let the receiver make an invoice for exactly what is owed.

    Raises Unavailable, Refused, or InvalidRequest for an invoice that is not what was asked for.
    """
    offered = tools.receivers.invoice(errand.address, errand.amount)
    invoice = refund_invoice.parse(offered.payment_request)
    if invoice.amount != msats(errand.amount):
        raise InvalidRequest(code=ErrorCode.INVOICE_AMOUNT_MISMATCH)
    # Receivers that describe in words bind the invoice to nothing, which LUD-06 forbids and many
    # do; one that binds it to something else answers for somebody else.
    if invoice.description_hash not in (None, offered.description_hash):
        raise InvalidRequest(code=ErrorCode.INVALID_INVOICE)
    return invoice


def _open(tools: Toolbox, errand: _Errand, invoice: Bolt11) -> None:
    """Commit payout and move together; whatever came between is no failure of the receiver."""
    try:
        payout_id = _commit(tools, errand, invoice)
    except _NotOurs:
        return
    except _AmountMoved:
        _put_off(tools, errand, AT_ONCE)
    except (Conflict, IntegrityError):  # a claim was first
        _put_off(tools, errand, BEHIND_ANOTHER_PAYOUT)
    except InvalidRequest as error:
        _record(tools, errand, _OF_INVOICE.get(error.code, Trouble.BAD_INVOICE))
    else:
        tools.doorbell.ring(TaskName.SEND_PAYOUT, payout_id)


def _commit(tools: Toolbox, errand: _Errand, invoice: Bolt11) -> int:
    network = tools.settings.lightning_network
    with tools.database.transaction("returns.open") as session:
        try:
            payout = refunds.open_payout(session, errand.job_id, invoice, network=network)
        except InvalidRequest as error:
            if error.code is ErrorCode.INVOICE_AMOUNT_MISMATCH:
                raise _AmountMoved from error
            raise
        moved = return_moves.end_return(
            session,
            errand.id,
            errand.claim,
            to=DestinationState.PAYING,
            payout_id=payout.id,
            last_tried_at=func.now(),
        )
        if moved is None:
            raise _NotOurs
        return payout.id


def _record_outside(tools: Toolbox, errand: _Errand, error: OutsideError) -> None:
    if error.code == "busy":
        _put_off(tools, errand, retry.jittered(BUSY_DELAY))
        return
    _record(tools, errand, trouble_of(error), wish=error.retry_after)


def _record(
    tools: Toolbox, errand: _Errand, trouble: Trouble, *, wish: timedelta | None = None
) -> None:
    """Put a failure on record and try later, or give up and let the caller claim."""
    logger.warning("not returned", destination=errand.id, job=errand.job_id, code=trouble.value)
    with tools.database.transaction("returns.failed") as session:
        if errand.waited >= trouble.patience:
            return_moves.end_return(
                session,
                errand.id,
                errand.claim,
                to=DestinationState.GIVEN_UP,
                last_error=trouble.value,
                last_tried_at=func.now(),
            )
            return
        if due.put_off(
            session, RefundDestination, errand.id, errand.claim, delay=_delay(errand, trouble, wish)
        ):
            return_moves.note_failed_return(session, errand.id, error=trouble.value)


def _delay(errand: _Errand, trouble: Trouble, wish: timedelta | None) -> timedelta:
    """Ever longer, but not past the end of our patience, when the caller may claim."""
    delay = retry.patience(errand.waited, at_least=FIRST_DELAY, at_most=LONGEST_DELAY)
    return min(max(delay, wish or AT_ONCE), trouble.patience - errand.waited)


def _put_off(tools: Toolbox, errand: _Errand, delay: timedelta) -> None:
    with tools.database.transaction("returns.put_off") as session:
        due.put_off(session, RefundDestination, errand.id, errand.claim, delay=delay)
