"""One process of the deployment, in the hands of a life: it acts, and time passes by UPDATE."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import simplejson
from sqlalchemy import Update, func, literal, or_, select, union_all, update

from config.queues import TaskName
from local.stand_in.testing import StandInClient
from models.creator import ProviderKey
from models.database import Base
from models.invoice import Invoice
from models.job import Job
from models.payout import Payout
from models.run import Run
from models.tables import metadata
from models.tick import Tick
from services.instant import intake as runs
from services.jobs import intake
from services.jobs.intake import JobView
from services.operate import ticks
from services.toolbox import Toolbox
from tasks import base
from tests.matrix.failpoints import Failpoints
from tests.support.doorbell import ANSWERS, RecordingDoorbell

ROUNDS_MAX = 12
LONG_AGO = timedelta(hours=2)
EVIDENCE = timedelta(seconds=61)
"""As much older the evidence about payouts is in every round of tending."""


class Stuck(AssertionError):
    """Something is due for ever, or will never be due."""


@dataclass
class Memory:
    """What caller and payer know, and how far the life has come. It outlives the process."""

    path: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    def __contains__(self, name: str) -> bool:
        return name in self.facts

    def __setitem__(self, name: str, value: Any) -> None:
        self.facts[name] = value
        if self.path is not None:
            self.path.write_text(simplejson.dumps(self.facts))

    @classmethod
    def left_in(cls, path: Path) -> "Memory":
        """What a dead process's caller knew."""
        return cls(path, simplejson.loads(path.read_text()) if path.exists() else {})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A process: its tools, its doorbell, the world, and what the caller remembers."""

    tools: Toolbox
    """Watched. Whatever is done with them outside ``action`` passes no point."""
    failpoints: Failpoints
    doorbell: RecordingDoorbell
    world: StandInClient
    memory: Memory

    def action(self, task: str) -> AbstractContextManager[int]:
        return self.failpoints.action(task)

    def view(self) -> JobView:
        """The caller's job, as a GET shows it. The same read is also an action of some lives."""
        return intake.find(self.tools, UUID(self.memory["job"]))

    def run(self) -> Run:
        """The caller's run of an instant resource."""
        return runs.look(self.tools, self.memory["run"])

    def duty(self, name: TaskName) -> None:
        """What beat and a worker do for a duty whose time has come."""
        with self.tools.database.transaction("test.due") as session:
            session.execute(_due_now(Tick, Tick.name == name.value))
        with self.action(name.value):
            ticks.run(self.tools, name)

    def work(self) -> None:
        """Let workers answer everything that was rung for, one action each."""
        while self.doorbell.rung:
            task, row_id = self.doorbell.rung.popleft()
            base.install(self.tools)
            with self.action(task.value):
                ANSWERS[task](row_id)

    def later(self) -> None:
        """Time passes: what was put off is due, what rang is answered."""
        self.pass_time()
        self.duty(TaskName.DISPATCH)
        self.work()

    def tend(self) -> None:
        """Go on until nothing is due: leases run out, and everybody works. Raises Stuck."""
        for _ in range(ROUNDS_MAX):
            if not self.anything_due():
                return
            self.later()
        raise Stuck(f"still due after {ROUNDS_MAX} rounds: {self.anything_due()}")

    def pass_time(self) -> None:
        """Let every row that waits for its time be due, and the evidence on payouts be older."""
        evidence = ("last_post_at", "first_failed_at", "first_missing_at")
        older = {name: getattr(Payout, name) - EVIDENCE for name in evidence}
        with self.tools.database.transaction("test.pass_time") as session:
            session.execute(update(Payout).values(older))
            for model in WORKED_ON:
                session.execute(_due_now(model))

    def anything_due(self) -> list[str]:
        """Rows that want a worker, now or some day."""
        each = [
            select(literal(model.__tablename__), model.id).where(model.due_at.is_not(None))
            for model in WORKED_ON
        ]
        with self.tools.database.transaction("test.anything_due") as session:
            return [f"{table} {row_id}" for table, row_id in session.execute(union_all(*each))]

    def lapse_payments(self) -> None:
        """Let every payment for a run have been good for a while, and be so no longer."""
        with self.tools.database.transaction("test.lapse") as session:
            session.execute(
                update(Run)
                .where(Run.valid_before > func.now())
                .values(valid_before=Run.valid_before - LONG_AGO)
            )

    def age_invoices(self, by: timedelta, *, all_jobs: bool = False) -> None:
        """Let open invoices be older than they are, and be asked about now."""
        ours = or_(literal(all_jobs), Job.public_id == self.memory.facts.get("job"))
        jobs = select(Job.id).where(ours)
        with self.tools.database.transaction("test.age") as session:
            session.execute(
                update(Invoice)
                .where(Invoice.job_id.in_(jobs))
                .values(
                    expires_at=Invoice.expires_at - by,
                    created_at=Invoice.created_at - by,
                    check_at=func.now() - timedelta(seconds=1),
                )
            )
            session.execute(
                update(Job)
                .where(Job.id.in_(jobs), Job.payable_until.is_not(None))
                .values(payable_until=Job.payable_until - by)
            )


assert metadata is Base.metadata  # every table is known by now
WORKED_ON: tuple[Any, ...] = tuple(
    mapper.class_
    for mapper in sorted(Base.registry.mappers, key=lambda mapper: mapper.class_.__tablename__)
    if {"id", "due_at"} <= set(mapper.columns.keys()) and mapper.class_ is not ProviderKey
)
"""Every table whose rows want workers. Duties are none, nor keys: they come round for ever."""


def _due_now(model: Any, *where: Any) -> Update:
    return (
        update(model)
        .where(model.due_at.is_not(None), *where)
        .values(due_at=func.now() - timedelta(seconds=1))
    )


Act = Callable[[Stage], None]
