"""What goes wrong by chance: every request draws, from a seed, which fault hits it, if any."""

import random
import threading
from collections import Counter
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from local.stand_in.faults import Errand, Fault


class Chance(BaseModel):
    """A fault, and the share of the requests it is meant for that it hits."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    probability: Annotated[float, Field(ge=0, le=1)]
    fault: Fault


class Forecast(BaseModel):
    """All that may go wrong from now on. On the wire in camelCase."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    chances: tuple[Chance, ...] = ()


class Weather:
    """Calm until told otherwise. Each target draws from a row of numbers of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self.change(Forecast())

    def change(self, forecast: Forecast) -> None:
        """This forecast holds from now on; what was hit so far stays counted."""
        with self._lock:
            self._forecast = forecast
            self._dice: dict[str, random.Random] = {}

    def draw(self, errand: Errand) -> Fault | None:
        """The fault that hits this request; None = it is spared."""
        with self._lock:
            suitable = [c for c in self._forecast.chances if c.fault.hits(errand)]
            if not suitable:
                return None
            rest = self._roll(errand.target)
            for chance in suitable:
                rest -= chance.probability
                if rest < 0:
                    self._hits[_name(errand.target, chance.fault)] += 1
                    return chance.fault
        return None

    def _roll(self, target: str) -> float:
        if target not in self._dice:
            self._dice[target] = random.Random(f"{self._forecast.seed}:{target}")  # noqa: S311
        return self._dice[target].random()

    def hits(self) -> dict[str, int]:
        """How often what has gone wrong, since the start or the last reset."""
        with self._lock:
            return dict(self._hits)

    def clear(self) -> None:
        """Calm, and nothing has ever happened."""
        self.change(Forecast())
        with self._lock:
            self._hits.clear()


def _name(target: str, fault: Fault) -> str:
    status = f" {fault.status}" if fault.kind == "status" else ""
    after = " after it was done" if fault.after_effect else ""
    return f"{target} {fault.kind}{status}{after}"
