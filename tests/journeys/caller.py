"""Somebody who knows the address of the API, and has a wallet."""

import threading
from dataclasses import dataclass
from typing import Any

import requests

from config.settings import STAND_IN_INVOICE_KEY
from local.stand_in.lnbits import PAYER_INVOICE_KEY
from local.stand_in.testing import StandInClient
from tests.journeys.product import LOG_SHOWN, Product
from tests.journeys.waiting import wait_until
from tests.support import wire
from tests.support.wire import TIMEOUT_SECONDS

FINAL = frozenset({"rejected", "complete", "failed", "expired"})
COMES_AGAIN = 5
"""How often a caller asks who is told to come later."""

Json = dict[str, Any]
_never = threading.Event()


@dataclass(frozen=True)
class Caller:
    """Speaks HTTP and pays with Lightning; knows nothing of how the product is made."""

    product: Product

    @property
    def wallet(self) -> StandInClient:
        return StandInClient(self.product.stand_in_url)

    def create(self, request: str, **more: object) -> Json:
        """Ask for a job, and again when told that Lightning is away for a moment."""
        for _ in range(COMES_AGAIN):
            answer = self.post("/api/jobs", {"request": request, **more})
            if answer.status_code != 503 or answer.json()["code"] != "lightning_unavailable":
                break
            _never.wait(float(answer.headers["Retry-After"]))
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == f"/api/jobs/{answer.json()['jobId']}"
        self.product.confidential.extend((request, answer.json()["jobId"]))
        return dict(answer.json())

    @property
    def address(self) -> str:
        """A Lightning address of the caller's wallet."""
        return f"caller@{self.product.stand_in_url.removeprefix('http://')}"

    def job(self, job_id: str) -> Json:
        answer = wire.get(f"{self.product.url}/api/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def is_answered(self) -> bool:
        """Whether anybody is there."""
        try:
            return wire.get(f"{self.product.url}/api/healthz").ok
        except requests.ConnectionError:
            return False

    def answers(self, job_id: str) -> bool:
        """Whether a job can be read now. An outage must say so, and blame no caller."""
        status = wire.get(f"{self.product.url}/api/jobs/{job_id}").status_code
        assert status in {200, 503}, status
        return status == 200

    def pay(self, invoice: Json) -> None:
        """Pay without a wallet, as the bench allows."""
        answer = self.post(f"/api/dev/stub/pay/{invoice['paymentHash']}")
        assert answer.json() == {"ok": True, "paymentHash": invoice["paymentHash"]}

    def wait_for(self, job_id: str, state: str, **members: object) -> Json:
        """The job once it is in this state and shows these members; fails as soon as it cannot."""

        def is_there(job: Json) -> bool:
            if job["state"] != state:
                assert job["state"] not in FINAL, f"{job}\n{self.product.log[-LOG_SHOWN:]}"
                return False
            return all(job.get(name) == value for name, value in members.items())

        try:
            return wait_until(f"{state} {members}", lambda: self.job(job_id), is_there)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.product.log[-LOG_SHOWN:]}") from error

    def quoted(self, request: str) -> Json:
        """A job whose evaluation was paid and which waits for the payment of its work."""
        created = self.create(request)
        self.pay(created["evalInvoice"])
        return self.wait_for(created["jobId"], "awaiting_work_payment")

    def claim(self, job: Json, invoice: str) -> requests.Response:
        return self.post(f"/api/jobs/{job['jobId']}/refund", {"invoice": invoice})

    def post(self, path: str, body: Json | None = None) -> requests.Response:
        return wire.post(self.product.url + path, json=body)

    def balance_msats(self) -> int:
        """What the caller's wallet holds."""
        return self._wallet_msats(PAYER_INVOICE_KEY)

    def service_balance_msats(self) -> int:
        """What the product's wallet holds, by the word of Lightning."""
        return self._wallet_msats(STAND_IN_INVOICE_KEY)

    def _wallet_msats(self, key: str) -> int:
        answer = requests.get(
            f"{self.product.stand_in_url}/api/v1/wallet",
            headers={"X-Api-Key": key},
            timeout=TIMEOUT_SECONDS,
        )
        return int(answer.json()["balance"])
