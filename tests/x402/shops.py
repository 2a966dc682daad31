"""What can be bought on the rig: from the product, and from a shop that trusts the middleware."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import requests

from tests.lnbits.ports import free_port
from tests.lnbits.waiting import wait_until
from tests.support.x402_payer import Json, Payer, decoded
from tests.x402.facilitator import started
from tests.x402.rig import Rig

START_SECONDS = 60
PATIENCE_SECONDS = 60


class Shop(Protocol):
    """Somebody who sells two things for the same price, each made when it is bought."""

    @property
    def payee(self) -> str: ...

    def url(self, thing: str) -> str: ...

    def ran(self, thing: str) -> int:
        """How often this thing was made, paid or not."""


@dataclass(frozen=True, kw_only=True)
class NaiveShop:
    address: str
    payee: str

    def url(self, thing: str) -> str:
        return f"{self.address}/api/instant/shop/{thing}"

    def ran(self, thing: str) -> int:
        return int(self._ran().get(thing, 0))

    def is_up(self) -> bool:
        try:
            self._ran()
        except requests.RequestException:
            return False
        return True

    def _ran(self) -> Json:
        made: Json = requests.get(f"{self.address}/ran", timeout=5).json()
        return made


@contextmanager
def naive_shop(rig: Rig) -> Iterator[NaiveShop]:
    payee = Payer().address
    port = free_port()
    arguments = [str(port), rig.facilitator.url, payee]
    with started(rig.installed.python, "naive.py", arguments, rig.folder):
        shop = NaiveShop(address=f"http://127.0.0.1:{port}", payee=payee)
        wait_until(shop.is_up, START_SECONDS, "the naive shop answers")
        yield shop


def ask(url: str, headers: dict[str, str] | None = None) -> requests.Response:
    """One POST, as any program would send it."""
    return requests.post(url, json={}, headers=headers, timeout=PATIENCE_SECONDS)


def required(url: str) -> Json:
    """What an unpaid request is told to pay."""
    answer = ask(url)
    assert answer.status_code == 402, answer.text
    return decoded(answer.headers["PAYMENT-REQUIRED"])
