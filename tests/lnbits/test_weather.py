"""Real LNbits in bad weather, under our services: every sat counts, and time passes by UPDATE."""

from datetime import UTC, datetime, timedelta

import pytest

from gateways import bolt11
from gateways.errors import Refused, Unavailable
from gateways.http import HttpClient
from gateways.lightning import InvoiceReading
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from models.invoice import InvoiceKind
from models.lifecycle import JobState
from models.money import Sats
from models.payout import PayoutState
from services.errors import Conflict, ErrorCode, NotNow
from services.jobs import expiry
from services.money import reconcile, refunds, wallets
from tests.lnbits.rig import Rig
from tests.lnbits.shop import A_MINUTE, Shop
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet

PAST_THE_DEADLINE = timedelta(seconds=3601)
LONGER_THAN_ANY_TEST = 600


def test_given_an_invoice_of_an_expired_job_when_it_is_paid_within_600_s_then_the_job_goes_on(
    shop: Shop,
) -> None:
    view = shop.life.create()
    shop.let_time_pass(PAST_THE_DEADLINE)
    assert expiry.sweep(shop.tools) == 1

    shop.pay(view, InvoiceKind.EVAL)

    shop.wait_for(view, JobState.AWAITING_WORK_PAYMENT)


def test_given_an_invoice_that_lnbits_calls_failed_when_it_is_paid_all_the_same_then_it_is_seen(
    rig: Rig,
) -> None:
    wallet = rig.b.new_wallet("of one test")
    income = LnbitsIncome(wallet.url, wallet.invoice_key, HttpClient())
    issued = income.create_invoice(Sats(21), memo="short", lifetime=timedelta(seconds=1))
    payment_hash = issued.payment_hash
    # Asked in its last second, B would ask A, who would call it failed as well and not pay it.
    over = bolt11.read(issued.payment_request).expires_at + timedelta(seconds=1)
    wait_until(lambda: datetime.now(UTC) > over, 60, "the invoice is over, by A's clock and B's")

    def has_failed() -> bool:
        income.invoice_states([payment_hash])
        return wallet.payment(payment_hash).get("status") == "failed"

    wait_until(has_failed, 60, "B calls the invoice failed")
    assert income.invoice_states([payment_hash])[payment_hash].reading is InvoiceReading.UNPAID
    rig.payer.pay(issued.payment_request)

    assert wallet.hears_of(payment_hash, seconds=60)
    assert [paid.payment_hash for paid in income.settled_payments(page=0, page_size=10)] == [
        payment_hash
    ]


def test_given_b_was_restarted_while_an_invoice_was_open_then_it_can_be_paid(shop: Shop) -> None:
    view = shop.life.create()
    shop.rig.b.restart()
    assert expiry.sweep(shop.tools) == 0

    shop.pay(view, InvoiceKind.EVAL)

    shop.wait_for(view, JobState.AWAITING_WORK_PAYMENT)


def test_given_lnbits_is_down_at_the_deadline_then_nothing_expires_and_a_payment_made_is_found(
    shop: Shop,
) -> None:
    view, unpaid = shop.life.create(), shop.life.create()
    shop.rig.b.stop()
    try:
        shop.pay(view, InvoiceKind.EVAL)
        shop.let_time_pass(PAST_THE_DEADLINE + timedelta(hours=1))
        with pytest.raises(Unavailable):
            expiry.sweep(shop.tools)
        with pytest.raises(NotNow):
            shop.life.create()
        assert shop.life.state(unpaid) is JobState.AWAITING_EVAL_PAYMENT
    finally:
        shop.rig.b.start()

    shop.let_time_pass(A_MINUTE)

    assert expiry.sweep(shop.tools) == 1
    assert shop.life.state(unpaid) is JobState.EXPIRED
    assert shop.life.state(view) is JobState.EVALUATING


def test_given_a_is_frozen_while_a_refund_is_sent_then_it_is_pending_and_settled_after_the_thaw(
    shop: Shop,
) -> None:
    amount = shop.claim(shop.complete())
    had = shop.rig.payer.balance_msats()

    with shop.rig.line.slow(LONGER_THAN_ANY_TEST):
        with shop.rig.a.frozen():
            shop.life.work()
            assert (shop.payout.state, shop.payout.posts) == (PayoutState.SENDING, 1)
        wait_until(lambda: shop.rig.payer.balance_msats() == had + amount, 60, "A has paid")

    assert shop.look_again() is PayoutState.PAID
    assert shop.payout.posts == 1
    assert shop.rig.payer.balance_msats() == had + amount


def test_given_a_refuses_b_then_the_refund_stays_in_doubt_and_is_never_sent_elsewhere(
    shop: Shop,
) -> None:
    view = shop.complete()
    amount = shop.claim(view)
    had = shop.rig.payer.balance_msats()

    with shop.rig.line.refused():
        shop.life.work()
    for _ in range(3):
        shop.let_time_pass(timedelta(hours=2))
        assert shop.look_again() is PayoutState.SENDING

    with pytest.raises(Conflict) as refused:
        refunds.claim(shop.tools, view.job, shop.rig.payer.invoice(amount // 1000))
    assert refused.value.code is ErrorCode.REFUND_IN_PROGRESS
    assert shop.payout.posts == 1
    assert shop.rig.payer.balance_msats() == had


def test_given_a_slow_way_from_b_to_a_then_a_job_goes_from_request_to_refund(shop: Shop) -> None:
    had = shop.rig.payer.balance_msats()

    with shop.rig.line.slow(1):
        view = shop.complete()
        amount = shop.claim(view)
        shop.life.work()
        if shop.payout.state is not PayoutState.PAID:
            shop.look_again()

    assert shop.payout.state is PayoutState.PAID
    charged = sum(invoice.amount_sats for invoice in view.invoices.values()) * 1000 - amount
    assert shop.rig.payer.balance_msats() == had - charged


def test_given_lnbits_is_down_when_a_refund_is_claimed_then_it_is_paid_once_it_is_back(
    shop: Shop,
) -> None:
    amount = shop.claim(shop.complete())
    had = shop.rig.payer.balance_msats()

    shop.rig.b.stop()
    try:
        shop.life.work()
        assert shop.look_again() is PayoutState.SENDING
    finally:
        shop.rig.b.start()
    # Nothing is sent before the wallet was compared, which is not tried all the time.
    wait_until(lambda: reconcile.prove(shop.tools), 90, "B has shown its payments")

    assert shop.look_again() is PayoutState.PAID
    assert shop.rig.payer.balance_msats() == had + amount


def test_wrong_keys_are_told_apart(rig: Rig, shop: Shop) -> None:
    shop.life.create()
    stranger = rig.b.server.new_wallet("somebody else")

    wallets.check_income(shop.tools)
    wallets.check_payouts(shop.tools)

    found = {
        "nobody's": _refusal_of_income(shop, "0" * 32),
        "of another wallet": _refusal_of_income(shop, stranger.invoice_key),
        "the one that pays": _refusal_of_income(shop, shop.wallet.admin_key),
        "nobody's to pay with": _refusal_of_payouts(shop, "0" * 32),
        "that cannot pay": _refusal_of_payouts(shop, shop.wallet.invoice_key),
    }
    assert found == {
        "nobody's": "wrong_key",
        "of another wallet": "other_wallet",
        "the one that pays": "key_can_pay",
        "nobody's to pay with": "wrong_key",
        "that cannot pay": "key_cannot_pay",
    }
    assert wallet_of(shop.wallet) != wallet_of(stranger)


def _refusal_of_income(shop: Shop, key: str) -> str:
    income = LnbitsIncome(shop.wallet.url, key, HttpClient())
    with pytest.raises(Refused) as refused:
        wallets.check_income(shop.tools.with_(income=income))
    return refused.value.code


def _refusal_of_payouts(shop: Shop, key: str) -> str:
    payouts = LnbitsPayouts(shop.wallet.url, key, HttpClient())
    with pytest.raises(Refused) as refused:
        wallets.check_payouts(shop.tools.with_(payouts=payouts))
    return refused.value.code


def wallet_of(wallet: Wallet) -> str:
    return LnbitsPayouts(wallet.url, wallet.admin_key, HttpClient()).wallet_id()
