"""What must never stand in a log line: what opens a job, moves money, was said in confidence."""

import logging
import re
from collections.abc import Iterable

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY, STAND_IN_MODEL_KEY

KEYS = (STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY, STAND_IN_MODEL_KEY)

_FORBIDDEN = {
    "a whole job id": re.compile(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    ),
    "an invoice": re.compile(r"\blnbc(rt)?[0-9a-z]{20,}", re.IGNORECASE),
    "a preimage or a whole payment hash": re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])"),
    "the password of a server": re.compile(r"://[^/\s:@]*:(?!\*\*@)[^/\s@]+@"),
}


def secrets_in(line: str, *, confidential: Iterable[str] = ()) -> list[str]:
    """What a log line gives away, in words; empty = nothing.

    ``confidential`` are texts of callers.
    """
    found = [what for what, pattern in _FORBIDDEN.items() if pattern.search(line)]
    found += [f"the key {key}" for key in KEYS if key in line]
    return found + ["a caller's text" for text in confidential if text and text in line]


class Listener(logging.Handler):
    """Keeps every line as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
