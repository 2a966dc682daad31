"""All that is known when a run is over: the tables, the world's effects, and the logs."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from config.settings import Settings
from services import toolbox
from services.operate import invariants
from services.toolbox import Role, Toolbox
from tests.chaos import log
from tests.chaos.log import Line
from tests.support.audit import complaints

Row = dict[str, Any]
NOWHERE = {"REDIS_URL": "redis://127.0.0.1:1", "STAND_IN_URL": "http://127.0.0.1:1"}
"""Reading a ledger asks nobody."""

TABLES = (
    "jobs",
    "invoices",
    "receipts",
    "debts",
    "payouts",
    "ledger_entries",
    "attempts",
    "job_events",
    "ticks",
    "refund_destinations",
    "runs",
    "run_calls",
    "violations",
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Rows as plain SQL gives them; times in effects and logs are seconds of one clock."""

    tables: dict[str, list[Row]]
    effects: list[Row]
    acts: list[Line] = field(default_factory=list)
    planned: int = 0
    """How many acts the nemesis was to carry out."""
    kinds: int = 0
    """And of how many kinds it might choose."""
    callers: list[Line] = field(default_factory=list)
    read_at: float
    """When the tables were read."""
    calm_at: float
    """When the last fault was over."""
    lease_seconds: float
    complaints: list[str] = field(default_factory=list)
    """What an auditor who shares no code with us finds wrong with the exported ledger."""
    earnings: Row | None = None
    """What the product says that its creator earned; None = nobody has sold anything."""

    def by(self, table: str, column: str) -> dict[Any, list[Row]]:
        """Rows of a table by what stands in a column."""
        found: dict[Any, list[Row]] = defaultdict(list)
        for row in self.tables[table]:
            found[row[column]].append(row)
        return found

    def of_kind(self, kind: str) -> list[Row]:
        return [effect for effect in self.effects if effect["kind"] == kind]

    def money(self, kind: str) -> dict[str, list[Row]]:
        """What the service's wallet received or sent, by payment hash."""
        moved: dict[str, list[Row]] = defaultdict(list)
        for effect in self.of_kind(kind):
            if effect["wallet"] == "service":
                moved[effect["paymentHash"]].append(effect)
        return moved


def tables_of(url: str) -> dict[str, list[Row]]:
    """Everything in one snapshot."""
    connection = psycopg2.connect(url)
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        tables = {}
        for name in TABLES:
            cursor.execute(f"SELECT * FROM {name} ORDER BY 1")
            tables[name] = [dict(row) for row in cursor.fetchall()]
    connection.close()
    return tables


def complaints_about(postgres_url: str) -> list[str]:
    """Have beancount read the ledger."""
    with _tools_at(postgres_url) as tools:
        return complaints(tools)


def have_all_swept(postgres_url: str) -> None:
    """Have production's own rules look at everything; what they find, they put on record."""
    with _tools_at(postgres_url) as tools:
        invariants.sweep_everything(tools)


@contextmanager
def _tools_at(postgres_url: str) -> Iterator[Toolbox]:
    settings = Settings.load({"DATABASE_URL": postgres_url, **NOWHERE})
    tools = toolbox.build(settings, Role.WEB)
    try:
        yield tools
    finally:
        tools.database.close()


def effects_of(path: Path) -> list[Row]:
    """The world's log, with its times as seconds."""
    effects = [json.loads(line) for line in path.read_text().splitlines()]
    for effect in effects:
        effect["at"] = datetime.fromisoformat(effect["at"]).timestamp()
    return effects


def logs_of(path: Path) -> list[Line]:
    return log.read(path) if path.exists() else []
