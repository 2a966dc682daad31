"""What is owed goes by itself to where the caller said, or it can be claimed (CONTRACT.md, 4)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from coincurve import PrivateKey

from config.queues import TaskName
from gateways.errors import Refused, Unavailable
from gateways.lnurl import OfferedInvoice
from local.stand_in.bolt11_signing import InvoiceDraft, sign_invoice
from local.stand_in.faults import Fault, FaultKind
from models.invoice import InvoiceKind
from models.ledger import Account
from models.lifecycle import JobState
from models.money import Sats, msats
from models.payout import Payout, PayoutState
from models.refund_destination import WINDOW, DestinationState, RefundDestination
from services.errors import Conflict, ErrorCode
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import refunds, returns
from services.money.returns import AMBIGUOUS, Trouble
from services.operate import dispatch, invariants
from tests.support import rows
from tests.support.books import assert_balanced
from tests.support.life import REQUEST, Life
from tests.support.owing import address_at, claim, owing_to

TICK = timedelta(seconds=1)


def destination(life: Life) -> RefundDestination:
    found: RefundDestination = rows.only(life.tools, RefundDestination)
    return found


def try_now(life: Life) -> DestinationState:
    """Let the next try be due, and everything be done that it leads to."""
    life.make_due()
    life.work()
    return destination(life).state


def fail(life: Life, kind: FaultKind, target: str = "lnurl", **more: object) -> None:
    life.stand_in.arm(Fault.model_validate({"target": target, "kind": kind, "times": 99, **more}))


def can_claim(life: Life, view: JobView) -> bool:
    try:
        claim(life, view)
    except Conflict as refused:
        if refused.code is ErrorCode.REFUND_AUTOMATIC:
            return False
        raise
    return True


def overpaid(life: Life, *, by: int = 5) -> JobView:
    """A job that ended with these sats owed, and with an invoice that can still be paid late."""
    view = intake.create(life.tools, REQUEST, client_key="192.0.2.1", refund_to=address_at(life))
    life.pay(view, InvoiceKind.EVAL, amount_msats=(10 + by) * 1000)
    life.poll()
    life.work()
    intake.cancel(life.tools, view.job.public_id)
    return life.view(view)


def owe_more(life: Life, view: JobView) -> int:
    """A debt that comes later: the work invoice is paid after all. Returns its sats."""
    life.pay(view, InvoiceKind.WORK)
    life.poll()
    return view.invoices[InvoiceKind.WORK].amount_sats


def test_what_is_owed_on_an_ended_job_is_paid_to_its_address_by_itself(life: Life) -> None:
    view = owing_to(life)

    assert try_now(life) is DestinationState.PAID

    assert life.debts(view) == [("late", 10, "paid")]
    assert rows.only(life.tools, Payout).state is PayoutState.PAID
    assert_balanced(life.tools, life.stand_in)


def test_the_unused_part_of_a_finished_job_goes_back_without_asking(life: Life) -> None:
    view = intake.create(life.tools, REQUEST, client_key="192.0.2.1", refund_to=address_at(life))
    for kind in InvoiceKind:
        life.pay(life.view(view), kind)
        life.poll()
        life.work()
    assert life.state(view) is JobState.COMPLETE

    assert try_now(life) is DestinationState.PAID

    assert refunds.owed(life.view(view).debts) == 0
    assert_balanced(life.tools, life.stand_in)


def test_nobody_is_asked_while_the_job_is_open_or_nothing_is_owed(life: Life) -> None:
    view = intake.create(life.tools, REQUEST, client_key="192.0.2.1", refund_to=address_at(life))
    life.pay(view, InvoiceKind.EVAL, amount_msats=15_000)
    life.poll()
    assert life.debts(view) == [("duplicate", 5, "owed")]

    assert destination(life).state is DestinationState.WAITING
    assert life.stand_in.effects("receiver_asked") == []

    rows.change(life.tools, RefundDestination, due_at=None)
    life.work()
    intake.cancel(life.tools, view.job.public_id)
    assert destination(life).state is DestinationState.TRYING
    assert try_now(life) is DestinationState.PAID
    assert life.debts(view) == [("duplicate", 5, "paid")]


def test_a_debt_that_comes_after_the_first_was_paid_starts_it_again(life: Life) -> None:
    view = overpaid(life)
    assert try_now(life) is DestinationState.PAID

    owe_more(life, view)

    assert destination(life).state is DestinationState.TRYING
    assert try_now(life) is DestinationState.PAID
    assert [debt[2] for debt in life.debts(view)] == ["paid", "paid"]
    assert len(rows.all_of(life.tools, Payout)) == 2


def test_a_debt_that_comes_while_another_is_being_paid_is_paid_after_it(life: Life) -> None:
    view = overpaid(life)
    returns.attempt(life.tools, destination(life).id)
    assert destination(life).state is DestinationState.PAYING

    owe_more(life, view)
    life.work()

    assert [debt[2] for debt in life.debts(view)] == ["paid", "owed"]
    assert destination(life).state is DestinationState.TRYING
    assert try_now(life) is DestinationState.PAID
    assert [debt[2] for debt in life.debts(view)] == ["paid", "paid"]


@dataclass
class Meanwhile:
    """A receiver during whose answer something else happens, once."""

    life: Life
    view: JobView
    happened: bool = False
    more: int = 0

    def check(self, address: str) -> None:
        """Takes any."""

    def invoice(self, address: str, amount: Sats) -> OfferedInvoice:
        offered = self.life.tools.receivers.invoice(address, amount)
        if not self.happened:
            self.happened = True
            self.more = owe_more(self.life, self.view)
        return offered


def test_a_debt_that_comes_while_the_receiver_is_asked_is_asked_for_as_well(life: Life) -> None:
    view = overpaid(life)
    meanwhile = Meanwhile(life, view)
    tools = life.tools.with_(receivers=meanwhile)

    returns.attempt(tools, destination(life).id)

    assert rows.all_of(life.tools, Payout) == []
    assert destination(life).failures == 0
    assert try_now(life) is DestinationState.PAID
    assert rows.only(life.tools, Payout).amount_sats == 5 + meanwhile.more


def test_while_it_is_tried_and_while_it_is_paid_a_claim_is_refused(life: Life) -> None:
    view = owing_to(life)
    assert not can_claim(life, view)

    returns.attempt(life.tools, destination(life).id)

    with pytest.raises(Conflict) as refused:
        claim(life, view)
    assert refused.value.code is ErrorCode.REFUND_IN_PROGRESS


DEFINITE = {
    Trouble.NOT_FOUND: Fault(target="lnurl.terms", kind=FaultKind.STATUS, status=404),
    Trouble.REFUSED: Fault(target="lnurl.terms", kind=FaultKind.STATUS, status=403),
    Trouble.NOT_LNURL_PAY: Fault(
        target="lnurl.terms", kind=FaultKind.BODY, text='{"tag": "withdrawRequest"}'
    ),
    Trouble.AMOUNT_LIMITS: Fault(target="lnurl.terms", kind=FaultKind.LIMITS),
    Trouble.WRONG_AMOUNT: Fault(target="lnurl.invoice", kind=FaultKind.WRONG_AMOUNT),
    Trouble.WRONG_NETWORK: Fault(target="lnurl.invoice", kind=FaultKind.WRONG_NETWORK),
    Trouble.BAD_INVOICE: Fault(target="lnurl.invoice", kind=FaultKind.WRONG_METADATA),
    Trouble.NOT_ALLOWED: Fault(
        target="lnurl.terms",
        kind=FaultKind.BODY,
        text=(
            '{"tag": "payRequest", "callback": "https://127.0.0.1/", "minSendable": 1,'
            ' "maxSendable": 100000, "metadata": "[]"}'
        ),
    ),
}


@pytest.mark.parametrize("trouble", DEFINITE, ids=lambda trouble: trouble.value)
def test_after_a_definite_failure_the_claim_opens_at_once(life: Life, trouble: Trouble) -> None:
    view = owing_to(life)
    life.stand_in.arm(DEFINITE[trouble])

    assert try_now(life) is DestinationState.GIVEN_UP

    assert destination(life).last_error == trouble.value
    assert life.debts(view) == [("late", 10, "owed")]
    assert rows.all_of(life.tools, Payout) == []
    assert can_claim(life, view)
    life.work()
    assert life.debts(view) == [("late", 10, "paid")]
    assert_balanced(life.tools, life.stand_in)


def test_an_unreadable_invoice_is_a_bad_one(life: Life) -> None:
    owing_to(life)
    fail(life, FaultKind.BODY, "lnurl.invoice", text='{"pr": "lnbcrt1"}')

    assert try_now(life) is DestinationState.GIVEN_UP
    assert destination(life).last_error == Trouble.BAD_INVOICE


NOT_NOW = {
    Trouble.NO_ANSWER: (FaultKind.RESET, WINDOW),
    Trouble.UNREADABLE: (FaultKind.BODY, AMBIGUOUS),
    Trouble.DECLINED: (FaultKind.DECLINED, AMBIGUOUS),
}


@pytest.mark.parametrize("trouble", NOT_NOW, ids=lambda trouble: trouble.value)
def test_what_may_pass_is_tried_again_until_its_time_is_over(life: Life, trouble: Trouble) -> None:
    kind, patience = NOT_NOW[trouble]
    view = owing_to(life)
    fail(life, kind)

    assert try_now(life) is DestinationState.TRYING
    assert destination(life).last_error == trouble.value
    assert destination(life).failures == 1
    rows.let_pass(life.tools, RefundDestination, patience - timedelta(minutes=1))
    assert try_now(life) is DestinationState.TRYING
    assert not can_claim(life, view)

    rows.let_pass(life.tools, RefundDestination, timedelta(minutes=1))
    assert try_now(life) is DestinationState.GIVEN_UP
    assert can_claim(life, view)


def test_a_receiver_that_comes_back_is_paid(life: Life) -> None:
    view = owing_to(life)
    fail(life, FaultKind.STATUS, status=503)
    assert try_now(life) is DestinationState.TRYING
    life.stand_in.disarm()

    assert try_now(life) is DestinationState.PAID

    assert destination(life).last_error is None
    assert life.debts(view) == [("late", 10, "paid")]


def test_tries_grow_rarer_and_none_is_put_off_past_the_end(life: Life) -> None:
    owing_to(life)
    fail(life, FaultKind.STATUS, status=503)

    with rows.measured_rest(life.tools, RefundDestination) as rest:
        try_now(life)
    assert rest.at_most > timedelta(seconds=5)
    assert rest.at_least < 15 * TICK
    rows.let_pass(life.tools, RefundDestination, timedelta(hours=16))
    try_now(life)
    assert 1.4 < rows.due_in(life.tools, RefundDestination) / timedelta(hours=1) < 2.6
    rows.let_pass(life.tools, RefundDestination, timedelta(hours=55))
    try_now(life)
    assert rows.due_in(life.tools, RefundDestination) < timedelta(hours=1)


def test_a_receivers_own_wish_when_to_come_back_is_heeded(life: Life) -> None:
    owing_to(life)
    fail(life, FaultKind.STATUS, status=429, retry_after="1800")

    try_now(life)

    assert rows.due_in(life.tools, RefundDestination) > timedelta(minutes=29)


def test_an_outage_of_ours_that_outlasts_the_window_costs_no_first_try(life: Life) -> None:
    owing_to(life)
    rows.let_pass(life.tools, RefundDestination, WINDOW * 2)

    assert try_now(life) is DestinationState.PAID


def test_a_destination_over_which_every_worker_died_is_given_up_after_the_window(
    life: Life,
) -> None:
    view = owing_to(life)
    rows.change(life.tools, RefundDestination, last_tried_at=destination(life).trying_since)
    rows.let_pass(life.tools, RefundDestination, WINDOW)

    assert try_now(life) is DestinationState.GIVEN_UP
    assert destination(life).last_error == Trouble.NO_ANSWER
    assert can_claim(life, view)


def test_a_payout_that_is_proved_failed_is_tried_again_with_a_fresh_invoice(life: Life) -> None:
    view = owing_to(life)
    life.stand_in.top_up(-10)  # LNbits refuses at the door: nothing was sent

    life.make_due()
    life.work()

    assert rows.only(life.tools, Payout).state is PayoutState.FAILED
    assert destination(life).state is DestinationState.TRYING
    assert destination(life).last_error == Trouble.PAYMENT_FAILED
    assert rows.due_in(life.tools, RefundDestination) > timedelta(seconds=20)
    assert not can_claim(life, view)
    life.stand_in.top_up(10)
    assert try_now(life) is DestinationState.PAID
    assert life.debts(view) == [("late", 10, "paid")]
    assert len({payout.payment_hash for payout in rows.all_of(life.tools, Payout)}) == 2


def test_payouts_that_go_on_failing_are_given_up_after_three_days(life: Life) -> None:
    view = owing_to(life)
    life.stand_in.top_up(-10)
    assert try_now(life) is DestinationState.TRYING

    rows.let_pass(life.tools, RefundDestination, WINDOW)

    assert try_now(life) is DestinationState.GIVEN_UP
    assert destination(life).last_error == Trouble.PAYMENT_FAILED
    assert can_claim(life, view)


@pytest.mark.parametrize(
    ("tried_for", "comes_within"),
    [
        (timedelta(hours=60), timedelta(hours=6)),
        (WINDOW - timedelta(hours=1), timedelta(hours=1)),
        (WINDOW + timedelta(hours=1), timedelta(0)),
    ],
)
def test_a_payout_that_fails_late_puts_off_nothing_past_when_the_caller_was_told_to_claim(
    life: Life, tried_for: timedelta, comes_within: timedelta
) -> None:
    """The window may end while a payout is in doubt; then it is over at once."""
    owing_to(life)
    life.stand_in.top_up(-10)
    returns.attempt(life.tools, destination(life).id)
    assert destination(life).state is DestinationState.PAYING
    rows.let_pass(life.tools, RefundDestination, tried_for)

    life.work()

    assert destination(life).last_error == Trouble.PAYMENT_FAILED
    assert rows.due_in(life.tools, RefundDestination) <= comes_within


def test_a_payout_in_doubt_is_never_replaced_however_long_it_takes(life: Life) -> None:
    view = owing_to(life)
    life.stand_in.arm(
        Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=10_000, times=1)
    )
    life.make_due()
    life.work()
    rows.let_pass(life.tools, RefundDestination, WINDOW * 2)

    for _ in range(3):
        assert try_now(life) is DestinationState.PAYING

    assert len(rows.all_of(life.tools, Payout)) == 1
    assert life.debts(view) == [("late", 10, "paying")]


def test_at_no_stage_of_a_return_a_rule_is_broken(life: Life) -> None:
    def reach(state: DestinationState, *debts: str) -> None:
        assert destination(life).state is state
        assert [debt[2] for debt in life.debts(view)] == [*debts]
        assert invariants.sweep_everything(life.tools) == 0

    view = intake.create(life.tools, REQUEST, client_key="192.0.2.1", refund_to=address_at(life))
    life.pay(view, InvoiceKind.EVAL, amount_msats=15_000)
    life.poll()
    reach(DestinationState.WAITING, "owed")  # the job is open
    life.work()
    view = life.view(view)
    intake.cancel(life.tools, view.job.public_id)
    reach(DestinationState.TRYING, "owed")
    life.stand_in.arm(Fault(target="lnurl.terms", kind=FaultKind.LIMITS))
    try_now(life)
    reach(DestinationState.GIVEN_UP, "owed")
    life.stand_in.top_up(-15)
    claim(life, view)
    reach(DestinationState.GIVEN_UP, "paying")
    life.work()
    reach(DestinationState.GIVEN_UP, "owed")  # LNbits has refused to pay the claim
    life.stand_in.top_up(15)
    owe_more(life, view)
    reach(DestinationState.TRYING, "owed", "owed")
    returns.attempt(life.tools, destination(life).id)
    reach(DestinationState.PAYING, "paying", "paying")
    life.work()
    reach(DestinationState.PAID, "paid", "paid")


def test_a_new_debt_starts_a_given_up_destination_again(life: Life) -> None:
    view = overpaid(life)
    life.stand_in.arm(Fault(target="lnurl.terms", kind=FaultKind.LIMITS))
    assert try_now(life) is DestinationState.GIVEN_UP

    owe_more(life, view)

    assert try_now(life) is DestinationState.PAID
    assert [debt[2] for debt in life.debts(view)] == ["paid", "paid"]


@dataclass
class Repeating:
    """A receiver that always answers with its first invoice."""

    life: Life
    first: OfferedInvoice | None = None

    def check(self, address: str) -> None:
        """Takes any."""

    def invoice(self, address: str, amount: Sats) -> OfferedInvoice:
        self.first = self.first or self.life.tools.receivers.invoice(address, amount)
        return self.first


def test_an_invoice_that_was_paid_before_is_a_bad_one_and_the_claim_opens(life: Life) -> None:
    price = life.awaiting_work_payment().invoices[InvoiceKind.WORK].amount_sats
    view = overpaid(life, by=price)
    tools = life.tools.with_(receivers=Repeating(life))
    returns.attempt(tools, destination(life).id)
    life.work()
    assert destination(life).state is DestinationState.PAID
    assert owe_more(life, view) == price

    returns.attempt(tools, destination(life).id)

    assert destination(life).state is DestinationState.GIVEN_UP
    assert destination(life).last_error == Trouble.BAD_INVOICE
    assert can_claim(life, view)


class OneHash:
    """A receiver whose invoices differ and all have one payment hash."""

    def check(self, address: str) -> None:
        """Takes any."""

    def invoice(self, address: str, amount: Sats) -> OfferedInvoice:
        draft = InvoiceDraft(
            amount_msats=msats(amount),
            payment_hash=bytes(32),
            payment_secret=bytes(32),
            created_at=datetime.now(UTC),
            description="",
        )
        signed = sign_invoice(draft, PrivateKey(b"1" * 32))
        return OfferedInvoice(payment_request=signed, description_hash="")


def test_another_invoice_with_the_hash_of_a_failed_one_is_a_bad_one_and_the_claim_opens(
    life: Life,
) -> None:
    view = overpaid(life)
    life.stand_in.top_up(-15)
    tools = life.tools.with_(receivers=OneHash())
    returns.attempt(tools, destination(life).id)
    life.work()
    assert destination(life).last_error == Trouble.PAYMENT_FAILED
    life.stand_in.top_up(15)
    owe_more(life, view)
    life.make_due()

    returns.attempt(tools, destination(life).id)

    assert destination(life).state is DestinationState.GIVEN_UP
    assert destination(life).last_error == Trouble.BAD_INVOICE
    assert can_claim(life, view)


def test_a_claim_that_fails_after_giving_up_leaves_the_claim_open(life: Life) -> None:
    view = owing_to(life)
    life.stand_in.arm(DEFINITE[Trouble.NOT_FOUND])
    assert try_now(life) is DestinationState.GIVEN_UP
    life.stand_in.top_up(-10)
    assert can_claim(life, view)
    life.work()
    assert rows.only(life.tools, Payout).state is PayoutState.FAILED

    assert destination(life).state is DestinationState.GIVEN_UP
    assert can_claim(life, view)


def test_unclaimed_money_stays_owed_for_ever(life: Life) -> None:
    view = owing_to(life)
    life.stand_in.arm(DEFINITE[Trouble.NOT_FOUND])
    assert try_now(life) is DestinationState.GIVEN_UP

    rows.let_pass(life.tools, RefundDestination, timedelta(days=1000))
    try_now(life)

    assert life.balances()[Account.OWED] == 10_000
    assert life.debts(view) == [("late", 10, "owed")]


def test_a_crash_after_the_invoice_was_fetched_costs_nothing(life: Life) -> None:
    view = owing_to(life)
    life.tools.receivers.invoice(address_at(life), Sats(10))  # fetched, and then it was killed

    assert try_now(life) is DestinationState.PAID

    assert life.debts(view) == [("late", 10, "paid")]
    assert_balanced(life.tools, life.stand_in)


@dataclass(frozen=True)
class Failing:
    """A receiver that fails in one way."""

    error: Exception

    def check(self, address: str) -> None:
        """Takes any."""

    def invoice(self, address: str, amount: Sats) -> OfferedInvoice:
        raise self.error


def test_when_too_many_receivers_are_asked_already_it_is_no_failure(life: Life) -> None:
    owing_to(life)
    tools = life.tools.with_(receivers=Failing(Unavailable("busy", code="busy")))

    returns.attempt(tools, destination(life).id)

    assert destination(life).failures == 0
    assert destination(life).last_error is None
    assert rows.due_in(life.tools, RefundDestination) < 10 * TICK


@pytest.mark.parametrize("code", ["not_public", "own_host", "port", "redirects"])
def test_a_road_into_our_own_house_is_given_up_at_once(life: Life, code: str) -> None:
    owing_to(life)
    tools = life.tools.with_(receivers=Failing(Refused("no", code=code)))

    returns.attempt(tools, destination(life).id)

    assert destination(life).state is DestinationState.GIVEN_UP
    assert returns.meaning_of(destination(life).last_error) == Trouble.NOT_ALLOWED.meaning


def test_a_name_that_nobody_knows_is_looked_for_an_hour(life: Life) -> None:
    owing_to(life)
    tools = life.tools.with_(receivers=Failing(Unavailable("?", code="no_such_name")))

    returns.attempt(tools, destination(life).id)
    assert destination(life).state is DestinationState.TRYING
    rows.let_pass(life.tools, RefundDestination, AMBIGUOUS)
    returns.attempt(tools, destination(life).id)

    assert destination(life).state is DestinationState.GIVEN_UP


def test_dispatch_rings_for_what_is_due_and_for_nothing_else(life: Life) -> None:
    owing_to(life)
    life.doorbell.rung.clear()

    dispatch.ring_for_due_rows(life.tools)
    assert list(life.doorbell.rung) == [(TaskName.RETURN_MONEY, destination(life).id)]

    life.work()
    dispatch.ring_for_due_rows(life.tools)
    assert list(life.doorbell.rung) == []


def test_every_failure_has_a_sentence_without_anything_of_the_receiver(life: Life) -> None:
    owing_to(life)
    fail(life, FaultKind.DECLINED, text="<b>secret node at 10.0.0.7</b>")

    try_now(life)

    assert returns.meaning_of(destination(life).last_error) == Trouble.DECLINED.meaning
    assert all(trouble.meaning.endswith(".") for trouble in Trouble)
    assert len({trouble.meaning for trouble in Trouble}) == len(Trouble)
