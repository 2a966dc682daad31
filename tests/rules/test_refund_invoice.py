"""Which invoices we promise to pay: exactly what is owed, on our network, soon, and no tricks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from coincurve import PrivateKey

from gateways.bolt11 import Network
from local.stand_in.bolt11_signing import USUAL_FEATURES, InvoiceDraft, sign_invoice
from models.money import Sats
from services.errors import ErrorCode, InvalidRequest
from services.money import refund_invoice

KEY = PrivateKey(b"\x07" * 32)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OWED = Sats(1234)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def _invoice(**differs: Any) -> str:
    wanted: dict[str, Any] = {
        "amount_msats": OWED * 1000,
        "payment_hash": b"\x01" * 32,
        "payment_secret": b"\x02" * 32,
        "created_at": NOW,
        "description": "refund",
        **differs,
    }
    return sign_invoice(InvoiceDraft(**wanted), KEY)


def _code(text: str, *, network: str = "regtest") -> ErrorCode | None:
    """What is wrong with it; None = we would pay it."""
    try:
        invoice = refund_invoice.parse(text)
        refund_invoice.check(invoice, amount=OWED, network=network, now=NOW)
    except InvalidRequest as error:
        return error.code if str(error) else ErrorCode.INTERNAL
    return None


def _life(duration: timedelta) -> dict[str, Any]:
    return {"expiry_seconds": int(duration.total_seconds())}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_invoice(), id="the plain one"),
        pytest.param(_invoice().upper(), id="in upper case, as in QR codes"),
        pytest.param("lightning:" + _invoice(), id="as a link"),
        pytest.param(_invoice(names_payee=True), id="that names its payee"),
        pytest.param(_invoice(description="", expiry_seconds=None), id="that says little"),
        pytest.param(
            _invoice(description=None, description_hash=b"\x03" * 32), id="with a hash of its words"
        ),
        pytest.param(_invoice(**_life(2 * MINUTE)), id="with two minutes to live"),
        pytest.param(_invoice(**_life(7 * DAY)), id="with seven days to live"),
        pytest.param(_invoice(created_at=NOW + 10 * MINUTE), id="of a clock ten minutes ahead"),
        pytest.param(_invoice(min_final_cltv_expiry=144), id="that may hold it for 144 blocks"),
        pytest.param(_invoice(features=USUAL_FEATURES | {99}), id="with an odd unknown feature"),
        pytest.param(_invoice(features=USUAL_FEATURES | {12, 44}), id="with what all assume"),
    ],
)
def test_an_invoice_that_we_pay(text: str) -> None:
    assert _code(text) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(_invoice(amount_msats=1_233_000), "AMOUNT_MISMATCH", id="a sat less"),
        pytest.param(_invoice(amount_msats=1_235_000), "AMOUNT_MISMATCH", id="a sat more"),
        pytest.param(_invoice(amount_msats=1_234_001), "AMOUNT_MISMATCH", id="a millisat more"),
        pytest.param(_invoice(amount_msats=1_233_999), "AMOUNT_MISMATCH", id="a millisat less"),
        pytest.param(_invoice(amount_msats=None), "AMOUNT_MISMATCH", id="without an amount"),
        pytest.param(_invoice(network=Network.BITCOIN), "WRONG_NETWORK", id="for bitcoin"),
        pytest.param(_invoice(network=Network.TESTNET), "WRONG_NETWORK", id="for testnet"),
        pytest.param(_invoice(network=Network.SIGNET), "WRONG_NETWORK", id="for signet"),
        pytest.param(_invoice(created_at=NOW - DAY), "EXPIRED", id="expired"),
        pytest.param(_invoice(**_life(MINUTE)), "EXPIRED", id="about to expire"),
        pytest.param(_invoice(**_life(8 * DAY)), "INVALID", id="that lives for more than a week"),
        pytest.param(_invoice(expiry_seconds=2**40), "INVALID", id="that lives for ever"),
        pytest.param(_invoice(created_at=NOW + 11 * MINUTE), "INVALID", id="of the future"),
        pytest.param(_invoice(min_final_cltv_expiry=145), "INVALID", id="that may hold it longer"),
        pytest.param(_invoice(features=USUAL_FEATURES | {98}), "INVALID", id="with a condition"),
        pytest.param(_invoice()[:-1], "INVALID", id="cut off"),
        pytest.param(_invoice()[:-8] + "qqqqqqqq", "INVALID", id="with a wrong checksum"),
        pytest.param(_invoice()[:40] + _invoice()[40:].upper(), "INVALID", id="in mixed case"),
        pytest.param(_invoice(description="x" * 1500), "INVALID", id="longer than 1,500"),
        pytest.param("", "INVALID", id="empty"),
        pytest.param("satoshi@example.com", "INVALID", id="a Lightning address"),
        pytest.param("lnbcrt1\x00", "INVALID", id="with NUL"),
        pytest.param("lnbcrt1\ud800", "INVALID", id="with half a character"),
    ],
)
def test_an_invoice_that_we_refuse(text: str, code: str) -> None:
    names = {
        "AMOUNT_MISMATCH": ErrorCode.INVOICE_AMOUNT_MISMATCH,
        "WRONG_NETWORK": ErrorCode.INVOICE_WRONG_NETWORK,
        "EXPIRED": ErrorCode.INVOICE_EXPIRED,
        "INVALID": ErrorCode.INVALID_INVOICE,
    }

    assert _code(text) is names[code]


def test_a_refusal_for_the_amount_says_the_right_one() -> None:
    invoice = refund_invoice.parse(_invoice(amount_msats=1000))

    with pytest.raises(InvalidRequest) as refused:
        refund_invoice.check(invoice, amount=OWED, network="regtest", now=NOW)

    assert refused.value.members == {"refundAmountSats": OWED}
    assert str(OWED) in str(refused.value)


@pytest.mark.parametrize("network", list(Network))
def test_every_network_takes_its_own_invoices_and_no_others(network: Network) -> None:
    for other in Network:
        code = _code(_invoice(network=network), network=other.value)
        assert code is (None if network is other else ErrorCode.INVOICE_WRONG_NETWORK)
