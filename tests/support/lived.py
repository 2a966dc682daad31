"""Lives of jobs that take a second to live: lived once a process, and copied from then on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Generic, TypeVar

from sqlalchemy import DateTime, Table, func, select

from models import tables
from services.toolbox import Toolbox
from tests.support.life import Life

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Every row of a database, and when it was so."""

    at: datetime
    rows: dict[Table, str]


class LivedOnce(Generic[Result]):
    """What a life leaves behind in the tables and returns; the second time it is copied.

    The copy is as old as the life was when it ended: every instant is moved by the time between.
    Nobody was rung for, and the stand-in knows nothing of it: for tests that look at tables only.
    """

    def __init__(self, live: Callable[[Life], Result]) -> None:
        self._live = live
        self._lived: tuple[Result, Copy] | None = None

    def __call__(self, life: Life) -> Result:
        """Into an empty database."""
        if self._lived is None:
            self._lived = self._live(life), copied(life.tools)
        else:
            put_back(life.tools, self._lived[1])
        return self._lived[0]


def copied(tools: Toolbox) -> Copy:
    """Every row, as of now."""
    with tools.database.transaction("test.copy") as session:
        cursor = session.connection().connection.cursor()
        rows = {}
        for table in tables.metadata.sorted_tables:
            text = StringIO()
            cursor.copy_expert(f"COPY {table.name} TO STDOUT", text)
            rows[table] = text.getvalue()
        at = session.scalars(select(func.now())).one()
    return Copy(at=at, rows={table: text for table, text in rows.items() if text})


def put_back(tools: Toolbox, copy: Copy) -> None:
    """Into an empty database. Guards are put aside as only a superuser can."""
    with tools.database.transaction("test.put_back") as session:
        cursor = session.connection().connection.cursor()
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table, text in copy.rows.items():
            cursor.copy_expert(f"COPY {table.name} FROM STDIN", StringIO(text))
            instants = [c.name for c in table.columns if isinstance(c.type, DateTime)]
            if instants:
                moved = ", ".join(f"{name} = {name} + (now() - %(at)s)" for name in instants)
                cursor.execute(f"UPDATE {table.name} SET {moved}", {"at": copy.at})
