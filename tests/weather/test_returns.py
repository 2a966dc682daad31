"""``refundTo`` under bad weather, the receiver's and LNbits': paid once, or claimable, and owed."""

from datetime import timedelta

import pytest

from local.stand_in.faults import Fault, FaultKind
from models.payout import Payout, PayoutState
from models.refund_destination import WINDOW, DestinationState, RefundDestination
from tests.support.owing import owing_to
from tests.support.rows import all_of, let_pass, only
from tests.weather.conftest import ALWAYS, Sky
from tests.weather.storms import Storm, in_every_storm
from tests.weather.test_money_out import pass_a_minute, payments_out

STEPS = pytest.mark.parametrize("step", ["lnurl.terms", "lnurl.invoice"])


def now(sky: Sky) -> DestinationState:
    """The time of everything has come, and everything is done."""
    sky.life.make_due()
    sky.life.work()
    state: DestinationState = only(sky.tools, RefundDestination).state
    return state


@STEPS
@in_every_storm
def test_given_a_storm_over_the_receiver_then_it_is_paid_once_when_that_is_over(
    sky: Sky, storm: Storm, step: str
) -> None:
    owing_to(sky.life)
    sky.storm(step, storm)
    for _ in range(3):
        assert now(sky) is DestinationState.TRYING
    assert all_of(sky.tools, Payout) == []

    sky.clear()

    assert now(sky) is DestinationState.PAID
    assert payments_out(sky) == [only(sky.tools, Payout).payment_hash]


@in_every_storm
def test_given_a_storm_over_the_receiver_for_three_days_then_it_can_be_claimed_and_stays_owed(
    sky: Sky, storm: Storm
) -> None:
    view = owing_to(sky.life)
    sky.storm("lnurl", storm)
    assert now(sky) is DestinationState.TRYING

    let_pass(sky.tools, RefundDestination, WINDOW)

    assert now(sky) is DestinationState.GIVEN_UP
    assert sky.life.debts(view) == [("late", 10, "owed")]


@in_every_storm
def test_given_a_storm_over_lnbits_when_it_is_sent_then_it_is_paid_once(
    sky: Sky, storm: Storm
) -> None:
    owing_to(sky.life)
    sky.storm("lnbits.pay", storm, after_effect=True)
    now(sky)
    sky.clear()

    pass_a_minute(sky)

    assert now(sky) is DestinationState.PAID
    assert payments_out(sky) == [only(sky.tools, Payout).payment_hash]


def test_given_a_payment_that_failed_in_the_network_then_a_fresh_invoice_is_paid_only_after_proof(
    sky: Sky,
) -> None:
    owing_to(sky.life)
    sky.life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_FAILED, times=ALWAYS))
    assert now(sky) is DestinationState.PAYING
    for _ in range(3):
        pass_a_minute(sky)
        assert len(all_of(sky.tools, Payout)) == 1
    sky.clear()

    let_pass(sky.tools, Payout, timedelta(hours=2))
    for _ in range(3):
        pass_a_minute(sky)

    first, second = all_of(sky.tools, Payout)
    assert (first.state, second.state) == (PayoutState.FAILED, PayoutState.PAID)
    assert payments_out(sky) == [second.payment_hash]
    assert only(sky.tools, RefundDestination).state is DestinationState.PAID
