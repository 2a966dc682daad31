"""Doing what was paid for: verify the payment, make the call, keep the result sealed.

Claim, call, record, as with jobs. A result and the move to ``settling`` are one commit, so that a
run which is taken over either has its result or begins its call anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, SQLColumnExpression, false, func, null, or_, select
from sqlalchemy.orm import Session

from config.queues import TaskName
from gateways.errors import OutsideError, Unavailable
from gateways.x402 import Reason, Rejected
from gateways.x402.signatures import is_of_one_key
from models import due, run_moves
from models.database import ago
from models.resource import MODEL_TYPES, Resource, ResourceType, ResourceVersion
from models.run import EXECUTED_RUNS, CallKind, CallOutcome, Run, RunState
from models.run_lifecycle import RunEvent
from services import retry
from services.instant import breakers, failures, journal, limits, making
from services.instant.failures import MAY_BE_THE_HOUR, RunFailure
from services.instant.making import Made, NotMade
from services.recording import insist
from services.retry import CRASHES_ARE_POISON
from services.room import RUNS_AT_ONCE, RUNS_OF_ONE_CREATOR, Room
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

AT_ONCE = Room(RUNS_AT_ONCE, each=RUNS_OF_ONE_CREATOR)
LEAST_SECONDS = 1.0
"""No call is begun that has less time than this."""
FIRST_RETRY = timedelta(seconds=1)
SHARE_FOR_THE_CALL = 0.5
"""A payment that is not verified while so much of the call's time is left comes to nothing."""
VERIFYING = timedelta(seconds=60)
"""So does one that the facilitator was asked about in vain for so long: it takes the place of
another, and anybody can sign payments of wallets that have no money.
"""


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A run that this worker holds, and the call that it has written down."""

    run: Run
    of: ResourceType
    version: ResourceVersion
    claim: int
    call_id: int | None
    """None = nothing outside is called."""
    calls_so_far: int
    """Of this kind, the coming one included."""
    seconds: float
    """Until the call must have ended."""


def execute(tools: Toolbox, run_id: int) -> None:
    """Take a run on as far as it goes. Safe to call any number of times, anywhere, at once."""
    with AT_ONCE.place(_creator_of(tools, run_id)) as is_free:
        held = _take(tools, run_id) if is_free else None
        if held is not None:
            _work(tools, held)


def _creator_of(tools: Toolbox, run_id: int) -> int | None:
    with tools.database.reading("runs.creator") as session:
        return session.scalar(select(Run.creator_id).where(Run.id == run_id))


def _work(tools: Toolbox, held: _Held) -> None:
    with tools.leases.hold(Run, held.run.id, held.claim):
        ready = _verify(tools, held) if held.run.state is RunState.RECEIVED else held
        if ready is not None:
            _deliver(tools, ready)


def _take(tools: Toolbox, run_id: int) -> _Held | None:
    """Claim a due run, with the journal row of the coming call in the same commit.

    None = not ours to do, or given up here and now.
    """
    with tools.database.transaction("runs.claim") as session:
        at_work = Run.state.in_(EXECUTED_RUNS)
        claimed = due.claim(session, Run, run_id, lease=tools.settings.lease, where=at_work)
        if claimed is None:
            return None
        run, claim = claimed.row, claimed.number
        held = _prepare(session, tools, run, claim)
        why = _why_give_up(session, tools, held)
        if why is None:
            return _with_call(session, held)
        run_moves.advance(
            session,
            run_id,
            expect=run.state,
            on=RunEvent.GAVE_UP,
            claim=claim,
            error_code=why,
            **_known_of_the_given_up(session, held),
        )
        logger.warning("run given up", run=run_id, why=why.value)
        return None


def _known_of_the_given_up(session: Session, held: _Held) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if held.run.state is RunState.RECEIVED:
        known = _nothing_shown_is_kept(held.run)
    return known | ({"model_cost_usd": making.NOTHING} if _has_cost_nothing(session, held) else {})


def _has_cost_nothing(session: Session, held: _Held) -> bool:
    """Whether no call on the creator's key can have been billed; else nobody knows its cost."""
    if held.of not in MODEL_TYPES:
        return True
    return set(journal.outcomes(session, held.run.id, CallKind.MODEL)) <= journal.UNBILLED


def _prepare(session: Session, tools: Toolbox, run: Run, claim: int) -> _Held:
    past = session.scalar(select(ago(Run.run_by)).where(Run.id == run.id)) or timedelta(0)
    return _Held(
        run=run,
        of=session.get_one(Resource, run.resource_id).type,
        version=session.get_one(ResourceVersion, run.version_id),
        claim=claim,
        call_id=None,
        calls_so_far=0,
        seconds=min(-past.total_seconds(), float(tools.settings.instant_run_seconds)),
    )


def _kind(run: Run, of: ResourceType) -> CallKind | None:
    if run.state is RunState.RECEIVED:
        return CallKind.VERIFY
    if of in MODEL_TYPES:
        return CallKind.MODEL
    return CallKind.PROXY if of is ResourceType.PROXY else None


def _why_give_up(session: Session, tools: Toolbox, held: _Held) -> RunFailure | None:
    kind = _kind(held.run, held.of)
    crashes = journal.outcomes(session, held.run.id, kind).count(None) if kind else 0
    if crashes >= CRASHES_ARE_POISON:
        return RunFailure.CRASHED
    if held.run.state is RunState.RECEIVED:
        is_over = select(_is_hopeless(tools)).where(Run.id == held.run.id)
        return RunFailure.FACILITATOR_AWAY if session.scalar(is_over) else None
    return RunFailure.DEADLINE if held.seconds < LEAST_SECONDS else None


def _with_call(session: Session, held: _Held) -> _Held:
    """Write the coming call down."""
    kind = _kind(held.run, held.of)
    if kind is None:
        return held
    so_far = len(journal.outcomes(session, held.run.id, kind))
    call_id = journal.begin(session, held.run.id, kind, held.claim)
    return replace(held, call_id=call_id, calls_so_far=so_far + 1)


def _verify(tools: Toolbox, held: _Held) -> _Held | None:
    """Ask the facilitator. None = the payment is no good, or nobody could be asked now."""
    if tools.facilitator is None:
        _put_off_verifying(tools, held, Unavailable("no facilitator", code="none"))
        return None
    assert held.run.payment is not None
    assert held.run.requirement is not None
    try:
        verdict = tools.facilitator.verify(held.run.payment, held.run.requirement)
    except OutsideError as error:
        if is_of_one_key(_signature(held.run)) or error.code in MAY_BE_THE_HOUR:
            _put_off_verifying(tools, held, error)
        else:  # or anybody could make up what waits for minutes in the place of a payment
            _refuse(tools, held, Reason.NOT_JUDGED)
        return None
    if isinstance(verdict, Rejected):
        _refuse(tools, held, verdict.reason)
        return None
    return _begin_work(tools, held)


def _signature(run: Run) -> str:
    return str((run.payment or {})["payload"]["signature"])


def _put_off_verifying(tools: Toolbox, held: _Held, error: OutsideError) -> None:
    logger.warning("facilitator not reached", run=held.run.id, code=error.code)
    delay = retry.backoff(held.calls_so_far, retry_after=error.retry_after)
    with tools.database.transaction("runs.verify_failed") as session:
        _end_call(session, held, CallOutcome.UNAVAILABLE, code=error.code)
        due.put_off(
            session, Run, held.run.id, held.claim, delay=delay, at_latest=_last_asked_at(tools)
        )


def _is_hopeless(tools: Toolbox) -> ColumnElement[bool]:
    """Whether a run that is not verified has come to nothing.

    The facilitator was asked in vain early and late: one bad moment of it, and many of ours in
    which nobody had time for this run, are not enough.
    """
    in_vain_for = journal.in_vain_for(CallKind.VERIFY)
    return or_(func.now() >= _needed_by(tools), func.coalesce(in_vain_for >= VERIFYING, false()))


def _last_asked_at(tools: Toolbox) -> SQLColumnExpression[datetime]:
    """When the facilitator is asked once more at the latest."""
    return func.least(_needed_by(tools), journal.first_in_vain(CallKind.VERIFY) + VERIFYING)


def _needed_by(tools: Toolbox) -> SQLColumnExpression[datetime]:
    needed = timedelta(seconds=tools.settings.instant_run_seconds * SHARE_FOR_THE_CALL)
    return Run.run_by - needed


def _refuse(tools: Toolbox, held: _Held, reason: str) -> None:
    """The payment is no good: its key is free again, and neither it nor what came with it is kept.

    Anybody can show such payments, as many as they like. The row itself goes when it is pruned.
    """
    with tools.database.transaction("runs.refused") as session:
        _end_call(session, held, CallOutcome.REFUSED, code=reason)
        run_moves.advance(
            session,
            held.run.id,
            expect=RunState.RECEIVED,
            on=RunEvent.REJECTED,
            claim=held.claim,
            error_code=reason,
            **_nothing_shown_is_kept(held.run),
        )


def _nothing_shown_is_kept(run: Run) -> dict[str, Any]:
    """Of a run whose payment nobody has found good: it is never sent to anybody any more."""
    return {"inputs": null(), "payment": limits.what_is_left_of(_signature(run))}


def _begin_work(tools: Toolbox, held: _Held) -> _Held | None:
    """The payment is good: move on under the same claim, with the next call written down.

    None = another worker has the run.
    """
    with tools.database.transaction("runs.verified") as session:
        _end_call(session, held, CallOutcome.ANSWERED)
        run = run_moves.advance(
            session,
            held.run.id,
            expect=RunState.RECEIVED,
            on=RunEvent.VERIFIED,
            claim=held.claim,
            lease=tools.settings.lease,
        )
        return _with_call(session, _prepare(session, tools, run, held.claim)) if run else None


def _deliver(tools: Toolbox, held: _Held) -> None:
    made = making.make(
        tools,
        held.run,
        held.of,
        held.version,
        seconds=held.seconds,
        calls_so_far=held.calls_so_far,
    )
    # What was billed to the creator is not lost because the database restarts.
    insist(lambda: _record(tools, held, made), for_long=tools.settings.lease)
    if isinstance(made, Made) and not held.run.is_owner_test:
        tools.doorbell.ring(TaskName.SETTLE_RUN, held.run.id)


def _record(tools: Toolbox, held: _Held, made: Made | NotMade) -> None:
    """Keep what came of the call, and move the run on, in one commit. Safe to repeat."""
    with tools.database.transaction("runs.made") as session:
        is_ours = journal.is_still_ours(session, held.run.id, held.claim)
        outcome = CallOutcome.ANSWERED if isinstance(made, Made) else made.outcome
        code = None if isinstance(made, Made) else made.code
        _end_call(
            session,
            held,
            outcome if is_ours else CallOutcome.SUPERSEDED,
            code=code,
            usage=made.cost.usage,
        )
        if not is_ours:
            return
        if isinstance(made, Made):
            _keep_result(session, held, made)
        else:
            _keep_failure(session, held, made)
        _tell_breaker(session, held, made)


def _keep_result(session: Session, held: _Held, made: Made) -> None:
    on = RunEvent.TRIED if held.run.is_owner_test else RunEvent.ANSWERED
    run_moves.advance(
        session,
        held.run.id,
        expect=RunState.RUNNING,
        on=on,
        claim=held.claim,
        result=dict(made.result),
        input_tokens=made.cost.input_tokens,
        output_tokens=made.cost.output_tokens,
        model_cost_usd=made.cost.usd,
    )


def _keep_failure(session: Session, held: _Held, made: NotMade) -> None:
    if made.may_pass:
        delay = max(
            retry.jittered(FIRST_RETRY * held.calls_so_far), made.retry_after or timedelta(0)
        )
        due.put_off(session, Run, held.run.id, held.claim, delay=delay)
        return
    logger.warning("run failed", run=held.run.id, why=made.failure.value, code=made.code)
    run_moves.advance(
        session,
        held.run.id,
        expect=RunState.RUNNING,
        on=RunEvent.GAVE_UP,
        claim=held.claim,
        error_code=made.failure,
        input_tokens=made.cost.input_tokens,
        output_tokens=made.cost.output_tokens,
        model_cost_usd=made.cost.usd,
    )


def _end_call(
    session: Session,
    held: _Held,
    outcome: CallOutcome,
    *,
    code: str | None = None,
    usage: Mapping[str, object] | None = None,
) -> None:
    if held.call_id is not None:
        journal.end(session, held.call_id, outcome, code=code, usage=usage)


def _tell_breaker(session: Session, held: _Held, made: Made | NotMade) -> None:
    """What key and model were seen to be worth, told only by whoever holds the run."""
    if made.key_id is None or held.version.model is None:
        return
    if isinstance(made, Made):
        breakers.note_success(session, made.key_id, held.version.model)
        return
    reason = failures.breaker_reason(made.failure)
    if reason is not None and not made.may_pass:
        breakers.note_failure(session, made.key_id, held.version.model, reason)
