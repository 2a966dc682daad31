"""Looking into rows, and ageing them: time passes by UPDATE, no test waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update

from models.admission import Admission
from models.attempt import Attempt
from models.btc_price import BtcPrice
from models.demo_run import DemoRun
from models.event import JobEventRow
from models.invoice import Invoice, Receipt
from models.job import Job
from models.payout import Payout
from models.refund_destination import RefundDestination
from models.tick import Tick
from services.jobs.intake import JobView
from services.toolbox import Toolbox

HOUR = timedelta(hours=1)
_TIMES: dict[Any, list[str]] = {
    Job: ["created_at", "moved_at", "due_at", "payable_until", "give_up_at"],
    Invoice: ["created_at", "expires_at", "check_at"],
    Payout: [
        "created_at",
        "due_at",
        "settled_at",
        "last_post_at",
        "first_failed_at",
        "first_missing_at",
        "invoice_expires_at",
    ],
    Attempt: ["started_at", "ended_at"],
    Tick: ["due_at", "ran_at"],
    DemoRun: ["created_at", "due_at"],
    Receipt: ["received_at"],
    Admission: ["created_at"],
    BtcPrice: ["fetched_at"],
    RefundDestination: ["created_at", "due_at", "trying_since", "last_tried_at"],
}


def let_pass(tools: Toolbox, model: Any, by: timedelta) -> None:
    """Let every row of a table be older than it is, all its times with it."""
    older = {name: getattr(model, name) - by for name in _TIMES[model]}
    with tools.database.transaction("test.let_pass") as session:
        session.execute(update(model).values(older))


def change(tools: Toolbox, model: Any, **values: Any) -> None:
    """Write into every row of a table."""
    with tools.database.transaction("test.change") as session:
        session.execute(update(model).values(values))


def all_of(tools: Toolbox, model: Any) -> list[Any]:
    """Every row of a table, oldest first."""
    with tools.database.transaction("test.all_of") as session:
        return list(session.scalars(select(model).order_by(*model.__table__.primary_key)))


def only(tools: Toolbox, model: Any) -> Any:
    """The one row of a table."""
    (row,) = all_of(tools, model)
    return row


def due_in(tools: Toolbox, model: Any) -> timedelta:
    """How long until the one row of a table is due, by the database's clock."""
    with tools.database.transaction("test.due_in") as session:
        left: timedelta = session.scalars(select(model.due_at - func.now())).one()
        return left


def now(tools: Toolbox) -> datetime:
    """The database's clock."""
    with tools.database.transaction("test.now") as session:
        moment: datetime = session.execute(select(func.now())).scalar_one()
        return moment


@dataclass
class Rest:
    """How long the one row of a table is put off by what is done meanwhile.

    The truth lies between both, however long the machine stood still before we looked.
    """

    at_least: timedelta = timedelta.min
    at_most: timedelta = timedelta.max


@contextmanager
def measured_rest(tools: Toolbox, model: Any) -> Iterator[Rest]:
    """Known when the body is done."""
    rest, before = Rest(), now(tools)
    yield rest
    due_at: datetime = only(tools, model).due_at
    rest.at_least, rest.at_most = due_at - now(tools), due_at - before


def outcomes(tools: Toolbox, view: JobView) -> list[str | None]:
    """How the model calls of a job ended, in order; None = not, so far."""
    with tools.database.transaction("test.outcomes") as session:
        attempts = session.scalars(
            select(Attempt).where(Attempt.job_id == view.job.id).order_by(Attempt.id)
        )
        return [attempt.outcome and attempt.outcome.value for attempt in attempts]


def history(tools: Toolbox, view: JobView) -> list[str]:
    """The events of a job, in order."""
    with tools.database.transaction("test.history") as session:
        rows = session.scalars(
            select(JobEventRow).where(JobEventRow.job_id == view.job.id).order_by(JobEventRow.id)
        )
        return [row.event.value for row in rows]
