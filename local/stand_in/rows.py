"""The stand-in's Lightning rows in SQLite: what is stored and how it is found, no behaviour.

Amounts are millisats; an outgoing row has a negative amount. Times are microseconds since 1970.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from local.stand_in.faults import PaymentEnd

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wallet(StrEnum):
    SERVICE = "service"
    PAYOUTS = "payouts"
    """A second wallet of the service, for whoever wants to pay from another than takes money in."""
    PAYER = "payer"


OPENING_BALANCE = {Wallet.SERVICE: 0, Wallet.PAYOUTS: 0, Wallet.PAYER: 10_000 * 10**11}
"""The payer is never refused for want of money, so its balance is only for show."""


class Status(StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Payment:
    """One row of LNbits' list: money that came, went, or may yet."""

    id: int | None = None
    wallet: Wallet
    checking_id: str
    payment_hash: str
    bolt11: str
    amount: int
    fee: int = 0
    status: Status = Status.PENDING
    memo: str | None = None
    preimage: str | None = None
    expires_at: int
    created_at: int
    updated_at: int
    webhook: str | None = None
    external_id: str | None = None
    extra: str = "{}"
    labels: str = "[]"
    reads_left: int | None = None
    """A pending payout is decided after this many more reads; None = never."""
    ends_as: PaymentEnd | None = None
    fee_at_end: int = 0

    @property
    def is_incoming(self) -> bool:
        return self.amount >= 0


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A WHERE clause of known columns, its values, an order and a page."""

    where: str
    values: Sequence[str | int]
    order: str = "id"
    limit: int = -1
    offset: int = 0


_COLUMNS = [column.name for column in fields(Payment)]
_PLACES = ", ".join("?" * len(_COLUMNS))
_INSERT = f"INSERT OR REPLACE INTO payments ({', '.join(_COLUMNS)}) VALUES ({_PLACES})"  # noqa: S608
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY, {", ".join(_COLUMNS[1:])}, UNIQUE (wallet, checking_id));
CREATE INDEX IF NOT EXISTS by_hash ON payments (payment_hash);
CREATE INDEX IF NOT EXISTS listed_by_status ON payments (wallet, status, updated_at, amount);
CREATE INDEX IF NOT EXISTS listed ON payments (wallet, updated_at, amount, status);
CREATE TABLE IF NOT EXISTS balances (wallet PRIMARY KEY, msats INTEGER NOT NULL);
"""


class Rows:
    """One connection behind one lock. Everything but ``transaction`` is called inside of one."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        with self.transaction():
            self._open_balances()
        last = self._database.execute("SELECT max(updated_at) FROM payments").fetchone()
        self._last_moment = int(last[0] or 0)

    @contextmanager
    def transaction(self, *, kept_on: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Commit at the end and on an exception ``kept_on``; roll back on any other."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except kept_on:
                self._database.execute("COMMIT")
                raise
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def moment(self) -> int:
        """Now, but later than every moment before: the order of settlements is never in doubt."""
        now = (datetime.now(UTC) - EPOCH) // timedelta(microseconds=1)
        self._last_moment = max(now, self._last_moment + 1)
        return self._last_moment

    def insert(self, payment: Payment) -> Payment:
        self._database.execute(_INSERT, [getattr(payment, name) for name in _COLUMNS])
        return payment

    def update(self, payment: Payment) -> Payment:
        """Write what can change of a row."""
        self._database.execute(
            "UPDATE payments SET status = ?, amount = ?, fee = ?, updated_at = ?, labels = ?,"
            " reads_left = ?, expires_at = ? WHERE wallet = ? AND checking_id = ?",
            (
                payment.status,
                payment.amount,
                payment.fee,
                payment.updated_at,
                payment.labels,
                payment.reads_left,
                payment.expires_at,
                payment.wallet,
                payment.checking_id,
            ),
        )
        return payment

    def select(self, selection: Selection) -> list[Payment]:
        rows = self._database.execute(
            f"SELECT * FROM payments WHERE {selection.where}"  # noqa: S608  columns are ours
            f" ORDER BY {selection.order} LIMIT ? OFFSET ?",
            (*selection.values, selection.limit, selection.offset),
        )
        return [_payment(row) for row in rows]

    def count(self, selection: Selection) -> int:
        query = f"SELECT count(*) FROM payments WHERE {selection.where}"  # noqa: S608  as above
        return int(self._database.execute(query, selection.values).fetchone()[0])

    def balance(self, wallet: Wallet) -> int:
        row = self._database.execute("SELECT msats FROM balances WHERE wallet = ?", (wallet,))
        return int(row.fetchone()[0])

    def add_to_balance(self, wallet: Wallet, msats: int) -> None:
        self._database.execute(
            "UPDATE balances SET msats = msats + ? WHERE wallet = ?", (msats, wallet)
        )

    def clear(self) -> None:
        self._database.execute("DELETE FROM payments")
        self._database.execute("DELETE FROM balances")
        self._open_balances()

    def _open_balances(self) -> None:
        self._database.executemany(
            "INSERT OR IGNORE INTO balances VALUES (?, ?)", OPENING_BALANCE.items()
        )


def _payment(row: sqlite3.Row) -> Payment:
    values = dict(row)
    return Payment(
        **{
            **values,
            "wallet": Wallet(values["wallet"]),
            "status": Status(values["status"]),
            "ends_as": PaymentEnd(values["ends_as"]) if values["ends_as"] else None,
        }
    )
