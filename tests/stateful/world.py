"""The world around a machine: its troubles by name, its clock, and processes that are killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import simplejson
from sqlalchemy import DateTime, func, text, update
from sqlalchemy.orm import Session

from local.stand_in.faults import Fault, FaultKind, PaymentEnd
from models import tables
from models.database import Database

HASTY_SECONDS = 0.15
"""How long what hangs may take; else, and everything else, as long as in production."""

_ANYWHERE: dict[str, dict[str, Any]] = {
    "answers 500": {"kind": FaultKind.STATUS, "status": 500},
    "answers 503": {"kind": FaultKind.STATUS, "status": 503},
    "answers 429": {"kind": FaultKind.STATUS, "status": 429},
    "answers 429 and wants a minute": {
        "kind": FaultKind.STATUS,
        "status": 429,
        "retry_after": "60",
    },
    "answers HTML": {"kind": FaultKind.BODY},
    "answers another kind of JSON": {"kind": FaultKind.BODY, "text": "[]"},
    "answers the half of it": {"kind": FaultKind.TRUNCATED},
    "resets the connection": {"kind": FaultKind.RESET},
    "hangs": {"kind": FaultKind.HANG},
    "is slow": {"kind": FaultKind.DELAY, "seconds": 0.03},
}
_REPLY_LOST: dict[str, dict[str, Any]] = {
    f"does it and {name}": {**fault, "after_effect": True}
    for name, fault in _ANYWHERE.items()
    if fault["kind"] in {FaultKind.STATUS, FaultKind.RESET, FaultKind.HANG}
}
_NODE_AWAY = {"answers 520": {"kind": FaultKind.STATUS, "status": 520}}
_PAY: dict[str, dict[str, Any]] = {
    "does it and says failed": {"kind": FaultKind.STATUS, "status": 520, "after_effect": True},
    "is pending, then pays": {"kind": FaultKind.PAYMENT_PENDING, "reads": 2},
    "is pending for long, then pays": {"kind": FaultKind.PAYMENT_PENDING, "reads": 4},
    "is pending, then fails": {
        "kind": FaultKind.PAYMENT_PENDING,
        "reads": 2,
        "then": PaymentEnd.FAILED,
    },
    "finds no route": {"kind": FaultKind.PAYMENT_FAILED},
    "has no money": {"kind": FaultKind.STATUS, "status": 520, "text": "Insufficient balance."},
    "refuses the key": {"kind": FaultKind.STATUS, "status": 401, "text": "Invalid key."},
}
_FEED: dict[str, dict[str, Any]] = {
    "doubles its rows": {"kind": FaultKind.DUPLICATED_ROWS},
    "turns its rows round": {"kind": FaultKind.REORDERED_ROWS},
    "leaves a row out": {"kind": FaultKind.MISSING_ROW},
}
_MODEL: dict[str, dict[str, Any]] = {
    "refuses": {"kind": FaultKind.REFUSAL},
    "is cut": {"kind": FaultKind.MAX_TOKENS},
    "is empty": {"kind": FaultKind.EMPTY},
    "cannot be read": {"kind": FaultKind.UNREADABLE},
    "answers 400": {"kind": FaultKind.STATUS, "status": 400},
    "answers 401": {"kind": FaultKind.STATUS, "status": 401},
    "answers 529": {"kind": FaultKind.STATUS, "status": 529},
}
_RECEIVER: dict[str, dict[str, Any]] = {
    "answers 403": {"kind": FaultKind.STATUS, "status": 403},
    "answers 404": {"kind": FaultKind.STATUS, "status": 404},
    "declines": {"kind": FaultKind.DECLINED},
}
_TERMS: dict[str, dict[str, Any]] = {
    "takes other amounts": {"kind": FaultKind.LIMITS},
    "is no LNURL-pay": {"kind": FaultKind.BODY, "text": '{"tag": "withdrawRequest"}'},
}
_OFFER: dict[str, dict[str, Any]] = {
    "offers the wrong amount": {"kind": FaultKind.WRONG_AMOUNT},
    "offers on the main network": {"kind": FaultKind.WRONG_NETWORK},
    "offers for other metadata": {"kind": FaultKind.WRONG_METADATA},
    "offers what is no invoice": {"kind": FaultKind.BODY, "text": '{"pr": "lnbcrt1nothing"}'},
}
_TARGETS: dict[str, dict[str, dict[str, Any]]] = {
    "lnbits.create": _ANYWHERE | _REPLY_LOST | _NODE_AWAY,
    "lnbits.pay": _ANYWHERE | _REPLY_LOST | _NODE_AWAY | _PAY,
    "lnbits.read": _ANYWHERE,
    "lnbits.states": _ANYWHERE | _NODE_AWAY,
    "lnbits.feed": _ANYWHERE | _FEED,
    "lnbits.wallet": _ANYWHERE,
    "lnbits": _ANYWHERE | _NODE_AWAY,
    "anthropic": _ANYWHERE | _REPLY_LOST | _MODEL,
    "feed": _ANYWHERE,
    "lnurl.terms": _ANYWHERE | _RECEIVER | _TERMS,
    "lnurl.invoice": _ANYWHERE | _REPLY_LOST | _RECEIVER | _OFFER,
    "lnurl": _ANYWHERE,
}
TROUBLES = {
    f"{target} {name}": Fault(target=target, **fault)
    for target, faults in _TARGETS.items()
    for name, fault in faults.items()
}
"""Everything that can go wrong outside, by what one would call it."""


def lies_about(payment_hash: str, sats: int) -> dict[str, Fault]:
    """What LNbits may say of a payout that it has paid. By and by it says the truth."""
    row = {
        "payment_hash": payment_hash,
        "amount": -sats * 1000,
        "fee": 0,
        "status": "failed",
    }
    failed = simplejson.dumps({"paid": False, "status": "failed", "details": row})
    lie = Fault(target="lnbits.read", match=payment_hash, kind=FaultKind.BODY, text=failed)
    unknown = Fault(target="lnbits.read", match=payment_hash, kind=FaultKind.STATUS, status=404)
    return {"failed": lie, "unknown": unknown}


def offering(name: str, text: str) -> Fault:
    """The receiver of this name answers once with this invoice, wherever it has it from."""
    answer = simplejson.dumps({"pr": text, "routes": []})
    match = f"/lnurlp/{name}/callback"
    return Fault(target="lnurl.invoice", match=match, kind=FaultKind.BODY, text=answer)


def let_time_pass(database: Database, by: timedelta) -> None:
    """Let every row of every table be older, all its times with it.

    The append-only triggers are put aside: only a superuser can do that.
    """
    with database.transaction("test.let_time_pass") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for table in tables.metadata.sorted_tables:
            times = [column for column in table.columns if isinstance(column.type, DateTime)]
            if times:
                session.execute(update(table).values({time: time - by for time in times}))


def make_everything_due(database: Database) -> None:
    """Let the time of all that was put off come now, the duties' too."""
    with database.transaction("test.make_everything_due") as session:
        for table in tables.metadata.sorted_tables:
            if "due_at" in table.columns:
                due_at = table.columns["due_at"]
                session.execute(
                    update(table).where(due_at > func.now()).values({due_at: func.now()})
                )


class Killed(BaseException):
    """The process is gone in the middle of what it did: nothing may handle this."""


class MortalDatabase(Database):
    """The database of a process that can be killed at a commit: just before it, or just after."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.engine = database.engine
        self._commits_left: int | None = None
        self._commits_the_last = False

    def doom(self, commits: int, *, commits_the_last: bool) -> None:
        """Be killed at the ``commits``-th commit from now."""
        self._commits_left, self._commits_the_last = commits, commits_the_last

    def live_on(self) -> None:
        self._commits_left = None

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        is_last = self._count()
        with self._database.transaction(name) as session:
            yield session
            if is_last and not self._commits_the_last:
                raise Killed(name)
        if is_last:
            raise Killed(name)

    @contextmanager
    def reading(self, name: str) -> Iterator[Session]:
        with self._database.reading(name) as session:
            yield session

    def _count(self) -> bool:
        if self._commits_left is None:
            return False
        self._commits_left -= 1
        return self._commits_left == 0
