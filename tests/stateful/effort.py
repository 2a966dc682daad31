"""How much is tried: little and always the same, unless more is asked for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from hypothesis import Phase

SEED = 20_261_122
FEW = 2
STEPS = 20
SEARCH = (Phase.generate,)
"""Without making a failure small, which takes minutes."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """``examples`` of so many ``steps`` are made up for every opening."""

    examples: int
    steps: int
    seed: int
    phases: tuple[Phase, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read what ``make stateful`` asks for; without it, what CI does."""
        return cls(
            examples=int(environ.get("STATEFUL_EXAMPLES", FEW)),
            steps=int(environ.get("STATEFUL_STEPS", STEPS)),
            seed=int(environ.get("STATEFUL_SEED", SEED)),
            phases=SEARCH if "STATEFUL_UNSHRUNK" in environ else tuple(Phase),
        )


ASKED_FOR = Effort.of(os.environ)  # noqa: TID251 - an entry point
