"""Owed money that goes by itself, claimed and owed anew by many hands at once: paid once."""

from collections.abc import Callable

import pytest
from sqlalchemy import func

from local.stand_in.faults import Fault, FaultKind
from models import return_moves
from models.invoice import InvoiceKind
from models.payout import Payout, PayoutState
from models.refund_destination import DestinationState, RefundDestination
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import refund_invoice, refunds, returns
from services.money.refunds import Claim
from tests.support import rows
from tests.support.books import assert_balanced
from tests.support.life import REQUEST, Life
from tests.support.owing import address_at, claim, owing_to
from tests.support.together import THREADS, all_at_once, just_before, together

ROUNDS = pytest.mark.parametrize("round_", range(4))


def paid_by_us(life: Life) -> list[int]:
    return [
        effect.details["amountMsat"]
        for effect in life.stand_in.effects("payment_out")
        if effect.details["wallet"] == "service"
    ]


def destination(life: Life) -> RefundDestination:
    found: RefundDestination = rows.only(life.tools, RefundDestination)
    return found


def settle(life: Life) -> DestinationState:
    for _ in range(3):
        life.make_due()
        life.work()
    return destination(life).state


def overpaid(life: Life) -> JobView:
    """Still open, with five sats owed and a work invoice to pay."""
    view = intake.create(life.tools, REQUEST, client_key="192.0.2.1", refund_to=address_at(life))
    life.pay(view, InvoiceKind.EVAL, amount_msats=15_000)
    life.poll()
    life.work()
    return life.view(view)


@ROUNDS
def test_many_workers_that_try_one_destination_ask_once_and_pay_once(
    life: Life, round_: int
) -> None:
    owing_to(life)
    number = destination(life).id

    results = all_at_once(lambda: returns.attempt(life.tools, number))

    assert results == [None] * THREADS, round_
    assert len(life.stand_in.effects("receiver_asked")) == 2
    assert settle(life) is DestinationState.PAID
    assert paid_by_us(life) == [10_000]


@ROUNDS
def test_a_worker_that_lost_its_claim_while_it_asked_opens_nothing(life: Life, round_: int) -> None:
    owing_to(life)
    number = destination(life).id
    life.stand_in.hold("lnurl.invoice")

    def takes_over() -> None:
        life.stand_in.wait_until_held()
        life.make_due()
        returns.attempt(life.tools, number)
        life.stand_in.release()

    results = together(lambda: returns.attempt(life.tools, number), takes_over)

    assert results == [None, None], round_
    assert len(rows.all_of(life.tools, Payout)) == 1
    assert settle(life) is DestinationState.PAID
    assert paid_by_us(life) == [10_000]


@ROUNDS
def test_a_claim_that_races_a_try_after_giving_up_is_the_only_payout_or_none(
    life: Life, round_: int
) -> None:
    view = overpaid(life)
    intake.cancel(life.tools, view.job.public_id)
    life.stand_in.arm(Fault(target="lnurl.terms", kind=FaultKind.STATUS, status=404))
    life.make_due()
    life.work()
    assert destination(life).state is DestinationState.GIVEN_UP
    number, invoice = destination(life).id, life.stand_in.payer_invoice(5)
    life.pay(view, InvoiceKind.WORK)  # the late payment starts the trying again

    def claims() -> Claim:
        return claim(life, view, invoice)

    def tries() -> None:
        life.poll()
        returns.attempt(life.tools, number)

    together(*([claims, tries] if round_ % 2 else [tries, claims]))

    assert len([p for p in rows.all_of(life.tools, Payout) if p.state is PayoutState.SENDING]) <= 1
    settle(life)
    settle(life)
    owed = [debt[2] for debt in life.debts(view)]
    assert owed == ["paid", "paid"]
    assert sum(paid_by_us(life)) == 1000 * sum(debt[1] for debt in life.debts(view))
    assert_balanced(life.tools, life.stand_in)


def test_a_claim_that_opens_while_a_try_looks_and_then_fails_is_returned_all_the_same(
    life: Life,
) -> None:
    """Whoever claims has looked before the trying began."""
    view = owing_to(life)
    invoice = refund_invoice.parse(life.stand_in.payer_invoice(10))
    life.stand_in.top_up(-10)  # LNbits refuses at the door: nothing was sent

    opens = lambda: refunds._open(life.tools, view.job, invoice)  # noqa: E731
    with just_before(life.tools, return_moves, "unpaid", opens) as opening:
        returns.attempt(life.tools, destination(life).id)
        opening()
    settle(life)

    assert {payout.state for payout in rows.all_of(life.tools, Payout)} == {PayoutState.FAILED}
    life.stand_in.top_up(10)
    assert settle(life) is DestinationState.PAID
    assert paid_by_us(life) == [10_000]


@ROUNDS
def test_a_debt_that_meets_the_end_of_the_payout_before_it_is_never_overlooked(
    life: Life, round_: int
) -> None:
    view = overpaid(life)
    intake.cancel(life.tools, view.job.public_id)
    returns.attempt(life.tools, destination(life).id)
    life.pay(view, InvoiceKind.WORK)

    results: list[object] = list(together(*_in_turn(round_, life.work, life.poll)))

    assert not [result for result in results if isinstance(result, Exception)]
    assert destination(life).state in {DestinationState.TRYING, DestinationState.PAYING}
    assert settle(life) is DestinationState.PAID
    assert refunds.owed(life.view(view).debts) == 0
    assert_balanced(life.tools, life.stand_in)


@ROUNDS
def test_a_debt_that_meets_a_try_that_finds_nothing_is_never_overlooked(
    life: Life, round_: int
) -> None:
    """The try sees no debt and would rest; the debt sees a try and would leave it alone."""
    view = overpaid(life)
    intake.cancel(life.tools, view.job.public_id)
    settle(life)
    _pretend_to_try(life)
    life.pay(view, InvoiceKind.WORK)
    number = destination(life).id

    def tries() -> None:
        returns.attempt(life.tools, number)

    together(*_in_turn(round_, tries, life.poll))

    assert settle(life) is DestinationState.PAID
    assert refunds.owed(life.view(view).debts) == 0


def _pretend_to_try(life: Life) -> None:
    rows.change(
        life.tools, RefundDestination, state=DestinationState.TRYING.value, due_at=func.now()
    )


@ROUNDS
def test_a_job_that_ends_while_a_try_finds_it_open_is_never_overlooked(
    life: Life, round_: int
) -> None:
    view = overpaid(life)
    rows.change(life.tools, RefundDestination, trying_since=RefundDestination.created_at)
    _pretend_to_try(life)
    number = destination(life).id

    def tries() -> None:
        returns.attempt(life.tools, number)

    def cancels() -> None:
        intake.cancel(life.tools, view.job.public_id)

    assert together(*_in_turn(round_, tries, cancels)) == [None, None]

    assert settle(life) is DestinationState.PAID
    assert paid_by_us(life) == [5_000]


def _in_turn(round_: int, *actions: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    return actions if round_ % 2 else tuple(reversed(actions))
