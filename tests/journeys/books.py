"""The running product's own books, read from its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import case, func, select, update

from config.queues import EVERY, TaskName
from config.settings import Settings
from models.attempt import Attempt, AttemptOutcome, Step
from models.invoice import Receipt
from models.job import Job
from models.ledger import Account, LedgerEntry
from models.lifecycle import JobState
from models.tick import Tick
from services import toolbox
from services.toolbox import Role, Toolbox
from tests.journeys.product import Product


@dataclass(frozen=True, kw_only=True)
class Runs:
    """How a duty fares."""

    turns: int
    """Two for each: one when it is begun, one when it is over."""
    is_resting: bool
    """Its last run went well and is over."""


@dataclass(frozen=True)
class Books:
    """Every method is one transaction, so what it tells was so at one moment."""

    tools: Toolbox

    def attempts(self, job_id: str) -> list[tuple[Step, AttemptOutcome | None]]:
        """The journal of model calls for a job, in order."""
        with self.tools.database.transaction("journeys.attempts") as session:
            rows = session.execute(
                select(Attempt.step, Attempt.outcome)
                .join(Job, Job.id == Attempt.job_id)
                .where(Job.public_id == job_id)
                .order_by(Attempt.id)
            )
            return [(row.step, row.outcome) for row in rows]

    def jobs_in(self, state: JobState) -> int:
        with self.tools.database.transaction("journeys.jobs_in") as session:
            jobs = select(func.count()).select_from(Job).where(Job.state == state)
            return session.scalar(jobs) or 0

    def receipts(self) -> int:
        with self.tools.database.transaction("journeys.receipts") as session:
            return session.scalar(select(func.count()).select_from(Receipt)) or 0

    def wallet_msats(self) -> int:
        """What we think that Lightning holds for us."""
        is_ours = (LedgerEntry.debit == Account.WALLET) | (LedgerEntry.credit == Account.WALLET)
        sign = case((LedgerEntry.debit == Account.WALLET, 1), else_=-1)
        held = select(func.sum(sign * LedgerEntry.amount_msats)).where(is_ours)
        with self.tools.database.transaction("journeys.wallet") as session:
            return int(session.scalar(held) or 0)

    def runs(self, duty: TaskName) -> Runs:
        with self.tools.database.transaction("journeys.runs") as session:
            tick = session.get_one(Tick, duty.value)
        # Whoever claims a duty moves its time further away than it ever is between two runs.
        is_resting = tick.ran_at is not None and tick.due_at <= tick.ran_at + EVERY[duty]
        return Runs(turns=tick.claim, is_resting=is_resting and tick.last_error is None)

    def make_due(self, duty: TaskName) -> None:
        """Let the time of a duty come now."""
        with self.tools.database.transaction("journeys.make_due") as session:
            session.execute(update(Tick).where(Tick.name == duty.value).values(due_at=func.now()))


@contextmanager
def books_of(product: Product) -> Iterator[Books]:
    """For as long as it runs: its database has another address each time."""
    tools = toolbox.build(Settings.load(product.environ("web")), Role.WEB)
    try:
        yield Books(tools)
    finally:
        tools.database.close()
