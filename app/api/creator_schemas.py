"""The shapes of creators' accounts and keys. No field of an answer can hold a key but the one that
shows a new API key.
"""

from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validate

from app.api.fields import CamelSchema, InstantField, PlainText, UsdField
from app.api.resource_schemas import ExactNumber
from models.creator import Provider
from models.slug import SLUG, SLUG_CHARACTERS

ADDRESS = r"^0x[0-9a-fA-F]{40}$"
MOST_NETWORKS = 16
LONGEST_SECRET = 4096
SMALLEST_CAP_USD = Decimal("0.000001")
_AN_ADDRESS = "must be an address: 0x and 40 hexadecimal digits"
_ADDRESSES: dict[str, str | list[Any] | dict[Any, Any]] = {
    "null": "must be an object of addresses, not null",
    "invalid": "must be an object of addresses",
}
_BY_NETWORK = {
    "description": (
        "Where callers pay you, by network (CAIP-2, such as eip155:8453). In mixed case an address"
        " must have the right checksum (EIP-55). PATCH with null takes one away."
    )
}


def _addresses(*, may_remove: bool) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(),
        values=fields.String(
            allow_none=may_remove,
            validate=validate.Regexp(ADDRESS, error=_AN_ADDRESS),
            error_messages={"null": _AN_ADDRESS, "invalid": _AN_ADDRESS},
        ),
        validate=validate.Length(
            max=MOST_NETWORKS, error=f"must have at most {MOST_NETWORKS} members"
        ),
        error_messages=_ADDRESSES,
        metadata=_BY_NETWORK,
    )


def _is_a_cap(cap: Decimal) -> None:
    if cap < SMALLEST_CAP_USD:
        raise ValidationError(f"must be at least {SMALLEST_CAP_USD}, or null for no cap")


def _cap(description: str) -> ExactNumber:
    return ExactNumber(
        allow_none=True,
        validate=_is_a_cap,
        metadata={"description": description, "minimum": float(SMALLEST_CAP_USD)},
    )


class CreateCreatorRequestSchema(CamelSchema):
    handle = PlainText(
        required=True,
        validate=[
            validate.Regexp(
                f"^{SLUG}$",
                error="must be lower-case letters, digits and single hyphens between them",
            ),
            validate.Length(
                max=SLUG_CHARACTERS,
                error=f"must have at most {SLUG_CHARACTERS} characters",
            ),
        ],
        metadata={"description": "Stands in the address of everything that this creator sells."},
    )
    payout_addresses = _addresses(may_remove=False)


class NewCreatorSchema(CamelSchema):
    handle = fields.String(required=True)
    api_key = fields.String(
        required=True, metadata={"description": "Shown this once; only its hash is kept."}
    )
    created_at = InstantField(required=True)
    payout_addresses = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class NewApiKeySchema(CamelSchema):
    api_key = fields.String(
        required=True, metadata={"description": "Shown this once; the old one opens nothing."}
    )


class ProviderKeySchema(CamelSchema):
    """All that is ever told of a key."""

    provider = fields.String(validate=validate.OneOf([p.value for p in Provider]), required=True)
    last4 = fields.String(required=True, metadata={"description": "Its last four characters."})
    is_valid = fields.Boolean(
        required=True,
        allow_none=True,
        metadata={"description": "What its provider said last; null = nothing yet."},
    )
    last_verified_at = InstantField(required=True, allow_none=True)
    last_error_code = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "key_invalid, or credits: good, and nothing left to spend."},
    )
    created_at = InstantField(required=True)
    replaced_at = InstantField(required=True, allow_none=True)


class CreatorSchema(CamelSchema):
    handle = fields.String(required=True)
    api_key_last4 = fields.String(required=True)
    created_at = InstantField(required=True)
    payout_addresses = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    cost_cap_per_call_usd = UsdField(required=True, allow_none=True)
    cost_cap_per_day_usd = UsdField(required=True, allow_none=True)
    keys = fields.List(fields.Nested(ProviderKeySchema), required=True)


class EditCreatorRequestSchema(CamelSchema):
    payout_addresses = _addresses(may_remove=True)
    cost_cap_per_call_usd = _cap(
        "A run that could cost you more on your own key is not sold; null = no cap."
    )
    cost_cap_per_day_usd = _cap("The same for all runs since midnight UTC.")


class SaveKeyRequestSchema(CamelSchema):
    key = PlainText(
        required=True,
        validate=validate.Length(
            1, LONGEST_SECRET, error=f"must have 1 to {LONGEST_SECRET} characters"
        ),
        metadata={"description": "Never comes back: only its last four characters do."},
    )


class SavedKeySchema(ProviderKeySchema):
    resumed = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Slugs that the deletion of a key had paused, on sale again."},
    )


class DeletedKeySchema(CamelSchema):
    provider = fields.String(required=True)
    paused = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Slugs that ran on it, until a key is saved again."},
    )
