"""Jobs in every state, for requests to meet; who leaves is replaced."""

from collections.abc import Callable

from config.queues import TaskName
from local.stand_in.faults import Fault, FaultKind
from models.invoice import InvoiceKind
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import refunds
from services.toolbox import Toolbox
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.owing import claimed, owing


class Workers(RecordingDoorbell):
    """Answer within the ring when they are ``prompt``; else nobody comes."""

    tools: Toolbox
    are_prompt = False

    def ring(self, task: TaskName, row_id: int | None = None) -> None:
        super().ring(task, row_id)
        if self.are_prompt:
            self.answer_all(self.tools)


def _rejected(life: Life) -> JobView:
    view = life.evaluating("Please REJECT this.")
    life.work()
    return life.view(view)


def _failed(life: Life) -> JobView:
    view = life.executing()
    life.stand_in.arm(Fault(target="anthropic", kind=FaultKind.REFUSAL))
    life.work()
    return life.view(view)


def _cut_short(life: Life) -> JobView:
    view = life.executing()
    life.stand_in.arm(Fault(target="anthropic", kind=FaultKind.MAX_TOKENS))
    life.work()
    return life.view(view)


def _cancelled(life: Life) -> JobView:
    return intake.cancel(life.tools, life.create().job.public_id)


def _refunded(life: Life) -> JobView:
    view = claimed(life)
    life.work()
    return life.view(view)


def _labelled(life: Life) -> JobView:
    return intake.create(
        life.tools, "A poem.", client_key="192.0.2.1", metadata={"order": "7 ½"}
    )


ROADS: dict[str, Callable[[Life], JobView]] = {
    "awaiting_eval_payment": Life.create,
    "labelled": _labelled,
    "evaluating": Life.evaluating,
    "rejected": _rejected,
    "awaiting_work_payment": Life.awaiting_work_payment,
    "executing": Life.executing,
    "complete": Life.complete,
    "cut short": _cut_short,
    "failed": _failed,
    "cancelled": _cancelled,
    "paid after the end": owing,
    "being refunded": claimed,
    "refunded": _refunded,
}


class Village:
    """One job of each kind. Requests change them: ``renew`` puts another in the place of one."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.jobs = {kind: self._arrive(road) for kind, road in ROADS.items()}

    def _arrive(self, road: Callable[[Life], JobView]) -> JobView:
        view = road(self._life)
        self._life.doorbell.rung.clear()  # or the next who is answered would take this one along
        return view

    def renew(self, kind: str) -> None:
        self.jobs[kind] = self._arrive(ROADS[kind])

    def invoice_for(self, kind: str) -> str:
        """What a caller would claim with: a BOLT11 for exactly what is owed, or for a sat."""
        debts = self._life.view(self.jobs[kind]).debts
        return self._life.stand_in.payer_invoice(refunds.owed(debts) or 1)
