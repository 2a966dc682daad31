"""Runs as rows, in any state, without a payment or a worker: for those who only read the log."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from models.creator import Creator
from models.resource import Resource, ResourceType, ResourceVersion
from models.run import WORKING_RUNS, Run, RunState
from services.toolbox import Toolbox

_numbers = itertools.count(1)
ASSET = "0x036cbd53842c5426634e7929541ec2318f3dcf7e"


@dataclass
class Shop:
    """A creator with resources of one version each."""

    tools: Toolbox
    creator: Creator
    versions: dict[str, ResourceVersion] = field(default_factory=dict)

    def publish(self, slug: str, *, price_usd_micros: int = 10_000) -> None:
        resource = Resource(creator_id=self.creator.id, slug=slug, type=ResourceType.STATIC)
        with self.tools.database.transaction("test.publish") as session:
            session.add(resource)
            session.flush()
            self.versions[slug] = ResourceVersion(
                resource_id=resource.id,
                number=1,
                name=slug,
                description="",
                price_usd_micros=price_usd_micros,
                content="what is sold",
                content_type="text/plain",
            )
            session.add(self.versions[slug])

    def add_run(
        self,
        slug: str,
        state: RunState = RunState.SUCCEEDED,
        *,
        is_owner_test: bool = False,
        fee_usd_micros: int = 0,
        model_cost_usd: Decimal | None = None,
        age: timedelta = timedelta(0),
    ) -> Run:
        """One that began ``age`` ago and, if it has ended, took two seconds."""
        version = self.versions[slug]
        now = datetime.now(UTC)
        ended_at = None if state in WORKING_RUNS | {RunState.DOUBTFUL} else now - age
        began_at = now - age - timedelta(seconds=2)
        is_paid = state is RunState.SUCCEEDED and not is_owner_test
        run = Run(
            state=state,
            public_id=uuid4(),
            creator_id=self.creator.id,
            resource_id=version.resource_id,
            version_id=version.id,
            is_owner_test=is_owner_test,
            created_at=began_at,
            due_at=now if state in WORKING_RUNS else None,
            run_by=now,
            ended_at=ended_at,
            error_code="timeout" if state in (RunState.FAILED, RunState.REFUSED) else None,
            price_usd_micros=version.price_usd_micros,
            settled_at=ended_at if is_paid else None,
            paid_usd_micros=version.price_usd_micros if is_paid else 0,
            fee_usd_micros=fee_usd_micros if is_paid else 0,
            transaction=f"0x{next(_numbers):064x}" if is_paid else None,
            model_cost_usd=model_cost_usd,
            **({} if is_owner_test else _payment()),
        )
        with self.tools.database.transaction("test.add_run") as session:
            session.add(run)
        return run


def _payment() -> dict[str, Any]:
    return {
        "network": "eip155:84532",
        "asset": ASSET,
        "payer": f"0x{next(_numbers):040x}",
        "nonce": f"0x{next(_numbers):064x}",
        "payment": {"signature": "payment-canary"},
        "requirement": {"payTo": "0x1"},
    }


def open_shop(tools: Toolbox, *slugs: str, api_key_hash: str | None = None) -> Shop:
    """A creator, with resources of these names."""
    number = next(_numbers)
    creator = Creator(
        handle=f"creator-{number}", api_key_hash=api_key_hash or f"{number:064x}", api_key_last4="1"
    )
    with tools.database.transaction("test.open_shop") as session:
        session.add(creator)
    shop = Shop(tools, creator)
    for slug in slugs:
        shop.publish(slug)
    return shop
