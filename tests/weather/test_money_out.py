"""Refunds under bad weather: paid once, to the invoice that was claimed with, however late."""

from datetime import timedelta

import pytest

from local.stand_in.effects import EffectKind
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.rows import Wallet
from models.debt import DebtState
from models.payout import Payout, PayoutState
from services.errors import Conflict, ErrorCode
from services.jobs.intake import JobView
from services.money import refunds
from tests.support.rows import let_pass, only
from tests.weather.conftest import Sky
from tests.weather.storms import STORMS, Storm, in_every_storm

A_MINUTE = timedelta(seconds=61)


def a_claim(sky: Sky) -> JobView:
    """A complete job whose refund is claimed, and not sent yet."""
    view = sky.life.complete()
    owed = refunds.owed(view.debts)
    refunds.claim(sky.tools, view.job, sky.life.stand_in.payer_invoice(owed))
    return view


def payments_out(sky: Sky) -> list[str]:
    """The hash of every payment that really left our wallet."""
    effects = sky.life.stand_in.effects(EffectKind.PAYMENT_OUT)
    ours = [effect for effect in effects if effect.details["wallet"] == Wallet.SERVICE]
    return [effect.details["paymentHash"] for effect in ours]


def pass_a_minute(sky: Sky) -> None:
    let_pass(sky.tools, Payout, A_MINUTE)
    sky.life.make_due()
    sky.life.work()


def assert_paid_once(sky: Sky, view: JobView) -> None:
    payout = only(sky.tools, Payout)
    assert payout.state is PayoutState.PAID
    assert payments_out(sky) == [payout.payment_hash]
    assert {debt.state for debt in sky.life.view(view).debts} == {DebtState.PAID}


@pytest.mark.parametrize(
    "after_effect", [False, True], ids=["before it is paid", "when it is paid"]
)
@in_every_storm
def test_given_a_storm_while_a_refund_is_sent_then_it_is_paid_once(
    sky: Sky, storm: Storm, after_effect: bool
) -> None:
    view = a_claim(sky)
    sky.storm("lnbits.pay", storm, after_effect=after_effect)

    sky.life.work()
    sky.clear()
    pass_a_minute(sky)

    assert_paid_once(sky, view)


@in_every_storm
def test_given_a_storm_while_a_refund_is_read_back_then_nothing_is_concluded_or_sent_again(
    sky: Sky, storm: Storm
) -> None:
    view = a_claim(sky)
    sky.storm("lnbits.read", storm)

    sky.life.work()
    pass_a_minute(sky)

    payout = only(sky.tools, Payout)
    assert (payout.state, payout.posts) == (PayoutState.SENDING, 1)
    with pytest.raises(Conflict) as refused:
        refunds.claim(sky.tools, view.job, sky.life.stand_in.payer_invoice(payout.amount_sats))
    assert refused.value.code is ErrorCode.REFUND_IN_PROGRESS
    sky.clear()
    pass_a_minute(sky)
    assert_paid_once(sky, view)


def test_given_a_storm_over_everything_then_a_refund_waits_in_doubt_and_readyz_says_so(
    sky: Sky,
) -> None:
    view = a_claim(sky)
    sky.storm("lnbits", STORMS["reset"])

    sky.life.work()
    let_pass(sky.tools, Payout, timedelta(hours=1))

    assert sky.check("refunds")["ok"] is False
    assert sky.check("refunds")["underWay"] == 1
    sky.clear()
    # the invoice lived an hour: nobody may pay it now, and the debt is open again
    for _ in range(3):
        let_pass(sky.tools, Payout, timedelta(hours=1))
        sky.life.make_due()
        sky.life.work()
    assert only(sky.tools, Payout).state is PayoutState.FAILED
    assert payments_out(sky) == []
    assert {debt.state for debt in sky.life.view(view).debts} == {DebtState.OWED}


def test_given_a_payment_that_hangs_on_its_way_then_it_is_in_doubt_until_it_has_arrived(
    sky: Sky,
) -> None:
    view = a_claim(sky)
    sky.life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=4))

    sky.life.work()
    for _ in range(2):
        pass_a_minute(sky)
        assert only(sky.tools, Payout).state is PayoutState.SENDING
        assert payments_out(sky) == []
    pass_a_minute(sky)

    assert only(sky.tools, Payout).posts == 1
    assert_paid_once(sky, view)
