"""Whole lives of jobs, act by act. An act that was cut short is simply done again."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from config.queues import EVERY, TaskName
from local.stand_in.faults import FaultKind
from models.debt import DebtState
from models.invoice import InvoiceKind
from models.job import ExpiredReason
from models.lifecycle import AWAITING, JobState
from models.money import Sats, msats
from models.payout import PayoutState
from models.run import RunState
from services.errors import Conflict
from services.jobs import demo, intake
from services.jobs.demo import Client
from services.money import refunds
from tests.matrix import operators, purchases
from tests.matrix.acts import arm, disarm, later, tend, work
from tests.matrix.stage import Act, Stage
from tests.support.life import REQUEST

CLIENT = Client(key="192.0.2.7", network="192.0.2.7")
WITHIN_GRACE = timedelta(seconds=3600 + 300)
TOO_LATE = timedelta(seconds=3600 + 1200)
OVERPAID = msats(Sats(3))


@dataclass(frozen=True, kw_only=True)
class Life:
    name: str
    request: str = REQUEST
    has_receiver: bool = False
    """Whether what is owed goes back by itself."""
    acts: tuple[Act, ...]
    ends: JobState | None
    """Where the caller's job is when the last act is over; None = there is no job."""
    run_ends: RunState | None = None
    """The same of the run of an instant resource."""

    def facts(self, world_url: str) -> dict[str, str]:
        """What its caller knows from the start, beside what to ask for."""
        host = world_url.removeprefix("http://")
        return {"receiver": f"caller@{host}"} if self.has_receiver else {}


def create(stage: Stage) -> None:
    """Ask for a job; a caller who got no answer asks again."""
    if "job" in stage.memory:
        return
    with stage.action("create"):
        view = intake.create(
            stage.tools,
            stage.memory["request"],
            client_key=CLIENT.key,
            refund_to=stage.memory.facts.get("receiver"),
        )
        stage.memory["job"] = str(view.job.public_id)


def look(stage: Stage) -> None:
    with stage.action("look"):
        stage.view()


def _pay(stage: Stage, kind: InvoiceKind, more: int = 0) -> None:
    invoice = stage.view().invoices[kind]
    amount = msats(Sats(invoice.amount_sats)) + more if more else None
    assert stage.world.pay(invoice.payment_hash, amount_msats=amount)


def pay_evaluation(stage: Stage) -> None:
    _pay(stage, InvoiceKind.EVAL)


def overpay_evaluation(stage: Stage) -> None:
    _pay(stage, InvoiceKind.EVAL, OVERPAID)


def pay_work(stage: Stage) -> None:
    _pay(stage, InvoiceKind.WORK)


def poll(stage: Stage) -> None:
    stage.duty(TaskName.POLL_PAYMENTS)


def sweep(stage: Stage) -> None:
    stage.duty(TaskName.SWEEP_INVOICES)


def lapse(stage: Stage) -> None:
    """The deadline passes, and not the grace after it."""
    if stage.view().job.state in AWAITING:
        stage.age_invoices(WITHIN_GRACE)


def outlive_grace(stage: Stage) -> None:
    stage.age_invoices(TOO_LATE)


def cancel(stage: Stage) -> None:
    """Give the job up; a caller who got no answer asks again, and hears that it is cancelled."""
    with stage.action("cancel"):
        try:
            intake.cancel(stage.tools, UUID(stage.memory["job"]))
        except Conflict:
            assert stage.view().job.expired_reason is ExpiredReason.CANCELLED


def ask_for_invoice(stage: Stage) -> None:
    """The payer makes an invoice for all that is owed."""
    amount = refunds.owed(stage.view().debts)
    assert amount > 0, "something is owed"
    stage.memory["invoice"] = stage.world.payer_invoice(amount)


def claim(stage: Stage) -> None:
    """Claim; a caller who got no answer claims again, with the same invoice."""
    job = stage.view().job
    with stage.action("claim"):
        told = refunds.claim(stage.tools, job, stage.memory["invoice"])
        stage.memory["payout"] = told.payout_id


def claim_otherwise(stage: Stage) -> None:
    """Claim with another invoice, while the outcome of the first is not known: refused."""
    job = stage.view().job
    another = stage.world.payer_invoice(refunds.owed(stage.view().debts))
    with stage.action("claim otherwise"):
        try:
            refunds.claim(stage.tools, job, another)
        except Conflict:
            return
    raise AssertionError("a second invoice was taken while the first may be paid")


def claim_anew(stage: Stage) -> None:
    """Claim with another invoice than before; refused while what was claimed before may be paid."""
    view = stage.view()
    amount = refunds.owed(view.debts)
    if amount == 0:
        return
    invoice = stage.world.payer_invoice(amount)
    with stage.action("claim anew"), suppress(Conflict):  # whether rightly, the ending tells
        refunds.claim(stage.tools, view.job, invoice)


def look_at_refund(stage: Stage) -> None:
    with stage.action("look at refund"):
        refunds.look(stage.tools, stage.memory["payout"])


def refunded(stage: Stage) -> None:
    """The refund is paid, maybe only after more patience."""
    if refunds.look(stage.tools, stage.memory["payout"]).state is PayoutState.SENDING:
        stage.tend()
    assert refunds.look(stage.tools, stage.memory["payout"]).state is PayoutState.PAID


def not_refunded(stage: Stage) -> None:
    """Refused, which is a proved failure unless the answer was lost: then it stays in doubt."""
    assert refunds.look(stage.tools, stage.memory["payout"]).state is not PayoutState.PAID


def try_demo(stage: Stage) -> None:
    with stage.action("demo"):
        run_id, _ = demo.admit(stage.tools, stage.memory["request"], CLIENT)
        stage.memory["demo"] = run_id


def look_at_demo(stage: Stage) -> None:
    with stage.action("look at demo"):
        demo.look(stage.tools, stage.memory["demo"])


def abandon_demo(stage: Stage) -> None:
    """Nobody had begun in time."""
    with stage.action("abandon demo"):
        demo.abandon(stage.tools, stage.memory["demo"])


def duty(name: TaskName) -> Act:
    return lambda stage: stage.duty(name)


def beat(stage: Stage) -> None:
    """What the thread does that keeps this process's rows; here it holds none."""
    with stage.action("heartbeat"):
        stage.tools.leases.renew(stage.tools.database)


PAID = (create, pay_evaluation, poll)
QUOTED = (*PAID, work)
REFUNDED = (ask_for_invoice, claim, work, refunded)
CANCELLED_AND_PAID = (create, cancel, pay_evaluation, poll)


def _in_doubt(name: str, kind: FaultKind, **details: object) -> Life:
    """A refund that is paid at the first POST, while LNbits tells and shows something else."""
    return Life(
        name=f"refund in doubt: {name}",
        acts=(
            *CANCELLED_AND_PAID,
            ask_for_invoice,
            claim,
            arm("lnbits.pay", kind, after_effect=True, **details),
            arm("lnbits.read", FaultKind.STATUS, status=404),
            work,
            claim_otherwise,
            disarm,
            later,
            refunded,
        ),
        ends=JobState.EXPIRED,
    )


def returned(stage: Stage) -> None:
    """What was owed has gone back by itself, maybe only after more patience."""
    if any(debt.state is not DebtState.PAID for debt in stage.view().debts):
        stage.tend()
    debts = stage.view().debts
    assert [debt.state for debt in debts] == [DebtState.PAID]


RESTORED = (*CANCELLED_AND_PAID, operators.back_up, *REFUNDED, operators.restore)
SOLD = (*PAID, work, duty(TaskName.RECONCILE))
OWNERS = "REJECT this: what was paid for it is earned."

LIVES = (
    Life(
        name="accepted, completed, refunded",
        acts=(*QUOTED, look, pay_work, poll, work, *REFUNDED, look_at_refund, claim),
        ends=JobState.COMPLETE,
    ),
    Life(
        name="declined",
        request="REJECT this, it is not for you.",
        acts=(*PAID, work),
        ends=JobState.REJECTED,
    ),
    Life(
        name="evaluation unreadable, refunded",
        acts=(
            arm("anthropic", FaultKind.UNREADABLE, structured=True),
            *PAID,
            work,
            later,
            later,
            disarm,
            *REFUNDED,
        ),
        ends=JobState.FAILED,
    ),
    Life(
        name="model refuses the work, refunded",
        request="REFUSE this politely, please.",
        acts=(*QUOTED, pay_work, poll, work, *REFUNDED),
        ends=JobState.FAILED,
    ),
    Life(
        name="model overloaded for a while",
        acts=(
            *QUOTED,
            pay_work,
            poll,
            arm("anthropic", FaultKind.STATUS, status=529),
            work,
            disarm,
            later,
        ),
        ends=JobState.COMPLETE,
    ),
    Life(
        name="no invoice to be had for a while",
        acts=(
            *PAID,
            arm("lnbits.create", FaultKind.STATUS, status=503),
            work,
            disarm,
            later,
        ),
        ends=JobState.AWAITING_WORK_PAYMENT,
    ),
    Life(name="never paid", acts=(create, lapse, sweep), ends=JobState.EXPIRED),
    Life(
        name="found by the sweep",
        acts=(create, pay_evaluation, lapse, sweep, work),
        ends=JobState.AWAITING_WORK_PAYMENT,
    ),
    Life(
        name="paid after it expired, within grace",
        acts=(create, lapse, sweep, pay_evaluation, poll, work),
        ends=JobState.AWAITING_WORK_PAYMENT,
    ),
    Life(
        name="paid too late, refunded",
        acts=(create, lapse, sweep, outlive_grace, pay_evaluation, poll, *REFUNDED),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="overpaid, refunded",
        request="REJECT this, and return what is too much.",
        acts=(create, overpay_evaluation, poll, work, *REFUNDED),
        ends=JobState.REJECTED,
    ),
    Life(
        name="cancelled, then paid, refunded",
        acts=(*CANCELLED_AND_PAID, *REFUNDED),
        ends=JobState.EXPIRED,
    ),
    _in_doubt("called failed, and not shown", FaultKind.STATUS, status=520),
    _in_doubt("no answer, and not shown", FaultKind.RESET),
    Life(
        name="refund refused, and claimed again",
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnbits.pay", FaultKind.STATUS, status=520, text="Insufficient balance."),
            ask_for_invoice,
            claim,
            work,
            not_refunded,
            disarm,
            claim,
            work,
            refunded,
        ),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="refund under way for a while",
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=2, fee_msats=0),
            *REFUNDED,
        ),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="refund failed for good, and claimed again",
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnbits.pay", FaultKind.PAYMENT_FAILED),
            ask_for_invoice,
            claim,
            work,
            operators.expire_invoices,
            tend,
            not_refunded,
            disarm,
            *REFUNDED,
        ),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="refund in doubt: a person says that it failed",
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnbits.pay", FaultKind.RESET),
            arm("lnbits.read", FaultKind.STATUS, status=503),
            ask_for_invoice,
            claim,
            work,
            operators.say_that_lnbits_was_restored,
            disarm,
            later,
            not_refunded,
            operators.expire_invoices,
            operators.say_that_it_failed,
            tend,
            not_refunded,
            *REFUNDED,
        ),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="refund in doubt: a person shows that it was paid",
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnbits.pay", FaultKind.RESET, after_effect=True),
            arm("lnbits.read", FaultKind.STATUS, status=404),
            ask_for_invoice,
            claim,
            work,
            disarm,
            operators.look_at_the_node,
            operators.say_that_it_was_paid,
            refunded,
        ),
        ends=JobState.EXPIRED,
    ),
    # Ends before anybody has sent the money: who was frozen wakes beside a claim that is under way.
    Life(
        name="claimed with a new invoice each time",
        acts=(*CANCELLED_AND_PAID, claim_anew),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="returned by itself",
        has_receiver=True,
        acts=(*CANCELLED_AND_PAID, later, returned),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="receiver away for a while",
        has_receiver=True,
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnurl.invoice", FaultKind.STATUS, status=503),
            later,
            disarm,
            later,
            returned,
        ),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="receiver gives wrong invoices, claimed",
        has_receiver=True,
        acts=(
            *CANCELLED_AND_PAID,
            arm("lnurl.invoice", FaultKind.WRONG_AMOUNT),
            later,
            disarm,
            *REFUNDED,
        ),
        ends=JobState.EXPIRED,
    ),
    Life(name="demo", acts=(try_demo, work, look_at_demo), ends=None),
    Life(name="demo that nobody began", acts=(try_demo, abandon_demo), ends=None),
    *(
        Life(
            name=f"duty: {name}",
            acts=(*PAID, duty(name), beat, work),
            ends=JobState.AWAITING_WORK_PAYMENT,
        )
        for name in EVERY
    ),
    # After the duties, whose points are then tried in lives that are shorter.
    Life(
        name="restored database: a refund that it has forgotten is claimed again",
        acts=(*RESTORED, claim_anew, work, later, returned),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="restored database: a refund that it has forgotten is found",
        acts=(*RESTORED, duty(TaskName.RECONCILE), later, returned),
        ends=JobState.EXPIRED,
    ),
    Life(
        name="a person says that a wallet may be left",
        acts=(
            *PAID,
            duty(TaskName.CHECK_PAYOUTS),
            operators.say_that_the_wallet_may_be_left,
            work,
        ),
        ends=JobState.AWAITING_WORK_PAYMENT,
    ),
    Life(
        name="owner's money comes and goes",
        request=OWNERS,
        acts=(
            *SOLD,
            operators.withdraw,
            operators.top_up,
            poll,
            duty(TaskName.RECONCILE),
            operators.book_as_owners,
            operators.find_money,
            operators.state_as_owners,
            operators.agree,
        ),
        ends=JobState.REJECTED,
    ),
    Life(
        name="owner's withdrawals come to nothing",
        request=OWNERS,
        acts=(
            *SOLD,
            operators.withdraw_in_vain,
            duty(TaskName.RECONCILE),
            operators.delete_a_row,
            operators.compare_everything,
            operators.fail_the_other,
            duty(TaskName.RECONCILE),
        ),
        ends=JobState.REJECTED,
    ),
    *(
        Life(name=f"run: {name}", acts=acts, ends=None, run_ends=run_ends)
        for name, acts, run_ends in purchases.LIVES
    ),
)
