"""POST /api/dev/stub/pay/{hash}: only beside the Lightning stand-in, never in production."""

import pytest
from flask import Flask

from config.settings import AppEnv
from gateways.http import HttpClient
from gateways.lightning.stand_in import StandInPayer
from models.invoice import InvoiceKind
from models.lifecycle import JobState
from tests.app.conftest import Build
from tests.app.contract import CheckedClient, client_of
from tests.support.life import Life


def test_it_pays_an_invoice_and_may_be_asked_again(client: CheckedClient, life: Life) -> None:
    view = life.create()
    payment_hash = view.invoices[InvoiceKind.EVAL].payment_hash

    answers = [client.post(f"/api/dev/stub/pay/{payment_hash}") for _ in range(2)]
    life.poll()

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json == {"ok": True, "paymentHash": payment_hash}
    assert life.state(view) is JobState.EVALUATING
    assert life.debts(view) == []


@pytest.mark.parametrize(
    "payment_hash", ["0" * 64, "unknown", "x%3FamountMsat=1", "..%2Freset", "%00"]
)
def test_given_what_nobody_asked_for_then_404(client: CheckedClient, payment_hash: str) -> None:
    response = client.post(f"/api/dev/stub/pay/{payment_hash}")

    assert (response.status_code, response.json["code"]) == (404, "not_found")


def test_given_a_stand_in_that_is_away_then_503(client_with: Build) -> None:
    payer = StandInPayer("http://127.0.0.1:1", HttpClient())

    response = client_with(collaborators={"bench_payer": payer}).post("/api/dev/stub/pay/00")

    assert (response.status_code, response.json["code"]) == (503, "lightning_unavailable")
    assert "127.0.0.1" not in response.text


def test_it_does_not_exist_with_a_real_lnbits(client_with: Build) -> None:
    response = client_with(collaborators={"bench_payer": None}).post("/api/dev/stub/pay/00")

    assert response.json["error"] == "There is nothing at this address."


def test_it_does_not_exist_in_production(client_with: Build) -> None:
    response = client_with(app_env=AppEnv.PRODUCTION).post("/api/dev/stub/pay/00")

    assert response.json["error"] == "There is nothing at this address."


def test_the_document_does_not_name_it(web: Flask) -> None:
    assert "/dev/" not in client_of(web).get("/api/openapi.json").text
