"""What really happened in the stand-in's world: the witness that tests compare us with."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import simplejson

from local.stand_in.faults import Fault


class EffectKind(StrEnum):
    INVOICE_CREATED = "invoice_created"
    PAYMENT_IN = "payment_in"
    PAYMENT_OUT = "payment_out"
    MODEL_CALL_BEGIN = "model_call_begin"
    MODEL_CALL_END = "model_call_end"
    RECEIVER_ASKED = "receiver_asked"
    RECEIVER_FAILED = "receiver_failed"
    RECEIVER_OFFERED = "receiver_offered"
    TOKENS_MOVED = "tokens_moved"


class EffectLog:
    """Append-only, in memory and as JSON lines in a file; a restart reads the file back."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._effects = [simplejson.loads(line) for line in path.read_text().splitlines()]
        self._file = path.open("a", buffering=1)

    def append(self, kind: EffectKind, **details: object) -> None:
        """Record one effect; ``n`` counts from 1 without gaps."""
        with self._lock:
            now = datetime.now(UTC).isoformat()
            effect = {"n": len(self._effects) + 1, "at": now, "kind": kind, **details}
            self._effects.append(effect)
            self._file.write(simplejson.dumps(effect) + "\n")

    def since(self, n: int) -> list[dict[str, Any]]:
        """Every effect after the ``n``-th, in order."""
        with self._lock:
            return self._effects[n:]

    def clear(self) -> None:
        with self._lock:
            self._effects.clear()
            self._file.truncate(0)


@dataclass
class ModelCall:
    """One open call. Whoever answers it writes here how it ended."""

    number: int
    label: str
    world: int
    """Which world it belongs to: a reset begins a new one, that old calls must not speak in."""
    outcome: str = "failed"
    fault: str | None = None
    """What goes wrong with it on purpose."""
    input_tokens: int = 0
    output_tokens: int = 0

    def suffer(self, fault: Fault) -> None:
        """Remember what was done to it, for the log."""
        self.fault = fault.kind


class Counts:
    """Requests by route, and model calls by label, since the start or the last reset."""

    def __init__(self, effects: EffectLog) -> None:
        self._effects = effects
        self._lock = threading.Condition()
        self._world = 0
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._world += 1
            self._requests: Counter[str] = Counter()
            self._calls: Counter[str] = Counter()
            self._open: Counter[str] = Counter()
            self._most_open: Counter[str] = Counter()

    def request(self, route: str) -> None:
        with self._lock:
            self._requests[route] += 1

    @contextmanager
    def model_call(
        self, *, provider: str, model: str, label: str, sent: Mapping[str, object] | None = None
    ) -> Iterator[ModelCall]:
        """Write down that a call began, and, however it ends, that it ended.

        ``sent`` are settings of the call that are worth a test.
        """
        call = self._begin(label)
        told: dict[str, object] = {
            "call": call.number,
            "provider": provider,
            "model": model,
            "label": label,
        }
        more = {} if sent is None else {"sent": dict(sent)}
        self._effects.append(EffectKind.MODEL_CALL_BEGIN, **told, **more)
        try:
            yield call
        finally:
            self._end(call, told)

    def _begin(self, label: str) -> ModelCall:
        with self._lock:
            self._calls[label] += 1
            self._open[label] += 1
            self._most_open[label] = max(self._most_open[label], self._open[label])
            return ModelCall(self._calls.total(), label, self._world)

    def _end(self, call: ModelCall, told: dict[str, object]) -> None:
        with self._lock:
            if call.world != self._world:
                return
            self._effects.append(
                EffectKind.MODEL_CALL_END,
                **told,
                outcome=call.outcome,
                fault=call.fault,
                inputTokens=call.input_tokens,
                outputTokens=call.output_tokens,
            )
            self._open[call.label] -= 1
            self._lock.notify_all()

    def wait_for_quiet(self, *, calls: int, seconds: float) -> bool:
        """Wait until ``calls`` model calls have begun and none is open, or for ``seconds``."""
        with self._lock:
            return self._lock.wait_for(
                lambda: self._calls.total() >= calls and not any(self._open.values()),
                timeout=seconds,
            )

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "requests": dict(self._requests),
                "modelCalls": self._calls.total(),
                "openModelCalls": self._open.total(),
                "modelCallsByLabel": dict(self._calls),
                "mostConcurrentModelCallsByLabel": dict(self._most_open),
            }
