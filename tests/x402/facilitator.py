"""The facilitator of the rig: started here, broken and watched from here."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from eth_account import Account

from tests.lnbits.processes import end, tied
from tests.lnbits.waiting import wait_until
from tests.support.ports import free_port
from tests.support.x402_payer import Json
from tests.x402.chain import Chain

SERVERS = Path(__file__).parent / "servers"
START_SECONDS = 60
STOP_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Call:
    endpoint: str
    nonce: str
    answer: dict[str, Any]


@dataclass(frozen=True)
class Facilitator:
    """The names of the faults are those of ``servers.facilitator``."""

    url: str

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/supported", timeout=30).status_code == 200
        except requests.RequestException:
            return False

    @contextmanager
    def broken(self, **faults: str) -> Iterator[None]:
        """``verify`` and ``settle`` go wrong as named, meanwhile."""
        requests.put(f"{self.url}/faults", json=faults, timeout=30).raise_for_status()
        try:
            yield
        finally:
            self.mend()

    def mend(self) -> None:
        """No fault any more; who hangs is let go. Safe to repeat."""
        requests.put(f"{self.url}/faults", json={}, timeout=30).raise_for_status()

    def calls(self, endpoint: str) -> list[Call]:
        """What was asked since ``forget``, in the order of the answers."""
        calls = requests.get(f"{self.url}/calls", timeout=30).json()["calls"]
        return [Call(**call) for call in calls if call["endpoint"] == endpoint]

    def settle(self, payment: Json, requirement: Json) -> dict[str, Any]:
        """As any shop asks it to; its answer."""
        body = {"x402Version": 2, "paymentPayload": payment, "paymentRequirements": requirement}
        said: dict[str, Any] = requests.post(f"{self.url}/settle", json=body, timeout=30).json()
        return said

    def forget(self) -> None:
        requests.delete(f"{self.url}/calls", timeout=30).raise_for_status()


@contextmanager
def running_facilitator(python: Path, chain: Chain, folder: Path) -> Iterator[Facilitator]:
    """On this chain, with a purse of its own for what transactions cost."""
    account = Account.create()
    chain.give_gas(account.address)
    port = free_port()
    arguments = [str(port), chain.url, account.key.hex()]
    with started(python, "facilitator.py", arguments, folder):
        facilitator = Facilitator(f"http://127.0.0.1:{port}")
        wait_until(facilitator.is_up, START_SECONDS, "the facilitator answers")
        yield facilitator


@contextmanager
def started(python: Path, program: str, arguments: list[str], folder: Path) -> Iterator[None]:
    """A program of ``servers``, on the environment that has the official x402."""
    with (folder / f"{program}.log").open("wb") as log:
        process = subprocess.Popen(
            tied([str(python), str(SERVERS / program), *arguments], signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        end(process, STOP_SECONDS)
