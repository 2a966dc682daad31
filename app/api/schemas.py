"""The shapes of the API, under the names that clients know. Rules about them are the services'."""

from typing import Any

from marshmallow import fields, pre_load

from app.api.fields import (
    CamelSchema,
    InstantField,
    JobStateField,
    PlainText,
    RequestText,
    TextPairs,
    UsdField,
    choice,
)
from models.debt import DebtCause
from models.job import ExpiredReason, IncompleteReason
from models.lifecycle import JobState
from models.refund_destination import DestinationState
from services.errors import ErrorCode, InvalidRequest
from services.money.btc_price import PriceSource

REFUND_STATES = ("not_applicable", "pending", "paid")
NOT_BUILT_YET = ("webhook",)


class HealthStatusSchema(CamelSchema):
    status = fields.String(required=True)


class ReadinessSchema(CamelSchema):
    status = choice(("ready", "degraded"), required=True)
    readiness = choice(("ready", "degraded"), required=True)
    checks = fields.Dict(keys=fields.String(), values=fields.Dict(), required=True)


class FieldErrorSchema(CamelSchema):
    pointer = fields.String(required=True)
    detail = fields.String(required=True)


class ProblemSchema(CamelSchema):
    """What every error says."""

    error = fields.String(required=True, metadata={"description": "One sentence for people."})
    type = fields.String(required=True)
    title = fields.String(required=True)
    detail = fields.String(required=True)
    instance = fields.String(required=True)
    code = choice(ErrorCode, required=True)
    request_id = fields.String(required=True)


class ErrorResponseSchema(ProblemSchema):
    status = fields.Integer(required=True)
    errors = fields.List(fields.Nested(FieldErrorSchema))
    payment_hash = fields.String()
    refund_amount_sats = fields.Integer()


class UnreadySchema(ErrorResponseSchema):
    """An error like any other, with what readiness always answers with."""

    readiness = choice(("unready",), required=True)
    checks = fields.Dict(keys=fields.String(), values=fields.Dict(), required=True)


class InvoiceInfoSchema(CamelSchema):
    payment_request = fields.String(required=True, metadata={"description": "BOLT11"})
    amount_sats = fields.Integer(required=True)
    payment_hash = fields.String()
    expires_at = InstantField(
        metadata={"description": "Pay before this; the BOLT11 itself lives a little longer."}
    )


class LinksSchema(CamelSchema):
    self = fields.String()
    refund = fields.String()
    cancel = fields.String()


class CreateJobRequestSchema(CamelSchema):
    request = RequestText(
        required=True,
        limit_setting="request_max_chars",
        metadata={"description": "What you want done, in your own words."},
    )
    metadata = TextPairs(metadata={"description": "Yours; echoed when the job is read."})
    refund_to = PlainText(
        metadata={
            "description": (
                "A Lightning address or an LNURL-pay: what is owed when the job has ended is paid"
                " there by itself. It cannot be changed."
            ),
            "example": "name@wallet.example",
        }
    )

    @pre_load
    def refuse_what_is_not_built(self, body: Any, **_: Any) -> Any:
        """Ignoring these would lose money or messages, so they are refused by name."""
        for member in NOT_BUILT_YET:
            if isinstance(body, dict) and member in body:
                raise InvalidRequest(
                    f"{member} is not supported yet.", code=ErrorCode.NOT_SUPPORTED
                )
        return body


class CreateJobResponseSchema(CamelSchema):
    job_id = fields.UUID(required=True)
    eval_invoice = fields.Nested(InvoiceInfoSchema, required=True)
    state = JobStateField()
    created_at = InstantField()
    links = fields.Nested(LinksSchema)


class PricingBreakdownSchema(CamelSchema):
    estimated_cost_usd = UsdField(required=True)
    margin_pct = UsdField(required=True)
    btc_price_usd = UsdField(required=True)
    btc_price_source = choice(PriceSource, required=True)
    model = fields.String()
    input_tokens_bound = fields.Integer()
    output_tokens_bound = fields.Integer()
    input_usd_per_million_tokens = UsdField()
    output_usd_per_million_tokens = UsdField()
    infra_usd = UsdField()


class CostLedgerSchema(CamelSchema):
    actual_input_tokens = fields.Integer(required=True)
    actual_output_tokens = fields.Integer(required=True)
    total_tokens = fields.Integer(required=True)
    actual_cost_usd = UsdField(required=True)
    actual_charge_usd = UsdField(required=True)
    estimated_cost_usd = UsdField(required=True)
    actual_amount_sats = fields.Integer(required=True)
    work_amount_sats = fields.Integer(required=True)
    refund_amount_sats = fields.Integer(required=True)
    refund_state = choice(REFUND_STATES, required=True)
    margin_pct = UsdField(required=True)
    btc_price_usd = UsdField(required=True)
    btc_price_source = choice(PriceSource, required=True)
    infra_usd = UsdField()
    input_usd_per_million_tokens = UsdField()
    output_usd_per_million_tokens = UsdField()


class DebtSchema(CamelSchema):
    cause = choice(DebtCause, required=True)
    amount_sats = fields.Integer(required=True)
    state = choice(("pending", "paid"), required=True)


class RefundToSchema(CamelSchema):
    address = fields.String(required=True, metadata={"description": "As it was given."})
    state = choice(
        DestinationState,
        required=True,
        metadata={
            "description": (
                "waiting: nothing is owed, or the job is open. trying: the receiver is asked for"
                " an invoice. paying: a payment is under way. paid: all that was owed was paid"
                " there. given_up: claim it with an invoice, lastError says why. While trying and"
                " paying a claim is a 409."
            )
        },
    )
    last_error = fields.String(metadata={"description": "One sentence for people."})
    last_tried_at = InstantField()
    next_try_at = InstantField(metadata={"description": "Not before this; while trying."})
    claimable_at = InstantField(
        metadata={"description": "Tried until then at the longest; while trying."}
    )


class JobStatusResponseSchema(CamelSchema):
    job_id = fields.UUID(required=True)
    state = JobStateField(required=True)
    created_at = InstantField()
    completed_at = InstantField()
    metadata = fields.Dict(keys=fields.String(), values=fields.String())
    eval_invoice = fields.Nested(InvoiceInfoSchema)
    work_invoice = fields.Nested(InvoiceInfoSchema)
    pricing_breakdown = fields.Nested(PricingBreakdownSchema)
    reason = fields.String()
    result = fields.String()
    incomplete_reason = choice(IncompleteReason)
    cost_ledger = fields.Nested(CostLedgerSchema)
    error_message = fields.String()
    expired_reason = choice(ExpiredReason)
    refund_amount_sats = fields.Integer(metadata={"description": "All still owed: claim this."})
    refund_state = choice(REFUND_STATES)
    debts = fields.List(fields.Nested(DebtSchema))
    refund_to = fields.Nested(RefundToSchema)
    links = fields.Nested(LinksSchema)


class ClaimRefundRequestSchema(CamelSchema):
    invoice = PlainText(
        required=True, metadata={"description": "BOLT11 for exactly refundAmountSats."}
    )


class ClaimRefundResponseSchema(CamelSchema):
    ok = fields.Boolean(required=True)
    refund_amount_sats = fields.Integer(required=True)
    payment_hash = fields.String(required=True)
    message = fields.String(required=True)
    refund_state = choice(REFUND_STATES)


class DemoQuerySchema(CamelSchema):
    request = RequestText(required=True, limit_setting="demo_request_max_chars")


class DemoResponseSchema(CamelSchema):
    result = fields.String(required=True)


JOB_STATES = [state.value for state in JobState]
