"""Every point of every life, and everything that may happen there: each life comes to its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.matrix.cases import Bench, Case, Fault, Recording, cases_of, run
from tests.matrix.lives import LIVES, Life
from tests.matrix.recordings import News, Recordings

SHARES = {"accepted, completed, refunded": 6, "run: bought, made, settled": 2}
"""Lives with so many points that workers share them: one in so many cases is tried by a test."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one test tries of a life: everything, for most lives."""

    life: Life
    number: int
    of: int

    def __str__(self) -> str:
        return self.life.name + (f", share {self.number + 1} of {self.of}" if self.of > 1 else "")

    def cases(self, news: News, fault: Fault) -> list[Case]:
        return cases_of(self.life, news.points, fault)[self.number :: self.of]


ALL = [
    Share(life=life, number=number, of=shares)
    for life in LIVES
    for shares in [SHARES.get(life.name, 1)]
    for number in range(shares)
]


@pytest.mark.parametrize("share", ALL, ids=str)
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_whatever_happens_at_any_point_the_life_comes_to_its_end(
    bench: Bench,
    recordings: Recordings,
    share: Share,
    fault: Fault,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
) -> None:
    life = share.life
    recording, news = recordings.of(life), recordings.news(life)
    began = time.monotonic()
    wanted = pytestconfig.getoption("--points")
    cases = [case for case in share.cases(news, fault) if wanted in str(case.point)]
    if not wanted and not pytestconfig.getoption("--every-situation"):
        cases = [case for case in cases if case.point in news.firsts]
    if wanted and not cases:
        pytest.skip("no such point")

    violated = [trouble for case in cases if (trouble := _trouble(bench, case, recording))]

    record_property("points", len(news.points))
    record_property("cases", len(cases))
    record_property("seconds", time.monotonic() - began)
    record_property("life", life.name)
    assert violated == [], "\n".join(violated)


def _trouble(bench: Bench, case: Case, recording: Recording) -> str | None:
    """What went wrong in a case, all in one line; None = nothing."""
    try:
        run(bench, case, recording)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next case is tried as well
        because = f" because of {error.__cause__!r}" if error.__cause__ else ""
        return f"{case}: {type(error).__name__}: {error}{because}"
    return None
