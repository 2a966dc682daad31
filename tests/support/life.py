"""Bringing a job to where a test begins, by the roads that callers and workers take."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update

from local.stand_in.testing import StandInClient
from models.debt import Debt
from models.invoice import Invoice, InvoiceKind
from models.job import Job
from models.ledger import Account, LedgerEntry
from models.lifecycle import JobState
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import payments
from services.toolbox import Toolbox
from tests.support.canary import WHISPERED
from tests.support.doorbell import RecordingDoorbell

REQUEST = f"Write a haiku {WHISPERED}."


@dataclass(frozen=True)
class Life:
    """One deployment without processes: the test is caller, payer, beat and worker."""

    tools: Toolbox
    doorbell: RecordingDoorbell
    stand_in: StandInClient

    def create(self, request: str = REQUEST) -> JobView:
        return intake.create(self.tools, request, client_key="192.0.2.1")

    def view(self, job: Job | JobView) -> JobView:
        """Read a job anew."""
        public_id: UUID = job.public_id if isinstance(job, Job) else job.job.public_id
        return intake.find(self.tools, public_id)

    def pay(self, view: JobView, kind: InvoiceKind, *, amount_msats: int | None = None) -> None:
        """Pay an invoice on Lightning. Nobody has noticed yet: see ``poll``."""
        assert self.stand_in.pay(view.invoices[kind].payment_hash, amount_msats=amount_msats)

    def poll(self) -> int:
        """What beat does every two seconds."""
        return payments.poll(self.tools)

    def work(self) -> int:
        """Let workers do all that was rung for."""
        return self.doorbell.answer_all(self.tools)

    def evaluating(self, request: str = REQUEST) -> JobView:
        """A job whose evaluation is paid and not begun."""
        view = self.create(request)
        self.pay(view, InvoiceKind.EVAL)
        self.poll()
        return self.view(view)

    def awaiting_work_payment(self, request: str = REQUEST) -> JobView:
        view = self.evaluating(request)
        self.work()
        return self.view(view)

    def executing(self, request: str = REQUEST) -> JobView:
        """A job whose work is paid and not begun."""
        view = self.awaiting_work_payment(request)
        self.pay(view, InvoiceKind.WORK)
        self.poll()
        return self.view(view)

    def complete(self, request: str = REQUEST) -> JobView:
        view = self.executing(request)
        self.work()
        return self.view(view)

    def state(self, view: JobView) -> JobState:
        return self.view(view).job.state

    def make_due(self) -> None:
        """Let the time of everything that was put off come now, and ring for it."""
        from models.demo_run import DemoRun
        from models.payout import Payout
        from models.refund_destination import RefundDestination
        from models.run import Run
        from services.operate import dispatch

        with self.tools.database.transaction("test.make_due") as session:
            for model in (Job, Payout, DemoRun, RefundDestination, Run):
                session.execute(
                    update(model)
                    .where(model.due_at.is_not(None))
                    .values(due_at=func.now() - timedelta(seconds=1))
                )
        dispatch.ring_for_due_rows(self.tools)

    def age_invoices(self, view: JobView, by: timedelta) -> None:
        """Let an unpaid job and its invoices be older than they are."""
        with self.tools.database.transaction("test.age") as session:
            session.execute(
                update(Job)
                .where(Job.id == view.job.id, Job.payable_until.is_not(None))
                .values(payable_until=Job.payable_until - by)
            )
            session.execute(
                update(Invoice)
                .where(Invoice.job_id == view.job.id)
                .values(
                    expires_at=Invoice.expires_at - by,
                    created_at=Invoice.created_at - by,
                    check_at=Invoice.check_at - by,
                )
            )

    def debts(self, view: JobView) -> list[tuple[str, int, str]]:
        """(cause, sats, state) of everything owed on a job."""
        with self.tools.database.transaction("test.debts") as session:
            rows = session.scalars(select(Debt).where(Debt.job_id == view.job.id).order_by(Debt.id))
            return [(debt.cause.value, debt.amount_sats, debt.state.value) for debt in rows]

    def balances(self) -> dict[Account, int]:
        """Credit balance of every account in msats; the wallet's is what it holds."""
        with self.tools.database.transaction("test.balances") as session:
            entries = session.execute(
                select(LedgerEntry.debit, LedgerEntry.credit, LedgerEntry.amount_msats)
            ).all()
        balances = dict.fromkeys(Account, 0)
        for debit, credit, amount in entries:
            balances[debit] -= amount
            balances[credit] += amount
        debit_accounts = (Account.WALLET, Account.ROUTING_FEES, Account.ROUNDING)
        for account in debit_accounts:
            balances[account] = -balances[account]
        return balances
