"""The filters of LNbits' payment lists, which ignore in silence whatever they do not understand."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from local.stand_in.rows import EPOCH, Selection, Wallet
from local.stand_in.wire import Request

DEFAULT_LIMIT = 10
MAX_LIMIT = 1000
MICROSECONDS = 1_000_000

_TEXT = {
    name: name
    for name in (
        "status",
        "checking_id",
        "external_id",
        "memo",
        "preimage",
        "payment_hash",
        "labels",
    )
}
_NUMBER = {"amount": "amount", "fee": "fee"}
_TIME = {"time": "created_at"}
_COLUMN = {**_TEXT, **_NUMBER, **_TIME}
_OPERATOR = {
    "eq": "{} = ?",
    "ne": "{} <> ?",
    "gt": "{} > ?",
    "ge": "{} >= ?",
    "lt": "{} < ?",
    "le": "{} <= ?",
    "like": "{} LIKE '%' || ? || '%'",
}
_SORTABLE = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "time": "created_at",
    "amount": "amount",
    "fee": "fee",
    "memo": "memo",
    "external_id": "external_id",
    "tag": "id",
}
_FILTER = re.compile(r"(\w+)(?:\[(\w+)\])?")

Condition = tuple[str, list[str | int]]


class NotSortable(Exception):
    """LNbits answers 400 to an order that it does not know, though it ignores unknown filters."""


def selection(request: Request, wallet: Wallet, *, order: str, with_failed: bool) -> Selection:
    """What a list request asks for. Raises NotSortable."""
    conditions: list[Condition] = [("wallet = ?", [wallet])]
    if not with_failed:
        conditions.append(("status <> 'failed'", []))
    conditions += _conditions(request.query)
    return Selection(
        where=" AND ".join(f"({text})" for text, _ in conditions),
        values=[value for _, values in conditions for value in values],
        order=_order(request) or order,
        limit=_limit(request.parameter("limit")),
        offset=_whole(request.parameter("offset")) or 0,
    )


def asks_for_hashes(request: Request) -> bool:
    """Whether it is about certain payments, rather than about what is new."""
    return request.parameter("payment_hash[in]") is not None


def _conditions(query: Iterable[tuple[str, str]]) -> list[Condition]:
    """The same filter twice means either of the two values."""
    by_filter: dict[str, list[Condition]] = {}
    for key, value in query:
        condition = _condition(key, value)
        if condition is not None:
            by_filter.setdefault(key, []).append(condition)
    return [_either(conditions) for conditions in by_filter.values()]


def _either(conditions: list[Condition]) -> Condition:
    text = " OR ".join(text for text, _ in conditions)
    return text, [value for _, values in conditions for value in values]


def _condition(key: str, value: str) -> Condition | None:
    match = _FILTER.fullmatch(key)
    name, operator = match.groups() if match else ("", None)
    column = _COLUMN.get(name)
    if column is None:
        return None
    if operator == "in":
        values = [known for part in value.split(",") if (known := _value(name, part)) is not None]
        return f"{column} IN ({', '.join('?' * len(values))})", values
    known = _value(name, value)
    template = _OPERATOR.get(operator or "eq")
    return None if known is None or template is None else (template.format(column), [known])


def _value(name: str, text: str) -> str | int | None:
    """As it is stored; None = not a value for this column."""
    if name in _NUMBER:
        return _whole(text)
    return _microseconds(text) if name in _TIME else text


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _microseconds(text: str) -> int | None:
    seconds = _whole(text)
    if seconds is not None:
        return seconds * MICROSECONDS
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _limit(text: str | None) -> int:
    wanted = _whole(text)
    if wanted is None:
        return DEFAULT_LIMIT
    return min(wanted, MAX_LIMIT) if wanted > 0 else MAX_LIMIT


def _order(request: Request) -> str | None:
    name = request.parameter("sortby")
    if name is None:
        return None
    if name not in _SORTABLE:
        raise NotSortable
    directions: Mapping[str | None, str] = {"desc": "DESC"}
    return f"{_SORTABLE[name]} {directions.get(request.parameter('direction'), 'ASC')}"
