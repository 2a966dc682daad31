"""When to try again: growing, bounded, spread, and never before a provider asked us to."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import retry

SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 64), (7, 128), (8, 256), (9, 300), (50, 300)],
)
def test_the_wait_doubles_from_two_seconds_up_to_five_minutes_spread_by_a_quarter(
    failures: int, seconds: int
) -> None:
    for _ in range(50):
        assert 0.75 * seconds <= retry.backoff(failures).total_seconds() <= 1.25 * seconds


@given(failures=st.integers(-3, 10**9))
def test_no_number_of_failures_makes_the_wait_senseless(failures: int) -> None:
    assert 1.5 * SECOND <= retry.backoff(failures) <= 375 * SECOND


@given(failures=st.integers(1, 20), wish=st.timedeltas(MICROSECOND, timedelta(hours=1)))
def test_a_providers_own_wish_is_never_undercut(failures: int, wish: timedelta) -> None:
    assert retry.backoff(failures, retry_after=wish) >= wish


def test_what_failed_together_does_not_come_back_together() -> None:
    assert len({retry.backoff(3) for _ in range(20)}) > 1


@given(waited=st.timedeltas(timedelta(0), timedelta(days=30)))
def test_patience_is_an_eighth_of_what_was_waited_within_its_bounds(waited: timedelta) -> None:
    at_least, at_most = SECOND, timedelta(minutes=30)

    patience = retry.patience(waited, at_least=at_least, at_most=at_most)

    meant = min(max(waited / 8, at_least), at_most)
    assert 0.75 * meant - MICROSECOND <= patience <= 1.25 * meant + MICROSECOND


def test_patience_for_a_week_costs_few_looks() -> None:
    """The row's own age is the memory: a payout in doubt is not asked about a million times."""
    waited, looks = timedelta(0), 0
    while waited < timedelta(days=7):
        waited += retry.patience(waited, at_least=SECOND, at_most=timedelta(minutes=30))
        looks += 1
    assert looks < 600
