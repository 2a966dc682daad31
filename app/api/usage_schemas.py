"""The shapes of usage and earnings. Amounts are exact JSON numbers of dollars."""

from marshmallow import fields, validate

from app.api.fields import CamelSchema, InstantField, UsdField, choice, matching
from models.run import RunState
from models.slug import SLUG

FORMATS = ("json", "csv")
MOST_ROWS = 10_000
_INSTANT = "must be an instant such as 2026-01-31T00:00:00Z"


def _instant(description: str) -> InstantField:
    return InstantField(
        error_messages={"invalid": _INSTANT, "invalid_awareness": _INSTANT, "format": _INSTANT},
        metadata={"description": description},
    )


class SpanQuerySchema(CamelSchema):
    since = _instant("Runs that began then or later.")
    until = _instant("Runs that began before.")


class UsageQuerySchema(SpanQuerySchema):
    resource = matching(
        SLUG, error="must be the slug of a resource", description="Only runs of this one."
    )
    status = choice(RunState)
    owner_test = fields.Boolean(
        metadata={"description": "Only your own tests, or only other runs."},
        error_messages={"invalid": "must be true or false"},
    )
    format = choice(FORMATS, load_default="json")
    limit = fields.Integer(
        validate=validate.Range(1, MOST_ROWS, error=f"must be from 1 to {MOST_ROWS}"),
        error_messages={"invalid": "must be a whole number"},
        metadata={"description": "Rows; default 50, as CSV 10000."},
    )
    cursor = matching(
        "[0-9]{1,18}",
        error="must be what nextCursor said",
        description="nextCursor of the page before.",
    )


class UsageRunSchema(CamelSchema):
    """One run; members that it has no value for are left out."""

    run = fields.Integer(
        required=True, metadata={"description": "Its number, for questions to the operator."}
    )
    resource = fields.String(required=True)
    version = fields.Integer(required=True)
    status = choice(RunState, required=True)
    owner_test = fields.Boolean(required=True)
    error_code = fields.String(metadata={"description": "Why it failed; callers are not told."})
    error_detail = fields.String(
        metadata={"description": "What model or upstream did, such as http_404 or timeout."}
    )
    caller = fields.String(metadata={"description": "The payer's address."})
    network = fields.String(metadata={"description": "CAIP-2"})
    asset = fields.String()
    transaction = fields.String(metadata={"description": "Where the payment is on the chain."})
    price_usd = UsdField(required=True)
    paid_usd = UsdField(required=True)
    platform_fee_usd = UsdField(required=True)
    net_usd = UsdField(required=True)
    input_tokens = fields.Integer()
    output_tokens = fields.Integer()
    model_cost_usd = UsdField(metadata={"description": "What it cost on your key."})
    created_at = InstantField(required=True)
    ended_at = InstantField()
    duration_ms = fields.Integer(metadata={"description": "From payment to end, settling too."})


class UsageSchema(CamelSchema):
    runs = fields.List(fields.Nested(UsageRunSchema), required=True)
    next_cursor = fields.String(metadata={"description": "Missing on the last page."})


class SumsSchema(CamelSchema):
    """Sums over the log; each run counts once, under the word that says how it ended."""

    calls = fields.Integer(required=True, metadata={"description": "Delivered."})
    failed_calls = fields.Integer(required=True, metadata={"description": "Charged nothing."})
    refused_calls = fields.Integer(
        required=True, metadata={"description": "The payment was no good."}
    )
    open_calls = fields.Integer(required=True, metadata={"description": "Not ended yet."})
    model_cost_usd = UsdField(
        required=True, metadata={"description": "Without the `unknownCostCalls`."}
    )
    unknown_cost_calls = fields.Integer(
        required=True,
        metadata={
            "description": "Delivered or failed, and your provider did not say at what cost."
        },
    )


class SalesSchema(SumsSchema):
    gross_usd = UsdField(required=True, metadata={"description": "Paid to your address."})
    platform_fee_usd = UsdField(required=True)
    net_usd = UsdField(required=True, metadata={"description": "grossUsd - platformFeeUsd"})
    fee_due_usd = UsdField(
        required=True, metadata={"description": "Of the fee, what you still owe the platform."}
    )
    owner_tests = fields.Nested(
        SumsSchema, required=True, metadata={"description": "Yours; in no other figure."}
    )


class ResourceEarningsSchema(SalesSchema):
    resource = fields.String(required=True)


class EarningsSchema(SalesSchema):
    resources = fields.List(fields.Nested(ResourceEarningsSchema), required=True)
