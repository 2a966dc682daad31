"""Real LNbits in bad weather, under our services: every sat counts, and time passes by UPDATE."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from config.settings import Settings
from gateways import bolt11
from gateways.errors import Refused, Unavailable
from gateways.http import HttpClient
from gateways.lightning import InvoiceReading
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from local.stand_in.testing import StandInClient
from models.invoice import Invoice, InvoiceKind
from models.job import Job
from models.lifecycle import JobState
from models.money import Sats
from models.payout import Payout, PayoutState
from services import toolbox
from services.errors import Conflict, ErrorCode, NotNow
from services.jobs import expiry
from services.jobs.intake import JobView
from services.money import refunds, wallets
from services.toolbox import Role, Toolbox
from tests.conftest import empty
from tests.lnbits.rig import Rig
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet
from tests.support.books import assert_balanced
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.rows import let_pass, only

OPENING_SATS = 5_000
PAST_THE_DEADLINE = timedelta(seconds=3601)
A_MINUTE = timedelta(seconds=61)
LONGER_THAN_ANY_TEST = 600


@dataclass(frozen=True)
class Shop:
    """Our services on a wallet of B; the customer is the payer on A."""

    rig: Rig
    wallet: Wallet
    life: Life

    @property
    def tools(self) -> Toolbox:
        return self.life.tools

    def pay(self, view: JobView, kind: InvoiceKind) -> None:
        self.rig.payer.pay(view.invoices[kind].payment_request)

    def wait_for(self, view: JobView, state: JobState) -> JobView:
        """Poll and work until the job is there: B hears of a payment a moment later."""

        def is_there() -> bool:
            self.life.poll()
            self.life.work()
            return self.life.state(view) is state

        wait_until(is_there, 20, f"the job is {state.value}")
        return self.life.view(view)

    def complete(self) -> JobView:
        view = self.life.create()
        self.pay(view, InvoiceKind.EVAL)
        view = self.wait_for(view, JobState.AWAITING_WORK_PAYMENT)
        self.pay(view, InvoiceKind.WORK)
        return self.wait_for(view, JobState.COMPLETE)

    def claim(self, view: JobView) -> int:
        """Claim everything that is owed; it is not sent yet. Returns its millisats."""
        owed = refunds.owed(self.life.view(view).debts)
        refunds.claim(self.tools, view.job, self.rig.payer.invoice(owed))
        return owed * 1000

    def let_time_pass(self, by: timedelta) -> None:
        for model in (Invoice, Job, Payout):
            let_pass(self.tools, model, by)

    def look_again(self) -> PayoutState:
        """A minute later: how the payout stands then."""
        self.let_time_pass(A_MINUTE)
        self.life.make_due()
        self.life.work()
        return self.payout.state

    @property
    def payout(self) -> Payout:
        payout: Payout = only(self.tools, Payout)
        return payout


@pytest.fixture
def shop(
    rig: Rig,
    database_url: str,
    redis_url: str,
    stand_in: StandInClient,
    doorbell: RecordingDoorbell,
) -> Iterator[Shop]:
    wallet = rig.b.new_wallet("shop in the weather", sats=OPENING_SATS)
    settings = Settings.load(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STAND_IN_URL": stand_in.url,
            "LNBITS_URL": wallet.url,
            "LNBITS_INVOICE_KEY": wallet.invoice_key,
            "LNBITS_ADMIN_KEY": wallet.admin_key,
            "PRICE_FEEDS": f"coingecko={stand_in.url}/feeds/coingecko",
            "REFUND_WAIT_SECONDS": "0",
        }
    )
    tools = toolbox.build(settings, Role.MONEY).with_(doorbell=doorbell)
    try:
        yield Shop(rig, wallet, Life(tools, doorbell, stand_in))
        assert_balanced(tools)
    finally:
        empty(tools)
        tools.database.close()


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
    wait_until(lambda: datetime.now(UTC) > over, 10, "the invoice is over, by A's clock and B's")

    def has_failed() -> bool:
        income.invoice_states([payment_hash])
        return wallet.payment(payment_hash).get("status") == "failed"

    wait_until(has_failed, 10, "B calls the invoice failed")
    assert income.invoice_states([payment_hash])[payment_hash].reading is InvoiceReading.UNPAID
    rig.payer.pay(issued.payment_request)

    assert wallet.hears_of(payment_hash, seconds=10)
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
        wait_until(lambda: shop.rig.payer.balance_msats() == had + amount, 20, "A has paid")

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
