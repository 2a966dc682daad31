"""A creator with something to sell, and callers who pay: by the services that routes call too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from local.stand_in.testing import Effect, StandInClient
from models.creator import Creator, Provider
from models.resource import ResourceType
from models.run import Run, RunCall
from services.instant import catalogue, creators, intake, keys, resources
from services.instant.resources import OnSale
from services.toolbox import Toolbox
from tests.support.x402_payer import Payer

NETWORK = "eip155:84532"
PAYEE = "0x" + "c0ffee" * 6 + "c0de"
MODEL = "openai/gpt-6-mini"
PRICE_MICROS = 12_000
KEY = "sk-or-v1-a-key-of-the-creator-1234"

_HAIKU: dict[str, Any] = {
    "name": "A haiku",
    "description": "Seventeen syllables on whatever you like.",
    "price_usd": Decimal("0.012"),
    "model": MODEL,
    "system_prompt": "Write a haiku on {subject}{/subject}.",
    "parameters": [{"name": "subject", "required": True}],
    "allows_user_message": True,
}
_KINDS: dict[ResourceType, dict[str, Any]] = {
    ResourceType.OPENROUTER_INSTANT: _HAIKU,
    ResourceType.PROMPT_TEMPLATE: _HAIKU | {"model": "anthropic/claude-haiku-5.5"},
    ResourceType.STATIC: {
        "name": "A text",
        "price_usd": Decimal("0.012"),
        "content": "What is sold, letter by letter.",
        "content_type": "text/markdown",
    },
}
BODY = {"subject": "honest work"}


@dataclass(frozen=True, kw_only=True)
class Market:
    """One creator, whose resources sell on play money."""

    tools: Toolbox
    stand_in: StandInClient
    creator: Creator
    api_key: str = field(repr=False)

    def publish(
        self,
        slug: str = "haiku",
        of: ResourceType = ResourceType.OPENROUTER_INSTANT,
        **members: Any,
    ) -> str:
        """Returns the path to run it at."""
        resources.create(self.tools, self.creator.id, slug, of, _KINDS[of] | members)
        return self.path(slug)

    def path(self, slug: str = "haiku") -> str:
        return f"/api/instant/{self.creator.handle}/{slug}"

    def sale(self, slug: str = "haiku") -> OnSale:
        return intake.find(self.tools, self.creator.handle, slug)

    def runs(self) -> list[Run]:
        """The log, the oldest run first."""
        with self.tools.database.transaction("test.runs") as session:
            return list(session.scalars(select(Run).order_by(Run.id)))

    def run(self) -> Run:
        """The only run there is."""
        (only,) = self.runs()
        return only

    def calls(self) -> list[tuple[str, str | None]]:
        """(kind, outcome) of every outside call, in order."""
        with self.tools.database.transaction("test.calls") as session:
            rows = session.scalars(select(RunCall).order_by(RunCall.id))
            return [(row.kind.value, row.outcome and row.outcome.value) for row in rows]

    def age_runs(self, **columns: timedelta) -> None:
        """Let instants of every run be longer ago: ``age_runs(valid_before=…)``."""
        with self.tools.database.transaction("test.age_runs") as session:
            session.execute(
                update(Run).values({name: getattr(Run, name) - by for name, by in columns.items()})
            )

    def make_due(self) -> None:
        """Let the time of every run that was put off come now."""
        with self.tools.database.transaction("test.due_runs") as session:
            session.execute(
                update(Run)
                .where(Run.due_at.is_not(None))
                .values(due_at=func.now() - timedelta(seconds=1))
            )

    def moved(self) -> list[Effect]:
        """Every transfer on the stand-in's chain."""
        return self.stand_in.effects("tokens_moved")

    def model_calls(self) -> int:
        return self.stand_in.counts().model_calls


def open_market(tools: Toolbox, stand_in: StandInClient, handle: str = "ada") -> Market:
    """Register a creator with an address and a key, and let there be models to build on."""
    catalogue.sync(tools)
    new = creators.register(tools, handle, {NETWORK: PAYEE})
    keys.put(tools, new.creator.id, Provider.OPENROUTER, KEY)
    keys.put(tools, new.creator.id, Provider.ANTHROPIC, KEY)
    return Market(tools=tools, stand_in=stand_in, creator=new.creator, api_key=new.api_key)


@dataclass(frozen=True)
class Buyer:
    """Asks for a price and pays it, over HTTP."""

    client: FlaskClient
    payer: Payer = field(default_factory=Payer)

    def payment(self, path: str, *, version: int = 2, **changes: Any) -> dict[str, str]:
        """The headers of a payment for what a resource costs now."""
        return self.payer.pays(self.client.post(path), version=version, **changes)

    def buy(self, path: str, body: Any = None, *, version: int = 2, **changes: Any) -> Any:
        """Pay and run, in one request."""
        return self.show(path, self.payment(path, version=version, **changes), body)

    def show(self, path: str, payment: dict[str, str], body: Any = None) -> Any:
        """Present a payment."""
        return self.client.post(path, json=BODY if body is None else body, headers=payment)


@contextmanager
def held(stand_in: StandInClient, target: str) -> Iterator[None]:
    """Whatever asks ``target`` next waits until the body is done."""
    stand_in.hold(target)
    try:
        yield
    finally:
        stand_in.release()
