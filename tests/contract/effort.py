"""How much is tried, and from which seed: little and always the same, unless more is asked for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

SEED = 20_261_122
FEW = 25


@dataclass(frozen=True, kw_only=True)
class Effort:
    """``examples`` are generated per operation, besides those that always run."""

    examples: int
    seed: int
    is_repeatable: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read what ``make fuzz`` asks for; without it, what every ``make test`` does."""
        return cls(
            examples=int(environ.get("FUZZ_EXAMPLES", FEW)),
            seed=int(environ.get("FUZZ_SEED", SEED)),
            is_repeatable="FUZZ_SEED" not in environ,
        )


ASKED_FOR = Effort.of(os.environ)  # noqa: TID251 - an entry point
