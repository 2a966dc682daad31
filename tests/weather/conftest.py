"""A sky over one deployment: duties come round when a test says so; readyz shows what they saw."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, update

from config.queues import EVERY, TaskName
from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways.http import HttpClient
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.invoice import Invoice
from models.job import Job
from models.tick import Tick
from services.operate import ticks
from services.toolbox import Toolbox
from tests.conformance.scripted_server import ScriptedServer, scripted_server
from tests.support.books import assert_balanced
from tests.support.deadlines import wait_shortly_for
from tests.support.life import Life
from tests.support.rows import let_pass
from tests.weather.storms import Storm

ALWAYS = 1000
WAITED_OUT_SECONDS = 0.4
"""A deadline that will pass is waited out in full; how long it is makes no other difference."""


@dataclass(frozen=True)
class Sky:
    """``life`` with the troubles of LNbits."""

    life: Life
    client: FlaskClient
    deadlines: pytest.MonkeyPatch
    """As in production, but for what hangs at the moment: else a machine that stands still fails a
    test."""

    @property
    def tools(self) -> Toolbox:
        return self.life.tools

    def storm(self, target: str, storm: Storm, *, after_effect: bool = False) -> None:
        """Let everything that is asked of ``target`` go wrong, until ``clear``."""
        fault = storm.fault.model_copy(
            update={"target": target, "times": ALWAYS, "after_effect": after_effect}
        )
        self.life.stand_in.arm(fault)
        if storm.is_waited_out:
            wait_shortly_for(target, WAITED_OUT_SECONDS, self.deadlines)

    def hide_from_feed(self, payment_hash: str) -> None:
        kind = FaultKind.MISSING_ROW
        self.life.stand_in.arm(
            Fault(target="lnbits.feed", kind=kind, text=payment_hash, times=ALWAYS)
        )

    def clear(self) -> None:
        self.life.stand_in.disarm()
        self.deadlines.undo()

    def come_round(self, *duties: TaskName, tools: Toolbox | None = None) -> None:
        """Let the time of these duties come now, whatever they rest for, and do them."""
        for duty in duties:
            with self.tools.database.transaction("test.come_round") as session:
                session.execute(
                    update(Tick).where(Tick.name == duty.value).values(due_at=func.now())
                )
            assert ticks.run(tools or self.tools, duty)

    def fair_weather(self) -> None:
        """Let every duty have run well, just now."""
        self.come_round(*EVERY)

    def readyz(self) -> dict[str, Any]:
        answer = self.client.get("/api/readyz")
        assert answer.status_code == 200
        body: dict[str, Any] | None = answer.json
        assert body is not None
        return body

    def check(self, name: str) -> dict[str, Any]:
        part: dict[str, Any] = self.readyz()["checks"][name]
        return part

    def error_of(self, duty: TaskName) -> str | None:
        """What readyz shows as the last trouble of a duty; None = its last run went well."""
        error: str | None = self.check("duties")["errors"].get(duty.value)
        return error

    def let_invoices_age(self, seconds: int) -> None:
        """Let this time pass for every invoice and every job that waits for a payment."""
        for model in (Invoice, Job):
            let_pass(self.tools, model, timedelta(seconds=seconds))


@pytest.fixture(autouse=True)
def _balanced_books(tools: Toolbox, stand_in: StandInClient) -> Iterator[None]:
    yield
    stand_in.disarm()
    assert_balanced(tools, stand_in)


@pytest.fixture
def sky(life: Life, client: FlaskClient) -> Iterator[Sky]:
    with pytest.MonkeyPatch.context() as deadlines:
        yield Sky(life, client, deadlines)


@pytest.fixture
def between() -> Iterator[ScriptedServer]:
    """Somebody between us and LNbits, who has no manners of his own yet: set ``respond``."""
    with scripted_server() as server:
        yield server


def at(
    tools: Toolbox,
    url: str,
    *,
    invoice_key: str = STAND_IN_INVOICE_KEY,
    admin_key: str = STAND_IN_ADMIN_KEY,
) -> Toolbox:
    """A toolbox that finds LNbits at another address, or opens it with other keys."""
    http = HttpClient()
    return tools.with_(
        income=LnbitsIncome(url, invoice_key, http), payouts=LnbitsPayouts(url, admin_key, http)
    )
