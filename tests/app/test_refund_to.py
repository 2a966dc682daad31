"""``refundTo`` on the wire: its shape is judged when the job is created, the job tells its fate."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from local.stand_in.faults import Fault, FaultKind
from models.job import Job
from tests.app.contract import CheckedClient
from tests.support import rows
from tests.support.life import REQUEST, Life
from tests.support.owing import address_at, owing_to


def create(client: CheckedClient, refund_to: object) -> Any:
    return client.post("/api/jobs", json={"request": REQUEST, "refundTo": refund_to})


@pytest.mark.parametrize(
    "address",
    [
        "alice@wallet.example",
        "https://wallet.example/lnurlp/alice",
        "lnurlp://wallet.example/lnurlp/alice",
        (
            "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZ"
            "D3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS"
        ),
    ],
)
def test_a_receiver_is_taken_with_the_job_and_shown_with_it(
    client: CheckedClient, address: str
) -> None:
    created = create(client, f" {address} ")

    assert created.status_code == 201
    job = client.get(f"/api/jobs/{created.json['jobId']}").json
    assert job["refundTo"] == {"address": address, "state": "waiting"}


@pytest.mark.parametrize(
    "refund_to",
    [
        *("", "alice", "alice@localhost", "http://wallet.example/", "https://10.0.0.1/"),
        *("lnurlw://wallet.example/", "lnbcrt1", "alice@wallet.example:8443", "x" * 2001),
    ],
)
def test_anything_else_is_a_400_in_words_and_no_job(
    client: CheckedClient, life: Life, refund_to: str
) -> None:
    refused = create(client, refund_to)

    assert refused.status_code == 400
    assert refused.json["code"] == "invalid_refund_to"
    assert [problem["pointer"] for problem in refused.json["errors"]] == ["/refundTo"]
    assert refused.json["error"].startswith("refundTo ")
    assert refused.json["error"].endswith(".")
    assert rows.all_of(life.tools, Job) == []


@pytest.mark.parametrize(
    "refund_to",
    [None, 7, True, ["alice@wallet.example"], {"address": "a@b.example"}, "a\x00@b.example"],
    ids=repr,
)
def test_what_is_no_text_is_a_400_by_its_shape(client: CheckedClient, refund_to: object) -> None:
    refused = create(client, refund_to)

    assert (refused.status_code, refused.json["code"]) == (400, "invalid_request")
    assert refused.json["errors"][0]["pointer"] == "/refundTo"


def test_nobody_is_asked_when_a_job_is_created(client: CheckedClient, life: Life) -> None:
    assert create(client, address_at(life)).status_code == 201

    assert life.stand_in.effects("receiver_asked") == []


def test_without_refund_to_the_job_says_nothing_of_it(client: CheckedClient) -> None:
    created = client.post("/api/jobs", json={"request": REQUEST})

    assert "refundTo" not in client.get(f"/api/jobs/{created.json['jobId']}").json


def test_while_it_is_tried_the_job_tells_why_not_yet_when_next_and_until_when(
    client: CheckedClient, life: Life
) -> None:
    view = owing_to(life)
    life.stand_in.arm(Fault(target="lnurl", kind=FaultKind.STATUS, status=503, text="node down"))
    life.work()
    life.make_due()
    life.work()

    job = client.get(f"/api/jobs/{view.job.public_id}").json
    told = job["refundTo"]

    assert told["state"] == "trying"
    assert told["lastError"] == "The receiver's host does not answer."
    tried, until = (datetime.fromisoformat(told[at]) for at in ("lastTriedAt", "claimableAt"))
    assert timedelta(days=2.9) < until - tried <= timedelta(days=3)
    assert datetime.fromisoformat(told["nextTryAt"]) > tried
    assert job["refundState"] == "pending"


def test_while_it_is_tried_a_claim_is_a_409_that_says_so(client: CheckedClient, life: Life) -> None:
    view = owing_to(life)
    body = {"invoice": life.stand_in.payer_invoice(10)}

    refused = client.post(f"/api/jobs/{view.job.public_id}/refund", json=body)

    assert refused.status_code == 409
    assert refused.json["code"] == "refund_automatic"
    assert "refundTo" in refused.json["error"]


def test_once_it_is_paid_the_job_says_so_and_a_claim_names_the_payment(
    client: CheckedClient, life: Life
) -> None:
    view = owing_to(life)
    life.make_due()
    life.work()

    job = client.get(f"/api/jobs/{view.job.public_id}").json
    refused = client.post(
        f"/api/jobs/{view.job.public_id}/refund", json={"invoice": life.stand_in.payer_invoice(10)}
    )

    assert job["refundState"] == "paid"
    assert job["refundTo"]["state"] == "paid"
    assert "lastError" not in job["refundTo"]
    assert (refused.status_code, refused.json["code"]) == (409, "refund_already_paid")
    assert len(refused.json["paymentHash"]) == 64


def test_once_it_is_given_up_the_job_says_why_and_a_claim_is_paid(
    client: CheckedClient, life: Life
) -> None:
    view = owing_to(life)
    life.stand_in.arm(Fault(target="lnurl.terms", kind=FaultKind.STATUS, status=404, text="secret"))
    life.make_due()
    life.work()

    job = client.get(f"/api/jobs/{view.job.public_id}").json
    claimed = client.post(
        f"/api/jobs/{view.job.public_id}/refund", json={"invoice": life.stand_in.payer_invoice(10)}
    )

    assert job["refundTo"]["state"] == "given_up"
    assert job["refundTo"]["lastError"] == "The receiver's host knows nobody of this name."
    assert "claimableAt" not in job["refundTo"]
    assert "secret" not in str(job)
    assert claimed.status_code == 202
    life.work()
    assert client.get(f"/api/jobs/{view.job.public_id}").json["refundState"] == "paid"
