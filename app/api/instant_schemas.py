"""The shapes of runs, for the document: ``app.api.instant_answers`` builds them."""

from marshmallow import fields

from app.api.fields import CamelSchema, UsdField, choice
from app.api.schemas import ErrorResponseSchema, ProblemSchema

STATES_UNDER_WAY = ("processing", "settling")
STATES_ENDED = ("succeeded", "failed")


class PaymentRequiredSchema(ProblemSchema):
    """An error, and what clients of x402 version 1 read; version 2 reads the header."""

    status = fields.Integer(required=True)
    x402_version = fields.Integer(required=True)
    accepts = fields.List(fields.Dict(), required=True)
    resource = fields.Dict(required=True)
    extensions = fields.Dict(required=True)


class UnavailableResourceSchema(ErrorResponseSchema):
    reason = fields.String(metadata={"description": "Of a failed test, for its creator."})


class TokenUsageSchema(CamelSchema):
    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)

    def on_bind_field(self, field_name: str, field_obj: fields.Field) -> None:  # type: ignore[type-arg]
        """As models' own APIs spell it, which callers read already."""
        field_obj.data_key = field_name


class PaymentReceiptSchema(CamelSchema):
    transaction = fields.String(required=True)
    paid_usdc = UsdField(required=True)
    network = fields.String(required=True, metadata={"description": "CAIP-2"})
    payer = fields.String(required=True)


class InstantResultSchema(CamelSchema):
    state = choice(STATES_ENDED, required=True)
    response = fields.Raw(metadata={"description": "What was bought; text, or JSON of a proxy."})
    content_type = fields.String()
    truncated = fields.Boolean(metadata={"description": "Cut at the creator's own maxTokens."})
    usage = fields.Nested(TokenUsageSchema)
    receipt = fields.Nested(PaymentReceiptSchema, allow_none=True)
    owner_test = fields.Boolean()
    error = fields.String(metadata={"description": "Of a failed run; nothing was charged."})
    reason = fields.String(metadata={"description": "Of a failed test, for its creator."})


class RunUnderWaySchema(CamelSchema):
    state = choice(STATES_UNDER_WAY, required=True)
    status_url = fields.String(
        required=True, metadata={"description": "Opens the result: keep it to yourself."}
    )
