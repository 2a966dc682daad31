"""The watch over the logs is itself seen to bark."""

import pytest

from config.settings import STAND_IN_ADMIN_KEY
from tests.support.canary import assert_tells_nothing, secrets_in


@pytest.mark.parametrize(
    "line",
    [
        "GET /api/jobs/4cd17f5d-b6a0-405a-93cb-5a3758286c66",
        "paid lnbcrt210n1p4syn3rpp52728heynym2wn3krerpxamatxujf7c7kksyytdmdkag3u8z2v9ys",
        "preimage=" + "ab" * 32,
        f"X-Api-Key: {STAND_IN_ADMIN_KEY}",
        "connected to postgresql://honestwork:s3cret@127.0.0.1:5432/honestwork",
        "asked for: a birthday poem for my mother",
        "nonce=0x" + "0a" * 32,
        "signature=0x" + "1b" * 65,
        "PAYMENT-SIGNATURE: eyJ4NDAyVmVyc2lvbiI6" + "Miwic2NoZW1lIjoiZXhhY3Qi" * 3,
        "offer=o1." + "Ab_-" * 20,
        "Authorization: Bearer hwc_" + "x-Y_" * 10 + "abc",
        "key sk-or-v1-tests-provider-key-0001 refused",
        "key sk-ant-tests-provider-key-0002 refused",
        "sealed=1.k3yId_-9." + "n" * 16 + "." + "c" * 40,
    ],
)
def test_a_line_that_gives_something_away_is_noticed(line: str) -> None:
    assert secrets_in(line, confidential=["a birthday poem for my mother"])


@pytest.mark.parametrize(
    "line",
    [
        "job moved job=17 on=delivered state=complete",
        "payment for no invoice of ours payment_hash=cd75aa5d",
        "Connected to redis://:**@127.0.0.1:31070/0",
        "request_id=9dca1c2e2fc344c1b622200bdfa7191c",
        "run settled run=17 transaction=0x1b2c3d4e",
        "x402 1.0.12345678 started",
    ],
)
def test_what_a_log_may_say_is_let_through(line: str) -> None:
    assert not secrets_in(line)


JOB = "4cd17f5d-b6a0-405a-93cb-5a3758286c66"


def test_the_log_of_a_process_is_held_against_it_line_by_line() -> None:
    log = "web | ready\nworker | asked for: a birthday poem for my mother\nbeat | ready\n"

    with pytest.raises(AssertionError, match="a birthday poem for my mother: worker"):
        assert_tells_nothing(log, confidential=["a birthday poem for my mother"])
    assert_tells_nothing(log, confidential=["ready"])


def test_a_message_has_an_id_that_may_be_logged_unless_it_is_a_jobs() -> None:
    line = f"worker-money | Discarding revoked task: dispatch[{JOB}]"

    assert_tells_nothing(line)
    with pytest.raises(AssertionError):
        assert_tells_nothing(line, confidential=[JOB])
    with pytest.raises(AssertionError):
        assert_tells_nothing(f"worker-money | job[{JOB}]")
