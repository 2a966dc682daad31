"""The price of a bitcoin as the feeds told it, with the feeds behind it."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped

from models.database import Base, CreatedAt, Id, Json, UsdColumn


class BtcPrice(Base):
    """Append-only; the newest row counts, and only while ``fetched_at`` is young enough."""

    __tablename__ = "btc_prices"
    __table_args__ = (CheckConstraint("price_usd > 0", name="price_positive"),)

    id: Mapped[Id]
    price_usd: Mapped[UsdColumn]
    feeds: Mapped[Json]
    fetched_at: Mapped[CreatedAt]
