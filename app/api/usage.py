"""What a creator's resources did, and what they earned. For their creator only."""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Response, after_this_request, current_app, request

from app import context
from app.api import ApiBlueprint
from app.api.documenting import errors
from app.api.fields import camel_case
from app.api.usage_schemas import (
    MOST_ROWS,
    EarningsSchema,
    SpanQuerySchema,
    UsageQuerySchema,
    UsageRunSchema,
    UsageSchema,
)
from app.auth import creator, creators_only
from models.money import usd_of
from models.run import RunState
from services.instant import earnings
from services.instant.earnings import Span, Sums, UsageFilter, UsagePage, UsageRow

usage = ApiBlueprint("usage", __name__, url_prefix="/api", description="Runs and earnings.")

ROWS_A_PAGE = 50
_CSV = "text/csv; charset=utf-8"
_MILLISECOND = timedelta(milliseconds=1)


@usage.route("/creator/usage", methods=["GET"])
@usage.doc(operationId="getUsage", tags=["creators"])
@creators_only
@usage.arguments(UsageQuerySchema, location="query")
@usage.response(HTTPStatus.OK, UsageSchema)
@usage.alt_response(HTTPStatus.OK, schema={"type": "string"}, content_type="text/csv")
@errors(usage, 400, 401, 503)
def get_usage(query: Mapping[str, Any]) -> Any:
    """The log of your runs, newest first; as CSV with `format=csv`.

    The header `Link` says where the next page is, if there is one.
    """
    is_csv = query["format"] == "csv"
    page = earnings.usage(
        context.tools(),
        creator().id,
        _filter(query),
        older_than=int(query["cursor"]) if "cursor" in query else None,
        limit=query.get("limit") or (MOST_ROWS if is_csv else ROWS_A_PAGE),
    )
    _link_to_next(page)
    return _csv(page.rows) if is_csv else _page(page)


@usage.route("/creator/earnings", methods=["GET"])
@usage.doc(operationId="getEarnings", tags=["creators"])
@creators_only
@usage.arguments(SpanQuerySchema, location="query")
@usage.response(HTTPStatus.OK, EarningsSchema)
@errors(usage, 400, 401, 503)
def get_earnings(query: Mapping[str, Any]) -> Any:
    """What your resources earned, each and together: always the sum of the log."""
    found = earnings.earnings(context.tools(), creator().id, _span(query))
    return _sales(found.sales, found.owner_tests) | {
        "resources": [
            {"resource": each.slug, **_sales(each.sales, each.owner_tests)}
            for each in found.resources
        ]
    }


def _span(query: Mapping[str, Any]) -> Span:
    return Span(since=query.get("since"), until=query.get("until"))


def _filter(query: Mapping[str, Any]) -> UsageFilter:
    return UsageFilter(
        span=_span(query),
        slug=query.get("resource"),
        status=RunState(query["status"]) if "status" in query else None,
        is_owner_test=query.get("owner_test"),
    )


def _link_to_next(page: UsagePage) -> None:
    if page.older_than is None:
        return
    query = request.args.to_dict() | {"cursor": str(page.older_than)}
    link = f'<{request.path}?{urlencode(query)}>; rel="next"'

    @after_this_request
    def dress(response: Response) -> Response:
        response.headers["Link"] = link
        return response


def _page(page: UsagePage) -> dict[str, Any]:
    shown: dict[str, Any] = {"runs": [_run(row) for row in page.rows]}
    return shown if page.older_than is None else shown | {"next_cursor": str(page.older_than)}


def _run(row: UsageRow) -> dict[str, Any]:
    values = {
        "run": row.number,
        "resource": row.slug,
        "version": row.version,
        "status": row.status.value,
        "owner_test": row.is_owner_test,
        "error_code": row.error_code,
        "error_detail": row.error_detail,
        "caller": row.caller,
        "network": row.network,
        "asset": row.asset,
        "transaction": row.transaction,
        "price_usd": usd_of(row.price),
        "paid_usd": usd_of(row.paid),
        "platform_fee_usd": usd_of(row.fee),
        "net_usd": usd_of(row.net),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "model_cost_usd": row.model_cost_usd,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "duration_ms": None if row.duration is None else row.duration // _MILLISECOND,
    }
    return {name: value for name, value in values.items() if value is not None}


def _sales(sales: Sums, owner_tests: Sums) -> dict[str, Any]:
    return {
        **_sums(sales),
        "gross_usd": usd_of(sales.gross),
        "platform_fee_usd": usd_of(sales.fee),
        "net_usd": usd_of(sales.net),
        "fee_due_usd": usd_of(sales.fee),
        "owner_tests": _sums(owner_tests),
    }


def _sums(sums: Sums) -> dict[str, Any]:
    return {
        "calls": sums.calls,
        "failed_calls": sums.failed_calls,
        "refused_calls": sums.refused_calls,
        "open_calls": sums.open_calls,
        "unknown_cost_calls": sums.unknown_cost_calls,
        "model_cost_usd": sums.model_cost_usd,
    }


def _csv(rows: Iterable[UsageRow]) -> Response:
    """The members of a run as columns, in the order of the document."""
    columns = [camel_case(name) for name in UsageRunSchema().declared_fields]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    schema = UsageRunSchema()
    writer.writerows(_cells(schema.dump(_run(row))) for row in rows)
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    return Response(text.getvalue(), content_type=_CSV, headers=headers)


def _cells(members: Mapping[str, Any]) -> dict[str, str]:
    """As JSON writes them, without the quotes: amounts in plain digits, and true for True."""
    return {
        name: value if isinstance(value, str) else current_app.json.dumps(value)
        for name, value in members.items()
    }
