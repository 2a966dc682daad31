"""Which states a job has and which moves exist. Data only: ``models.moves`` makes the moves.

``docs/job-lifecycle.md`` is drawn from this file.
"""

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is. Workers move the two working states on, money the two awaiting ones."""

    AWAITING_EVAL_PAYMENT = "awaiting_eval_payment"
    EVALUATING = "evaluating"
    REJECTED = "rejected"
    AWAITING_WORK_PAYMENT = "awaiting_work_payment"
    EXECUTING = "executing"
    COMPLETE = "complete"
    FAILED = "failed"
    EXPIRED = "expired"


class JobEvent(StrEnum):
    """What happens to a job."""

    CREATED = "created"
    EVAL_PAID = "eval_paid"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    WORK_PAID = "work_paid"
    DELIVERED = "delivered"
    GAVE_UP = "gave_up"
    LAPSED = "lapsed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Arrow:
    """One move: from ``source``, on ``event``, to ``target``; ``because`` is its label."""

    source: JobState | None
    event: JobEvent
    target: JobState
    because: str


_S, _E = JobState, JobEvent

ARROWS: tuple[Arrow, ...] = (
    Arrow(None, _E.CREATED, _S.AWAITING_EVAL_PAYMENT, "evaluation invoice issued"),
    Arrow(_S.AWAITING_EVAL_PAYMENT, _E.EVAL_PAID, _S.EVALUATING, "evaluation invoice paid"),
    Arrow(
        _S.AWAITING_EVAL_PAYMENT,
        _E.LAPSED,
        _S.EXPIRED,
        "deadline passed, LNbits says unpaid",
    ),
    Arrow(_S.AWAITING_EVAL_PAYMENT, _E.CANCELLED, _S.EXPIRED, "cancelled by the caller"),
    Arrow(
        _S.EVALUATING,
        _E.ACCEPTED,
        _S.AWAITING_WORK_PAYMENT,
        "accepted, work invoice issued",
    ),
    Arrow(_S.EVALUATING, _E.DECLINED, _S.REJECTED, "declined"),
    Arrow(_S.EVALUATING, _E.GAVE_UP, _S.FAILED, "no retry can mend it"),
    Arrow(_S.AWAITING_WORK_PAYMENT, _E.WORK_PAID, _S.EXECUTING, "work invoice paid"),
    Arrow(
        _S.AWAITING_WORK_PAYMENT,
        _E.LAPSED,
        _S.EXPIRED,
        "deadline passed, LNbits says unpaid",
    ),
    Arrow(_S.AWAITING_WORK_PAYMENT, _E.CANCELLED, _S.EXPIRED, "cancelled by the caller"),
    Arrow(_S.EXECUTING, _E.DELIVERED, _S.COMPLETE, "work done"),
    Arrow(_S.EXECUTING, _E.GAVE_UP, _S.FAILED, "no retry can mend it"),
    # Money found shortly after the deadline revives an unpaid job at its locked price.
    Arrow(_S.EXPIRED, _E.EVAL_PAID, _S.EVALUATING, "evaluation paid, at most 600 s late"),
    Arrow(_S.EXPIRED, _E.WORK_PAID, _S.EXECUTING, "work paid, at most 600 s late"),
)

AWAITING = frozenset({_S.AWAITING_EVAL_PAYMENT, _S.AWAITING_WORK_PAYMENT})
WORKING = frozenset({_S.EVALUATING, _S.EXECUTING})
FINAL = frozenset(_S) - AWAITING - WORKING

_TARGETS = {(arrow.source, arrow.event): arrow.target for arrow in ARROWS}


class NoSuchMove(Exception):
    """The lifecycle has no such arrow: a defect in our code, not in a request."""


def target_of(source: JobState | None, event: JobEvent) -> JobState:
    """Where this event leads from that state. Raises NoSuchMove where no arrow exists."""
    try:
        return _TARGETS[source, event]
    except KeyError:
        raise NoSuchMove(f"no arrow from {source} on {event}") from None
