"""A request that was released counts as held no more, however late its thread wakes up."""

import threading

from local.stand_in.faults import Holds
from local.stand_in.wire import Client

TIMEOUT_SECONDS = 60


class SlowClient(Client):
    """The other end of a connection that is looked at for as long as the test wants."""

    def __init__(self) -> None:
        self.looked_at = threading.Event()
        self.go_on = threading.Event()

    def is_gone(self) -> bool:
        self.looked_at.set()
        assert self.go_on.wait(TIMEOUT_SECONDS)
        return False


def _hold(holds: Holds, client: SlowClient) -> threading.Thread:
    """A request that is held, and whose thread now looks at its client."""
    request = threading.Thread(target=holds.wait, args=[client], daemon=True)
    request.start()
    assert client.looked_at.wait(TIMEOUT_SECONDS)
    return request


def test_who_was_released_is_not_held_even_before_it_has_woken_up() -> None:
    holds, client = Holds(), SlowClient()
    request = _hold(holds, client)
    assert holds.wait_for(1, seconds=0) == 1
    assert holds.release() == 1

    assert holds.wait_for(1, seconds=0) == 0
    assert holds.release() == 0

    client.go_on.set()
    request.join(TIMEOUT_SECONDS)
    assert not request.is_alive()


def test_a_request_that_comes_after_the_release_is_held() -> None:
    holds, first, second = Holds(), SlowClient(), SlowClient()
    earlier = _hold(holds, first)
    holds.release()
    later = _hold(holds, second)
    first.go_on.set()
    earlier.join(TIMEOUT_SECONDS)

    assert holds.wait_for(1, seconds=0) == 1
    assert holds.release() == 1
    second.go_on.set()
    later.join(TIMEOUT_SECONDS)
    assert not later.is_alive()
