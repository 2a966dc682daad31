"""One model call of a job: claimed, journalled before it is made, stored before it is read.

A worker that takes a job over finds the stored answer and does not call again, so at most the call
that was under way when a worker died is made twice.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from gateways.errors import Billed, OutsideError, Refused
from gateways.llms import Answer, Question, Stop
from models import due
from models.attempt import Attempt, AttemptOutcome, Step
from models.database import UNLOADED
from models.due import Claimed
from models.job import Job
from models.lifecycle import JobState
from services import retry
from services.jobs import failure
from services.jobs.failure import Failure
from services.money import pricing
from services.recording import insist
from services.retry import CRASHES_ARE_POISON
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

SPENT_ATTEMPTS_MAX = 2
"""Attempts of a step that may end with billed or unknown usage: we pay, not the caller."""
OPERATORS_TROUBLE = frozenset({"http_401", "http_402", "http_403", "http_404"})
"""Refusals that are about our key or model, not about the request: the operator can mend them."""

LEAST_TIME = timedelta(seconds=5)
"""For a call, however near the deadline is: in less than this it would be paid for in vain."""

STATE_OF = {Step.EVALUATE: JobState.EVALUATING, Step.EXECUTE: JobState.EXECUTING}
_SPENT = frozenset({AttemptOutcome.UNREADABLE, AttemptOutcome.DOUBTFUL, AttemptOutcome.SUPERSEDED})


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A job that this worker holds for one step, and what is known of it already."""

    job: Job
    claim: int
    step: Step
    waited: timedelta
    """Since the job came into this state."""
    left: timedelta | None
    """Until the job is given up; None = it never is."""
    attempts_so_far: int
    attempt_id: int | None
    """The journal row of the call to make; None = the step has its answer."""
    answer: Answer | None


def take(
    tools: Toolbox, job_id: int, step: Step, *, model: str | None = None, prompt_version: str
) -> Assignment | None:
    """Claim a due job for a step, with the journal row of the coming call in the same commit.

    Without ``model`` that is a call of the one that the job was priced for. None = not ours to do,
    or given up here and now: past its deadline, or tried too often.
    """
    with tools.database.transaction(f"jobs.claim.{step.value}") as session:
        in_state = Job.state == STATE_OF[step]
        claimed = due.claim(session, Job, job_id, lease=tools.settings.lease, where=in_state)
        if claimed is None:
            return None
        job, claim = claimed.row, claimed.number
        history = _history(session, job_id, step)
        why = _why_give_up(claimed, history)
        if why is not None:
            failure.give_up(session, job, claim, why)
            return None
        answered = next((a for a in history if a.outcome is AttemptOutcome.ANSWERED), None)
        attempt = Attempt(
            job_id=job_id,
            step=step,
            claim=claim,
            model=model or job.work_model,
            prompt_version=prompt_version,
        )
        if answered is None:
            session.add(attempt)
            session.flush()  # its number is needed to store the answer
        return Assignment(
            job=job,
            claim=claim,
            step=step,
            waited=claimed.at - job.moved_at,
            left=None if job.give_up_at is None else job.give_up_at - claimed.at,
            attempts_so_far=len(history),
            attempt_id=answered.id if answered else attempt.id,
            answer=_stored_answer(answered) if answered else None,
        )


def _history(session: Session, job_id: int, step: Step) -> list[Attempt]:
    return list(
        session.scalars(
            select(Attempt)
            .where(Attempt.job_id == job_id, Attempt.step == step)
            .order_by(Attempt.id)
        )
    )


def _why_give_up(claimed: Claimed[Job], history: list[Attempt]) -> Failure | None:
    job = claimed.row
    outcomes = [attempt.outcome for attempt in history]
    has_answer = AttemptOutcome.ANSWERED in outcomes
    if has_answer and job.state is JobState.EXECUTING:
        return None  # paid, done and stored: late or not, it is delivered
    if job.give_up_at is not None and job.give_up_at <= claimed.at:
        return failure.DEADLINE
    if has_answer:
        return None
    crashes, spent = outcomes.count(None), sum(outcome in _SPENT for outcome in outcomes)
    if crashes >= CRASHES_ARE_POISON:
        return failure.CRASHED
    # Nobody knows whether a crash was billed: in any mix no more than three calls may have been.
    if spent >= SPENT_ATTEMPTS_MAX or crashes + spent >= CRASHES_ARE_POISON:
        return failure.SPENT
    return None


def _stored_answer(attempt: Attempt) -> Answer:
    return Answer(
        text=attempt.answer or "",
        stop=Stop(attempt.stop or Stop.DONE),
        refusal=attempt.refusal,
        input_tokens=attempt.input_tokens or 0,
        output_tokens=attempt.output_tokens or 0,
        request_id=attempt.request_id,
        usage=attempt.usage or {},
    )


def ask(tools: Toolbox, assignment: Assignment, question: Question) -> Answer | None:
    """Get the step's answer: the stored one, or by calling the model once. Call it under the lease.

    None = no answer this time; the job was put off, given up, or taken over. Nothing is left to do.
    """
    if assignment.answer is not None:
        return assignment.answer
    try:
        answer = tools.language_model(question.model).ask(_in_time(question, assignment.left))
    except OutsideError as error:
        trouble = error
        insist(lambda: _record_error(tools, assignment, trouble), for_long=tools.settings.lease)
        return None
    is_ours = insist(
        lambda: _store(tools, assignment, question.model, answer), for_long=tools.settings.lease
    )
    return answer if is_ours else None


def _in_time(question: Question, left: timedelta | None) -> Question:
    """A call that outlived the job's deadline would be paid for by us, and its answer by nobody."""
    if left is None:
        return question
    return replace(question, seconds=max(left, LEAST_TIME).total_seconds())


def _store(tools: Toolbox, assignment: Assignment, model: str, answer: Answer) -> bool:
    """Put answer and usage on record as received. False = another worker has taken the job over.

    Safe to repeat when it is not known whether it was committed.
    """
    rates = tools.model_rates.rates(model, input_tokens=answer.input_tokens)
    cost = rates and pricing.token_cost(
        rates, input_tokens=answer.input_tokens, output_tokens=answer.output_tokens
    )
    with tools.database.transaction("attempts.answered") as session:
        is_ours = _still_ours(session, assignment)
        outcome = AttemptOutcome.ANSWERED if is_ours else AttemptOutcome.SUPERSEDED
        _end_first(
            session,
            assignment,
            outcome,
            answer=answer.text.replace("\x00", ""),
            stop=answer.stop.value,
            refusal=answer.refusal,
            request_id=answer.request_id,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            usage=dict(answer.usage),
            cost_usd=cost,
        )
    return is_ours


def _still_ours(session: Session, assignment: Assignment) -> bool:
    """Whether our claim is the last one; the row is locked, so it stays so until the commit."""
    claim = session.scalar(
        select(Job.claim)
        .where(Job.id == assignment.job.id, Job.state == STATE_OF[assignment.step])
        .with_for_update()
    )
    return claim == assignment.claim


def _end_first(
    session: Session, assignment: Assignment, outcome: AttemptOutcome, **values: object
) -> None:
    """Write how the call ended, unless that is on record: another worker may have built on it."""
    _end(session, assignment, outcome, Attempt.outcome.is_(None), **values)


def _end(
    session: Session,
    assignment: Assignment,
    outcome: AttemptOutcome,
    *guard: ColumnElement[bool],
    **values: object,
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.id == assignment.attempt_id, *guard)
        .values({"outcome": outcome, "ended_at": func.now(), **values})
        .execution_options(**UNLOADED)
    )


def _record_error(tools: Toolbox, assignment: Assignment, error: OutsideError) -> None:
    """Journal a call that ended in an error, and put the job off or give it up, in one commit.

    Safe to repeat.
    """
    is_final = isinstance(error, Refused) and error.code not in OPERATORS_TROUBLE
    logger.warning(
        "model call failed", job=assignment.job.id, step=assignment.step.value, code=error.code
    )
    with tools.database.transaction("attempts.failed") as session:
        _end_first(session, assignment, outcome_of(error), code=error.code)
        if is_final:
            failure.give_up(session, assignment.job, assignment.claim, failure.REFUSED)
            return
        delay = retry.backoff(assignment.attempts_so_far + 1, retry_after=error.retry_after)
        _try_again(session, assignment, delay)


def _try_again(session: Session, assignment: Assignment, delay: timedelta) -> None:
    """Let go of the job until then, or until its deadline: it does not fail later than it must."""
    due.put_off(
        session,
        Job,
        assignment.job.id,
        assignment.claim,
        delay=delay,
        at_latest=Job.give_up_at,
    )


def outcome_of(error: OutsideError) -> AttemptOutcome:
    """How the journal names a call that ended in an error."""
    if error.billed is Billed.UNKNOWN:
        return AttemptOutcome.DOUBTFUL
    return AttemptOutcome.REFUSED if isinstance(error, Refused) else AttemptOutcome.UNAVAILABLE


def reject_answer(tools: Toolbox, assignment: Assignment) -> None:
    """The answer is not what was asked for: billed, of no use; try again within the limits."""
    logger.warning("unreadable answer", job=assignment.job.id, step=assignment.step.value)
    with tools.database.transaction("attempts.unreadable") as session:
        _end(session, assignment, AttemptOutcome.UNREADABLE, code="unreadable")
        delay = retry.backoff(assignment.attempts_so_far + 1)
        _try_again(session, assignment, delay)


def put_off(tools: Toolbox, assignment: Assignment, *, at_least: timedelta) -> None:
    """Something the next part needs is not to be had: wait, without using up an attempt."""
    delay = retry.patience(assignment.waited, at_least=at_least, at_most=timedelta(minutes=1))
    with tools.database.transaction("jobs.put_off") as session:
        _try_again(session, assignment, delay)
