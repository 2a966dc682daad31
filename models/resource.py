"""What creators publish. Every edit is a new version; a trigger refuses to change one."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Numeric,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.creator import Provider
from models.database import Base, CreatedAt, Id, UsdMicrosColumn, one_of, stored_by_value
from models.slug import SLUG, SLUG_CHARACTERS


class ResourceType(StrEnum):
    OPENROUTER_INSTANT = "openrouter_instant"
    PROMPT_TEMPLATE = "prompt_template"
    """The same on the creator's Anthropic key."""
    STATIC = "static"
    PROXY = "proxy"


PROVIDER_OF: Mapping[ResourceType, Provider] = MappingProxyType(
    {
        ResourceType.OPENROUTER_INSTANT: Provider.OPENROUTER,
        ResourceType.PROMPT_TEMPLATE: Provider.ANTHROPIC,
    }
)
"""Whose key a type of resource runs on."""
MODEL_TYPES = frozenset(PROVIDER_OF)


def types_on(provider: Provider) -> list[ResourceType]:
    """What runs on a key of this provider."""
    return [type_ for type_, of in PROVIDER_OF.items() if of is provider]


class PauseReason(StrEnum):
    """Why a resource is not on sale although it is published. Only ``creator`` needs a resume."""

    CREATOR = "creator"
    KEY_DELETED = "key_deleted"


class Resource(Base):
    """A name under a creator, and where its sales stand. What is sold is in its newest version."""

    __tablename__ = "resources"
    __table_args__ = (
        UniqueConstraint("creator_id", "slug"),
        CheckConstraint(f"slug ~ '^{SLUG}$'", name="slug_is_slug"),
        CheckConstraint(f"length(slug) <= {SLUG_CHARACTERS}", name="slug_fits"),
        CheckConstraint(one_of("type", ResourceType), name="type_known"),
        CheckConstraint(one_of("pause_reason", PauseReason), name="pause_reason_known"),
        CheckConstraint("(paused_at IS NULL) = (pause_reason IS NULL)", name="paused_says_why"),
    )

    id: Mapped[Id]
    creator_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("creators.id"), index=True)
    slug: Mapped[str] = mapped_column(Text)
    type: Mapped[ResourceType] = mapped_column(stored_by_value(ResourceType))
    newest_version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[CreatedAt]
    paused_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    pause_reason: Mapped[PauseReason | None] = mapped_column(stored_by_value(PauseReason))
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ResourceVersion(Base):
    """One edition. Columns of other types than its own are NULL."""

    __tablename__ = "resource_versions"
    __table_args__ = (
        UniqueConstraint("resource_id", "number"),
        CheckConstraint("price_usd_micros > 0", name="price_positive"),
    )

    id: Mapped[Id]
    resource_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("resources.id"))
    number: Mapped[int] = mapped_column(comment="from 1")
    created_at: Mapped[CreatedAt]
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    price_usd_micros: Mapped[UsdMicrosColumn]

    model: Mapped[str | None] = mapped_column(Text, comment="id in the catalogue")
    system_prompt: Mapped[str | None] = mapped_column(
        Text, comment="for its owner and the model only"
    )
    parameters: Mapped[list[dict[str, Any]] | None] = mapped_column(
        JSONB, comment="[{name, description?, required, default?}]"
    )
    allows_user_message: Mapped[bool | None]
    temperature: Mapped[Decimal | None] = mapped_column(Numeric(6, 4))
    max_tokens: Mapped[int | None]
    top_p: Mapped[Decimal | None] = mapped_column(Numeric(6, 4))
    frequency_penalty: Mapped[Decimal | None] = mapped_column(Numeric(6, 4))
    presence_penalty: Mapped[Decimal | None] = mapped_column(Numeric(6, 4))

    content: Mapped[str | None] = mapped_column(Text, comment="static: what is sold")
    content_type: Mapped[str | None] = mapped_column(Text)

    upstream_url: Mapped[str | None] = mapped_column(Text, comment="proxy: for its owner only")
    upstream_method: Mapped[str | None] = mapped_column(Text)
