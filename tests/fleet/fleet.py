"""A product of two of everything, as its callers and its operator see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial

from local.processes import LOOPBACK
from local.stand_in.testing import StandInClient
from tests.journeys.caller import Caller, Json
from tests.journeys.product import Product, running_product
from tests.journeys.waiting import wait_until
from tests.support.ports import free_port

PAID, UNDER_WAY, NOT_NOW = 200, 202, 503
PATIENCE = 5
LOCKED_FOR_LONG = "sqlstate=55P03"
"""A row was waited for as long as ``lock_timeout`` lets anybody: the machine is overloaded."""


@dataclass(frozen=True)
class Fleet:
    """Two doors to one product."""

    product: Product
    second_url: str

    @property
    def wallet(self) -> StandInClient:
        return self.doors[0].wallet

    @cached_property
    def doors(self) -> tuple[Caller, Caller]:
        return Caller(self.product), Caller(replace(self.product, url=self.second_url))

    def create(self, text: str) -> Json:
        return self.doors[hash(text) % 2].create(text)

    def job(self, job_id: str) -> Json:
        return self.doors[hash(job_id) % 2].job(job_id)

    def claim(self, job: Json, invoice: str, *, door: int) -> int:
        """Claim at this door, again if the other door was at it for too long.

        With one invoice that is safe. Any other "not now" is a failure: nothing is done to the
        fleet.
        """
        answer = self.doors[door].claim(job, invoice)
        for _ in range(PATIENCE):
            if answer.status_code != NOT_NOW:
                break
            # the supervisor passes lines on, a moment after they were written
            about_it = partial(self.lines_with, answer.json()["requestId"])
            wait_until("the log says why", about_it, lambda why: LOCKED_FOR_LONG in why)
            answer = self.doors[door].claim(job, invoice)
        assert answer.status_code in {PAID, UNDER_WAY}, answer.text
        return answer.status_code

    def lines_with(self, text: str) -> str:
        """What the log says of this, a request's id for one."""
        return "\n".join(line for line in self.product.log.splitlines() if text in line)

    def lines_of(self, process: str, text: str) -> int:
        """How often a process has written this into the log."""
        lines = self.product.log.splitlines()
        return sum(line.partition("|")[0].strip() == process and text in line for line in lines)


@contextmanager
def running_fleet() -> Iterator[Fleet]:
    second_port = free_port()
    settings = {
        "SECOND_PORT": str(second_port),
        "OPEN_INVOICES_PER_CLIENT": "2000",
        # Long enough that nobody is thought dead on a busy machine.
        "LEASE_SECONDS": "20",
    }
    with running_product("tests.fleet", **settings) as product:
        commands = fleet_commands(product.url, second_port)
        yield Fleet(replace(product, commands=commands), f"http://{LOOPBACK}:{second_port}")


def fleet_commands(url: str, second_port: int) -> dict[str, str]:
    """What stands in the command line of each process of ours."""
    return {
        "web": f"{url.removeprefix('http://')} ",
        "web-2": f"{LOOPBACK}:{second_port} ",
        "worker-money": "money@",
        "worker-money-2": "money-2@",
        "worker-models": "models@",
        "worker-models-2": "models-2@",
        "beat": "celerybeat-schedule ",
        "beat-2": "celerybeat-schedule-2 ",
    }
