"""The chain behind the stand-in's facilitator: balances and EIP-3009 authorizations in SQLite.

A block every two seconds; its number follows from the time, so no block needs a row. Amounts are
micro-dollars. Whoever was given no balance has a million dollars.
"""

import hashlib
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

OPENING_BALANCE = 1_000_000 * 10**6
BLOCK_SECONDS = 2
FIRST_BLOCK_AT = 1_700_000_000
BLOCKS_UNTIL_FINAL = 5

_SCHEMA = """
CREATE TABLE IF NOT EXISTS balances (
    chain INTEGER, address TEXT, micros INTEGER NOT NULL, PRIMARY KEY (chain, address));
CREATE TABLE IF NOT EXISTS uses (
    chain INTEGER, payer TEXT, nonce TEXT, pay_to TEXT, micros INTEGER, block INTEGER NOT NULL,
    hash TEXT NOT NULL, PRIMARY KEY (chain, payer, nonce));
CREATE TABLE IF NOT EXISTS clock (ahead INTEGER NOT NULL);
"""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """An authorization that names nobody to pay (``pay_to`` None) is a cancellation."""

    chain: int
    payer: str
    nonce: str
    pay_to: str | None
    micros: int


@dataclass(frozen=True, kw_only=True)
class Use:
    """A transfer, or a cancellation, that is on the chain."""

    transfer: Transfer
    block: int
    hash: str


class AlreadyUsed(Exception):
    """The token takes an authorization once."""


class NotEnough(Exception):
    """The payer has less than that."""


class Tokens:
    """Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def now(self) -> int:
        """The chain's time, seconds since 1970."""
        with self._lock:
            ahead = self._database.execute("SELECT sum(ahead) FROM clock").fetchone()[0] or 0
        return int(time.time()) + int(ahead)

    def advance(self, seconds: int) -> None:
        """Let the chain's clock run ahead of everybody's."""
        with self._lock:
            self._database.execute("INSERT INTO clock VALUES (?)", (seconds,))

    def latest_block(self) -> int:
        return (self.now() - FIRST_BLOCK_AT) // BLOCK_SECONDS

    def balance(self, chain: int, address: str) -> int:
        with self._lock:
            row = self._database.execute(
                "SELECT micros FROM balances WHERE chain = ? AND address = ?", (chain, address)
            ).fetchone()
        return OPENING_BALANCE if row is None else int(row[0])

    def set_balance(self, chain: int, address: str, micros: int) -> None:
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO balances VALUES (?, ?, ?)", (chain, address, micros)
            )

    def use(self, chain: int, payer: str, nonce: str) -> Use | None:
        """What became of an authorization; None = it is still good."""
        with self._lock:
            row = self._database.execute(
                "SELECT pay_to, micros, block, hash FROM uses"
                " WHERE chain = ? AND payer = ? AND nonce = ?",
                (chain, payer, nonce),
            ).fetchone()
        if row is None:
            return None
        transfer = Transfer(chain=chain, payer=payer, nonce=nonce, pay_to=row[0], micros=row[1])
        return Use(transfer=transfer, block=row[2], hash=row[3])

    def used_in(self, chain: int, transaction: str) -> Use | None:
        """What a transaction did."""
        with self._lock:
            row = self._database.execute(
                "SELECT payer, nonce FROM uses WHERE chain = ? AND hash = ?", (chain, transaction)
            ).fetchone()
        return None if row is None else self.use(chain, row[0], row[1])

    def put(self, transfer: Transfer) -> Use:
        """Put it on the chain. Raises AlreadyUsed or NotEnough, and then nothing has happened."""
        with self._lock:
            if self.use(transfer.chain, transfer.payer, transfer.nonce) is not None:
                raise AlreadyUsed
            if transfer.pay_to is not None:
                self._move(transfer, transfer.pay_to)
            use = Use(transfer=transfer, block=self.latest_block(), hash=_hash(transfer))
            self._database.execute(
                "INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    transfer.chain,
                    transfer.payer,
                    transfer.nonce,
                    transfer.pay_to,
                    transfer.micros,
                    use.block,
                    use.hash,
                ),
            )
            return use

    def _move(self, transfer: Transfer, pay_to: str) -> None:
        left = self.balance(transfer.chain, transfer.payer) - transfer.micros
        if left < 0:
            raise NotEnough
        self.set_balance(transfer.chain, transfer.payer, left)
        had = self.balance(transfer.chain, pay_to)
        self.set_balance(transfer.chain, pay_to, had + transfer.micros)

    def clear(self) -> None:
        with self._lock:
            for table in ("balances", "uses", "clock"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608  names of ours


def time_of(block: int) -> int:
    """Seconds since 1970."""
    return FIRST_BLOCK_AT + block * BLOCK_SECONDS


def _hash(transfer: Transfer) -> str:
    text = f"{transfer.chain} {transfer.payer} {transfer.nonce}"
    return "0x" + hashlib.sha256(text.encode()).hexdigest()
