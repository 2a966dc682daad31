"""Jobs in every state, for requests to meet; what a request has changed is replaced."""

from collections.abc import Callable

from config.queues import TaskName
from local.stand_in.faults import Fault, FaultKind
from models.creator import Provider
from models.resource import ResourceType
from services.errors import Unauthorized
from services.instant import creators, keys
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import refunds
from services.toolbox import Toolbox
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.owing import claimed, owing
from tests.support.publishing import Publisher, publisher


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
    return intake.create(life.tools, "A poem.", client_key="192.0.2.1", metadata={"order": "7 ½"})


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
    """One job of each kind and a shop, there as soon as somebody asks for it."""

    def __init__(self, life: Life, tools: Toolbox) -> None:
        self.stand_in = life.stand_in
        self._tools = tools
        self._publisher: Publisher | None = None
        self._life = life
        self._jobs: dict[str, JobView] = {}

    def job(self, kind: str) -> JobView:
        if kind not in self._jobs:
            self._jobs[kind] = ROADS[kind](self._life)
            self._life.doorbell.rung.clear()  # or whoever is answered next would take it along
        return self._jobs[kind]

    def gone(self, kind: str) -> None:
        """A request has changed this job: another will come in its place."""
        del self._jobs[kind]

    def invoice_for(self, kind: str) -> str:
        """What a caller would claim with: a BOLT11 for exactly what is owed, or for a sat."""
        debts = self._life.view(self.job(kind)).debts
        return self._life.stand_in.payer_invoice(refunds.owed(debts) or 1)

    def publisher(self) -> Publisher:
        """A creator with a resource of every type, and keys of every provider.

        Made anew when its API key was exchanged.
        """
        if self._publisher is None or not _lets_in(self._publisher):
            number = 0 if self._publisher is None else self._publisher.creator.id
            self._publisher = publisher(self._tools, f"smith-{number}")
            for provider in Provider:
                keys.put(
                    self._tools, self._publisher.creator.id, provider, "sk-or-v1-of-the-village"
                )
            for of in ResourceType:
                self._publisher.publish(of.value.replace("_", "-"), of)
        return self._publisher

    def slug(self, dice: int) -> str:
        """One of what is published."""
        names = sorted(of.value.replace("_", "-") for of in ResourceType)
        return names[dice // 3 % len(names)]


def _lets_in(who: Publisher) -> bool:
    try:
        creators.authenticate(who.tools, who.api_key)
    except Unauthorized:
        return False
    return True
