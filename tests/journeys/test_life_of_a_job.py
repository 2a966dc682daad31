"""A job over HTTP alone, from request to refund, on the product as `make run` starts it."""

from decimal import Decimal
from math import ceil

from tests.journeys.caller import Caller
from tests.journeys.waiting import wait_until
from tests.support import wire


def test_a_job_is_paid_done_and_refunded_to_the_sat(caller: Caller) -> None:
    before = caller.balance_msats()
    created = caller.create("Write a haiku about honest journeys.")
    caller.pay(created["evalInvoice"])
    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    caller.pay(quoted["workInvoice"])
    done = caller.wait_for(created["jobId"], "complete")

    fee, paid = created["evalInvoice"]["amountSats"], quoted["workInvoice"]["amountSats"]
    kept, owed = done["costLedger"]["actualAmountSats"], done["refundAmountSats"]
    assert done["result"]
    assert before - caller.balance_msats() == (fee + paid) * 1000
    assert (kept + owed, done["costLedger"]["workAmountSats"]) == (paid, paid)
    assert owed > 0

    answer = caller.claim(done, caller.wallet.payer_invoice(owed))
    refunded = caller.wait_for(created["jobId"], "complete", refundState="paid")

    assert answer.status_code in {200, 202}, answer.text
    assert answer.json()["refundAmountSats"] == owed
    assert refunded["refundAmountSats"] == 0
    assert refunded["costLedger"]["refundState"] == "paid"
    assert before - caller.balance_msats() == (fee + kept) * 1000


def test_what_is_owed_goes_back_without_asking_where_the_caller_said_so(caller: Caller) -> None:
    before = caller.balance_msats()
    created = caller.create("Write a haiku about honest returns.", refundTo=caller.address)
    caller.product.confidential.append(caller.address)
    caller.pay(created["evalInvoice"])
    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    caller.pay(quoted["workInvoice"])

    done = caller.wait_for(created["jobId"], "complete", refundState="paid")

    assert done["refundTo"]["address"] == caller.address
    assert done["refundTo"]["state"] == "paid"
    spent = created["evalInvoice"]["amountSats"] + done["costLedger"]["actualAmountSats"]
    assert before - caller.balance_msats() == spent * 1000


def test_the_price_can_be_computed_again_from_what_is_shown(caller: Caller) -> None:
    quoted = caller.quoted("Count from one to ten.")
    caller.pay(quoted["workInvoice"])
    ledger = caller.wait_for(quoted["jobId"], "complete")["costLedger"]

    def sats(usd: object) -> int:
        return max(1, ceil(Decimal(str(usd)) * 10**8 / Decimal(str(ledger["btcPriceUsd"]))))

    assert quoted["workInvoice"]["amountSats"] == sats(ledger["estimatedCostUsd"])
    assert ledger["actualAmountSats"] == sats(ledger["actualChargeUsd"])
    assert ledger["totalTokens"] == ledger["actualInputTokens"] + ledger["actualOutputTokens"]


def test_a_declined_job_says_why_and_has_cost_its_evaluation_only(caller: Caller) -> None:
    before = caller.balance_msats()
    created = caller.create("REJECT this, please.")
    caller.pay(created["evalInvoice"])

    rejected = caller.wait_for(created["jobId"], "rejected")

    assert rejected["reason"]
    assert "refundAmountSats" not in rejected
    assert before - caller.balance_msats() == created["evalInvoice"]["amountSats"] * 1000


def test_the_demo_answers_without_any_payment(caller: Caller) -> None:
    before = caller.balance_msats()

    answer = wire.get(f"{caller.product.url}/api/demo", params={"request": "Say hello."})

    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]
    assert caller.balance_msats() == before


def test_an_address_that_is_too_long_is_refused_in_the_apis_shape(caller: Caller) -> None:
    answer = wire.get(f"{caller.product.url}/api/demo?request={17_000 * 'a'}")

    assert (answer.status_code, answer.json()["code"]) == (414, "http_error")
    # the supervisor passes lines on, a moment after they were written
    wait_until(
        "the request is in the log",
        lambda: caller.product.log,
        lambda log: answer.json()["requestId"] in log,
    )
