"""What is looked at: how a life ended, which rows a zombie touched, and whether the books agree."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from local.stand_in.testing import StandInClient
from models.database import Base, Database
from models.debt import Debt
from models.demo_run import DemoRun
from models.invoice import Receipt
from models.job import Job
from models.lifecycle import AWAITING, WORKING
from models.payout import Payout
from models.run import UNSETTLED_RUNS, Run, RunState
from models.wallet_move import WalletMove
from services.toolbox import Toolbox
from tests.matrix.stage import Memory
from tests.support.books import assert_balanced

JOURNAL = frozenset({"attempts", "btc_prices", "reconciliations", "run_calls"})
"""What a zombie may add to: it says what was done or seen. One comparison alone stops nothing."""
UNDECIDED = {"invoices": {"check_at", "checks"}, "admissions": {"ended_at"}}
"""When the safety net asks next, and that a creation is over: harmless, whoever writes it."""

Situation = tuple[Any, ...]
Rows = dict[str, dict[Any, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What must be the same, whatever went wrong on the way."""

    job: tuple[Any, ...] | None
    debts: tuple[tuple[str, int, str], ...]
    paid_out: int
    """Millisatoshis that left the wallet."""
    demos: tuple[str, ...]
    runs: tuple[tuple[Any, ...], ...]
    moved: tuple[int, ...]
    """Micro-dollars, by transfer."""
    wallet_moves: tuple[tuple[str, str, int], ...]
    """What nothing of ours explained: kind, what became of it, millisatoshis."""


def situation(database: Database) -> Situation:
    """Where everything stands, as far as it makes one action different from another."""
    shown = (
        select(Job.state).order_by(Job.id),
        select(Debt.state).order_by(Debt.id),
        select(Payout.state).order_by(Payout.id),
        select(DemoRun.state).order_by(DemoRun.id),
        select(func.count()).select_from(Receipt),
        select(Run.state).order_by(Run.id),
    )
    with database.transaction("test.situation") as session:
        return tuple(tuple(session.scalars(each)) for each in shown)


def ending(database: Database, world: StandInClient, memory: Memory) -> Ending:
    """How the caller's own job ended, and what was paid to anyone."""
    with database.transaction("test.ending") as session:
        job = session.scalar(select(Job).where(Job.public_id == memory.facts.get("job")))
        debts = select(Debt).where(Debt.job_id == (job.id if job else None)).order_by(Debt.cause)
        demos = select(DemoRun.state).where(DemoRun.id == memory.facts.get("demo"))
        runs = select(Run).where(Run.id == memory.facts.get("run"))
        moves = select(WalletMove).order_by(WalletMove.kind, WalletMove.state)
        return Ending(
            job=_shown(job) if job else None,
            debts=tuple(
                (debt.cause.value, debt.amount_sats, debt.state.value)
                for debt in session.scalars(debts)
            ),
            paid_out=_paid_out(world),
            demos=tuple(state.value for state in session.scalars(demos)),
            runs=tuple(
                (run.state.value, run.error_code, run.paid_usd_micros, run.result is not None)
                for run in session.scalars(runs)
            ),
            moved=tuple(effect.details["amountMicros"] for effect in world.effects("tokens_moved")),
            wallet_moves=tuple(
                (move.kind.value, move.state.value, move.amount_msats)
                for move in session.scalars(moves)
            ),
        )


def _shown(job: Job) -> tuple[Any, ...]:
    return job.state, job.expired_reason, job.error_code, job.actual_amount_sats


def _paid_out(world: StandInClient) -> int:
    return sum(
        effect.details["amountMsat"]
        for effect in world.effects("payment_out")
        if effect.details["wallet"] == "service"
    )


def assert_sound(tools: Toolbox, world: StandInClient) -> None:
    """The books agree with the tables and the world, and no job waits for anything."""
    assert_balanced(tools, world)
    with tools.database.transaction("test.open") as session:
        is_open = Job.state.in_(AWAITING | WORKING)
        assert session.scalars(select(Job.id).where(is_open)).all() == [], "no state is stuck"
        runs = list(session.scalars(select(Run)))
    assert_sales(runs, world)


def assert_sales(runs: list[Run], world: StandInClient) -> None:
    """Every transfer is one sale, every sale one transfer, and no run waits for anything."""
    assert [run.id for run in runs if run.state in UNSETTLED_RUNS] == [], "no run is stuck"
    sold = [run for run in runs if run.state is RunState.SUCCEEDED and not run.is_owner_test]
    moved = [
        (effect.details["nonce"], effect.details["transaction"], effect.details["amountMicros"])
        for effect in world.effects("tokens_moved")
    ]
    assert sorted((run.nonce, run.transaction, run.paid_usd_micros) for run in sold) == sorted(
        moved
    )
    assert all(run.result is not None for run in sold), "what was sold is there"


def anything_awaited(database: Database) -> bool:
    """Whether some job waits for a payment."""
    with database.transaction("test.awaited") as session:
        return session.scalars(select(Job.id).where(Job.state.in_(AWAITING))).first() is not None


def billed_calls(world: StandInClient) -> int:
    """Model calls that were answered, used or not."""
    ended = world.effects("model_call_end")
    return sum(effect.details["outputTokens"] > 0 for effect in ended)


def snapshot(database: Database) -> Rows:
    """Every row of every table that decides something."""
    with database.transaction("test.snapshot") as session:
        return {
            table.name: {
                tuple(row[column.name] for column in table.primary_key): dict(row)
                for row in session.execute(table.select()).mappings()
            }
            for table in Base.metadata.sorted_tables
            if table.name not in JOURNAL
        }


def changes(before: Rows, after: Rows, *, may_add: bool) -> list[str]:
    """What became of the rows in between. ``may_add``: new ones are fine."""
    found: list[str] = []
    for name, rows in after.items():
        for key, row in rows.items():
            earlier = before[name].get(key)
            if earlier is not None:
                found += _differences(name, earlier, row)
            elif not may_add:
                found.append(f"{name} {key} is new")
    return found


def _differences(table: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    undecided = UNDECIDED.get(table, set())
    return [
        f"{table}.{name}: {before[name]} -> {value}"
        for name, value in after.items()
        if name not in undecided and before[name] != value
    ]
