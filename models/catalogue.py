"""Which models creators may build on: synced daily from OpenRouter's public list."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import DateTime, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Instant


class CatalogueModel(Base):
    """A vanished model stays as a row, so that resources built on it can say why they stopped."""

    __tablename__ = "catalogue_models"

    id: Mapped[str] = mapped_column(Text, primary_key=True, comment="as OpenRouter spells it")
    name: Mapped[str] = mapped_column(Text)
    context_tokens: Mapped[int] = mapped_column(comment="input and output together")
    max_output_tokens: Mapped[int | None] = mapped_column(comment="the provider's own bound")
    input_usd_per_million: Mapped[Decimal] = mapped_column(Numeric(20, 10))
    output_usd_per_million: Mapped[Decimal] = mapped_column(Numeric(20, 10))
    request_usd: Mapped[Decimal] = mapped_column(
        Numeric(20, 10), server_default="0", comment="for each call, whatever its length"
    )
    supported_parameters: Mapped[list[str]] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]
    synced_at: Mapped[Instant]
    vanished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
