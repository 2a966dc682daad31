"""``gateways.lightning.lnbits`` against the LNbits that it was written for, faults included."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from gateways import bolt11
from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import HttpClient
from gateways.lightning import (
    Age,
    Direction,
    InvoiceReading,
    InvoiceState,
    IssuedInvoice,
    MovementState,
    PayoutMark,
    PayoutOutcome,
    SendOutcome,
)
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from models.money import Msats, Sats
from tests.lnbits.line import Line
from tests.lnbits.rig import Rig
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet

HOUR = timedelta(hours=1)
OPENING_SATS = 5_000
NOBODYS_HASH = "ab" * 32
WRONG_KEY = "0" * 32


@pytest.fixture
def wallet(rig: Rig) -> Wallet:
    """Our wallet on B, of this test alone."""
    return rig.b.new_wallet("of one test", sats=OPENING_SATS)


@pytest.fixture
def income(wallet: Wallet) -> LnbitsIncome:
    return LnbitsIncome(wallet.url, wallet.invoice_key, HttpClient())


@pytest.fixture
def payouts(wallet: Wallet) -> LnbitsPayouts:
    return LnbitsPayouts(wallet.url, wallet.admin_key, HttpClient())


@pytest.fixture
def front(rig: Rig) -> Iterator[Line]:
    """A line between us and B."""
    line = Line(rig.b.server.port)
    yield line
    line.close()


def invoice_of(income: LnbitsIncome, sats: int, lifetime: timedelta = HOUR) -> IssuedInvoice:
    return income.create_invoice(Sats(sats), memo="of a test", lifetime=lifetime)


def paid_invoice_of(rig: Rig, wallet: Wallet, income: LnbitsIncome, sats: int) -> IssuedInvoice:
    """An invoice whose payment B has heard of."""
    invoice = invoice_of(income, sats)
    rig.payer.pay(invoice.payment_request)
    assert wallet.hears_of(invoice.payment_hash, seconds=60)
    return invoice


def hash_of(payment_request: str) -> str:
    return bolt11.read(payment_request).payment_hash


def state_of(income: LnbitsIncome, invoice: IssuedInvoice) -> InvoiceState:
    return income.invoice_states([invoice.payment_hash])[invoice.payment_hash]


def _readings(states: dict[str, InvoiceState]) -> dict[str, tuple[str, Msats]]:
    """What counts of each: LNbits may still touch the row, and so its time, after it was paid."""
    return {
        payment_hash: (state.reading, state.payment.amount if state.payment else Msats(0))
        for payment_hash, state in states.items()
    }


class TestIncome:
    def test_an_invoice_says_what_it_was_asked_to_say(self, income: LnbitsIncome) -> None:
        invoice = invoice_of(income, 21, timedelta(seconds=4200))

        said = bolt11.read(invoice.payment_request)
        assert said.payment_hash == invoice.payment_hash
        assert said.amount == 21_000
        assert said.network is bolt11.Network.BITCOIN
        assert said.description == "of a test"
        assert said.expires_at - said.created_at == timedelta(seconds=4200)

    @pytest.mark.parametrize("memo", ["x" * 639, "x" * 2000, "", "Grüße ⚡ \x00"])
    def test_an_invoice_can_carry_any_memo(self, income: LnbitsIncome, memo: str) -> None:
        invoice = income.create_invoice(Sats(1), memo=memo, lifetime=HOUR)

        assert bolt11.read(invoice.payment_request).amount == 1_000

    def test_an_amount_above_the_limit_of_lnbits_is_refused(self, income: LnbitsIncome) -> None:
        with pytest.raises(Refused) as refused:
            invoice_of(income, 10_000_001)

        assert refused.value.code == "amount_too_high"

    def test_an_unpaid_invoice_is_unpaid_and_not_in_the_feed(self, income: LnbitsIncome) -> None:
        invoice = invoice_of(income, 21)

        assert state_of(income, invoice).reading is InvoiceReading.UNPAID
        feed = income.settled_payments(page=0, page_size=100)
        assert invoice.payment_hash not in {payment.payment_hash for payment in feed}

    def test_a_paid_invoice_is_paid_and_first_in_the_feed(
        self, rig: Rig, wallet: Wallet, income: LnbitsIncome
    ) -> None:
        invoice = paid_invoice_of(rig, wallet, income, 21)

        newest = income.settled_payments(page=0, page_size=1)[0]
        state = state_of(income, invoice)
        assert (newest.payment_hash, newest.amount) == (invoice.payment_hash, 21_000)
        assert newest.settled_at.utcoffset() == timedelta(0)
        assert state.reading is InvoiceReading.PAID
        # all but the time of settlement: LNbits writes the row of a payment more than once
        assert state.payment is not None
        assert state.payment.payment_hash == invoice.payment_hash
        assert state.payment.amount == newest.amount
        assert income.balance() == (OPENING_SATS + 21) * 1000

    def test_the_feed_is_in_the_order_of_payment_and_can_be_read_in_pages(
        self, rig: Rig, wallet: Wallet, income: LnbitsIncome
    ) -> None:
        first, second, third = (invoice_of(income, sats) for sats in (11, 12, 13))
        for invoice in (second, third, first):
            rig.payer.pay(invoice.payment_request)
            assert wallet.hears_of(invoice.payment_hash, seconds=60)

        pages = [income.settled_payments(page=page, page_size=2) for page in range(3)]

        assert [payment.amount for payment in pages[0] + pages[1]] == [
            11_000,
            13_000,
            12_000,
            OPENING_SATS * 1000,
        ]
        assert pages[2] == []

    def test_money_that_we_send_is_not_in_the_feed(
        self, rig: Rig, income: LnbitsIncome, payouts: LnbitsPayouts
    ) -> None:
        bolt11_text = rig.payer.invoice(100)
        payouts.send(bolt11_text)

        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PAID
        feed = income.settled_payments(page=0, page_size=100)
        assert [payment.amount for payment in feed] == [OPENING_SATS * 1000]

    def test_an_expired_invoice_is_unpaid_and_nothing_worse(
        self, wallet: Wallet, income: LnbitsIncome
    ) -> None:
        invoice = invoice_of(income, 21, timedelta(seconds=1))
        wait_until(
            lambda: wallet.payment(invoice.payment_hash)["status"] == "failed",
            60,
            "LNbits calls the expired invoice failed",
        )

        assert state_of(income, invoice) == InvoiceState(reading=InvoiceReading.UNPAID)

    def test_a_hash_nobody_knows_is_not_answered_for(self, income: LnbitsIncome) -> None:
        invoice = invoice_of(income, 21)

        states = income.invoice_states([NOBODYS_HASH, invoice.payment_hash])

        assert set(states) == {invoice.payment_hash}

    def test_a_hundred_invoices_are_asked_about_in_one_request(
        self, rig: Rig, wallet: Wallet, income: LnbitsIncome
    ) -> None:
        invoice = paid_invoice_of(rig, wallet, income, 21)
        strangers = [f"{number:064x}" for number in range(99)]

        with rig.b.server.limited_to(1):
            states = income.invoice_states([*strangers, invoice.payment_hash])

        assert set(states) == {invoice.payment_hash}

    def test_asked_one_by_one_lnbits_says_the_same(
        self, rig: Rig, wallet: Wallet, income: LnbitsIncome
    ) -> None:
        paid, unpaid = paid_invoice_of(rig, wallet, income, 21), invoice_of(income, 22)
        hashes = [paid.payment_hash, unpaid.payment_hash, NOBODYS_HASH]
        in_one_request = _readings(income.invoice_states(hashes))
        income._is_too_old = True

        assert _readings(income.invoice_states(hashes)) == in_one_request

    def test_given_b_was_down_when_the_customer_paid_then_asking_finds_the_payment(
        self, rig: Rig, income: LnbitsIncome
    ) -> None:
        invoice = invoice_of(income, 21)
        rig.b.stop()
        rig.payer.pay(invoice.payment_request)
        with pytest.raises(Unavailable):
            income.invoice_states([invoice.payment_hash])

        rig.b.start()

        assert state_of(income, invoice).reading is InvoiceReading.PAID
        newest = income.settled_payments(page=0, page_size=1)[0]
        assert newest.payment_hash == invoice.payment_hash

    def test_given_b_was_not_told_of_the_payment_then_asking_finds_it(
        self, rig: Rig, income: LnbitsIncome
    ) -> None:
        invoice = invoice_of(income, 21)
        with rig.line.refused():
            rig.payer.pay(invoice.payment_request)

        assert state_of(income, invoice).reading is InvoiceReading.PAID

    def test_given_the_node_hangs_then_no_invoice_is_called_paid_or_lost(
        self, rig: Rig, income: LnbitsIncome
    ) -> None:
        invoice = invoice_of(income, 21)

        with rig.a.frozen():
            with pytest.raises(Unavailable):
                invoice_of(income, 22)
            states = income.invoice_states([invoice.payment_hash])

        assert all(state.reading is not InvoiceReading.PAID for state in states.values())

    def test_with_a_wrong_key_nothing_is_answered(self, rig: Rig, income: LnbitsIncome) -> None:
        invoice = invoice_of(income, 21)
        stranger = LnbitsIncome(rig.b.url, WRONG_KEY, HttpClient())

        with pytest.raises(OutsideError):
            invoice_of(stranger, 21)
        with pytest.raises(OutsideError):
            stranger.settled_payments(page=0, page_size=10)
        with pytest.raises(OutsideError):
            stranger.balance()
        with pytest.raises(OutsideError):
            stranger.invoice_states([invoice.payment_hash])

    def test_asked_one_by_one_with_a_wrong_key_nothing_is_concluded(
        self, rig: Rig, income: LnbitsIncome
    ) -> None:
        invoice = invoice_of(income, 21)
        stranger = LnbitsIncome(rig.b.url, WRONG_KEY, HttpClient())
        stranger._is_too_old = True

        states = stranger.invoice_states([invoice.payment_hash])

        assert states in ({}, {invoice.payment_hash: InvoiceState(reading=InvoiceReading.UNKNOWN)})

    def test_given_the_request_limit_is_used_up_then_it_is_unavailable(
        self, rig: Rig, income: LnbitsIncome
    ) -> None:
        with rig.b.server.limited_to(1):
            income.settled_payments(page=0, page_size=10)
            with pytest.raises(Unavailable) as unavailable:
                income.settled_payments(page=0, page_size=10)

        assert unavailable.value.code == "http_429"


class TestPayouts:
    def test_a_payout_is_read_back_as_paid_and_the_payer_has_the_money(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        had = rig.payer.balance_msats()
        bolt11_text = rig.payer.invoice(100)

        report = payouts.send(bolt11_text)

        reading = payouts.read(hash_of(bolt11_text))
        assert report.outcome is SendOutcome.SENT
        assert reading.outcome is PayoutOutcome.PAID
        assert reading.preimage is not None
        assert rig.payer.balance_msats() == had + 100_000
        assert payouts.balance() == Msats((OPENING_SATS - 100) * 1000) - reading.fee

    def test_a_payout_keeps_its_mark_in_the_list_of_the_wallet_and_nobody_else_sees_it(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        mark = PayoutMark(job_id=57, job_digits="1a2b3c4d", payout_id=12)
        bolt11_text = rig.payer.invoice(100)

        payouts.send(bolt11_text, mark)

        [sent] = payouts.movements(Direction.OUT, page=0, page_size=10).movements
        assert (sent.payment_hash, sent.amount) == (hash_of(bolt11_text), -100_000)
        assert (sent.mark, sent.state) == (mark, MovementState.SETTLED)
        assert sent.wallet_id == payouts.wallet_id()
        assert sent.payment_request == bolt11_text
        [topped_up] = payouts.movements(Direction.IN, page=0, page_size=10).movements
        assert (topped_up.amount, topped_up.mark) == (OPENING_SATS * 1000, None)
        assert "1a2b3c4d" not in str(rig.payer.payment(hash_of(bolt11_text)))

    def test_sending_the_same_invoice_again_pays_nothing_more(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        had = rig.payer.balance_msats()
        bolt11_text = rig.payer.invoice(100)

        reports = [payouts.send(bolt11_text) for _ in range(3)]

        assert {report.outcome for report in reports} == {SendOutcome.SENT}
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PAID
        assert rig.payer.balance_msats() == had + 100_000

    def test_sent_by_eight_threads_at_once_it_is_paid_once(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        had = rig.payer.balance_msats()
        bolt11_text = rig.payer.invoice(100)

        with ThreadPoolExecutor(8) as threads:
            reports = list(threads.map(payouts.send, [bolt11_text] * 8))

        assert {report.outcome for report in reports} == {SendOutcome.SENT}
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PAID
        assert rig.payer.balance_msats() == had + 100_000

    def test_a_hash_nobody_knows_is_missing(self, payouts: LnbitsPayouts) -> None:
        assert payouts.read(NOBODYS_HASH).outcome is PayoutOutcome.MISSING

    def test_money_that_came_in_is_not_a_payout(
        self, rig: Rig, wallet: Wallet, income: LnbitsIncome, payouts: LnbitsPayouts
    ) -> None:
        invoice = paid_invoice_of(rig, wallet, income, 21)

        assert payouts.read(invoice.payment_hash).outcome is PayoutOutcome.UNKNOWN

    def test_more_than_the_wallet_holds_is_refused_and_leaves_no_payment(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        bolt11_text = rig.payer.invoice(OPENING_SATS + 1)

        report = payouts.send(bolt11_text)

        assert report.outcome is SendOutcome.REFUSED
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.MISSING

    def test_without_the_reserve_for_fees_it_is_refused_and_leaves_no_payment(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        bolt11_text = rig.payer.invoice(OPENING_SATS)

        report = payouts.send(bolt11_text)

        assert report.outcome is SendOutcome.REFUSED
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.MISSING

    def test_the_age_of_lnbits_can_be_read(self, payouts: LnbitsPayouts) -> None:
        assert payouts.age() is Age.YOUNG

    def test_what_is_no_invoice_is_refused(self, payouts: LnbitsPayouts) -> None:
        assert payouts.send("lnbc1nonsense").outcome is SendOutcome.REFUSED

    @pytest.mark.parametrize("key", ["nobody's", "income"])
    def test_with_a_key_that_cannot_pay_it_is_refused_and_no_money_moves(
        self, rig: Rig, wallet: Wallet, key: str
    ) -> None:
        had = rig.payer.balance_msats()
        keys = {"nobody's": WRONG_KEY, "income": wallet.invoice_key}
        bolt11_text = rig.payer.invoice(100)

        report = LnbitsPayouts(rig.b.url, keys[key], HttpClient()).send(bolt11_text)

        assert report.outcome is SendOutcome.REFUSED
        assert rig.payer.balance_msats() == had

    def test_with_a_wrong_key_a_paid_payout_is_not_known_nor_is_one_that_never_was(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        bolt11_text = rig.payer.invoice(100)
        payouts.send(bolt11_text)
        stranger = LnbitsPayouts(rig.b.url, WRONG_KEY, HttpClient())

        assert stranger.read(hash_of(bolt11_text)).outcome is PayoutOutcome.UNKNOWN
        assert stranger.read(NOBODYS_HASH).outcome is PayoutOutcome.UNKNOWN
        with pytest.raises(Refused):
            stranger.balance()

    def test_given_a_slow_node_then_it_is_sent_and_read_back_as_paid(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        had = rig.payer.balance_msats()
        bolt11_text = rig.payer.invoice(100)

        with rig.line.slow(60):
            report = payouts.send(bolt11_text)

        assert report.outcome is SendOutcome.SENT
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PAID
        assert rig.payer.balance_msats() == had + 100_000

    def test_given_the_node_hangs_and_comes_back_then_the_reading_agrees_with_it(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        had = rig.payer.balance_msats()
        bolt11_text = rig.payer.invoice(100)

        with rig.a.frozen():
            report = payouts.send(bolt11_text)

        assert report.outcome is SendOutcome.SENT
        # A may drop what B asked before it gave up; then B waits for ever, which is the truth too
        agreed = {(PayoutOutcome.PAID, 100_000), (PayoutOutcome.PENDING, 0)}

        def told() -> tuple[PayoutOutcome, int]:
            outcome = payouts.read(hash_of(bolt11_text)).outcome
            return outcome, rig.payer.balance_msats() - had

        wait_until(lambda: told() in agreed, 60, "B agrees with A")

    def test_given_the_node_cannot_be_reached_then_it_is_pending_however_often_it_is_sent(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        had = rig.payer.balance_msats()
        bolt11_text = rig.payer.invoice(100)

        with rig.line.refused():
            reports = [payouts.send(bolt11_text) for _ in range(2)]
            reading = payouts.read(hash_of(bolt11_text))

        assert {report.outcome for report in reports} == {SendOutcome.SENT}
        assert reading.outcome is PayoutOutcome.PENDING
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PENDING
        assert rig.payer.balance_msats() == had

    def test_given_the_answer_is_lost_after_the_payment_then_reading_finds_it_paid(
        self, rig: Rig, wallet: Wallet, front: Line
    ) -> None:
        had = rig.payer.balance_msats()
        payouts = LnbitsPayouts(front.url, wallet.admin_key, HttpClient())
        bolt11_text = rig.payer.invoice(100)

        with ThreadPoolExecutor(1) as thread, front.slow(60):
            sending = thread.submit(payouts.send, bolt11_text)
            wait_until(lambda: rig.payer.balance_msats() == had + 100_000, 60, "it is paid")
            front.cut()
            report = sending.result()

        assert report.outcome is SendOutcome.SENT
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PAID

    def test_given_lnbits_is_down_then_nothing_is_concluded(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        bolt11_text = rig.payer.invoice(100)

        rig.b.stop()
        try:
            report, reading = payouts.send(bolt11_text), payouts.read(NOBODYS_HASH)
        finally:
            rig.b.start()

        assert report.outcome is SendOutcome.SENT
        assert reading.outcome is PayoutOutcome.UNKNOWN
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.MISSING
        assert payouts.send(bolt11_text).outcome is SendOutcome.SENT
        assert payouts.read(hash_of(bolt11_text)).outcome is PayoutOutcome.PAID

    def test_given_lnbits_hangs_then_nothing_is_concluded(
        self, rig: Rig, payouts: LnbitsPayouts
    ) -> None:
        with rig.b.server.frozen():
            reading = payouts.read(NOBODYS_HASH)

        assert (reading.outcome, reading.code) == (PayoutOutcome.UNKNOWN, "timeout")
