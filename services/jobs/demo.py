"""The free demo: one capped call of the work model, run by a worker, counted per address."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, DateTime, func, select, update
from sqlalchemy.orm import Session

from config.queues import TaskName
from config.settings import Settings
from gateways.errors import Billed, OutsideError
from gateways.llms import Answer, Question
from models import due, locks, moves
from models.attempt import Attempt, AttemptOutcome, Step
from models.database import ago
from models.demo_run import DemoRun, DemoState
from models.locks import Lock
from models.money import Usd
from services.errors import ErrorCode, NotNow, TooManyRequests
from services.jobs import prompts, steps, terms
from services.money import pricing
from services.toolbox import Toolbox

WINDOW = timedelta(hours=1)
NETWORK_FACTOR = 20
"""A wider network (IPv6 /48) may make this many times the tries of one address."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """Who asks, as limits count it."""

    key: str
    network: str


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """How the limit stands after an admission. ``resets_in``: until the oldest try is forgotten."""

    limit: int
    remaining: int
    resets_in: timedelta


def demo_question(settings: Settings, request: str) -> Question:
    return Question(
        model=settings.work_model,
        system=prompts.load("demo").text,
        user=prompts.as_data(request),
        max_output_tokens=settings.demo_max_output_tokens,
    )


def admit(tools: Toolbox, request: str, client: Client) -> tuple[int, Allowance]:
    """Take one try and queue its run; returns the run's number.

    Raises TooManyRequests past the limit, NotNow past the day's budget; then no try was taken.
    """
    worst = terms.worst_cost(tools, demo_question(tools.settings, request))
    with tools.database.transaction("demo.admit") as session:
        locks.take(session, Lock.DEMO_ADMISSION)  # they are counted one at a time
        allowance = _check_tries(session, tools.settings, client)
        _check_budget(session, tools.settings, worst)
        run = DemoRun(
            request=request,
            client_key=client.key,
            client_network=client.network,
            due_at=func.now(),
            reserved_usd=worst,
        )
        session.add(run)
        session.flush()  # its number goes into the message
    tools.doorbell.ring(TaskName.RUN_DEMO, run.id)
    return run.id, allowance


def _check_tries(session: Session, settings: Settings, client: Client) -> Allowance:
    limit = settings.demo_limit_per_hour
    used, resets_in = _tries(session, DemoRun.client_key == client.key)
    if client.network != client.key and used < limit:
        by_network, network_resets_in = _tries(session, DemoRun.client_network == client.network)
        if by_network >= limit * NETWORK_FACTOR:
            used, resets_in = limit, network_resets_in
    if used >= limit:
        raise TooManyRequests(
            f"The demo is limited to {limit} tries an hour; try again later.",
            code=ErrorCode.RATE_LIMITED,
            retry_after=max(resets_in, timedelta(seconds=1)),
        )
    return Allowance(limit=limit, remaining=limit - used - 1, resets_in=resets_in)


def _tries(session: Session, of: ColumnElement[bool]) -> tuple[int, timedelta]:
    """Tries in the last hour, and how long until the oldest of them no longer counts."""
    counted = (
        of,
        DemoRun.created_at > func.now() - WINDOW,
        DemoRun.state != DemoState.ABANDONED,
    )
    used, oldest_age = session.execute(
        select(func.count(), ago(func.min(DemoRun.created_at))).where(*counted)
    ).one()
    return used, WINDOW - (oldest_age or timedelta(0))


def _check_budget(session: Session, settings: Settings, worst: Usd) -> None:
    """Count what today's runs cost, or at most may cost (days are UTC)."""
    today = func.date_trunc("day", func.now(), type_=DateTime(timezone=True))
    cost = func.sum(func.coalesce(DemoRun.cost_usd, DemoRun.reserved_usd))
    spent, since_tomorrow = session.execute(
        select(func.coalesce(cost, Decimal(0)), ago(today + timedelta(days=1))).where(
            DemoRun.created_at >= today, DemoRun.state != DemoState.ABANDONED
        )
    ).one()
    if spent + worst > settings.demo_daily_budget_usd:
        raise NotNow(
            "Today's budget for free demos is spent; come back tomorrow (UTC).",
            code=ErrorCode.DEMO_BUDGET_SPENT,
            retry_after=-since_tomorrow,
        )


def abandon(tools: Toolbox, run_id: int) -> bool:
    """Give a try back if no worker has begun. False = one has, or it has ended."""
    with tools.database.transaction("demo.abandon") as session:
        abandoned = moves.move_demo(
            session, run_id, expect=DemoState.WAITING, to=DemoState.ABANDONED
        )
        return abandoned is not None


def look(tools: Toolbox, run_id: int) -> DemoRun:
    """Read how a run stands."""
    with tools.database.transaction("demo.look") as session:
        return session.get_one(DemoRun, run_id)


def run(tools: Toolbox, run_id: int) -> None:
    """Make the one call of a demo run. A run whose worker died fails: nobody waits that long."""
    taken = _take(tools, run_id)
    if taken is None:
        return
    request, claim, attempt_id = taken
    with tools.leases.hold(DemoRun, run_id, claim):
        question = demo_question(tools.settings, request)
        try:
            answer = tools.language_model(question.model).ask(question)
        except OutsideError as error:
            _end(tools, run_id, attempt_id, steps.outcome_of(error), _cost_of(error))
            return
        _keep(tools, run_id, attempt_id, question.model, answer)


def _take(tools: Toolbox, run_id: int) -> tuple[str, int, int] | None:
    with tools.database.transaction("demo.claim") as session:
        working = DemoRun.due_at.is_not(None)
        claimed = due.claim(session, DemoRun, run_id, lease=tools.settings.lease, where=working)
        if claimed is None:
            return None
        claim = claimed.number
        if claim > 1:
            moves.move_demo(session, run_id, expect=DemoState.RUNNING, to=DemoState.FAILED)
            return None
        running = moves.move_demo(
            session,
            run_id,
            expect=DemoState.WAITING,
            to=DemoState.RUNNING,
            due_at=func.now() + tools.settings.lease,
        )
        if running is None:
            return None
        attempt = Attempt(
            demo_run_id=run_id,
            step=Step.DEMO,
            claim=claim,
            model=tools.settings.work_model,
            prompt_version=prompts.load("demo").version,
        )
        session.add(attempt)
        session.flush()  # its number is needed to store the answer
        return running.request, claim, attempt.id


def _keep(tools: Toolbox, run_id: int, attempt_id: int, model: str, answer: Answer) -> None:
    tokens = {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens}
    rates = tools.model_rates.rates(model, input_tokens=answer.input_tokens)
    cost = pricing.token_cost(rates, **tokens) if rates else None
    values = {**tokens, "usage": dict(answer.usage), "cost_usd": cost, "stop": answer.stop.value}
    _end(tools, run_id, attempt_id, AttemptOutcome.ANSWERED, values, result=answer.text)


def _cost_of(error: OutsideError) -> dict[str, object]:
    """What may have been billed stays reserved; the rest of an outage costs the budget nothing."""
    cost = Usd(Decimal(0)) if error.billed is Billed.NO else None
    return {"code": error.code, "cost_usd": cost}


def _end(
    tools: Toolbox,
    run_id: int,
    attempt_id: int,
    outcome: AttemptOutcome,
    journal: Mapping[str, object],
    result: str = "",
) -> None:
    shown = result.replace("\x00", "").strip()
    with tools.database.transaction("demo.end") as session:
        session.execute(
            update(Attempt)
            .where(Attempt.id == attempt_id)
            .values({"outcome": outcome, "ended_at": func.now(), **journal})
        )
        moves.move_demo(
            session,
            run_id,
            expect=DemoState.RUNNING,
            to=DemoState.DONE if shown else DemoState.FAILED,
            result=shown or None,
            cost_usd=journal.get("cost_usd"),
        )
