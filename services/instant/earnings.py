"""What creators are shown of their runs: the log, one row a run, and what it sums up to.

Nothing is counted anywhere: every figure is a sum over the log, made when it is asked for, so that
the two cannot disagree. Amounts are integers of micro-dollars; the creator's own tests stand apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, case, func, select

from models.money import UsdMicros
from models.resource import Resource, ResourceVersion
from models.run import UNSETTLED_RUNS, CallKind, Run, RunCall, RunState
from services.toolbox import Toolbox

_NOTHING = UsdMicros(0)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Runs that began at or after ``since`` and before ``until``; None = no such bound."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class UsageFilter:
    """What is set must be so."""

    span: Span = Span()
    slug: str | None = None
    status: RunState | None = None
    is_owner_test: bool | None = None


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """One run as its creator sees it. ``number`` names it and opens nothing."""

    number: int
    slug: str
    version: int
    status: RunState
    is_owner_test: bool
    error_code: str | None
    error_detail: str | None
    """What the last call to model or upstream ended with, such as ``http_404``; of a failed run."""
    caller: str | None
    """The payer's address, lower case; None = the creator."""
    network: str | None
    asset: str | None
    transaction: str | None
    price: UsdMicros
    paid: UsdMicros
    fee: UsdMicros
    input_tokens: int | None
    output_tokens: int | None
    model_cost_usd: Decimal | None
    created_at: datetime
    ended_at: datetime | None

    @property
    def net(self) -> UsdMicros:
        return UsdMicros(self.paid - self.fee)

    @property
    def duration(self) -> timedelta | None:
        """From the payment to its end, settling included; None = it has not ended."""
        return None if self.ended_at is None else self.ended_at - self.created_at


@dataclass(frozen=True, kw_only=True)
class UsagePage:
    rows: tuple[UsageRow, ...]
    older_than: int | None
    """Ask for what is older than this; None = there is nothing older."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Of runs. ``calls`` are those that were paid for; each run counts in one of the four."""

    calls: int = 0
    failed_calls: int = 0
    refused_calls: int = 0
    open_calls: int = 0
    unknown_cost_calls: int = 0
    """Of those that ended, these used a model at a price that nobody told: no sum holds it."""
    gross: UsdMicros = _NOTHING
    fee: UsdMicros = _NOTHING
    model_cost_usd: Decimal = Decimal(0)

    @property
    def net(self) -> UsdMicros:
        return UsdMicros(self.gross - self.fee)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            calls=self.calls + other.calls,
            failed_calls=self.failed_calls + other.failed_calls,
            refused_calls=self.refused_calls + other.refused_calls,
            open_calls=self.open_calls + other.open_calls,
            unknown_cost_calls=self.unknown_cost_calls + other.unknown_cost_calls,
            gross=UsdMicros(self.gross + other.gross),
            fee=UsdMicros(self.fee + other.fee),
            model_cost_usd=self.model_cost_usd + other.model_cost_usd,
        )


@dataclass(frozen=True, kw_only=True)
class ResourceEarnings:
    slug: str
    sales: Sums
    owner_tests: Sums


@dataclass(frozen=True, kw_only=True)
class Earnings:
    """Every resource of a creator, the archived ones too, and all of them together."""

    resources: tuple[ResourceEarnings, ...]

    @property
    def sales(self) -> Sums:
        return _total(resource.sales for resource in self.resources)

    @property
    def owner_tests(self) -> Sums:
        return _total(resource.owner_tests for resource in self.resources)


def _total(parts: Iterable[Sums]) -> Sums:
    return sum(parts, start=Sums())


def usage(
    tools: Toolbox,
    creator_id: int,
    wanted: UsageFilter,
    *,
    older_than: int | None = None,
    limit: int,
) -> UsagePage:
    """Read a page of the log, newest first. Runs that begin meanwhile move no row to another page.

    ``older_than`` is what the page before said.
    """
    query = _log(creator_id, wanted).order_by(Run.id.desc()).limit(limit + 1)
    if older_than is not None:
        query = query.where(Run.id < older_than)
    with tools.database.reading("usage.page") as session:
        found = [UsageRow(**row) for row in session.execute(query).mappings()]
    rows = tuple(found[:limit])
    return UsagePage(rows=rows, older_than=rows[-1].number if len(found) > limit else None)


def _log(creator_id: int, wanted: UsageFilter) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Run.id.label("number"),
            Resource.slug,
            ResourceVersion.number.label("version"),
            Run.state.label("status"),
            Run.is_owner_test,
            Run.error_code,
            _error_detail().label("error_detail"),
            Run.payer.label("caller"),
            Run.network,
            Run.asset,
            Run.transaction,
            Run.price_usd_micros.label("price"),
            Run.paid_usd_micros.label("paid"),
            Run.fee_usd_micros.label("fee"),
            Run.input_tokens,
            Run.output_tokens,
            Run.model_cost_usd,
            Run.created_at,
            Run.ended_at,
        )
        .join(Resource, Resource.id == Run.resource_id)
        .join(ResourceVersion, ResourceVersion.id == Run.version_id)
        .where(Run.creator_id == creator_id, *_conditions(wanted))
    )


def _error_detail() -> ScalarSelect[str | None]:
    return (
        select(RunCall.code)
        .where(RunCall.run_id == Run.id, RunCall.kind.in_([CallKind.MODEL, CallKind.PROXY]))
        .where(Run.state == RunState.FAILED)
        .order_by(RunCall.id.desc())
        .limit(1)
        .correlate(Run)
        .scalar_subquery()
    )


def _conditions(wanted: UsageFilter) -> list[ColumnElement[bool]]:
    exactly = {
        Resource.slug: wanted.slug,
        Run.state: wanted.status,
        Run.is_owner_test: wanted.is_owner_test,
    }
    same = [column == value for column, value in exactly.items() if value is not None]
    return [*same, *_within(wanted.span)]


def _within(span: Span) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if span.since is not None:
        bounds.append(Run.created_at >= span.since)
    if span.until is not None:
        bounds.append(Run.created_at < span.until)
    return bounds


def earnings(tools: Toolbox, creator_id: int, span: Span) -> Earnings:
    """Sum up the log in one statement, which sees one moment. Also resources without a run."""
    # of the creator too, so that a span is found by the index of a creator's days
    its_runs = Run.resource_id == Resource.id, Run.creator_id == creator_id
    query = (
        select(Resource.slug, *_sums("sales", is_test=False), *_sums("tests", is_test=True))
        .join(Run, and_(*its_runs, *_within(span)), isouter=True)
        .where(Resource.creator_id == creator_id)
        .group_by(Resource.id, Resource.slug)
        .order_by(Resource.slug)
    )
    with tools.database.reading("earnings.sum") as session:
        rows = session.execute(query).mappings().all()
    return Earnings(
        resources=tuple(
            ResourceEarnings(
                slug=row[Resource.slug.name],
                sales=_read(row, "sales"),
                owner_tests=_read(row, "tests"),
            )
            for row in rows
        )
    )


_STATES = {
    "calls": {RunState.SUCCEEDED},
    "failed_calls": {RunState.FAILED},
    "refused_calls": {RunState.REFUSED},
    "open_calls": UNSETTLED_RUNS,
}
_CALLED_A_MODEL = {RunState.SUCCEEDED, RunState.FAILED}
_AMOUNTS = {
    "gross": Run.paid_usd_micros,
    "fee": Run.fee_usd_micros,
    "model_cost_usd": Run.model_cost_usd,
}


def _sums(name: str, *, is_test: bool) -> list[ColumnElement[Any]]:
    ours = Run.is_owner_test.is_(is_test)
    counted: dict[str, ColumnElement[bool]] = {
        figure: Run.state.in_(sorted(states)) for figure, states in _STATES.items()
    }
    counted["unknown_cost_calls"] = and_(
        Run.state.in_(sorted(_CALLED_A_MODEL)), Run.model_cost_usd.is_(None)
    )
    counts = {
        figure: func.count(case((and_(ours, condition), Run.id)))
        for figure, condition in counted.items()
    }
    amounts = {
        figure: func.coalesce(func.sum(case((ours, column))), 0)
        for figure, column in _AMOUNTS.items()
    }
    return [column.label(f"{name}_{figure}") for figure, column in (counts | amounts).items()]


def _read(row: Any, name: str) -> Sums:
    whole = (*_STATES, "unknown_cost_calls", "gross", "fee")
    figures = {figure: int(row[f"{name}_{figure}"]) for figure in whole}
    return Sums(**figures, model_cost_usd=Decimal(row[f"{name}_model_cost_usd"]))  # type: ignore[arg-type]
