"""GET /api/jobs/{id} and cancel: which members a job shows in which state."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import simplejson

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.invoice import InvoiceKind
from services.jobs import expiry, intake
from services.jobs.intake import JobView
from tests.app.contract import CheckedClient
from tests.support.life import Life

ALWAYS = {"jobId", "state", "createdAt", "links"}
OWING = {"refundAmountSats", "refundState", "debts"}
PRICING = {"estimatedCostUsd", "marginPct", "btcPriceUsd", "btcPriceSource"}
LEDGER = PRICING | {
    *("actualInputTokens", "actualOutputTokens", "totalTokens", "actualCostUsd"),
    *("actualChargeUsd", "actualAmountSats", "workAmountSats", "refundAmountSats", "refundState"),
}


def read(client: CheckedClient, view: JobView) -> dict[str, Any]:
    response = client.get(f"/api/jobs/{view.job.public_id}")
    assert response.status_code == 200
    shown: dict[str, Any] = simplejson.loads(response.text, use_decimal=True)
    return shown


def test_an_unpaid_job_shows_its_evaluation_invoice(client: CheckedClient, life: Life) -> None:
    view = life.create()

    shown = read(client, view)

    assert set(shown) == ALWAYS | {"evalInvoice"}
    assert shown["jobId"] == str(view.job.public_id)
    assert shown["evalInvoice"]["paymentHash"] == view.invoices[InvoiceKind.EVAL].payment_hash


def test_a_job_in_evaluation_shows_that_and_no_invoice(client: CheckedClient, life: Life) -> None:
    shown = read(client, life.evaluating())

    assert shown["state"] == "evaluating"
    assert set(shown) == ALWAYS


def test_an_accepted_job_shows_its_work_invoice_and_how_the_price_was_made(
    client: CheckedClient, life: Life
) -> None:
    shown = read(client, life.awaiting_work_payment())

    assert set(shown) == ALWAYS | {"workInvoice", "pricingBreakdown"}
    assert set(shown["pricingBreakdown"]) >= PRICING
    assert shown["workInvoice"]["amountSats"] > 0


def test_a_job_at_work_shows_that(client: CheckedClient, life: Life) -> None:
    shown = read(client, life.executing())

    assert shown["state"] == "executing"
    assert set(shown) == ALWAYS


def test_a_rejected_job_shows_the_reason_and_owes_nothing(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    stand_in.arm(Fault(target="anthropic", kind=FaultKind.REFUSAL))

    shown = read(client, life.awaiting_work_payment())

    assert shown["state"] == "rejected"
    assert set(shown) == ALWAYS | {"reason", "completedAt"}
    assert shown["reason"]


def test_a_finished_job_shows_its_result_its_ledger_and_what_is_owed(
    client: CheckedClient, life: Life
) -> None:
    shown = read(client, life.complete())

    assert shown["state"] == "complete"
    assert set(shown) == ALWAYS | OWING | {"result", "costLedger", "completedAt"}
    ledger = shown["costLedger"]
    assert set(ledger) >= LEDGER
    assert ledger["totalTokens"] == ledger["actualInputTokens"] + ledger["actualOutputTokens"]
    assert ledger["actualAmountSats"] + ledger["refundAmountSats"] == ledger["workAmountSats"]
    assert ledger["refundState"] == shown["refundState"] == "pending"
    assert shown["refundAmountSats"] == ledger["refundAmountSats"]
    assert shown["debts"] == [
        {"cause": "unused_work", "amountSats": shown["refundAmountSats"], "state": "pending"}
    ]


def test_dollars_are_json_numbers_in_plain_digits_without_a_float_in_between(
    client: CheckedClient, life: Life
) -> None:
    ledger = read(client, life.complete())["costLedger"]

    for name in ("estimatedCostUsd", "actualCostUsd", "actualChargeUsd"):
        assert isinstance(ledger[name], Decimal)
        assert -8 <= ledger[name].as_tuple().exponent < 0
    assert ledger["marginPct"] == 25


def test_an_answer_cut_by_the_cap_says_so(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.executing()
    stand_in.arm(Fault(target="anthropic", kind=FaultKind.MAX_TOKENS))
    life.work()

    shown = read(client, view)

    assert shown["state"] == "complete"
    assert shown["incompleteReason"] == "max_output_tokens"


def test_a_failed_job_shows_a_sentence_and_what_is_owed_back(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.executing()
    stand_in.arm(Fault(target="anthropic", kind=FaultKind.EMPTY))
    life.work()

    shown = read(client, view)

    assert shown["state"] == "failed"
    assert set(shown) == ALWAYS | OWING | {"errorMessage", "completedAt"}
    assert shown["debts"][0]["cause"] == "failed_work"
    assert shown["refundAmountSats"] == view.invoices[InvoiceKind.WORK].amount_sats


def test_an_unpaid_job_past_its_deadline_is_expired_as_unpaid(
    client: CheckedClient, life: Life
) -> None:
    view = life.create()
    life.age_invoices(view, timedelta(seconds=3700))
    expiry.sweep(life.tools)

    shown = read(client, view)

    assert set(shown) == ALWAYS | {"expiredReason"}
    assert (shown["state"], shown["expiredReason"]) == ("expired", "unpaid")


def test_money_for_a_cancelled_job_is_shown_as_owed(client: CheckedClient, life: Life) -> None:
    view = life.create()
    intake.cancel(life.tools, view.job.public_id)
    life.pay(view, InvoiceKind.EVAL)
    life.poll()

    shown = read(client, view)

    assert set(shown) == ALWAYS | OWING | {"expiredReason"}
    assert shown["debts"] == [{"cause": "late", "amountSats": 10, "state": "pending"}]


def test_given_the_id_in_upper_case_then_the_job_is_found(
    client: CheckedClient, life: Life
) -> None:
    view = life.create()

    response = client.get(f"/api/jobs/{str(view.job.public_id).upper()}")

    assert response.json["jobId"] == str(view.job.public_id)


def test_given_an_id_that_nobody_has_then_the_job_is_not_found(client: CheckedClient) -> None:
    response = client.get(f"/api/jobs/{uuid4()}")

    assert response.status_code == 404
    assert response.json["error"] == "Job not found"
    assert response.json["code"] == "job_not_found"


NO_ID = ["7", "x", "null", "%00", "%ff", "..", "' OR 1=1 --", "{uuid}0", "{hex}", "{{uuid}}"]


@pytest.mark.parametrize("text", NO_ID)
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("POST", "/refund"), ("POST", "/cancel")]
)
def test_given_what_is_no_id_at_all_then_400(
    client: CheckedClient, text: str, method: str, rest: str
) -> None:
    known = uuid4()
    id_text = text.replace("{uuid}", str(known)).replace("{hex}", known.hex)

    response = client.open(f"/api/jobs/{id_text}{rest}", method=method, json={"invoice": "x"})

    assert (response.status_code, response.json["code"]) == (400, "invalid_id")


def test_reading_asks_neither_lightning_nor_a_model(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.complete()
    before = asked(stand_in)

    read(client, view)

    assert asked(stand_in) == before


def asked(stand_in: StandInClient) -> dict[str, int]:
    """What was asked of LNbits and of the models."""
    requests = stand_in.counts().requests
    return {route: count for route, count in requests.items() if "/stand-in/" not in route}


def test_given_an_unpaid_invoice_then_the_job_can_be_cancelled(
    client: CheckedClient, life: Life
) -> None:
    first, second = life.create(), life.awaiting_work_payment()

    answers = [client.post(f"/api/jobs/{v.job.public_id}/cancel") for v in (first, second)]

    for answer in answers:
        assert answer.status_code == 200
        assert (answer.json["state"], answer.json["expiredReason"]) == ("expired", "cancelled")


def test_given_no_unpaid_invoice_then_cancelling_is_a_409(
    client: CheckedClient, life: Life
) -> None:
    cancelled = life.create()
    client.post(f"/api/jobs/{cancelled.job.public_id}/cancel")

    for view in (cancelled, life.complete(), life.evaluating()):
        response = client.post(f"/api/jobs/{view.job.public_id}/cancel")
        assert (response.status_code, response.json["code"]) == (409, "invalid_state")


def test_cancelling_what_nobody_has_is_a_404(client: CheckedClient) -> None:
    assert client.post(f"/api/jobs/{uuid4()}/cancel").status_code == 404


def test_events_are_told_as_planned_for_a_job_and_as_nothing_for_another(
    client: CheckedClient, life: Life
) -> None:
    ours = f"/api/jobs/{life.create().job.public_id}"

    answers = [client.get(f"{job}/events") for job in (ours, f"/api/jobs/{uuid4()}")]

    assert [(a.status_code, a.json["code"]) for a in answers] == [
        (400, "not_supported"),
        (404, "job_not_found"),
    ]
