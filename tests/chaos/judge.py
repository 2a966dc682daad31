"""What the doors say, held against the OpenAPI document while the run goes on."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from requests.structures import CaseInsensitiveDict

from tests.app.contract import Seen
from tests.chaos.http import Answer
from tests.support import wire

EACH = 5
"""Judged of every kind of answer: all of them would take the CPU that is to be measured."""


@dataclass
class Judge:
    """Tells answers apart by route, status, code, state and members."""

    _judged: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def breach(self, method: str, path: str, route: str, answer: Answer, sent: object) -> str:
        """In words, what the document does not allow; empty = nothing, or judged often enough."""
        told = answer.body
        kind = (route, answer.status, told.get("code"), told.get("state"), frozenset(told))
        self._judged[kind] += 1
        if answer.status == 0 or self._judged[kind] > EACH:
            return ""
        seen = Seen(
            method=method,
            path=path.partition("?")[0],
            status_code=answer.status,
            mimetype=answer.headers.get("content-type", "").partition(";")[0],
            headers=CaseInsensitiveDict(answer.headers),
            text=json.dumps(told, ensure_ascii=False),
        )
        try:
            wire.contract().judge(seen, sent)
        except AssertionError as error:
            return str(error)
        return ""
