"""The free demo: limited per address, per network and per day, and one call a try."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.stand_in.faults import Fault
from models.attempt import Attempt
from models.demo_run import DemoRun, DemoState
from services.errors import ErrorCode, NotNow, TooManyRequests
from services.jobs import demo, terms
from services.jobs.demo import Client
from tests.support import rows
from tests.support.life import Life

ME = Client(key="192.0.2.1", network="192.0.2.1")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MIDNIGHT: dict[str, Any] = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
"""Of UTC, as the database's sessions count days."""


def _with(life: Life, **settings: Any) -> Life:
    changed = life.tools.settings.model_copy(update=settings)
    return Life(life.tools.with_(settings=changed), life.doorbell, life.stand_in)


def _try_it(life: Life, client: Client = ME) -> int:
    run_id, _ = demo.admit(life.tools, "What is honest work?", client)
    return run_id


def _neighbour(number: int) -> Client:
    """Another /64 in the same /48."""
    return Client(key=f"2001:db8:0:{number:x}::/64", network="2001:db8::/48")


def _fault(**details: object) -> Fault:
    return Fault.model_validate({"target": "anthropic", **details})


def test_a_try_is_one_call_with_the_small_cap_and_its_answer_is_kept(life: Life) -> None:
    run_id = _try_it(life)
    assert demo.look(life.tools, run_id).state is DemoState.WAITING

    life.work()

    run = demo.look(life.tools, run_id)
    assert run.state is DemoState.DONE
    assert run.result is not None
    assert run.cost_usd is not None
    assert 0 < run.cost_usd <= run.reserved_usd
    assert life.stand_in.counts().model_calls == 1
    assert rows.only(life.tools, Attempt).demo_run_id == run_id


def test_the_sixth_try_in_an_hour_is_refused_and_says_when_to_come_back(life: Life) -> None:
    left = [demo.admit(life.tools, "Hello?", ME)[1].remaining for _ in range(5)]
    rows.let_pass(life.tools, DemoRun, timedelta(minutes=50))

    with pytest.raises(TooManyRequests) as refused:
        _try_it(life)

    assert left == [4, 3, 2, 1, 0]
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert refused.value.retry_after is not None
    assert timedelta(minutes=9) < refused.value.retry_after <= timedelta(minutes=10)
    assert len(rows.all_of(life.tools, DemoRun)) == 5


def test_an_hour_later_there_are_new_tries(life: Life) -> None:
    for _ in range(5):
        _try_it(life)
    rows.let_pass(life.tools, DemoRun, HOUR)

    assert demo.admit(life.tools, "Hello?", ME)[1].remaining == 4


def test_another_address_has_tries_of_its_own(life: Life) -> None:
    for _ in range(5):
        _try_it(life)

    _try_it(life, Client(key="192.0.2.2", network="192.0.2.2"))


def test_a_wide_network_has_twenty_times_the_tries_of_one_address(life: Life) -> None:
    small = _with(life, demo_limit_per_hour=1)
    for number in range(20):
        _try_it(small, _neighbour(number))

    with pytest.raises(TooManyRequests):
        _try_it(small, _neighbour(20))
    _try_it(small, Client(key="2001:db8:1::/64", network="2001:db8:1::/48"))


def test_a_wide_network_that_is_refused_is_told_when_its_own_oldest_try_is_forgotten(
    life: Life,
) -> None:
    small = _with(life, demo_limit_per_hour=1)
    for number in range(demo.NETWORK_FACTOR):
        _try_it(small, _neighbour(number))
    rows.let_pass(life.tools, DemoRun, timedelta(minutes=50))

    with pytest.raises(TooManyRequests) as refused:
        _try_it(small, _neighbour(demo.NETWORK_FACTOR))

    assert refused.value.retry_after is not None
    assert timedelta(minutes=9) < refused.value.retry_after <= timedelta(minutes=10)


def test_the_days_budget_counts_what_tries_cost_at_most_until_it_is_known(life: Life) -> None:
    question = demo.demo_question(life.tools.settings, "What is honest work?")
    worst = terms.worst_cost(life.tools, question)
    tight = _with(life, demo_daily_budget_usd=worst * 2)
    _try_it(tight)
    _try_it(tight)
    # of today all the same if midnight comes now
    rows.change(life.tools, DemoRun, created_at=DemoRun.created_at + HOUR)

    with pytest.raises(NotNow) as refused:
        _try_it(tight)
    tight.work()  # both cost less than they might have
    _try_it(tight)

    assert refused.value.code is ErrorCode.DEMO_BUDGET_SPENT
    assert refused.value.retry_after is not None


def test_a_budget_of_nothing_closes_the_demo(life: Life) -> None:
    with pytest.raises(NotNow):
        _try_it(_with(life, demo_daily_budget_usd=Decimal(0)))

    assert rows.all_of(life.tools, DemoRun) == []


def test_whoever_comes_past_the_days_budget_is_told_when_the_next_day_begins(life: Life) -> None:
    before = rows.now(life.tools)
    with pytest.raises(NotNow) as refused:
        _try_it(_with(life, demo_daily_budget_usd=Decimal(0)))
    after = rows.now(life.tools)

    wait = refused.value.retry_after
    assert wait is not None
    assert timedelta(0) < wait <= DAY
    midnight = (before + wait - timedelta(microseconds=1)).replace(**MIDNIGHT) + DAY
    assert before <= midnight - wait <= after


def test_yesterdays_tries_are_not_in_todays_budget(life: Life) -> None:
    question = demo.demo_question(life.tools.settings, "What is honest work?")
    tight = _with(life, demo_daily_budget_usd=terms.worst_cost(life.tools, question))
    _try_it(tight)
    rows.let_pass(life.tools, DemoRun, timedelta(days=1))

    _try_it(tight)


def test_a_try_that_nobody_began_is_given_back(life: Life) -> None:
    for _ in range(4):
        _try_it(life)
    run_id = _try_it(life)

    assert demo.abandon(life.tools, run_id) is True
    assert demo.abandon(life.tools, run_id) is False
    _try_it(life)  # the limit and the budget have room again
    life.doorbell.rung.clear()
    demo.run(life.tools, run_id)

    assert demo.look(life.tools, run_id).state is DemoState.ABANDONED
    assert life.stand_in.counts().model_calls == 0


def test_a_try_that_was_begun_is_not_given_back(life: Life) -> None:
    run_id = _try_it(life)
    life.work()

    assert demo.abandon(life.tools, run_id) is False


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "status", "status": 529},
        {"kind": "status", "status": 400},
        {"kind": "reset", "after_effect": True},
        {"kind": "refusal"},
        {"kind": "empty"},
    ],
    ids=str,
)
def test_a_try_that_brings_nothing_has_failed_and_is_not_repeated(
    life: Life, trouble: dict[str, object]
) -> None:
    life.stand_in.arm(_fault(**trouble))
    run_id = _try_it(life)

    life.work()
    life.make_due()
    life.work()

    run = demo.look(life.tools, run_id)
    assert (run.state, run.due_at, run.result) == (DemoState.FAILED, None, None)
    assert life.stand_in.counts().model_calls == 1


def test_a_try_whose_worker_died_fails_without_a_second_call(life: Life) -> None:
    run_id = _try_it(life)
    life.doorbell.rung.clear()
    assert demo._take(life.tools, run_id) is not None

    life.make_due()
    life.work()

    assert demo.look(life.tools, run_id).state is DemoState.FAILED
    assert life.stand_in.counts().model_calls == 0


def test_a_try_that_the_provider_turned_away_unbilled_costs_the_budget_nothing(
    life: Life,
) -> None:
    life.stand_in.arm(_fault(kind="status", status=529))
    run_id = _try_it(life)

    life.work()

    assert demo.look(life.tools, run_id).cost_usd == 0
    assert [row.outcome for row in rows.all_of(life.tools, Attempt)] == ["unavailable"]


def test_a_try_that_may_have_been_billed_stays_reserved_and_is_journalled_so(life: Life) -> None:
    life.stand_in.arm(_fault(kind="reset", after_effect=True))
    run_id = _try_it(life)

    life.work()

    assert demo.look(life.tools, run_id).cost_usd is None
    assert [row.outcome for row in rows.all_of(life.tools, Attempt)] == ["doubtful"]
