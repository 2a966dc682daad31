"""Who publishes instant resources: where their money goes, and the sealed keys they run on."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, one_of, stored_by_value
from models.due import Due
from models.slug import SLUG, SLUG_CHARACTERS


class Provider(StrEnum):
    """Whose models a creator's key opens."""

    OPENROUTER = "openrouter"
    ANTHROPIC = "anthropic"


class Creator(Base):
    """The API key is shown once and kept as a hash: with 256 random bits it needs no salt."""

    __tablename__ = "creators"
    __table_args__ = (
        CheckConstraint(f"handle ~ '^{SLUG}$'", name="handle_is_slug"),
        CheckConstraint(f"length(handle) <= {SLUG_CHARACTERS}", name="handle_fits"),
        CheckConstraint("cost_cap_per_call_usd > 0", name="cap_per_call_positive"),
        CheckConstraint("cost_cap_per_day_usd > 0", name="cap_per_day_positive"),
    )

    id: Mapped[Id]
    handle: Mapped[str] = mapped_column(Text, unique=True)
    api_key_hash: Mapped[str] = mapped_column(Text, unique=True, comment="SHA-256, hex")
    api_key_last4: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    cost_cap_per_call_usd: Mapped[Decimal | None] = mapped_column(
        Numeric(20, 10), comment="worst case of one run on the creator's key; NULL = none"
    )
    cost_cap_per_day_usd: Mapped[Decimal | None] = mapped_column(
        Numeric(20, 10), comment="of all runs since midnight UTC; NULL = none"
    )


class PayoutAddress(Base):
    """Where callers pay this creator, one address a network."""

    __tablename__ = "payout_addresses"
    __table_args__ = (
        UniqueConstraint("creator_id", "network"),
        CheckConstraint("address ~ '^0x[0-9a-f]{40}$'", name="address_is_evm"),
    )

    id: Mapped[Id]
    creator_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("creators.id"))
    network: Mapped[str] = mapped_column(Text, comment="CAIP-2, such as eip155:8453")
    address: Mapped[str] = mapped_column(Text, comment="lower case; shown with its checksum")
    created_at: Mapped[CreatedAt]


class ProviderKey(Due, Base):
    """A creator's key of a provider, sealed. Asked about at ``due_at``; never NULL."""

    __tablename__ = "provider_keys"
    __table_args__ = (
        UniqueConstraint("creator_id", "provider"),
        CheckConstraint(one_of("provider", Provider), name="provider_known"),
        Index("ix_provider_keys_due", "due_at"),
    )

    creator_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("creators.id"))
    provider: Mapped[Provider] = mapped_column(stored_by_value(Provider))
    sealed: Mapped[str] = mapped_column(
        Text, comment="bound to creator, provider and row (services.instant.keys)"
    )
    last4: Mapped[str] = mapped_column(Text)
    is_valid: Mapped[bool | None] = mapped_column(comment="NULL = not known yet")
    last_verified_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_error_code: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    replaced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    due_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="when it is verified again"
    )


class BreakerReason(StrEnum):
    """Why sales stand still, as the creator is told."""

    KEY_INVALID = "key_invalid"
    CREDITS = "credits"
    RATE = "rate"
    MODEL_GONE = "model_gone"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"


EVERY_MODEL = "*"
"""The breaker of a whole key."""


class Breaker(Due, Base):
    """Open = nothing that needs this key and model is sold. A probe at ``due_at`` may close it."""

    __tablename__ = "breakers"
    __table_args__ = (
        UniqueConstraint("provider_key_id", "model"),
        CheckConstraint(one_of("reason", BreakerReason), name="reason_known"),
        CheckConstraint("(opened_at IS NOT NULL) = (due_at IS NOT NULL)", name="open_is_due"),
        CheckConstraint("opened_at IS NULL OR reason IS NOT NULL", name="open_says_why"),
        Index("ix_breakers_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    provider_key_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("provider_keys.id", ondelete="CASCADE")
    )
    model: Mapped[str] = mapped_column(Text, comment=f"'{EVERY_MODEL}' = every model of this key")
    failures: Mapped[int] = mapped_column(server_default="0", comment="in a row")
    reason: Mapped[BreakerReason | None] = mapped_column(stored_by_value(BreakerReason))
    opened_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
