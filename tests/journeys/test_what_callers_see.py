"""While a part is down, callers are answered correctly and soon; when it is back, all goes on."""

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
import requests

from tests.journeys.caller import Caller, Json
from tests.journeys.product import Product
from tests.journeys.waiting import wait_until
from tests.support import wire

FOR_VALKEY_SECONDS = 5.0
"""What waiting for a frozen Valkey costs at least (``socket_timeout`` in config.broker)."""
FOR_LNBITS_SECONDS = 15.0
"""What waiting for LNbits' invoice costs at least."""


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
    # a busy machine may stand still, but not every time
    assert any(_slowest_answer_beside(product, caller) < FOR_VALKEY_SECONDS for _ in range(3))


def _slowest_answer_beside(product: Product, caller: Caller) -> float:
    """While Valkey is frozen; then the job is done."""
    with product.frozen("valkey"):
        created, creating = timed(lambda: create(caller))
        job, reading = timed(lambda: wire.get(f"{product.url}/api/jobs/{created.json()['jobId']}"))

        assert created.status_code == 201, created.text
        assert job.json()["state"] == "awaiting_eval_payment"

    finish(caller, created.json())
    return max(creating, reading)


def test_given_a_frozen_lnbits_then_jobs_can_be_read_and_new_ones_are_turned_away_soon(
    product: Product, caller: Caller
) -> None:
    job = caller.create(f"Name a vice of {uuid4()}.")
    with product.frozen("stand-in"):
        wait_until("the money worker has noticed", lambda: _poll_error(product) == "timeout")
        refused, refusing = timed(lambda: create(caller))
        _, reading = timed(lambda: _state(caller, job))

        assert refused.status_code == 503
        assert refused.json()["code"] == "lightning_unavailable"
        assert int(refused.headers["Retry-After"]) > 0
        assert max(refusing, reading) < FOR_LNBITS_SECONDS

    wait_until("jobs are taken again", lambda: create(caller).status_code, lambda code: code == 201)
    finish(caller, job)


def _poll_error(product: Product) -> str | None:
    health = wire.get(f"{product.url}/api/readyz").json()
    error = health["checks"]["duties"]["errors"].get("payments.poll")
    return None if error is None else str(error)


def _state(caller: Caller, job: Json) -> requests.Response:
    answer = wire.get(f"{caller.product.url}/api/jobs/{job['jobId']}")
    assert answer.json()["state"] == "awaiting_eval_payment"
    return answer
