"""While a part is down, callers are answered correctly and soon; when it is back, all goes on."""

import time
from collections.abc import Callable
from math import inf
from uuid import uuid4

import pytest
import requests

from gateways.lightning.lnbits_pulse import KEPT_SECONDS
from tests.journeys.caller import Caller, Json
from tests.journeys.product import Product
from tests.journeys.waiting import wait_until
from tests.support import wire

SOON_SECONDS = 2.0
"""How long a caller waits at most for a yes or a clean no, with Valkey or LNbits frozen by then."""
TRIES = 3
"""A busy machine may stand still, but not every time."""


@pytest.fixture
def product(impatient_product: Product) -> Product:
    return impatient_product


@pytest.fixture
def caller(impatient_caller: Caller) -> Caller:
    return impatient_caller


def timed(ask: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    began = time.monotonic()
    answer = ask()
    return answer, time.monotonic() - began


def create(caller: Caller) -> requests.Response:
    return caller.post("/api/jobs", {"request": f"Name a virtue of {uuid4()}."})


def finish(caller: Caller, job: Json) -> None:
    caller.pay(job["evalInvoice"])
    quoted = caller.wait_for(job["jobId"], "awaiting_work_payment")
    caller.pay(quoted["workInvoice"])
    caller.wait_for(job["jobId"], "complete")


def test_given_a_frozen_valkey_then_callers_are_answered_soon_and_their_jobs_are_done_afterwards(
    product: Product, caller: Caller
) -> None:
    assert any(_slowest_answer_beside(product, caller) < SOON_SECONDS for _ in range(TRIES))


def _slowest_answer_beside(product: Product, caller: Caller) -> float:
    """While Valkey is frozen; then the job is done."""
    with product.frozen("valkey"):
        created, creating = timed(lambda: create(caller))
        if created.status_code == 503:  # the machine stood still, and LNbits with it
            assert created.json()["code"] == "lightning_unavailable"
            return inf
        job, reading = timed(lambda: wire.get(f"{product.url}/api/jobs/{created.json()['jobId']}"))

        assert created.status_code == 201, created.text
        assert job.json()["state"] == "awaiting_eval_payment"

    finish(caller, created.json())
    return max(creating, reading)


def test_given_a_frozen_lnbits_then_jobs_can_be_read_and_new_ones_are_turned_away_soon(
    product: Product, caller: Caller
) -> None:
    job = caller.create(f"Name a vice of {uuid4()}.")
    heard_at = time.monotonic()
    wait_until(
        "LNbits' last answer counts no more", lambda: time.monotonic() > heard_at + KEPT_SECONDS
    )
    with product.frozen("stand-in"):
        unnoticed = [_turned_away(caller) for _ in range(TRIES)]
        reading = [timed(lambda: _state(caller, job))[1] for _ in range(TRIES)]
        wait_until("the money worker has noticed", lambda: _poll_error(product) == "timeout")
        noticed = [_turned_away(caller) for _ in range(TRIES)]

    assert max(min(unnoticed), min(reading), min(noticed)) < SOON_SECONDS
    wait_until("jobs are taken again", lambda: create(caller).status_code, lambda code: code == 201)
    finish(caller, job)


def _turned_away(caller: Caller) -> float:
    refused, seconds = timed(lambda: create(caller))
    assert refused.status_code == 503
    assert refused.json()["code"] == "lightning_unavailable"
    assert int(refused.headers["Retry-After"]) > 0
    return seconds


def _poll_error(product: Product) -> str | None:
    health = wire.get(f"{product.url}/api/readyz").json()
    error = health["checks"]["duties"]["errors"].get("payments.poll")
    return None if error is None else str(error)


def _state(caller: Caller, job: Json) -> requests.Response:
    answer = wire.get(f"{caller.product.url}/api/jobs/{job['jobId']}")
    assert answer.json()["state"] == "awaiting_eval_payment"
    return answer
