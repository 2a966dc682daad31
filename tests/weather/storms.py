"""The troubles that any request to LNbits can meet, and what each is called when it is over."""

from dataclasses import dataclass
from typing import Any

import pytest

from local.stand_in.faults import Fault, FaultKind

FAR_LONGER_THAN_A_DEADLINE = 10.0
"""A caller that the machine does not let run for a moment finds no answer all the same."""


@dataclass(frozen=True)
class Storm:
    """``fault`` says what happens, ``code`` what journals, logs and readyz call it."""

    fault: Fault
    code: str

    @property
    def is_waited_out(self) -> bool:
        """Whether whoever asks waits until its deadline."""
        return self.code == "timeout"


def _storm(code: str, kind: FaultKind, **more: Any) -> Storm:
    return Storm(Fault(target="lnbits", kind=kind, **more), code)


STORMS = {
    "rate limit": _storm("http_429", FaultKind.STATUS, status=429),
    "error 500": _storm("http_500", FaultKind.STATUS, status=500),
    "node away": _storm("http_520", FaultKind.STATUS, status=520),
    "HTML": _storm("not_json", FaultKind.BODY),
    "JSON of another kind": _storm("not_an_object", FaultKind.BODY, text="[]"),
    "truncated JSON": _storm("not_json", FaultKind.TRUNCATED),
    "too slow": _storm("timeout", FaultKind.DELAY, seconds=FAR_LONGER_THAN_A_DEADLINE),
    "hung": _storm("timeout", FaultKind.HANG),
    "reset": _storm("connection", FaultKind.RESET),
}

in_every_storm = pytest.mark.parametrize("storm", STORMS.values(), ids=STORMS.keys())
