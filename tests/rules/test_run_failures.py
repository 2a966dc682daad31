"""Why no money moved: nobody could be asked, or something was said that a payer may have caused."""

import pytest

from services.instant import failures
from services.instant.failures import RunFailure

AWAY, FAILED = RunFailure.FACILITATOR_AWAY, RunFailure.SETTLEMENT_FAILED


@pytest.mark.parametrize(
    ("codes", "of_plain_wallet", "of_smart_wallet"),
    [
        ([], AWAY, AWAY),
        (["connection"], AWAY, AWAY),
        (["http_503", "http_429"], AWAY, AWAY),
        # a smart wallet's own code may have hung it, or have made it answer so
        (["timeout"], AWAY, FAILED),
        (["http_500"], AWAY, FAILED),
        (["http_502", "http_504"], AWAY, FAILED),
        (["bad_answer"], AWAY, FAILED),
        (["tls"], AWAY, FAILED),
        # it may mean the payment
        (["http_400"], FAILED, FAILED),
        (["http_5000"], FAILED, FAILED),
        (["insufficient_funds"], FAILED, FAILED),
        (["connection", "transaction_failed"], FAILED, FAILED),
        (["settlement_pending"], FAILED, FAILED),
        (["chain_differs"], FAILED, FAILED),
        # nobody knows what was said
        ([None], FAILED, FAILED),
        (["connection", None], FAILED, FAILED),
    ],
    ids=str,
)
def test_a_facilitator_is_away_when_nothing_was_ever_heard_of_it(
    codes: list[str | None], of_plain_wallet: RunFailure, of_smart_wallet: RunFailure
) -> None:
    assert failures.of_settling(codes, is_of_one_key=True) is of_plain_wallet
    assert failures.of_settling(codes, is_of_one_key=False) is of_smart_wallet
