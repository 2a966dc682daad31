"""What must never stand in a log line: what opens a job, moves money, was said in confidence."""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY, STAND_IN_MODEL_KEY

KEYS = (STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY, STAND_IN_MODEL_KEY)
WHISPERED = "for my ears alone"
"""Stands in what tests ask for: even a request that is refused, and stored nowhere, is known."""

_FORBIDDEN = {
    "a whole job id": re.compile(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
        r"|(?<![0-9a-f])[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}(?![0-9a-f])",
        re.IGNORECASE,
    ),
    "an invoice": re.compile(r"\bln(bcrt|bc|tbs|tb)[0-9a-z]{20,}", re.IGNORECASE),
    "a preimage, a whole hash or a nonce": re.compile(
        r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", re.IGNORECASE
    ),
    "a signature": re.compile(r"(?<![0-9a-f])[0-9a-f]{130,}", re.IGNORECASE),
    "a payment's header": re.compile(r"eyJ[A-Za-z0-9+/_-]{60,}"),
    "an offer": re.compile(r"\bo1\.[A-Za-z0-9_-]{60,}"),
    "a creator's API key": re.compile(r"\bhwc_[\w-]{20,}", re.ASCII),
    "a provider's key": re.compile(r"\bsk-(or-v1|ant)-[\w-]{8,}", re.ASCII),
    "an envelope of the vault": re.compile(r"\b1\.[\w-]{8}\.[\w-]{16}\.[\w-]{22,}", re.ASCII),
    "the address of LNbits' nudge": re.compile(r"/api/hooks/lnbits/[0-9a-f]{16,}"),
    "the password of a server": re.compile(r"://[^/\s:@]*:(?!\*\*@)[^/\s@]+@"),
}


def secrets_in(line: str, *, confidential: Iterable[str] = ()) -> list[str]:
    """What a log line gives away, in words; empty = nothing.

    ``confidential`` are texts of callers, and keys of this deployment.
    """
    line = _REQUEST_ID.sub(r"\1", line)
    found = [what for what, pattern in _FORBIDDEN.items() if pattern.search(line)]
    found += [f"the key {key}" for key in KEYS if key in line]
    texts = _spelled((WHISPERED, *confidential))
    return found + ["something confidential" for text in texts if text in line]


def _spelled(texts: Iterable[str]) -> set[str]:
    """As they were said, and as JSON spells them."""
    return {spelling for text in texts if text for spelling in (text, json.dumps(text)[1:-1])}


_REQUEST_ID = re.compile(
    r"""((?:request_?id|idempotency-?key)["']?[=:] ?["']?)[0-9a-f]{32}""", re.IGNORECASE
)
"""Ours, and by which a creator's server tells calls apart: like a job's, and they open nothing."""
RECOGNISABLE = 12
"""Characters from which on a caller's text is told apart from words that anybody may log."""
_MESSAGE = re.compile(r"\b([Tt]ask:? [\w.]+\[|Couldn't ack ')[0-9a-f-]{36}(?![\w-])")
"""How Celery names a message: an id that looks like a job's."""


def assert_tells_nothing(log: str, *, confidential: Iterable[str] = ()) -> None:
    """Hold every line that processes have written against what must not stand there.

    ``confidential`` are texts of callers, ids of their jobs, and keys of this deployment.
    """
    texts = _spelled(text for text in confidential if len(text) >= RECOGNISABLE)
    for line in log.splitlines():
        found = secrets_in(_MESSAGE.sub(r"\1", line))
        found += [f"something confidential: {text}" for text in texts if text in line]
        assert not found, f"the log gives away {', '.join(found)}: {line}"


class Answer(Protocol):
    """What is looked at of an answer."""

    @property
    def path(self) -> str: ...
    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Any: ...
    @property
    def text(self) -> str: ...


_NOBODYS = ("a provider's key", "an envelope of the vault", "the password of a server")
"""In no answer to anybody."""
_SHOWN_ONCE = ("/api/creators", "/api/creator/api-key")
_BELONGS_IN = {
    "an invoice": {"paymentRequest"},
    "a preimage, a whole hash or a nonce": {"paymentHash", "transaction"},
    "a signature": set[str](),
}
"""Members that may hold it."""
_SAID_IN_CONFIDENCE = ("request", "invoice", "key", "systemPrompt", "content", "upstreamUrl")


def told_by_mistake(answer: Answer, sent: Any = None) -> list[str]:
    """What an answer of ours gives away, in words; empty = nothing.

    ``sent`` is the body that it answers: no error repeats what may be confidential in it.
    """
    found = [what for what in _NOBODYS if _FORBIDDEN[what].search(answer.text)]
    found += [f"the key {key}" for key in KEYS if key in answer.text]
    if _FORBIDDEN["a creator's API key"].search(answer.text) and answer.path not in _SHOWN_ONCE:
        found.append("a creator's API key")
    found += [f"the id {id_}, which was not asked for" for id_ in _foreign_ids(answer)]
    for name, text in _texts(answer):
        found += [
            what
            for what, members in _BELONGS_IN.items()
            if name not in members and _FORBIDDEN[what].search(text)
        ]
    return found + list(_repeated(answer, sent))


def _foreign_ids(answer: Answer) -> set[str]:
    """Ids of jobs and runs but for the one in the address, or the one that was just made."""
    made = answer.headers.get("Location", "") + _made(answer)
    return _ids(_REQUEST_ID.sub(r"\1", answer.text)) - _ids(answer.path + made)


def _ids(text: str) -> set[str]:
    """However they are written."""
    found = _FORBIDDEN["a whole job id"].finditer(text)
    return {match[0].lower().replace("-", "") for match in found}


def _made(answer: Answer) -> str:
    return " ".join(text for name, text in _texts(answer) if name == "statusUrl")


def _texts(answer: Answer) -> Iterator[tuple[str, str]]:
    """Every text in a JSON answer, with its member's name; without the caller's own address."""
    if answer.text.startswith("{"):
        for name, text in _texts_in("", json.loads(answer.text)):
            yield name, text.replace(answer.path, "")


def _texts_in(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for inner_name, inner in value.items():
            yield from _texts_in(inner_name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_in(name, inner)


def _repeated(answer: Answer, sent: Any) -> Iterator[str]:
    """Of an error: what the caller had said, and anybody may read who sees the error."""
    if answer.status_code < 400 or not isinstance(sent, dict):
        return
    for name in _SAID_IN_CONFIDENCE:
        said = sent.get(name)
        if isinstance(said, str) and len(said) >= RECOGNISABLE and said in answer.text:
            yield f"what was said as {name}"


class Listener(logging.Handler):
    """Keeps every line as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def judge(self, *, confidential: Iterable[str] = ()) -> None:
        """Hold every line so far against what must not stand there, and forget them."""
        lines, self.lines[:] = self.lines[:], []
        assert_tells_nothing("\n".join(lines), confidential=confidential)
