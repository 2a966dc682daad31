"""One stand-in per test process, as good as new for every test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from local.stand_in.lnbits import PAYER_ADMIN_KEY, PAYER_INVOICE_KEY
from local.stand_in.testing import StandInClient, running_stand_in


@dataclass(frozen=True)
class Lnbits:
    """Plain HTTP to the stand-in's LNbits; by default with the service's admin key."""

    url: str
    key: str | None = STAND_IN_ADMIN_KEY

    def with_key(self, key: str | None) -> "Lnbits":
        return Lnbits(self.url, key)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, headers=self._headers, timeout=30)

    def post(self, path: str, body: object) -> requests.Response:
        return requests.post(self.url + path, json=body, headers=self._headers, timeout=30)

    @property
    def _headers(self) -> dict[str, str]:
        return {} if self.key is None else {"X-Api-Key": self.key}

    def create(self, sats: int = 10, **more: Any) -> dict[str, Any]:
        order = {"out": False, "amount": sats, "memo": "test", **more}
        answer = self.post("/api/v1/payments", order)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def pay(self, bolt11: str) -> requests.Response:
        return self.post("/api/v1/payments", {"out": True, "bolt11": bolt11})

    def read(self, payment_hash: str) -> requests.Response:
        return self.get(f"/api/v1/payments/{payment_hash}")

    def page(self, query: str) -> list[dict[str, Any]]:
        answer = self.get(f"/api/v1/payments/paginated?{query}")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def balance(self) -> int:
        return int(self.get("/api/v1/wallet").json()["balance"])


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInClient]:
    with running_stand_in(tmp_path_factory.mktemp("stand-in")) as client:
        yield client


@pytest.fixture
def world(running: StandInClient) -> StandInClient:
    running.reset()
    return running


@pytest.fixture
def service(world: StandInClient) -> Lnbits:
    """The service's wallet, with the key that can pay."""
    return Lnbits(world.url, STAND_IN_ADMIN_KEY)


@pytest.fixture
def income(world: StandInClient) -> Lnbits:
    """The service's wallet, with the key that can only receive."""
    return Lnbits(world.url, STAND_IN_INVOICE_KEY)


@pytest.fixture
def payer(world: StandInClient) -> Lnbits:
    return Lnbits(world.url, PAYER_ADMIN_KEY)


@pytest.fixture
def payer_income(world: StandInClient) -> Lnbits:
    return Lnbits(world.url, PAYER_INVOICE_KEY)
