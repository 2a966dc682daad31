"""Who counts as one caller, and how many may wait."""

import threading

import pytest
from flask import Flask

from app.limits import UNKNOWN, count_as
from app.waiting import Turnstile, WaitingRoom
from services.jobs.demo import Client
from tests.app.contract import CheckedClient

ADDRESSES = [
    ("192.0.2.7", Client(key="192.0.2.7", network="192.0.2.7")),
    ("2001:db8:1:2:3:4:5:6", Client(key="2001:db8:1:2::/64", network="2001:db8:1::/48")),
    ("2001:DB8:1:2::", Client(key="2001:db8:1:2::/64", network="2001:db8:1::/48")),
    # the same host, spelled in the other family
    ("::ffff:192.0.2.7", Client(key="192.0.2.7", network="192.0.2.7")),
    ("fe80::1%eth0", Client(key="fe80::/64", network="fe80::/48")),
    # as some proxies forward them
    ("192.0.2.7:4711", Client(key="192.0.2.7", network="192.0.2.7")),
    ("[2001:db8:1:2::3]:4711", Client(key="2001:db8:1:2::/64", network="2001:db8:1::/48")),
    ("", Client(key=UNKNOWN, network=UNKNOWN)),
    ("no address", Client(key=UNKNOWN, network=UNKNOWN)),
]


@pytest.mark.parametrize(("address", "client"), ADDRESSES)
def test_ipv4_counts_by_address_and_ipv6_by_64_and_48_bits(address: str, client: Client) -> None:
    assert count_as(address) == client


def test_there_are_as_many_seats_as_there_are_and_a_left_one_is_free_again() -> None:
    room = WaitingRoom(seats=2)

    with room.seat() as first, room.seat() as second, room.seat() as third:
        assert (first, second, third) == (True, True, False)
    with room.seat() as again:
        assert again


def test_a_seat_is_given_back_when_the_request_fails() -> None:
    room = WaitingRoom(seats=1)

    with pytest.raises(ZeroDivisionError), room.seat():
        _ = 1 / 0

    with room.seat() as again:
        assert again


def test_given_that_it_is_done_at_once_then_nobody_waits() -> None:
    looks = iter([7])

    assert WaitingRoom().until(lambda: next(looks), done=lambda seen: seen == 7, seconds=60) == 7


def test_given_no_time_to_wait_then_it_is_looked_once() -> None:
    looks = iter([1])

    assert WaitingRoom().until(lambda: next(looks), done=lambda _: False, seconds=0) == 1


def test_it_is_looked_again_until_it_is_done() -> None:
    happened = threading.Event()
    threading.Timer(0.05, happened.set).start()

    assert WaitingRoom().until(happened.is_set, done=lambda seen: seen, seconds=60)


def test_given_that_it_is_never_done_then_the_last_look_is_returned_when_time_is_up() -> None:
    looks = iter(range(1000))

    assert WaitingRoom().until(lambda: next(looks), done=lambda _: False, seconds=0.15) >= 1


class _PassingTime:
    """A clock that moves by what is waited."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> float:
        return sum(self.pauses)


def test_what_is_soon_done_is_soon_seen_and_what_takes_long_is_looked_at_four_times_a_second() -> (
    None
):
    time = _PassingTime()
    room = WaitingRoom(clock=time.now, pause=time.pauses.append)

    room.until(lambda: None, done=lambda _: False, seconds=20)

    assert time.now() == pytest.approx(20)
    assert time.pauses[0] <= 0.02
    assert time.pauses == sorted(time.pauses[:-1]) + time.pauses[-1:]
    assert max(time.pauses) == 0.25
    assert len(time.pauses) < 90


def test_the_last_look_is_made_when_the_time_is_up() -> None:
    time = _PassingTime()
    room = WaitingRoom(clock=time.now, pause=time.pauses.append)

    assert room.until(time.now, done=lambda _: False, seconds=1.7) == pytest.approx(1.7)


def test_given_as_many_at_lnbits_as_may_be_then_the_next_waits_its_turn_and_no_longer() -> None:
    turnstile = Turnstile(asking=1, in_line=1, seconds=0.02)

    with turnstile.turn() as first, turnstile.turn() as second:
        assert (first, second) == (True, False)
    with turnstile.turn() as again:
        assert again


def test_given_a_full_line_then_nobody_is_kept_waiting() -> None:
    turnstile = Turnstile(asking=1, in_line=0, seconds=3600)

    with turnstile.turn() as first, turnstile.turn() as second:
        assert (first, second) == (True, False)


def test_who_waits_in_line_gets_the_turn_of_the_one_that_leaves() -> None:
    turnstile, turns = Turnstile(asking=1, in_line=1, seconds=60), []

    def come() -> None:
        with turnstile.turn() as is_ours:
            turns.append(is_ours)

    with turnstile.turn():
        other = threading.Thread(target=come)
        other.start()
    other.join(60)

    assert turns == [True]


def test_given_a_crowd_at_lnbits_then_a_job_is_turned_away_with_a_word(
    web: Flask, client: CheckedClient
) -> None:
    web.extensions["turnstile"] = Turnstile(asking=0, in_line=0)

    refused = client.post("/api/jobs", json={"request": "Hello?"})

    assert refused.status_code == 503
    assert refused.json["code"] == "lightning_unavailable"
    assert refused.headers["Retry-After"] == "2"
