"""POST /api/jobs/{id}/refund: in which order it looks, and how it answers."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from coincurve import PrivateKey
from sqlalchemy import select

from gateways.bolt11 import Network
from local.stand_in.bolt11_signing import InvoiceDraft, sign_invoice
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models import database
from models.database import Database
from models.invoice import InvoiceKind
from models.job import Job
from services.jobs.intake import JobView
from tests.app.conftest import Build, BusyDoorbell, taken
from tests.app.contract import Answer, CheckedClient
from tests.support.life import Life
from tests.support.lost_database import LostAt


def claim(client: CheckedClient, job: JobView | UUID | str, body: object) -> Answer:
    job_id = job.job.public_id if isinstance(job, JobView) else job
    return client.post(f"/api/jobs/{job_id}/refund", json=body)


def owed(client: CheckedClient, view: JobView) -> int:
    return int(client.get(f"/api/jobs/{view.job.public_id}").json["refundAmountSats"])


def a_stranger_asks(sats: int | None, **unusual: Any) -> str:
    """An invoice of a node that nobody knows."""
    wanted: dict[str, Any] = {
        "amount_msats": None if sats is None else sats * 1000,
        "payment_hash": secrets.token_bytes(32),
        "payment_secret": secrets.token_bytes(32),
        "created_at": datetime.now(UTC),
        "description": "refund",
    }
    return sign_invoice(InvoiceDraft(**{**wanted, **unusual}), PrivateKey())


def test_given_workers_that_are_quick_enough_then_200_when_it_is_paid(
    client_with: Build, busy_workers: BusyDoorbell, life: Life, stand_in: StandInClient
) -> None:
    client = client_with(refund_wait_seconds=20, collaborators={"doorbell": busy_workers})
    view = life.complete()
    amount = owed(client, view)
    invoice = stand_in.payer_invoice(amount)

    response = claim(client, view, {"invoice": invoice})

    assert response.status_code == 200
    assert response.json["ok"] is True
    assert response.json["refundAmountSats"] == amount
    assert len(response.json["paymentHash"]) == 64
    assert response.json["message"]
    assert response.json["refundState"] == "paid"


def test_given_workers_that_are_slow_then_202_and_the_job_tells_the_end(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.complete()
    amount = owed(client, view)
    body = {"invoice": stand_in.payer_invoice(amount)}

    first, again = claim(client, view, body), claim(client, view, body)
    life.work()
    shown = client.get(f"/api/jobs/{view.job.public_id}").json
    after = claim(client, view, body)

    assert first.status_code == again.status_code == 202
    assert first.json == again.json
    assert first.json["ok"] is False
    assert first.json["refundState"] == "pending"
    assert first.json["refundAmountSats"] == amount
    assert shown["refundState"] == shown["costLedger"]["refundState"] == "paid"
    assert shown["refundAmountSats"] == 0
    assert after.status_code == 200
    assert after.json["paymentHash"] == first.json["paymentHash"]


def test_given_lightning_that_cannot_pay_then_503_and_the_same_invoice_may_claim_again(
    client_with: Build, busy_workers: BusyDoorbell, life: Life, stand_in: StandInClient
) -> None:
    client = client_with(refund_wait_seconds=20, collaborators={"doorbell": busy_workers})
    view = life.complete()
    amount = owed(client, view)
    body = {"invoice": stand_in.payer_invoice(amount)}
    balance = stand_in.top_up(0) // 1000
    stand_in.top_up(-balance)

    refused = claim(client, view, body)
    still_owed = owed(client, view)
    stand_in.top_up(balance)
    paid = claim(client, view, body)

    assert (refused.status_code, refused.json["code"]) == (503, "lightning_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert still_owed == amount
    assert paid.status_code == 200


def test_given_a_claim_that_failed_thrice_then_503_tells_when_to_come_again_and_nothing_is_sent(
    client_with: Build, busy_workers: BusyDoorbell, life: Life, stand_in: StandInClient
) -> None:
    client = client_with(refund_wait_seconds=20, collaborators={"doorbell": busy_workers})
    view = life.complete()
    amount = owed(client, view)
    stand_in.top_up(-(stand_in.top_up(0) // 1000))
    invoice = stand_in.payer_invoice(amount)

    failed = [claim(client, view, {"invoice": invoice}) for _ in range(3)]
    asked = stand_in.counts().requests["POST /api/v1/payments"]
    put_off = claim(client, view, {"invoice": invoice})
    told = [int(answer.headers["Retry-After"]) for answer in (*failed, put_off)]

    assert {(a.status_code, a.json["code"]) for a in (*failed, put_off)} == {
        (503, "lightning_unavailable")
    }
    assert put_off.json["error"] != failed[0].json["error"]
    assert told[:2] == [10, 10], "the invoice may be put right"
    assert 10 < told[2] <= 30
    assert told[3] <= told[2]
    assert stand_in.counts().requests["POST /api/v1/payments"] == asked
    assert owed(client, view) == amount


def test_given_a_payment_in_doubt_then_202_until_it_is_known(
    client_with: Build, life: Life, stand_in: StandInClient
) -> None:
    client = client_with(refund_wait_seconds=0)
    view = life.complete()
    body = {"invoice": stand_in.payer_invoice(owed(client, view))}
    stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=2))
    claim(client, view, body)
    life.work()

    pending = claim(client, view, body)
    life.make_due()
    life.work()
    paid = claim(client, view, body)

    assert pending.status_code == 202
    assert paid.status_code == 200


def test_given_a_payout_under_way_then_another_invoice_is_a_409(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.complete()
    amount = owed(client, view)
    claim(client, view, {"invoice": stand_in.payer_invoice(amount)})

    response = claim(client, view, {"invoice": stand_in.payer_invoice(amount)})

    assert (response.status_code, response.json["code"]) == (409, "refund_in_progress")


def test_given_a_refund_that_was_paid_then_another_invoice_is_a_409_with_the_payment_hash(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.complete()
    amount = owed(client, view)
    first = claim(client, view, {"invoice": stand_in.payer_invoice(amount)})
    life.work()

    response = claim(client, view, {"invoice": stand_in.payer_invoice(amount)})

    assert (response.status_code, response.json["code"]) == (409, "refund_already_paid")
    assert response.json["paymentHash"] == first.json["paymentHash"]


def test_given_a_job_that_is_still_open_then_409(client: CheckedClient, life: Life) -> None:
    for bring in (life.create, life.awaiting_work_payment, life.evaluating):
        response = claim(client, bring(), {"invoice": a_stranger_asks(10)})
        assert (response.status_code, response.json["code"]) == (409, "invalid_state")


def test_given_a_job_at_work_then_409(client: CheckedClient, life: Life) -> None:
    response = claim(client, life.executing(), {"invoice": a_stranger_asks(10)})

    assert (response.status_code, response.json["code"]) == (409, "invalid_state")


def test_given_a_job_on_which_nothing_is_owed_then_409(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    stand_in.arm(Fault(target="anthropic", kind=FaultKind.REFUSAL))
    rejected = life.awaiting_work_payment()

    response = claim(client, rejected, {"invoice": a_stranger_asks(10)})

    assert (response.status_code, response.json["code"]) == (409, "refund_not_applicable")


REFUSED: list[tuple[str, Callable[[int], str], str]] = [
    ("no BOLT11", lambda _: "lnbc-nonsense", "invalid_invoice"),
    ("empty", lambda _: "", "invalid_invoice"),
    ("an address", lambda _: "someone@example.org", "invalid_invoice"),
    ("cut off", lambda owed: a_stranger_asks(owed)[:-1], "invalid_invoice"),
    (
        "of another network",
        lambda owed: a_stranger_asks(owed, network=Network.BITCOIN),
        "invoice_wrong_network",
    ),
    (
        "expired",
        lambda owed: a_stranger_asks(owed, created_at=datetime.now(UTC) - timedelta(hours=2)),
        "invoice_expired",
    ),
    ("about to expire", lambda owed: a_stranger_asks(owed, expiry_seconds=60), "invoice_expired"),
    ("one sat more", lambda owed: a_stranger_asks(owed + 1), "invoice_amount_mismatch"),
    ("one sat less", lambda owed: a_stranger_asks(owed - 1), "invoice_amount_mismatch"),
    ("without amount", lambda _: a_stranger_asks(None), "invoice_amount_mismatch"),
    (
        "a thousandth more",
        lambda owed: a_stranger_asks(None, amount_msats=owed * 1000 + 1),
        "invoice_amount_mismatch",
    ),
]


@pytest.mark.parametrize(("what", "make", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_an_invoice_that_we_would_not_pay_exactly_is_a_400(
    client: CheckedClient, life: Life, what: str, make: Callable[[int], str], code: str
) -> None:
    view = life.complete()
    amount = owed(client, view)

    response = claim(client, view, {"invoice": make(amount)})

    assert (response.status_code, response.json["code"]) == (400, code), what
    assert owed(client, view) == amount


def test_an_amount_that_does_not_fit_is_told_with_the_right_one(
    client: CheckedClient, life: Life
) -> None:
    view = life.complete()

    response = claim(client, view, {"invoice": a_stranger_asks(1)})

    assert response.json["refundAmountSats"] == owed(client, view)
    assert str(owed(client, view)) in response.json["error"]


def test_one_of_our_own_invoices_is_a_400(client: CheckedClient, life: Life) -> None:
    ours = life.create()
    view = life.create()
    client.post(f"/api/jobs/{view.job.public_id}/cancel")
    life.pay(view, InvoiceKind.EVAL)
    life.poll()

    invoice = ours.invoices[InvoiceKind.EVAL].payment_request
    response = claim(client, view, {"invoice": invoice})

    assert (response.status_code, response.json["code"]) == (400, "invoice_already_used")


def test_an_invoice_that_paid_another_job_is_a_400(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    first, second = life.complete(), life.complete()
    assert owed(client, first) == owed(client, second)
    body = {"invoice": stand_in.payer_invoice(owed(client, first))}
    claim(client, first, body)
    life.work()

    response = claim(client, second, body)

    assert (response.status_code, response.json["code"]) == (400, "invoice_already_used")


NO_STRING: list[object] = [
    {},
    {"invoice": None},
    {"invoice": 7},
    {"invoice": ["x"]},
    {"Invoice": "x"},
]


@pytest.mark.parametrize("body", NO_STRING)
def test_given_no_string_as_invoice_then_400_that_names_the_member(
    client: CheckedClient, life: Life, body: object
) -> None:
    response = claim(client, life.create(), body)

    assert (response.status_code, response.json["code"]) == (400, "invalid_request")
    assert "invoice" in response.json["error"].lower()


def test_it_looks_at_the_id_then_the_job_then_the_body_then_the_state_then_the_invoice(
    client: CheckedClient, life: Life
) -> None:
    """Each request is wrong in everything that comes later, too."""
    open_job, done = life.create(), life.complete()

    asked = [
        claim(client, "no-id", {"invoice": 7}),
        claim(client, uuid4(), {"invoice": 7}),
        claim(client, open_job, {"invoice": 7}),
        claim(client, open_job, {"invoice": "no BOLT11"}),
        claim(client, done, {"invoice": "no BOLT11"}),
    ]

    assert [(answer.status_code, answer.json["code"]) for answer in asked] == [
        (400, "invalid_id"),
        (404, "job_not_found"),
        (400, "invalid_request"),
        (409, "invalid_state"),
        (400, "invalid_invoice"),
    ]


def test_a_job_is_looked_for_before_its_body_is_read(client: CheckedClient) -> None:
    path = f"/api/jobs/{uuid4()}/refund"

    for body, content_type in ((b"{", "application/json"), (b"x", "text/plain"), (b"", None)):
        assert client.post(path, data=body, content_type=content_type).status_code == 404


def test_a_known_claim_is_answered_before_the_state_is_looked_at(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    """All is paid, which is a 409 for any other invoice."""
    view = life.complete()
    body = {"invoice": stand_in.payer_invoice(owed(client, view))}
    claim(client, view, body)
    life.work()

    assert claim(client, view, body).status_code == 200


def test_given_a_paid_refund_then_nothing_is_owed_and_the_debt_is_shown_as_paid(
    client: CheckedClient, life: Life, stand_in: StandInClient
) -> None:
    view = life.create()
    client.post(f"/api/jobs/{view.job.public_id}/cancel")
    life.pay(view, InvoiceKind.EVAL)
    life.poll()
    claim(client, view, {"invoice": stand_in.payer_invoice(10)})
    life.work()
    shown = client.get(f"/api/jobs/{view.job.public_id}").json

    assert (shown["refundState"], shown["refundAmountSats"]) == ("paid", 0)
    assert shown["debts"] == [{"cause": "late", "amountSats": 10, "state": "paid"}]


def test_given_no_free_seat_then_a_claim_is_taken_and_not_waited_for(
    client_with: Build, life: Life, stand_in: StandInClient
) -> None:
    client = client_with(refund_wait_seconds=30)
    room = client.application.extensions["waiting_room"]
    view = life.complete()
    body = {"invoice": stand_in.payer_invoice(owed(client, view))}
    began = datetime.now(UTC)

    with taken(room, 16):
        response = claim(client, view, body)

    assert response.status_code == 202
    assert datetime.now(UTC) - began < timedelta(seconds=15)


def test_given_another_claim_that_does_not_end_then_503_at_last_and_the_same_invoice_is_safe(
    client_with: Build,
    life: Life,
    stand_in: StandInClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database, "SESSION_OPTIONS", "-c timezone=UTC -c lock_timeout=100ms")
    hurried = Database(life.tools.settings.database_url)
    client = client_with(collaborators={"database": hurried})
    view = life.complete()
    invoice = stand_in.payer_invoice(owed(client, view))

    with life.tools.database.transaction("test.other_claim") as other:
        other.execute(select(Job.id).where(Job.id == view.job.id).with_for_update())
        response = claim(client, view, {"invoice": invoice})

    assert (response.status_code, response.json["code"]) == (503, "not_ready")
    assert response.headers["Retry-After"] == "2"
    assert "55P03" in caplog.text
    assert claim(client, view, {"invoice": invoice}).status_code == 202
    hurried.close()


def test_a_database_lost_while_a_refund_is_waited_for_leaves_it_under_way(
    client_with: Build, life: Life, stand_in: StandInClient
) -> None:
    lost = LostAt("refunds.look", life.tools.database)
    client = client_with(collaborators={"database": lost}, refund_wait_seconds=20)
    view = life.complete()
    body = {"invoice": stand_in.payer_invoice(owed(client, view))}

    under_way = claim(client, view, body)
    life.work()
    paid = claim(client, view, body)

    assert (under_way.status_code, under_way.json["refundState"]) == (202, "pending")
    assert (paid.status_code, paid.json["refundState"]) == (200, "paid")
