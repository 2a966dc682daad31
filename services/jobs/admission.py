"""How many invoices strangers may make us keep open, and ask LNbits for.

An admission is taken before the invoice is asked for, so that requests which come at once count
each other.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from config.settings import Settings
from models.admission import Admission
from models.job import Job
from services.errors import ErrorCode, NotNow, TooManyRequests

MINUTE = timedelta(minutes=1)
LIGHTNING_RETRY = timedelta(seconds=10)
ADMISSION_LOCK = 721_122
"""Admissions are counted one at a time; nothing outside is asked while it is held."""


def take(session: Session, settings: Settings, client_key: str) -> int:
    """Take leave to ask for an invoice; returns its number. Commit before asking.

    Raises TooManyRequests or NotNow.
    """
    session.execute(select(func.pg_advisory_xact_lock(ADMISSION_LOCK)))
    session.execute(delete(Admission).where(Admission.created_at < func.now() - MINUTE))
    _check_open_invoices(session, settings, client_key)
    if not settings.lightning_is_stand_in:  # that has no request limit
        _check_request_budget(session, settings)
    admission = Admission(client_key=client_key)
    session.add(admission)
    session.flush()  # its number is needed to end it
    return admission.id


def end(session: Session, admission_id: int) -> None:
    """Its job is there, or there will be none. The request that was made still counts."""
    session.execute(
        update(Admission).where(Admission.id == admission_id).values(ended_at=func.now())
    )


def _check_open_invoices(session: Session, settings: Settings, client_key: str) -> None:
    of_client = _open(session, Job.client_key == client_key, Admission.client_key == client_key)
    if (
        of_client >= settings.open_invoices_per_client
        or _open(session) >= settings.open_invoices_max
    ):
        raise TooManyRequests(
            "Too many invoices are open; pay or cancel some, or wait until they expire.",
            code=ErrorCode.TOO_MANY_OPEN_INVOICES,
            retry_after=MINUTE,
        )


def _open(session: Session, *whose: ColumnElement[bool]) -> int:
    """Jobs that wait for a payment, and those that are being made."""
    jobs = select(func.count(Job.id)).where(Job.payable_until.is_not(None), *whose[:1])
    coming = select(func.count(Admission.id)).where(Admission.ended_at.is_(None), *whose[1:])
    return session.scalar(select(jobs.scalar_subquery() + coming.scalar_subquery())) or 0


def _check_request_budget(session: Session, settings: Settings) -> None:
    """Leave half of what LNbits allows for work invoices and payouts."""
    recent = session.scalar(select(func.count(Admission.id))) or 0
    if recent >= settings.lnbits_requests_per_minute // 2:
        raise NotNow(
            "Too many jobs are being made at the moment; try again shortly.",
            code=ErrorCode.LIGHTNING_UNAVAILABLE,
            retry_after=LIGHTNING_RETRY,
        )
