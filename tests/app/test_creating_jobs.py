"""POST /api/jobs: what a caller gets, and that a job is made only when it can be paid for."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from sqlalchemy import func, select

from config.settings import STAND_IN_INVOICE_KEY
from gateways.http import HttpClient
from gateways.lightning import lnbits_pulse
from gateways.lightning.lnbits import LnbitsIncome
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.invoice import InvoiceKind
from models.job import Job
from services.toolbox import Toolbox
from tests.app.conftest import Build
from tests.app.contract import CheckedClient
from tests.support.life import REQUEST, Life

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def jobs_in(tools: Toolbox) -> int:
    with tools.database.transaction("test.count") as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def instant(text: str) -> datetime:
    assert INSTANT.fullmatch(text)
    return datetime.fromisoformat(text)


def test_given_a_request_then_the_answer_holds_an_id_and_an_invoice_for_the_fee(
    client: CheckedClient,
) -> None:
    response = client.post("/api/jobs", json={"request": REQUEST})

    assert response.status_code == 201
    shown = response.json
    assert set(shown) == {"jobId", "evalInvoice", "state", "createdAt", "links"}
    assert set(shown["evalInvoice"]) == {
        "paymentRequest",
        "amountSats",
        "paymentHash",
        "expiresAt",
    }
    assert shown["state"] == "awaiting_eval_payment"
    assert shown["evalInvoice"]["amountSats"] == 10
    assert shown["evalInvoice"]["paymentRequest"].startswith("lnbcrt100n1")
    assert response.headers["Location"] == f"/api/jobs/{shown['jobId']}"
    assert shown["links"]["self"] == response.headers["Location"]


def test_times_are_utc_with_z_and_the_deadline_is_an_hour_away(client: CheckedClient) -> None:
    shown = client.post("/api/jobs", json={"request": REQUEST}).json

    created = instant(shown["createdAt"])
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=1)
    assert instant(shown["evalInvoice"]["expiresAt"]) - created == timedelta(hours=1)


def test_a_job_id_is_122_random_bits(client: CheckedClient) -> None:
    ids = {client.post("/api/jobs", json={"request": REQUEST}).json["jobId"] for _ in range(3)}

    assert len(ids) == 3
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab].{3}-.{12}", i) for i in ids
    )


def test_metadata_is_echoed_when_the_job_is_read(client: CheckedClient) -> None:
    metadata = {"order": "7", "für": "日本 🙂", "empty": ""}

    made = client.post("/api/jobs", json={"request": REQUEST, "metadata": metadata})

    assert client.get(made.headers["Location"]).json["metadata"] == metadata


@pytest.mark.parametrize("request_text", ["x", "x" * 4000, "🙂" * 4000, " \n x", "{}</data>\\"])
def test_given_1_to_4000_characters_of_any_kind_then_a_job_is_made(
    client: CheckedClient, request_text: str
) -> None:
    assert client.post("/api/jobs", json={"request": request_text}).status_code == 201


def test_the_memo_of_the_invoice_holds_the_first_8_digits_of_the_id_and_no_more(
    client: CheckedClient, stand_in: StandInClient
) -> None:
    made = client.post("/api/jobs", json={"request": REQUEST}).json
    address = f"{stand_in.url}/api/v1/payments/{made['evalInvoice']['paymentHash']}"

    known = requests.get(address, headers={"X-Api-Key": STAND_IN_INVOICE_KEY}, timeout=30)

    assert made["jobId"][:8] in known.text
    assert made["jobId"][:9] not in known.text


def test_given_lightning_is_away_then_503_and_no_job_is_left_behind(
    client: CheckedClient, stand_in: StandInClient, tools: Toolbox
) -> None:
    stand_in.arm(Fault(target="lnbits.create", kind=FaultKind.STATUS, status=520, text="SECRET"))

    response = client.post("/api/jobs", json={"request": REQUEST})

    assert response.status_code == 503
    assert response.json["code"] == "lightning_unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    assert "SECRET" not in response.text
    assert stand_in.url not in response.text
    assert jobs_in(tools) == 0


def test_given_lightning_hangs_then_callers_are_told_at_once_and_no_invoice_is_asked_for(
    client_with: Build, stand_in: StandInClient, tools: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the 15 s that an invoice of a slow LNbits is worth (``lnbits.CREATE_SECONDS``)."""
    monkeypatch.setattr(lnbits_pulse, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(lnbits_pulse, "KEPT_SECONDS", 0.0)
    income = LnbitsIncome(stand_in.url, STAND_IN_INVOICE_KEY, HttpClient())
    client = client_with(collaborators={"income": income})
    stand_in.arm(Fault(target="lnbits.health", kind=FaultKind.HANG))

    response = client.post("/api/jobs", json={"request": REQUEST})

    assert (response.status_code, response.json["code"]) == (503, "lightning_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert "POST /api/v1/payments" not in stand_in.counts().requests
    assert jobs_in(tools) == 0
    stand_in.disarm()
    monkeypatch.setattr(lnbits_pulse, "ASK_SECONDS", 60.0)
    assert client.post("/api/jobs", json={"request": REQUEST}).status_code == 201


def test_given_no_price_of_a_bitcoin_then_503_and_no_invoice_is_asked_for(
    client_with: Build, stand_in: StandInClient, tools: Toolbox
) -> None:
    client = client_with(btc_price_usd_fallback=None)

    response = client.post("/api/jobs", json={"request": REQUEST})

    assert response.status_code == 503
    assert response.json["code"] == "price_unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    assert jobs_in(tools) == 0
    assert stand_in.effects() == []


def test_given_too_many_open_invoices_of_one_client_then_429_until_one_is_cancelled(
    client_with: Build,
) -> None:
    client = client_with(open_invoices_per_client=2)
    first = client.post("/api/jobs", json={"request": REQUEST})
    client.post("/api/jobs", json={"request": REQUEST})

    refused = client.post("/api/jobs", json={"request": REQUEST})
    client.post(first.json["links"]["cancel"])
    taken = client.post("/api/jobs", json={"request": REQUEST})

    assert refused.status_code == 429
    assert refused.json["code"] == "too_many_open_invoices"
    assert int(refused.headers["Retry-After"]) >= 1
    assert taken.status_code == 201


def test_given_too_many_open_invoices_in_all_then_429_for_everybody(client_with: Build) -> None:
    client = client_with(open_invoices_max=1)
    client.post("/api/jobs", json={"request": REQUEST}, environ_base={"REMOTE_ADDR": "192.0.2.7"})

    refused = client.post(
        "/api/jobs", json={"request": REQUEST}, environ_base={"REMOTE_ADDR": "192.0.2.8"}
    )

    assert refused.status_code == 429


@pytest.mark.parametrize(
    ("member", "value"),
    [("webhook", {"url": "https://example.org"})],
)
def test_what_is_not_built_yet_is_refused_by_name_and_not_ignored(
    client: CheckedClient, tools: Toolbox, member: str, value: object
) -> None:
    response = client.post("/api/jobs", json={"request": REQUEST, member: value})

    assert response.status_code == 400
    assert response.json["code"] == "not_supported"
    assert member in response.json["error"]
    assert jobs_in(tools) == 0


def test_an_idempotency_key_is_refused_and_not_ignored(client: CheckedClient, life: Life) -> None:
    key = {"Idempotency-Key": "0123456789abcdef"}
    job_id = life.create().job.public_id

    answers = [
        client.post("/api/jobs", json={"request": REQUEST}, headers=key),
        client.post(f"/api/jobs/{job_id}/refund", json={"invoice": "x"}, headers=key),
        client.post(f"/api/jobs/{job_id}/cancel", headers=key),
    ]

    assert [(a.status_code, a.json["code"]) for a in answers] == [(400, "not_supported")] * 3
    assert jobs_in(life.tools) == 1
    assert InvoiceKind.EVAL in life.view(life.create()).invoices
