"""The shapes of instant resources: what a creator sends, what the owner and everybody else see."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validate

from app.api.fields import (
    NOT_BLANK,
    CamelSchema,
    InstantField,
    PlainText,
    UsdField,
    choice,
    has_text,
    matching,
)
from gateways.proxied import MAX_URL_LENGTH, UpstreamMethod
from models.creator import BreakerReason
from models.resource import MODEL_TYPES, PauseReason, ResourceType
from models.slug import SLUG, SLUG_CHARACTERS
from services.instant import drafts, templates
from services.instant.obstacles import Obstacle

MOST_ITEMS = 100
MOST_TOKENS = 1_000_000
_A_NUMBER = "must be a number"
_A_WHOLE_NUMBER = "must be a whole number"
_YES_OR_NO = "must be true or false"


class ExactNumber(UsdField):
    """A JSON number, read exactly; text and true are none."""

    default_error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "required": "is missing",
        "null": "must be a number, not null",
        "invalid": _A_NUMBER,
        "range": "must be from {lowest} to {highest}",
    }
    LARGEST = 1_000_000

    def __init__(
        self,
        *,
        lowest: int = -LARGEST,
        highest: int = LARGEST,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """How many decimals there may be is the service's to judge: no document says it well."""
        bounds = {"minimum": lowest, "maximum": highest}
        super().__init__(**kwargs, metadata=bounds | dict(metadata or {}))
        self.lowest, self.highest = lowest, highest

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise self.make_error("invalid")
        number = Decimal(value)
        if not self.lowest <= number <= self.highest:
            raise self.make_error("range", lowest=self.lowest, highest=self.highest)
        return number


class WholeNumber(fields.Integer):
    default_error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "required": "is missing",
        "null": "must be a whole number, not null",
        "invalid": _A_WHOLE_NUMBER,
        "too_large": _A_WHOLE_NUMBER,
    }

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise self.make_error("invalid")
        if not -MOST_TOKENS <= value <= MOST_TOKENS or value != int(value):
            raise self.make_error("invalid")
        return int(value)


class YesOrNo(fields.Boolean):
    default_error_messages = {  # noqa: RUF012 - as marshmallow declares it
        "required": "is missing",
        "null": _YES_OR_NO,
        "invalid": _YES_OR_NO,
    }

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


def _within(lowest: int, highest: int) -> validate.Range:
    return validate.Range(lowest, highest, error=f"must be from {lowest} to {highest}")


def _at_most(characters: int) -> validate.Length:
    return validate.Length(max=characters, error=f"must have at most {characters} characters")


def _not_blank(text: str) -> None:
    if not has_text(text):
        raise ValidationError("must not be blank")


def _words(characters: int, description: str, **kwargs: Any) -> PlainText:
    """Text with something in it."""
    return PlainText(
        validate=[_at_most(characters), _not_blank],
        metadata={"description": description, "minLength": 1, "pattern": NOT_BLANK},
        **kwargs,
    )


def _price(**kwargs: Any) -> ExactNumber:
    """The bounds that hold are the deployment's, and the service's to know."""
    said = "Of one run in USD, with at most 6 decimals, from 0.001; paid as so much USDC."
    return ExactNumber(lowest=0, highest=1000, metadata={"description": said}, **kwargs)


def _sampling(lowest: int, highest: int) -> ExactNumber:
    said = "With at most 4 decimals; null = not set."
    return ExactNumber(
        lowest=lowest, highest=highest, allow_none=True, metadata={"description": said}
    )


class ParameterSchema(CamelSchema):
    name = PlainText(
        required=True,
        metadata={"description": "Put in where {name}{/name} stands in the system prompt."},
    )
    description = PlainText(validate=_at_most(templates.MAX_DESCRIPTION_CHARACTERS))
    required = YesOrNo(required=True)
    default = PlainText(
        validate=_at_most(templates.MAX_DEFAULT_CHARACTERS),
        metadata={"description": "What an optional one is when it is not given."},
    )


class ParameterRequestSchema(ParameterSchema):
    """As a creator declares one: nothing else may be said."""


class _MembersSchema(CamelSchema):
    """What a version may say; which of it a type has is the service's to know."""

    name = _words(drafts.MAX_NAME_CHARACTERS, "What it is called.")
    description = PlainText(validate=_at_most(drafts.MAX_DESCRIPTION_CHARACTERS))
    price_usd = _price()
    model = PlainText(
        validate=_at_most(200), metadata={"description": "An id of GET /models; model types."}
    )
    system_prompt = _words(
        templates.MAX_PROMPT_BYTES, "For you and the model only; tags are {name}{/name}."
    )
    temperature = _sampling(0, 2)
    max_tokens = WholeNumber(allow_none=True, validate=_within(1, MOST_TOKENS))
    top_p = _sampling(0, 1)
    frequency_penalty = _sampling(-2, 2)
    presence_penalty = _sampling(-2, 2)
    parameters = fields.List(
        fields.Nested(ParameterRequestSchema),
        validate=validate.Length(
            max=templates.MAX_PARAMETERS,
            error=f"must have at most {templates.MAX_PARAMETERS} entries",
        ),
        error_messages={"invalid": "must be a list", "null": "must be a list"},
    )
    allows_user_message = YesOrNo()
    content = _words(drafts.MAX_CONTENT_BYTES, "Of static: what is sold.")
    content_type = PlainText(validate=_at_most(drafts.MAX_CONTENT_TYPE_CHARACTERS))
    upstream_url = PlainText(
        validate=_at_most(MAX_URL_LENGTH),
        metadata={"description": "Of proxy: your server, for you only; https."},
    )
    upstream_method = choice(UpstreamMethod)


class CreateResourceRequestSchema(_MembersSchema):
    name = _words(drafts.MAX_NAME_CHARACTERS, "What it is called.", required=True)
    price_usd = _price(required=True)
    slug = PlainText(
        required=True,
        validate=[
            _at_most(SLUG_CHARACTERS),
            validate.Regexp(
                rf"\A{SLUG}\Z", error="must be lower-case letters, digits and single hyphens"
            ),
        ],
        metadata={"description": "Its address among yours, for ever.", "pattern": f"^{SLUG}$"},
    )
    type = choice(ResourceType, required=True)


class EditResourceRequestSchema(_MembersSchema):
    """Only what changes; `null` unsets a sampling parameter."""


class ResourceQuerySchema(CamelSchema):
    limit = fields.Integer(
        load_default=50,
        validate=_within(1, MOST_ITEMS),
        error_messages={"invalid": _A_WHOLE_NUMBER},
    )
    cursor = matching(
        "[0-9]{1,18}",
        error="must be what nextCursor said",
        description="nextCursor of the page before.",
    )


class PublicResourceQuerySchema(ResourceQuerySchema):
    creator = matching(
        SLUG, error="must be the handle of a creator", description="Only what this creator sells."
    )


class ResourceLinksSchema(CamelSchema):
    self = fields.String(metadata={"description": "Where its owner reads and edits it."})
    run = fields.String(required=True, metadata={"description": "Where it is bought."})


class _ShownSchema(CamelSchema):
    slug = fields.String(required=True)
    type = choice(ResourceType, required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)
    price_usd = UsdField(required=True)
    version = fields.Integer(required=True)
    model = fields.String()
    parameters = fields.List(fields.Nested(ParameterSchema))
    allows_user_message = fields.Boolean()
    content_type = fields.String(metadata={"description": "Of static."})
    links = fields.Nested(ResourceLinksSchema, required=True)


class PublicResourceSchema(_ShownSchema):
    """What everybody may know of a resource that sells now."""

    creator = fields.String(required=True, metadata={"description": "The creator's handle."})


class ResourceSchema(_ShownSchema):
    """A resource as its owner sees it, with the members that its type has."""

    active = fields.Boolean(required=True, metadata={"description": "Neither paused nor archived."})
    selling = fields.Boolean(
        required=True, metadata={"description": "Can be bought now: there are no obstacles."}
    )
    obstacles = fields.List(
        choice(Obstacle), required=True, metadata={"description": "What keeps it from selling."}
    )
    pause_reason = choice(PauseReason)
    resting_because = choice(
        BreakerReason, metadata={"description": "What last went wrong with the key or the model."}
    )
    created_at = InstantField(required=True)
    updated_at = InstantField(required=True, metadata={"description": "Of the newest version."})
    paused_at = InstantField()
    archived_at = InstantField()
    system_prompt = fields.String()
    temperature = UsdField()
    max_tokens = fields.Integer()
    top_p = UsdField()
    frequency_penalty = UsdField()
    presence_penalty = UsdField()
    content = fields.String()
    upstream_url = fields.String()
    upstream_method = choice(UpstreamMethod)


class ResourceListSchema(CamelSchema):
    resources = fields.List(fields.Nested(ResourceSchema), required=True)
    next_cursor = fields.String(metadata={"description": "Missing on the last page."})


class PublicResourceListSchema(CamelSchema):
    resources = fields.List(fields.Nested(PublicResourceSchema), required=True)
    next_cursor = fields.String(metadata={"description": "Missing on the last page."})


class ModelSchema(CamelSchema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    types = fields.List(
        choice(sorted(MODEL_TYPES)),
        required=True,
        metadata={"description": "The types of resource that can be built on it."},
    )
    context_tokens = fields.Integer(required=True)
    max_output_tokens = fields.Integer()
    input_usd_per_million_tokens = UsdField(required=True)
    output_usd_per_million_tokens = UsdField(required=True)
    request_usd = UsdField(metadata={"description": "For each call, where there is such a price."})
    supported_parameters = fields.List(fields.String(), required=True)


class ModelListSchema(CamelSchema):
    models = fields.List(fields.Nested(ModelSchema), required=True)
    synced_at = InstantField(metadata={"description": "When the list was last fetched."})
