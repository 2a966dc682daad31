"""The seed decides who does what."""

from collections import Counter

from local.stand_in.faults import TARGETS
from tests.chaos.nemesis import Kind, plan
from tests.chaos.plans import (
    Afterwards,
    Claim,
    Payment,
    Showing,
    Ware,
    draw,
    draw_purchase,
)
from tests.chaos.skies import forecast


def test_a_seed_gives_the_same_callers_acts_and_weather_again() -> None:
    assert [draw(7, n) for n in range(50)] == [draw(7, n) for n in range(50)]
    assert [draw_purchase(7, n) for n in range(50)] == [draw_purchase(7, n) for n in range(50)]
    assert plan(7, 40) == plan(7, 40)
    assert forecast(7) == forecast(7)


def test_no_part_of_lnbits_is_spared_by_the_weather() -> None:
    hit = {chance.fault.target for chance in forecast(1).chances}

    assert {target for target in TARGETS if target.startswith("lnbits.")} <= hit


def test_another_seed_gives_others() -> None:
    assert [draw(7, n) for n in range(50)] != [draw(8, n) for n in range(50)]
    assert plan(7, 40) != plan(8, 40)


def test_forty_acts_are_of_every_kind() -> None:
    assert {act.kind for act in plan(1, 40)} == set(Kind)
    assert [act.number for act in plan(1, 40)] == list(range(1, 41))


def test_a_thousand_callers_do_everything_that_callers_do() -> None:
    plans = [draw(1, number) for number in range(1000)]

    assert {plan.evaluation for plan in plans} == set(Payment)
    assert {plan.work for plan in plans} == set(Payment)
    assert {plan.claim for plan in plans} == set(Claim)
    assert Counter(plan.request for plan in plans).most_common(1)[0][1] == 1


def test_two_hundred_buyers_do_everything_that_buyers_do() -> None:
    plans = [draw_purchase(1, number) for number in range(200)]

    assert {plan.ware for plan in plans} == set(Ware)
    assert {plan.showing for plan in plans} == set(Showing)
    assert {plan.version for plan in plans} == {1, 2}
    assert {how for plan in plans for how in plan.afterwards} == set(Afterwards)
    assert len({plan.words for plan in plans}) == len(plans)
