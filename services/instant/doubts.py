"""Runs of which nobody could be asked whether, or for whose sale, money moved.

An operator looks, and says what happened.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from models import run_moves
from models.resource import Resource
from models.run import BOOKED_BY_HAND, CallKind, Run, RunState
from models.run_lifecycle import RunEvent
from services.errors import NotBooked
from services.instant import journal, settlement
from services.instant.failures import RunFailure
from services.toolbox import Toolbox

_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What an operator needs in order to look the payment up."""

    run_id: int
    slug: str
    network: str
    payer: str
    pay_to: str
    nonce: str
    price_usd_micros: int
    lapsed_at: datetime
    asked_at: datetime | None
    """When we first asked to have it settled: what moved before that moved for somebody else."""
    last_answer: str
    transaction: str | None
    """The last one that was named, by the facilitator or by the chain."""


def waiting(tools: Toolbox) -> list[Doubt]:
    """Every doubtful run, the oldest first."""
    with tools.database.reading("runs.doubts") as session:
        rows = session.execute(
            select(Run, Resource.slug, journal.first_begun(CallKind.SETTLE))
            .join(Resource, Resource.id == Run.resource_id)
            .where(Run.state == RunState.DOUBTFUL)
            .order_by(Run.id)
        ).all()
    return [_doubt(run, slug, asked_at) for run, slug, asked_at in rows]


def _doubt(run: Run, slug: str, asked_at: datetime | None) -> Doubt:
    assert run.network is not None
    assert run.payer is not None
    assert run.nonce is not None
    assert run.valid_before is not None
    return Doubt(
        run_id=run.id,
        slug=slug,
        network=run.network,
        payer=run.payer,
        pay_to=str((run.requirement or {}).get("payTo")),
        nonce=run.nonce,
        price_usd_micros=run.price_usd_micros,
        lapsed_at=run.valid_before,
        asked_at=asked_at,
        last_answer=str((run.settlement or {}).get("errorReason", "none")),
        transaction=settlement.last_told(run),
    )


def book_settled(tools: Toolbox, run_id: int, transaction: str) -> None:
    """The money arrived with this transaction: the result is the caller's. Raises NotBooked.

    Also where no request to settle is on record: a restored database may have forgotten it.
    """
    if _TRANSACTION.fullmatch(transaction) is None:
        raise NotBooked("A transaction is 0x and 64 hex digits.")
    with tools.database.transaction("runs.booked_settled") as session:
        run = session.get(Run, run_id)
        said = settlement.said(run, None, transaction.lower()) if run else {}
        said |= {BOOKED_BY_HAND: True}
        moved = run and run_moves.advance(
            session,
            run_id,
            expect=RunState.DOUBTFUL,
            on=RunEvent.SETTLED,
            **settlement.paid(tools, run, transaction.lower(), said),
        )
    _require(moved, run_id)


def book_not_settled(tools: Toolbox, run_id: int) -> None:
    """No money arrived for this sale, and none can any more: the run failed, uncharged.

    Raises NotBooked.
    """
    with tools.database.transaction("runs.booked_not_settled") as session:
        run = session.get(Run, run_id)
        moved = run and run_moves.advance(
            session,
            run_id,
            expect=RunState.DOUBTFUL,
            on=RunEvent.NOT_SETTLED,
            error_code=settlement.why_not_settled(session, run),
            settlement=settlement.said(run, RunFailure.SETTLEMENT_FAILED),
        )
    _require(moved, run_id)


def _require(moved: Run | None, run_id: int) -> None:
    if moved is None:
        raise NotBooked(f"Run {run_id} is not doubtful.")
