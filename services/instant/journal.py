"""The journal of a run's outside calls: each is committed before it is made.

A row without an outcome is a call under way, or one whose process died.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, func, select, update
from sqlalchemy.orm import Session

from gateways.errors import Billed, OutsideError, Refused
from models.run import CallKind, CallOutcome, Run, RunCall

UNBILLED = frozenset({CallOutcome.REFUSED, CallOutcome.UNAVAILABLE})
"""How calls end that nobody charges for; of others, or of one that never ended, nobody knows."""


def begin(session: Session, run_id: int, kind: CallKind, claim: int) -> int:
    """Write down a call that is about to be made; returns its number."""
    call = RunCall(run_id=run_id, kind=kind, claim=claim)
    session.add(call)
    session.flush()  # its number is needed to say how it ended
    return call.id


def end(
    session: Session,
    call_id: int,
    outcome: CallOutcome,
    *,
    code: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> None:
    """Say how a call ended, unless that is on record. Safe to repeat."""
    session.execute(
        update(RunCall)
        .where(RunCall.id == call_id, RunCall.outcome.is_(None))
        .values(outcome=outcome, ended_at=func.now(), code=code, usage=usage)
    )


def codes(session: Session, run_id: int, kind: CallKind) -> list[str | None]:
    """What the calls of this kind ended with; None = well, or nobody knows how."""
    return list(
        session.scalars(select(RunCall.code).where(RunCall.run_id == run_id, RunCall.kind == kind))
    )


def outcomes(session: Session, run_id: int, kind: CallKind) -> list[CallOutcome | None]:
    """How the calls of this kind ended, the first one first."""
    return list(
        session.scalars(
            select(RunCall.outcome)
            .where(RunCall.run_id == run_id, RunCall.kind == kind)
            .order_by(RunCall.id)
        )
    )


def first_begun(kind: CallKind) -> ScalarSelect[datetime | None]:
    """When the first call was put on record, to be used beside ``Run``; NULL = none was."""
    return _of_calls(kind, func.min(RunCall.started_at))


def first_in_vain(kind: CallKind) -> ScalarSelect[datetime | None]:
    """When nobody could be asked for the first time, to be used beside ``Run``; NULL = never.

    A call whose process died says nothing of whoever was asked.
    """
    return _of_those_in_vain(kind, func.min(RunCall.ended_at))


def in_vain_for(kind: CallKind) -> ScalarSelect[timedelta | None]:
    """From the first call in vain to the last, to be used beside ``Run``; NULL = there was none."""
    return _of_those_in_vain(kind, func.max(RunCall.ended_at) - func.min(RunCall.ended_at))


def _of_those_in_vain(kind: CallKind, figure: ColumnElement[Any]) -> ScalarSelect[Any]:
    return _of_calls(kind, figure, RunCall.outcome == CallOutcome.UNAVAILABLE)


def _of_calls(
    kind: CallKind, figure: ColumnElement[Any], *which: ColumnElement[bool]
) -> ScalarSelect[Any]:
    return (
        select(figure)
        .where(RunCall.run_id == Run.id, RunCall.kind == kind, *which)
        .correlate(Run)
        .scalar_subquery()
    )


def outcome_of(error: OutsideError) -> CallOutcome:
    """How the journal names a call that ended in an error."""
    if error.billed is Billed.UNKNOWN:
        return CallOutcome.DOUBTFUL
    return CallOutcome.REFUSED if isinstance(error, Refused) else CallOutcome.UNAVAILABLE


def is_still_ours(session: Session, run_id: int, claim: int) -> bool:
    """Whether our claim is the last one; the row is locked, so it stays so until the commit."""
    held = session.scalar(select(Run.claim).where(Run.id == run_id).with_for_update())
    return held == claim
