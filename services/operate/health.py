"""Whether this service can do its work: figures for the operator, no balance, no paid call."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import exists, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from config.queues import EVERY, TaskName
from models.btc_price import BtcPrice
from models.catalogue import CatalogueModel
from models.creator import ProviderKey
from models.database import ago, is_young
from models.debt import Debt, DebtState
from models.invoice import Receipt
from models.job import Job
from models.payout import Payout, PayoutState
from models.reconciliation import Verdict
from models.refund_destination import RefundDestination
from models.run import Run, RunState
from models.tick import Tick
from models.violation import Violation
from services import defects
from services.defects import DATABASE_LOST
from services.errors import NotNow
from services.money import btc_price, reconcile, wallet_moves
from services.operate import model_calls
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

TICK_TOO_OLD = timedelta(seconds=15)
"""On top of its interval."""
BACKLOG_TOO_OLD = timedelta(seconds=60)
CATALOGUE_TOO_OLD = timedelta(days=2)
DOUBT_TOO_OLD = timedelta(hours=1)
OVERDUE_TOO_LONG = timedelta(minutes=15)
"""LNbits is asked at the deadline; so long after it, it has not said a word about the invoice."""
FAILURE_IS_NEW = timedelta(hours=24)
PAYOUTS_LOOKED_AT = 500
"""Of those that have ended, the last ones: there may be any number in a day."""
UNMATCHED_IS_NEW = timedelta(hours=24)
"""How long money for no invoice of ours keeps the service degraded, so that a person sees it."""


class Readiness(StrEnum):
    READY = "ready"
    DEGRADED = "degraded"
    UNREADY = "unready"


@dataclass(frozen=True, kw_only=True)
class Health:
    """``parts`` by name: ``ok`` and what is known about it, in wire spelling."""

    status: Readiness
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)


def check(tools: Toolbox, *, schema_revision: str) -> Health:
    """Look at every part. Only an unusable database or schema makes the service unready.

    Another schema is all that is told of it: nothing else could be read there for sure.
    """
    try:
        with tools.database.transaction("health.check") as session:
            parts = {"database": {"ok": True}, "migrations": _migrations(session, schema_revision)}
            if parts["migrations"]["ok"]:
                parts |= _parts(session, tools)
    except (*DATABASE_LOST, DBAPIError) as error:
        if not isinstance(error, DATABASE_LOST):  # it may not be read, say
            defects.log(logger, error)
        return Health(status=Readiness.UNREADY, parts={"database": {"ok": False}})
    if not parts["migrations"]["ok"]:
        return Health(status=Readiness.UNREADY, parts=parts)
    is_well = all(part["ok"] for part in parts.values())
    return Health(status=Readiness.READY if is_well else Readiness.DEGRADED, parts=parts)


def _parts(session: Session, tools: Toolbox) -> dict[str, dict[str, Any]]:
    return {
        "duties": _duties(session),
        "backlog": _backlog(session),
        "models": model_calls.part(session),
        "refunds": _refunds(session),
        "invoices": _invoices(session),
        "receipts": _receipts(session),
        "books": _books(session),
        "price": _price(session, tools),
        "runs": _runs(session),
        "catalogue": _catalogue(session, tools),
        "lightningIncome": _wallet(session, TaskName.CHECK_INCOME),
        "lightningPayouts": _wallet(session, TaskName.CHECK_PAYOUTS),
    }


def _migrations(session: Session, wanted: str) -> dict[str, Any]:
    """None as revision: an empty database."""
    is_empty = session.scalar(text("SELECT to_regclass('alembic_version') IS NULL"))
    there = None if is_empty else session.scalar(text("SELECT version_num FROM alembic_version"))
    return {"ok": there == wanted, "revision": there}


def _duties(session: Session) -> dict[str, Any]:
    """Their age proves beat, broker, worker and database in one."""
    rows = session.execute(select(Tick.name, ago(Tick.ran_at), Tick.last_error)).all()
    ages = {name: age for name, age, _ in rows}
    late = [
        duty.value
        for duty, every in EVERY.items()
        if not is_young(ages.get(duty.value), every + TICK_TOO_OLD)
    ]
    return {
        "ok": not late,
        "late": late,
        "ageSeconds": {name: _seconds(age) for name, age in ages.items()},
        "errors": {name: error for name, _, error in rows if error},
    }


def _wallet(session: Session, duty: TaskName) -> dict[str, Any]:
    """What the money worker last found: the web process has no key to ask with."""
    age, error = session.execute(
        select(ago(Tick.ran_at), Tick.last_error).where(Tick.name == duty.value)
    ).one_or_none() or (None, None)
    return {
        "ok": error is None and is_young(age, EVERY[duty] + TICK_TOO_OLD),
        "error": error,
        "ageSeconds": _seconds(age),
    }


def _backlog(session: Session) -> dict[str, Any]:
    due, oldest = session.execute(
        select(func.count(), ago(func.min(Job.due_at))).where(Job.due_at <= func.now())
    ).one()
    return {
        "ok": oldest is None or oldest < BACKLOG_TOO_OLD,
        "dueJobs": due,
        "oldestSeconds": _seconds(oldest),
    }


def _refunds(session: Session) -> dict[str, Any]:
    """Payouts whose outcome is not known are a person's business after an hour.

    ``errors`` counts by code what each of them was last told, sent or not. ``failed`` is no reason
    to alarm: a caller's invoice may lead nowhere.
    Receivers whom nobody asks although their time has come: no worker serves ``hooks``.
    """
    in_doubt, oldest = session.execute(
        select(func.count(), ago(func.min(Payout.created_at))).where(Payout.due_at.is_not(None))
    ).one()
    errors = session.execute(
        select(Payout.last_code, func.count())
        .where(Payout.due_at.is_not(None), Payout.last_code.is_not(None))
        .group_by(Payout.last_code)
    )
    open_debts = session.scalar(select(func.count()).where(Debt.state == DebtState.OWED))
    neglected = session.scalar(
        select(ago(func.min(RefundDestination.due_at))).where(
            RefundDestination.due_at < func.now() - BACKLOG_TOO_OLD
        )
    )
    return {
        "ok": (oldest is None or oldest < DOUBT_TOO_OLD) and neglected is None,
        "neglectedSeconds": _seconds(neglected),
        "underWay": in_doubt,
        "oldestSeconds": _seconds(oldest),
        "openDebts": open_debts,
        "errors": {code: count for code, count in errors},  # noqa: C416 - a row is no pair
        "failed": _failed_payouts(session),
    }


def _failed_payouts(session: Session) -> dict[str, int]:
    """Jobs that are owed what could not be paid lately, by what the payout was told."""
    ended = (
        select(Payout.job_id, Payout.state, Payout.last_code)
        .where(Payout.settled_at > func.now() - FAILURE_IS_NEW)
        .order_by(Payout.settled_at.desc())
        .limit(PAYOUTS_LOOKED_AT)
        .subquery()
    )
    is_owed = exists().where(Debt.job_id == ended.c.job_id, Debt.state == DebtState.OWED)
    code = func.coalesce(ended.c.last_code, "none")
    failed = session.execute(
        select(code, func.count(ended.c.job_id.distinct()))
        .where(ended.c.state == PayoutState.FAILED, is_owed)
        .group_by(code)
    )
    return {code: count for code, count in failed}  # noqa: C416 - a row is no pair


def _catalogue(session: Session, tools: Toolbox) -> dict[str, Any]:
    """Two days without a whole list are a person's business, once a creator has a key to use."""
    age, models = session.execute(
        select(ago(func.max(CatalogueModel.synced_at)), func.count()).where(
            CatalogueModel.vanished_at.is_(None)
        )
    ).one()
    is_fresh = is_young(age, CATALOGUE_TOO_OLD)
    is_used = tools.vault is not None and session.scalar(select(exists().select_from(ProviderKey)))
    return {"ok": is_fresh or not is_used, "models": models, "ageSeconds": _seconds(age)}


def _runs(session: Session) -> dict[str, Any]:
    """Doubtful ones wait for a person (``make doubtful-runs``); late ones for a worker."""
    doubtful = session.scalar(select(func.count()).where(Run.state == RunState.DOUBTFUL)) or 0
    due, oldest = session.execute(
        select(func.count(), ago(func.min(Run.due_at))).where(Run.due_at <= func.now())
    ).one()
    settling = session.scalar(
        select(ago(func.min(Run.created_at))).where(Run.state == RunState.SETTLING)
    )
    is_prompt = oldest is None or oldest < BACKLOG_TOO_OLD
    is_settled_soon = settling is None or settling < DOUBT_TOO_OLD
    return {
        "ok": not doubtful and is_prompt and is_settled_soon,
        "doubtful": doubtful,
        "dueRuns": due,
        "oldestSeconds": _seconds(oldest),
        "settlingSeconds": _seconds(settling),
    }


def _invoices(session: Session) -> dict[str, Any]:
    """Open past their deadline: LNbits is away, or no longer knows them."""
    overdue, longest = session.execute(
        select(func.count(), ago(func.min(Job.payable_until))).where(Job.payable_until < func.now())
    ).one()
    return {
        "ok": longest is None or longest < OVERDUE_TOO_LONG,
        "overdue": overdue,
        "longestSeconds": _seconds(longest),
    }


def _receipts(session: Session) -> dict[str, Any]:
    """Money for no invoice of ours. How much it is, is in the books and not here."""
    unmatched, newest = session.execute(
        select(func.count(), ago(func.max(Receipt.received_at))).where(wallet_moves.is_nobodys())
    ).one()
    return {
        "ok": newest is None or newest > UNMATCHED_IS_NEW,
        "unmatched": unmatched,
        "newestSeconds": _seconds(newest),
    }


def _books(session: Session) -> dict[str, Any]:
    """Whether books, rules and wallets agree. How much is missing is in the books and not here."""
    last = reconcile.newest(session)
    rules = session.execute(
        select(Violation.rule, func.count())
        .where(Violation.mended_at.is_(None))
        .group_by(Violation.rule)
    )
    broken = {rule: count for rule, count in rules}  # noqa: C416 - a row is no pair
    verdict = last.verdict if last else None
    return {
        "ok": verdict is Verdict.CLEAN and not broken,
        "verdict": verdict.value if verdict else None,
        "payoutsStopped": reconcile.are_payouts_stopped(session),
        "waitingMoves": last.waiting_moves if last else 0,
        "brokenRules": broken,
    }


def _price(session: Session, tools: Toolbox) -> dict[str, Any]:
    age = session.scalar(select(ago(BtcPrice.fetched_at)).order_by(BtcPrice.id.desc()).limit(1))
    try:
        source = btc_price.current(session, tools.settings).source
    except NotNow:
        return {"ok": False, "source": None, "ageSeconds": _seconds(age)}
    is_live = source is btc_price.PriceSource.LIVE
    return {"ok": is_live, "source": source.value, "ageSeconds": _seconds(age)}


def _seconds(age: timedelta | None) -> float | None:
    return None if age is None else round(age.total_seconds(), 1)
