"""How an outside system can let us down.

OutsideError
├── Unavailable   may work later: time-out, connection, 429, 5xx, an answer that makes no sense
└── Refused       will not work later: their 4xx about what we asked

The text of these errors is for logs and never reaches a caller.
"""

from datetime import timedelta
from enum import StrEnum


class Billed(StrEnum):
    """Whether a model call that ended in an error may still have cost us money."""

    NO = "no"
    UNKNOWN = "unknown"


class OutsideError(Exception):
    """Another system let us down."""

    inside: str | None = None
    """The code that an answer with status 200 said it should have had, such as ``http_429``."""
    retry_after: timedelta | None = None
    """Their own wish, when it may work later and they sent one."""

    def __init__(self, message: str, *, code: str, billed: Billed = Billed.NO) -> None:
        """``code`` is a short stable word for log and journal: ``timeout``, ``http_500`` …"""
        super().__init__(message)
        self.code = code
        self.billed = billed


class Unavailable(OutsideError):
    """It may work later."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retry_after: timedelta | None = None,
        billed: Billed = Billed.NO,
    ) -> None:
        super().__init__(message, code=code, billed=billed)
        self.retry_after = retry_after


class Refused(OutsideError):
    """Asking the same again will be refused again."""
