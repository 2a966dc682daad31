"""Who counts as one caller, and how many may wait."""

import threading

import pytest
from flask import Flask

from app.limits import UNKNOWN, count_as
from app.waiting import Turnstile, WaitingRoom
from config.broker import make_celery
from services.doorbell import CeleryDoorbell
from services.jobs.demo import Client
from services.toolbox import Toolbox
from tests.app.conftest import Build, BusyDoorbell
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


PEER = "192.0.2.9"
SOMEBODY, SOMEBODY_ELSE = "198.51.100.1", "198.51.100.2"
HERE, HERE_TOO, ELSEWHERE = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"
INNER = "10.0.0.1"
"""The proxy that the one next to us hears of, where there are two."""
BEHIND_PROXIES = [
    # hops, X-Forwarded-For of two requests, whether they count as one client's
    (0, SOMEBODY, SOMEBODY_ELSE, True),
    (0, HERE, ELSEWHERE, True),
    (1, SOMEBODY, SOMEBODY_ELSE, False),
    (1, f"1.1.1.1, {SOMEBODY}", f"9.9.9.9, 8.8.8.8,{SOMEBODY}", True),
    (1, f"{SOMEBODY}:4711", f"{SOMEBODY}:4712", True),
    (1, "", "", True),
    (1, HERE, HERE_TOO, True),
    (1, HERE, ELSEWHERE, False),
    (1, f"[{HERE}]:4711", HERE_TOO.upper(), True),
    (1, f"{ELSEWHERE}, {HERE}", f"{HERE_TOO}", True),
    (1, f"::ffff:{SOMEBODY}", SOMEBODY, True),
    (2, f"{SOMEBODY}, {INNER}", f"{SOMEBODY_ELSE}, {INNER}", False),
    (2, f"1.1.1.1, {SOMEBODY}, {INNER}", f"9.9.9.9, {SOMEBODY}, 10.0.0.2", True),
    (2, f"{HERE}, {INNER}", f"{HERE_TOO}, {INNER}", True),
    (2, f"{HERE}, {INNER}", f"{ELSEWHERE}, {INNER}", False),
    # who did not come through both was forwarded by nobody whom we trust
    (2, SOMEBODY, SOMEBODY_ELSE, True),
]


@pytest.mark.parametrize(("hops", "first", "second", "is_one"), BEHIND_PROXIES)
def test_limits_count_who_stands_behind_as_many_proxies_as_are_ours(
    client_with: Build, hops: int, first: str, second: str, is_one: bool
) -> None:
    client = client_with(trusted_proxy_hops=hops, open_invoices_per_client=1)

    def opened(addresses: str) -> int:
        return client.post(
            "/api/jobs",
            json={"request": "Hello?"},
            headers={"X-Forwarded-For": addresses},
            environ_base={"REMOTE_ADDR": PEER},
        ).status_code

    assert opened(first) == 201
    assert opened(second) == (429 if is_one else 201)


def test_given_a_lost_valkey_then_nobody_is_locked_out_and_every_limit_holds(
    client_with: Build, tools: Toolbox, busy_workers: BusyDoorbell
) -> None:
    limits = {"open_invoices_per_client": 2, "demo_limit_per_hour": 1, "demo_wait_seconds": 0}
    address = {"redis_url": "redis://127.0.0.1:1/0"}
    nowhere = make_celery(tools.settings.model_copy(update=address))
    mute = CeleryDoorbell(nowhere)
    lost = client_with(**limits, collaborators={"doorbell": mute})

    jobs = [lost.post("/api/jobs", json={"request": "Hello?"}).status_code for _ in range(3)]
    unheard = [lost.get("/api/demo?request=hello") for _ in range(2)]
    found = client_with(
        **limits | {"demo_wait_seconds": 60}, collaborators={"doorbell": busy_workers}
    )
    heard = found.get("/api/demo?request=hello")
    lost_again = client_with(**limits, collaborators={"doorbell": mute})
    refused = lost_again.get("/api/demo?request=hello")

    assert jobs == [201, 201, 429]
    # nobody comes, which costs no try
    assert [answer.status_code for answer in unheard] == [503, 503]
    assert heard.status_code == 200
    assert refused.status_code == 429
    mute.answered()
    nowhere.close()


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


def test_what_was_known_just_now_is_not_looked_at_again_at_once() -> None:
    def never() -> int:
        raise AssertionError

    assert WaitingRoom().follow(7, never, done=lambda _: False, seconds=0) == 7
    assert WaitingRoom().follow(7, never, done=lambda seen: seen == 7, seconds=60) == 7


def test_it_is_looked_again_until_it_is_done() -> None:
    happened = threading.Event()
    threading.Timer(0.05, happened.set).start()

    assert WaitingRoom().until(happened.is_set, done=lambda seen: seen, seconds=60)


def test_given_that_it_is_never_done_then_the_last_look_is_returned_when_time_is_up() -> None:
    looks, time = iter(range(1000)), _PassingTime()
    room = WaitingRoom(clock=time.now, pause=time.pauses.append)

    assert room.until(lambda: next(looks), done=lambda _: False, seconds=0.15) >= 1


class _PassingTime:
    """A clock that moves by what is waited."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> float:
        return sum(self.pauses)


def test_what_is_soon_done_is_soon_seen_and_what_takes_long_is_looked_at_twice_a_second() -> None:
    time = _PassingTime()
    room = WaitingRoom(clock=time.now, pause=time.pauses.append)

    room.until(lambda: None, done=lambda _: False, seconds=20)

    assert time.now() == pytest.approx(20)
    assert time.pauses[0] <= 0.04
    assert time.pauses == sorted(time.pauses[:-1]) + time.pauses[-1:]
    assert max(time.pauses) == 0.5
    assert len(time.pauses) < 45


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
