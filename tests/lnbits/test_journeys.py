"""A job from request to refund: the whole product, real LNbits on both sides, every sat counted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.lnbits.conftest import ENVIRON
from tests.lnbits.product import Json, Product, running_product
from tests.lnbits.rig import Rig
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet
from tests.support.life import REQUEST


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The product, and its wallet on B, which was empty when it opened."""

    product: Product
    wallet: Wallet


@pytest.fixture(scope="module")
def shop(running: Rig) -> Iterator[Shop]:
    wallet = running.b.server.new_wallet("shop")
    with running_product(ENVIRON, wallet) as product:
        yield Shop(product=product, wallet=wallet)


@pytest.fixture
def product(rig: Rig, shop: Shop) -> Product:
    assert rig.b.server.pid
    return shop.product


@dataclass(frozen=True, kw_only=True)
class Books:
    """Who had what at one moment, in msats."""

    customer: int
    shop: int


def books(rig: Rig, shop: Shop) -> Books:
    return Books(
        customer=rig.payer.balance_msats(),
        shop=shop.wallet.balance_msats(),
    )


def assert_moved(before: Books, after: Books, sats: int) -> None:
    """The shop has exactly so much more, and the customer exactly so much less."""
    assert after.customer - before.customer == -sats * 1000
    assert after.shop - before.shop == sats * 1000


def completed_job(product: Product, payer: Wallet) -> Json:
    """A job whose invoices the customer has paid, with its result."""
    created = product.create(REQUEST)
    payer.pay(created["evalInvoice"]["paymentRequest"])
    quoted = product.wait_for(created["jobId"], state="awaiting_work_payment")
    payer.pay(quoted["workInvoice"]["paymentRequest"])
    return product.wait_for(created["jobId"], state="complete")


def test_a_job_is_paid_done_and_refunded_to_the_sat(rig: Rig, shop: Shop, product: Product) -> None:
    before = books(rig, shop)

    created = product.create(REQUEST)
    fee = created["evalInvoice"]["amountSats"]
    rig.payer.pay(created["evalInvoice"]["paymentRequest"])
    quoted = product.wait_for(created["jobId"], state="awaiting_work_payment")
    price = quoted["workInvoice"]["amountSats"]
    rig.payer.pay(quoted["workInvoice"]["paymentRequest"])
    done = product.wait_for(created["jobId"], state="complete")
    assert done["result"]
    assert_moved(before, books(rig, shop), fee + price)

    owed = done["refundAmountSats"]
    answer = product.claim(created["jobId"], rig.payer.invoice(owed))
    refunded = product.wait_for(created["jobId"], refundState="paid")

    assert answer.status_code in {200, 202}, answer.text
    ledger = refunded["costLedger"]
    assert ledger["workAmountSats"] == price
    assert ledger["actualAmountSats"] + owed == price
    assert owed > 0
    assert_moved(before, books(rig, shop), fee + ledger["actualAmountSats"])


def test_the_same_claim_again_and_another_one_pay_nothing_more(
    rig: Rig, shop: Shop, product: Product
) -> None:
    job = completed_job(product, rig.payer)
    invoice, other = (rig.payer.invoice(job["refundAmountSats"]) for _ in range(2))
    product.claim(job["jobId"], invoice)
    product.wait_for(job["jobId"], refundState="paid")
    before = books(rig, shop)

    again = product.claim(job["jobId"], invoice)
    another = product.claim(job["jobId"], other)

    assert (again.status_code, again.json()["ok"]) == (200, True)
    assert (another.status_code, another.json()["code"]) == (409, "refund_already_paid")
    assert_moved(before, books(rig, shop), 0)


def test_given_eight_claims_with_eight_invoices_at_once_then_one_is_paid(
    rig: Rig, shop: Shop, product: Product
) -> None:
    job = completed_job(product, rig.payer)
    owed = job["refundAmountSats"]
    invoices = [rig.payer.invoice(owed) for _ in range(8)]
    before = books(rig, shop)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda invoice: product.claim(job["jobId"], invoice), invoices))

    product.wait_for(job["jobId"], refundState="paid")
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] in {200, 202}
    assert statuses[1:] == [409] * 7
    assert_moved(before, books(rig, shop), -owed)


def test_given_the_node_answers_too_late_then_the_refund_is_paid_once_all_the_same(
    rig: Rig, shop: Shop, product: Product
) -> None:
    job = completed_job(product, rig.payer)
    owed = job["refundAmountSats"]
    invoice = rig.payer.invoice(owed)
    before = books(rig, shop)

    with rig.line.slow(8):
        answer = product.claim(job["jobId"], invoice)

    assert answer.status_code in {200, 202}, answer.text
    product.wait_for(job["jobId"], refundState="paid")
    assert_moved(before, books(rig, shop), -owed)


def test_given_lnbits_is_down_then_no_job_is_made_and_a_payment_made_meanwhile_is_found(
    rig: Rig, product: Product
) -> None:
    created = product.create(REQUEST)
    rig.b.stop()
    try:
        rig.payer.pay(created["evalInvoice"]["paymentRequest"])
        job = product.job(created["jobId"])
        answer = product.try_to_create(REQUEST)
    finally:
        rig.b.start()

    assert job["state"] == "awaiting_eval_payment"
    assert (answer.status_code, answer.json()["code"]) == (503, "lightning_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    product.wait_for(created["jobId"], state="awaiting_work_payment")


def test_a_rejected_job_keeps_the_evaluation_fee_and_owes_nothing(
    rig: Rig, shop: Shop, product: Product
) -> None:
    before = books(rig, shop)
    created = product.create("REJECT this, please.")

    rig.payer.pay(created["evalInvoice"]["paymentRequest"])
    job = product.wait_for(created["jobId"], state="rejected")

    assert job["reason"]
    assert product.claim(created["jobId"], rig.payer.invoice(1)).status_code == 409
    wait_until(lambda: books(rig, shop).shop > before.shop, 60, "the fee shows")
    assert_moved(before, books(rig, shop), created["evalInvoice"]["amountSats"])
