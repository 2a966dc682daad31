"""How many invoices strangers may make us keep open, and ask LNbits for.

An admission is committed before it is counted, and counted before the invoice is asked for. So
requests that come at once count each other without waiting for each other: a limit is never passed,
and of those that race for the last places some are turned away that one by one had found room.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from config.settings import Settings
from models.admission import Admission
from models.database import UNLOADED
from models.job import Job
from services.errors import ErrorCode, NotNow, RuleBroken, TooManyRequests

MINUTE = timedelta(minutes=1)
LIGHTNING_RETRY = timedelta(seconds=10)
TIDIED_AT_ONCE = 100
SHARED_BY_ALL = 1 / 2
"""Of the creations that a minute has room for: whoever comes first may have them."""
SHARE_OF_ONE = 1 / 5
"""What a client may have of them when that is used up."""


def refuse_the_greedy(session: Session, settings: Settings, client_key: str) -> None:
    """Raise TooManyRequests for who has had its share, before it counts for anything.

    Who knocks again and again must not be counted against the others while it is refused.
    """
    if settings.lightning_is_stand_in:  # that has no request limit
        return
    of_all, of_client = _lately(session, client_key)
    room = settings.lnbits_requests_per_minute // 2
    if _is_more_than_a_share(of_all + 1, of_client + 1, room):
        raise _share_is_used_up()


def apply(session: Session, client_key: str) -> int:
    """Say that an invoice is wanted; returns the admission's number. Commit before ``refusal``."""
    old = (
        select(Admission.id)
        .where(Admission.created_at < func.now() - MINUTE)
        .limit(TIDIED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(Admission).where(Admission.id.in_(old)))
    admission = Admission(client_key=client_key)
    session.add(admission)
    session.flush()  # its number is needed to end it
    return admission.id


def refusal(
    session: Session, settings: Settings, admission_id: int, client_key: str
) -> RuleBroken | None:
    """Why this admission is not granted; then it is gone. None = ask for the invoice."""
    why = _too_many_open(session, settings, client_key)
    if why is None and not settings.lightning_is_stand_in:  # that has no request limit
        why = _too_many_asked(session, settings, client_key)
    if why is not None:
        session.execute(delete(Admission).where(Admission.id == admission_id))
    return why


def end(session: Session, admission_id: int) -> None:
    """Its job is there, or there will be none. The request that was made still counts."""
    session.execute(
        update(Admission)
        .where(Admission.id == admission_id)
        .values(ended_at=func.now())
        .execution_options(**UNLOADED)
    )


def _too_many_open(session: Session, settings: Settings, client_key: str) -> RuleBroken | None:
    of_client, of_all = session.execute(
        select(_open(Job.client_key == client_key, Admission.client_key == client_key), _open())
    ).one()
    if of_client <= settings.open_invoices_per_client and of_all <= settings.open_invoices_max:
        return None
    return TooManyRequests(
        "Too many invoices are open; pay or cancel some, or wait until they expire.",
        code=ErrorCode.TOO_MANY_OPEN_INVOICES,
        retry_after=MINUTE,
    )


def _open(*whose: ColumnElement[bool]) -> ColumnElement[int]:
    """How many jobs wait for a payment or are being made, this one included."""
    jobs = select(func.count(Job.id)).where(Job.payable_until.is_not(None), *whose[:1])
    coming = select(func.count(Admission.id)).where(Admission.ended_at.is_(None), *whose[1:])
    return jobs.scalar_subquery() + coming.scalar_subquery()


def _too_many_asked(session: Session, settings: Settings, client_key: str) -> RuleBroken | None:
    """Leave half of what LNbits allows for work invoices and payouts."""
    room = settings.lnbits_requests_per_minute // 2
    of_all, of_client = _lately(session, client_key)
    if of_all > room:
        return NotNow(
            "Too many jobs are being made at the moment; try again shortly.",
            code=ErrorCode.LIGHTNING_UNAVAILABLE,
            retry_after=LIGHTNING_RETRY,
        )
    if _is_more_than_a_share(of_all, of_client, room):
        return _share_is_used_up()
    return None


def _lately(session: Session, client_key: str) -> tuple[int, int]:
    """How many admissions the last minute has seen, of all and of this client.

    Up to this moment: after a clock was set back, those of its future count for nothing.
    """
    lately = Admission.created_at.between(func.now() - MINUTE, func.clock_timestamp())
    of_client = func.count().filter(Admission.client_key == client_key)
    of_all, theirs = session.execute(select(func.count(), of_client).where(lately)).one()
    return of_all, theirs


def _is_more_than_a_share(of_all: int, of_client: int, room: int) -> bool:
    """The second half of the room is for clients that had no fifth of it within the minute, so that
    one who creates and cancels without end locks nobody out.
    """
    return of_all > room * SHARED_BY_ALL and of_client > max(1, room * SHARE_OF_ONE)


def _share_is_used_up() -> TooManyRequests:
    return TooManyRequests(
        "You have had your share of the jobs that can be made in a minute.",
        code=ErrorCode.RATE_LIMITED,
        retry_after=MINUTE,
    )
