"""Which models there are to build on, and what their tokens cost."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """A model that reads and writes text, at its dearest rates."""

    id: str
    name: str
    context_tokens: int
    """Input and output together."""
    max_output_tokens: int | None
    """The provider's own bound; None = none but the context."""
    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    request_usd: Decimal
    """For each call, whatever its length."""
    supported_parameters: tuple[str, ...]


class ModelList(Protocol):
    def fetch(self) -> list[ListedModel]:
        """One request with a total deadline; each id once. What cannot be read or priced is left
        out. Raises Unavailable or Refused.
        """
