"""Refunds under bad weather: paid once, to the invoice that was claimed with, however late."""

from collections.abc import MutableMapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from local.stand_in.effects import EffectKind
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.rows import Wallet
from models.debt import DebtState
from models.ledger import Account
from models.payout import Payout, PayoutState
from services.errors import Conflict, ErrorCode
from services.jobs.intake import JobView
from services.money import refunds
from tests.support.owing import claim, claimed
from tests.support.rows import change, let_pass, only
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


def told(sky: Sky, logs: Sequence[MutableMapping[str, Any]], event: str) -> list[str]:
    """The codes of these lines about our one payout."""
    payout_id = only(sky.tools, Payout).id
    lines = [line for line in logs if line["event"] == event]
    assert {line["payout"] for line in lines} <= {payout_id}
    return [line["code"] for line in lines]


def errors_of_refunds(sky: Sky) -> dict[str, int]:
    """What readyz says of payouts under way, by code."""
    errors: dict[str, int] = sky.check("refunds")["errors"]
    return errors


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

    with capture_logs() as logs:
        sky.life.work()

    assert told(sky, logs, "payout posted") == [storm.code]
    is_paid = only(sky.tools, Payout).state is PayoutState.PAID
    assert errors_of_refunds(sky) == ({} if is_paid else {storm.code: 1})
    sky.clear()
    pass_a_minute(sky)
    assert_paid_once(sky, view)
    assert errors_of_refunds(sky) == {}


@in_every_storm
def test_given_a_storm_while_a_refund_is_read_back_then_nothing_is_concluded_or_sent_again(
    sky: Sky, storm: Storm
) -> None:
    view = a_claim(sky)
    sky.storm("lnbits.read", storm)

    with capture_logs() as logs:
        sky.life.work()
        pass_a_minute(sky)

    assert told(sky, logs, "payout in doubt") == [storm.code] * 2
    assert errors_of_refunds(sky) == {storm.code: 1}
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
    assert errors_of_refunds(sky) == {"lnbits_silent": 1}
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
        assert errors_of_refunds(sky) == {"pending": 1}
    pass_a_minute(sky)

    assert only(sky.tools, Payout).posts == 1
    assert_paid_once(sky, view)


def test_given_a_wallet_without_money_then_the_failed_payout_keeps_the_refusal_on_record(
    sky: Sky,
) -> None:
    a_claim(sky)
    empty_wallet = -sky.life.balances()[Account.WALLET] // 1000
    sky.life.stand_in.top_up(empty_wallet)

    with capture_logs() as logs:
        sky.life.work()

    payout = only(sky.tools, Payout)
    assert (payout.state, payout.last_code) == (PayoutState.FAILED, "insufficient_balance")
    assert told(sky, logs, "payout failed, the debt is open again") == ["insufficient_balance"]
    assert errors_of_refunds(sky) == {}
    assert sky.check("refunds")["failed"] == {"insufficient_balance": 1}
    sky.life.stand_in.top_up(-empty_wallet)


def test_given_two_refunds_with_different_troubles_then_readyz_counts_each(sky: Sky) -> None:
    claimed(sky.life)
    sky.storm("lnbits.read", STORMS["rate limit"])
    sky.life.work()
    sky.clear()
    claimed(sky.life)
    sky.storm("lnbits.read", STORMS["HTML"])

    sky.life.work()

    assert errors_of_refunds(sky) == {"http_429": 1, "not_json": 1}


def test_given_a_failed_refund_that_is_claimed_again_then_its_old_trouble_is_told_no_more(
    sky: Sky,
) -> None:
    view = claimed(sky.life)
    payout = only(sky.tools, Payout)
    let_pass(sky.tools, Payout, timedelta(hours=3))
    sky.life.work()
    assert only(sky.tools, Payout).state is PayoutState.FAILED
    change(sky.tools, Payout, invoice_expires_at=payout.invoice_expires_at)

    claim(sky.life, view, payout.payment_request)

    assert errors_of_refunds(sky) == {}
    sky.life.work()
    assert only(sky.tools, Payout).state is PayoutState.PAID
