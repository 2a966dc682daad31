"""What goes wrong by chance, and by which."""

import pytest
import requests

from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient, StandInError
from local.stand_in.weather import Chance, Forecast


def statuses(world: StandInClient, count: int) -> list[int]:
    url = f"{world.url}/feeds/kraken"
    return [requests.get(url, timeout=60).status_code for _ in range(count)]


def rain(probability: float, seed: int = 1) -> Forecast:
    fault = Fault(target="feed.kraken", kind=FaultKind.STATUS, status=503)
    return Forecast(seed=seed, chances=(Chance(probability=probability, fault=fault),))


def test_it_is_calm_until_the_weather_changes(world: StandInClient) -> None:
    assert set(statuses(world, 5)) == {200}
    world.change_weather(rain(1))
    assert set(statuses(world, 5)) == {503}
    world.change_weather(Forecast())
    assert set(statuses(world, 5)) == {200}


def test_a_seed_draws_the_same_again_and_another_seed_does_not(world: StandInClient) -> None:
    drawn = []
    for seed in (1, 1, 2):
        world.change_weather(rain(0.5, seed))
        drawn.append(statuses(world, 30))

    assert drawn[0] == drawn[1] != drawn[2]
    assert {200, 503} == set(drawn[0])


def test_what_was_hit_is_counted(world: StandInClient) -> None:
    world.change_weather(rain(1))
    statuses(world, 3)

    assert world.weather_hits() == {"feed.kraken status 503": 3}


def test_only_what_a_fault_is_meant_for_is_hit(world: StandInClient) -> None:
    world.change_weather(rain(1))

    assert requests.get(f"{world.url}/feeds/bitstamp", timeout=60).status_code == 200


def test_an_armed_fault_comes_before_the_weather(world: StandInClient) -> None:
    world.change_weather(rain(1))
    world.arm(Fault(target="feed.kraken", kind=FaultKind.STATUS, status=429))

    assert statuses(world, 2) == [429, 503]


def test_a_reset_world_is_calm(world: StandInClient) -> None:
    world.change_weather(rain(1))
    world.reset()

    assert statuses(world, 1) == [200]
    assert world.weather_hits() == {}


def test_a_forecast_that_makes_no_sense_is_refused(world: StandInClient) -> None:
    impossible = rain(1).model_copy(
        update={"chances": (rain(1).chances[0].model_copy(update={"probability": 2.0}),)}
    )
    with pytest.raises(StandInError, match="less than or equal to 1"):
        world.change_weather(impossible)
