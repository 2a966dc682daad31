"""Whether models answer the operator's key, by the journal of calls: jobs and the demo.

Creators' keys are not in it: what is wrong with those, their breakers know.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from models.attempt import Attempt, AttemptOutcome
from models.database import ago, is_young
from services.jobs.steps import OPERATORS_TROUBLE

RECENT = timedelta(minutes=15)
"""A job that waits for the operator calls again after ``retry.LONGEST_DELAY`` at most, as a rule:
while one waits, its trouble is told. Once nobody calls any more it is forgotten.
"""
CALLS_LOOKED_AT = 500
"""The newest, found by their number: a probe asks every few seconds, and the journal only grows."""
TRIED_IN_VAIN = 3
"""So many jobs or demo runs in a row got nothing out of a model. One of them alone may have asked
for what no model takes.
"""
SURE_AT_ONCE = OPERATORS_TROUBLE - {"http_403"}
"""OpenRouter says 403 also of what it moderates away, which is the caller's doing."""

_WENT_WELL = frozenset({AttemptOutcome.ANSWERED, AttemptOutcome.SUPERSEDED})
_Call = Row[*tuple[Any, ...]]


def part(session: Session) -> dict[str, Any]:
    """Which steps get no answer; ``errors``: how calls since their model's last answer ended."""
    in_vain = _in_vain(session)
    failing = [calls for calls in in_vain.values() if _is_failing(calls)]
    return {
        "ok": not failing,
        "failing": sorted({call.step.value for calls in failing for call in calls}),
        "errors": dict(Counter(call.code for calls in in_vain.values() for call in calls)),
    }


def _in_vain(session: Session) -> dict[str, list[_Call]]:
    """Recent calls that came to nothing, by model: those begun since its last call that went well.

    Each model may have a key of its own, and what another one answers says nothing of it.
    """
    newest = session.execute(
        select(
            Attempt.model,
            Attempt.step,
            Attempt.outcome,
            Attempt.code,
            Attempt.job_id,
            Attempt.demo_run_id,
            ago(Attempt.ended_at).label("age"),
        )
        .where(Attempt.outcome.is_not(None))
        .order_by(Attempt.id.desc())
        .limit(CALLS_LOOKED_AT)
    )
    in_vain: defaultdict[str, list[_Call]] = defaultdict(list)
    answering: set[str] = set()
    for call in newest:
        if call.outcome in _WENT_WELL:
            answering.add(call.model)
        elif call.model not in answering and is_young(call.age, RECENT):
            in_vain[call.model].append(call)
    return in_vain


def _is_failing(calls: Iterable[_Call]) -> bool:
    if any(call.code in SURE_AT_ONCE for call in calls):
        return True
    return len({(call.job_id, call.demo_run_id) for call in calls}) >= TRIED_IN_VAIN
