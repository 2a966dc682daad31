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
    "a preimage, a whole hash or a nonce": re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])"),
    "a signature": re.compile(r"(?<![0-9a-f])[0-9a-f]{130,}"),
    "a payment's header": re.compile(r"eyJ[A-Za-z0-9+/_-]{60,}"),
    "an offer": re.compile(r"\bo1\.[A-Za-z0-9_-]{60,}"),
    "a creator's API key": re.compile(r"\bhwc_[\w-]{20,}", re.ASCII),
    "a provider's key": re.compile(r"\bsk-(or-v1|ant)-[\w-]{8,}", re.ASCII),
    "an envelope of the vault": re.compile(r"\b1\.[\w-]{8}\.[\w-]{16}\.[\w-]{22,}", re.ASCII),
    "the password of a server": re.compile(r"://[^/\s:@]*:(?!\*\*@)[^/\s@]+@"),
}


def secrets_in(line: str, *, confidential: Iterable[str] = ()) -> list[str]:
    """What a log line gives away, in words; empty = nothing.

    ``confidential`` are texts of callers.
    """
    found = [what for what, pattern in _FORBIDDEN.items() if pattern.search(line)]
    found += [f"the key {key}" for key in KEYS if key in line]
    return found + ["a caller's text" for text in confidential if text and text in line]


RECOGNISABLE = 12
"""Characters from which on a caller's text is told apart from words that anybody may log."""
_MESSAGE = re.compile(r"\b([Tt]ask:? [\w.]+|Couldn't ack )[\['][0-9a-f-]{36}[\]']")
"""How Celery and kombu name a message, with an id of its own that looks like a job's."""


def assert_tells_nothing(log: str, *, confidential: Iterable[str] = ()) -> None:
    """Hold every line that processes have written against what must not stand there.

    ``confidential`` are texts of callers, and ids of their jobs.
    """
    texts = [text for text in confidential if len(text) >= RECOGNISABLE]
    for line in log.splitlines():
        found = secrets_in(_MESSAGE.sub(r"\1", line))
        found += [f"of a caller: {text}" for text in texts if text in line]
        assert not found, f"the log gives away {', '.join(found)}: {line}"


class Listener(logging.Handler):
    """Keeps every line as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
