"""Every table, imported in one place so that migrations see the whole schema."""

from models import (
    admission,
    attempt,
    btc_price,
    catalogue,
    creator,
    debt,
    demo_run,
    event,
    invoice,
    job,
    ledger,
    payout,
    reconciliation,
    refund_destination,
    resource,
    run,
    tick,
    violation,
    wallet_move,
)
from models.database import Base

metadata = Base.metadata

__all__ = [
    "admission",
    "attempt",
    "btc_price",
    "catalogue",
    "creator",
    "debt",
    "demo_run",
    "event",
    "invoice",
    "job",
    "ledger",
    "metadata",
    "payout",
    "reconciliation",
    "refund_destination",
    "resource",
    "run",
    "tick",
    "violation",
    "wallet_move",
]
