"""Which moves a run of an instant resource has. Data only: ``models.run_moves`` makes the moves."""

from dataclasses import dataclass
from enum import StrEnum

from models.lifecycle import NoSuchMove
from models.run import RunState


class RunEvent(StrEnum):
    """What happens to a run."""

    PAYMENT_SHOWN = "payment_shown"
    OWNER_TRIES = "owner_tries"
    VERIFIED = "verified"
    REJECTED = "rejected"
    ANSWERED = "answered"
    TRIED = "tried"
    GAVE_UP = "gave_up"
    SETTLED = "settled"
    NOT_SETTLED = "not_settled"
    LOST_SIGHT = "lost_sight"
    MOVED_UNASKED = "moved_unasked"


@dataclass(frozen=True)
class RunArrow:
    """One move: from ``source``, on ``event``, to ``target``; ``because`` says when."""

    source: RunState | None
    event: RunEvent
    target: RunState
    because: str


_S, _E = RunState, RunEvent

RUN_ARROWS: tuple[RunArrow, ...] = (
    RunArrow(None, _E.PAYMENT_SHOWN, _S.RECEIVED, "payment on record, and nobody else's"),
    RunArrow(None, _E.OWNER_TRIES, _S.RUNNING, "the creator's own test"),
    RunArrow(_S.RECEIVED, _E.VERIFIED, _S.RUNNING, "facilitator says it is good"),
    RunArrow(_S.RECEIVED, _E.REJECTED, _S.REFUSED, "facilitator says it is no good"),
    RunArrow(_S.RECEIVED, _E.GAVE_UP, _S.FAILED, "no facilitator in time"),
    RunArrow(_S.RUNNING, _E.ANSWERED, _S.SETTLING, "result stored and sealed"),
    RunArrow(_S.RUNNING, _E.TRIED, _S.SUCCEEDED, "result of the creator's own test"),
    RunArrow(_S.RUNNING, _E.GAVE_UP, _S.FAILED, "no result; nothing charged"),
    RunArrow(_S.SETTLING, _E.SETTLED, _S.SUCCEEDED, "money moved"),
    RunArrow(_S.SETTLING, _E.NOT_SETTLED, _S.FAILED, "proved: no money moved, none will"),
    RunArrow(_S.SETTLING, _E.LOST_SIGHT, _S.DOUBTFUL, "payment lapsed, nobody can be asked"),
    RunArrow(_S.SETTLING, _E.MOVED_UNASKED, _S.DOUBTFUL, "money moved before we asked for it"),
    RunArrow(_S.DOUBTFUL, _E.SETTLED, _S.SUCCEEDED, "operator found the money"),
    RunArrow(_S.DOUBTFUL, _E.NOT_SETTLED, _S.FAILED, "operator found that none moved"),
)

_TARGETS = {(arrow.source, arrow.event): arrow.target for arrow in RUN_ARROWS}


def target_of(source: RunState | None, event: RunEvent) -> RunState:
    """Where this event leads from that state. Raises NoSuchMove where no arrow exists."""
    try:
        return _TARGETS[source, event]
    except KeyError:
        raise NoSuchMove(f"no arrow from {source} on {event}") from None
