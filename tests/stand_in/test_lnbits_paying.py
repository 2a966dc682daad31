"""Paying, as LNbits does it, with and without faults on the way."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from coincurve import PrivateKey

from gateways.bolt11 import Network
from local.stand_in.bolt11_signing import InvoiceDraft, sign_invoice
from local.stand_in.faults import Fault, FaultKind, PaymentEnd
from local.stand_in.testing import StandInClient

STRANGER = PrivateKey(b"\x0f" * 32)


def strangers_invoice(payment_hash: str = "ee" * 32, **members: Any) -> str:
    """Of a node that is not ours."""
    draft: dict[str, Any] = {
        "amount_msats": 10_000,
        "payment_hash": bytes.fromhex(payment_hash),
        "payment_secret": b"\x02" * 32,
        "created_at": datetime.now(UTC),
        "description": "elsewhere",
    }
    return sign_invoice(InvoiceDraft(**{**draft, **members}), STRANGER)


def refused(detail: str, status: str = "failed") -> tuple[int, dict[str, str]]:
    return 520, {"detail": detail, "status": status}


def said(answer: requests.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.json()


def test_a_payment_is_done_at_once_and_both_wallets_show_it(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(100)
    invoice = payer.create(10)

    answer = service.pay(invoice["bolt11"])

    assert answer.status_code == 201
    body = answer.json()
    assert body["checking_id"] == f"internal_{invoice['payment_hash']}"
    assert (body["amount"], body["fee"], body["status"]) == (-10_000, 0, "success")
    assert body["preimage"] == invoice["preimage"]
    assert service.balance() == 90_000
    assert payer.read(invoice["payment_hash"]).json()["paid"] is True
    ours = service.read(invoice["payment_hash"]).json()
    assert (ours["paid"], ours["details"]["amount"]) == (True, -10_000)


def test_a_second_payment_is_called_failed_although_it_is_paid(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(100)
    invoice = payer.create(10)["bolt11"]
    service.pay(invoice)

    assert said(service.pay(invoice)) == refused("Internal invoice already paid.")
    assert service.balance() == 90_000


def test_of_eight_payments_at_once_one_succeeds_and_is_charged(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(1000)
    invoice = payer.create(10)["bolt11"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.pay(invoice).status_code, range(8)))

    assert sorted(answers) == [201, *[520] * 7]
    assert service.balance() == 990_000
    assert len(world.effects("payment_out")) == 1


def test_without_enough_balance_no_row_is_made(service: Any, payer: Any) -> None:
    invoice = payer.create(10)

    assert said(service.pay(invoice["bolt11"])) == refused("Insufficient balance.")
    assert service.read(invoice["payment_hash"]).status_code == 404


def test_an_invoice_key_cannot_pay(income: Any, payer: Any, world: StandInClient) -> None:
    world.top_up(100)

    answer = income.pay(payer.create()["bolt11"])

    assert said(answer) == (403, {"detail": "Invoice (or Admin) key required."})
    assert income.balance() == 100_000


def test_paying_oneself_succeeds_and_moves_nothing(service: Any, world: StandInClient) -> None:
    world.top_up(100)
    invoice = service.create(10)

    answer = service.pay(invoice["bolt11"])

    assert answer.status_code == 201
    assert service.balance() == 100_000
    assert service.read(invoice["payment_hash"]).json()["details"]["amount"] == -10_000


@pytest.mark.parametrize(
    ("spelled", "answer"),
    [
        (str.upper, (201, None)),
        ("lightning:{}".format, refused("Bolt11 decoding failed.")),
        (lambda text: text[:-1], refused("Bolt11 decoding failed.")),
    ],
)
def test_spellings_of_an_invoice_that_lnbits_takes(
    service: Any, payer: Any, world: StandInClient, spelled: Any, answer: tuple[int, Any]
) -> None:
    world.top_up(100)

    status, body = said(service.pay(spelled(payer.create()["bolt11"])))

    assert status == answer[0]
    assert answer[1] in (None, body)


@pytest.mark.parametrize("body", [{"out": True}, {"out": True, "payment_request": "lnbcrt1"}])
def test_the_field_to_pay_with_is_bolt11(service: Any, body: dict[str, Any]) -> None:
    answer = service.post("/api/v1/payments", body)

    assert said(answer) == (400, {"detail": "Missing BOLT11 invoice"})


def test_amountless_and_huge_invoices_are_refused(service: Any, payer: Any) -> None:
    amountless = payer.post("/api/v1/payments", {"out": False, "amount": 0.5}).json()["bolt11"]
    huge = strangers_invoice(amount_msats=10_000_001_000)

    assert said(service.pay(amountless)) == refused("Amountless invoices not supported.")
    assert service.pay(huge).json()["detail"].endswith("Max allowed: 10000000 sats.")


def test_an_expired_invoice_that_nobody_polled_is_paid_normally(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(100)
    invoice = payer.create()
    world.expire(invoice["payment_hash"])

    assert service.pay(invoice["bolt11"]).json()["status"] == "success"


def test_an_expired_invoice_that_was_polled_answers_201_with_the_payees_row(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(100)
    invoice = payer.create()
    world.expire(invoice["payment_hash"])
    payer.read(invoice["payment_hash"])

    answer = service.pay(invoice["bolt11"])

    assert answer.status_code == 201
    assert (answer.json()["amount"], answer.json()["status"]) == (10_000, "failed")
    assert answer.json()["wallet_id"] != service.get("/api/v1/wallet").json()["id"]
    assert service.balance() == 100_000


@pytest.mark.parametrize("network", [Network.REGTEST, Network.TESTNET, Network.BITCOIN])
def test_a_foreign_invoice_fails_and_every_later_try_answers_201_failed(
    service: Any, world: StandInClient, network: Network
) -> None:
    world.top_up(100)
    invoice = strangers_invoice(network=network)

    first, second = service.pay(invoice), service.pay(invoice)

    assert said(first) == refused("Payment failed: Only internal invoices can be used!")
    assert (second.status_code, second.json()["status"]) == (201, "failed")
    assert second.json()["amount"] == -10_000
    assert service.balance() == 100_000
    body = service.read("ee" * 32).json()
    assert (body["paid"], body["status"], body["details"]["amount"]) == (False, "failed", -10_000)


def test_a_foreign_invoice_needs_a_reserve_on_top(service: Any, world: StandInClient) -> None:
    world.top_up(11)

    answer = service.pay(strangers_invoice())

    assert answer.json()["detail"].startswith("You must reserve at least (")


def test_another_invoice_with_the_hash_of_an_open_one_is_refused(
    service: Any, payer: Any, world: StandInClient
) -> None:
    world.top_up(100)
    forged = strangers_invoice(payer.create()["payment_hash"])

    assert said(service.pay(forged)) == refused("Invalid invoice. Bolt11 changed.")


def test_the_payer_never_runs_dry(income: Any, payer: Any) -> None:
    for _ in range(3):
        assert payer.pay(income.create(10_000_000)["bolt11"]).status_code == 201

    assert income.balance() == 30_000_000_000


# --- faults on the way


@pytest.fixture
def invoice(world: StandInClient, payer: Any) -> dict[str, Any]:
    """An invoice of the payer for 10 sats, which the service, with 100, can pay."""
    world.top_up(100)
    return dict(payer.create(10))


def test_201_pending_becomes_success_at_the_nth_read(
    world: StandInClient, service: Any, invoice: dict[str, Any]
) -> None:
    world.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=2, fee_msats=1000))

    answer = service.pay(invoice["bolt11"])
    balance_meanwhile = service.balance()
    again = service.pay(invoice["bolt11"])
    reads = [service.read(invoice["payment_hash"]).json() for _ in range(3)]

    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    assert (answer.json()["amount"], answer.json()["fee"]) == (-10_000, -2000)
    assert answer.json()["preimage"] is None
    assert balance_meanwhile == 88_000
    assert said(again) == refused("Payment is still pending.", "pending")
    assert [read["paid"] for read in reads] == [False, True, True]
    assert reads[1]["details"]["fee"] == -1000
    assert service.balance() == 89_000
    assert [effect.details["feeMsat"] for effect in world.effects("payment_out")] == [1000]


def test_201_pending_becomes_failed_at_the_nth_read_and_the_money_is_back(
    world: StandInClient, service: Any, payer: Any, invoice: dict[str, Any]
) -> None:
    world.arm(
        Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, then=PaymentEnd.FAILED, reads=1)
    )

    service.pay(invoice["bolt11"])
    body = service.read(invoice["payment_hash"]).json()

    assert (body["paid"], body["status"]) == (False, "failed")
    assert service.balance() == 100_000
    assert payer.read(invoice["payment_hash"]).json()["paid"] is False
    assert world.effects("payment_out") == []


def test_a_pending_payout_is_decided_by_a_rechecking_list_but_not_by_a_plain_one(
    world: StandInClient, service: Any, invoice: dict[str, Any]
) -> None:
    world.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=1))
    service.pay(invoice["bolt11"])
    of_it = f"payment_hash[in]={invoice['payment_hash']}"

    plain = service.page(of_it)
    rechecked = service.page(of_it + "&recheck_pending=true")

    assert [row["status"] for row in plain] == ["pending"]
    assert [row["status"] for row in rechecked] == ["success"]


def test_no_route_is_a_520_and_a_row_that_stays_failed(
    world: StandInClient, service: Any, invoice: dict[str, Any]
) -> None:
    world.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_FAILED))

    assert said(service.pay(invoice["bolt11"])) == refused("Payment failed: no_route")
    assert service.pay(invoice["bolt11"]).json()["status"] == "failed"
    assert service.balance() == 100_000


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target="lnbits.pay", kind=FaultKind.RESET, after_effect=True),
        Fault(target="lnbits.pay", kind=FaultKind.HANG, after_effect=True),
        Fault(target="lnbits.pay", kind=FaultKind.TRUNCATED),
        Fault(target="lnbits.pay", kind=FaultKind.BODY, after_effect=True),
        Fault(target="lnbits.pay", kind=FaultKind.STATUS, status=520, after_effect=True),
        Fault(target="lnbits.pay", kind=FaultKind.STATUS, status=500, after_effect=True),
        Fault(target="lnbits", kind=FaultKind.STATUS, status=429, after_effect=True),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_money_can_be_paid_while_the_answer_says_otherwise(
    world: StandInClient, service: Any, invoice: dict[str, Any], fault: Fault
) -> None:
    world.arm(fault)

    assert not _seems_paid(service, invoice["bolt11"])
    until(lambda: world.effects("payment_out") != [])
    assert service.read(invoice["payment_hash"]).json()["paid"] is True
    assert service.balance() == 90_000


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target="lnbits.pay", kind=FaultKind.RESET),
        Fault(target="lnbits.pay", kind=FaultKind.HANG),
        Fault(target="lnbits.pay", kind=FaultKind.BODY),
        Fault(target="lnbits.pay", kind=FaultKind.STATUS, status=503),
    ],
    ids=lambda fault: fault.kind,
)
def test_the_same_trouble_before_the_effect_leaves_nothing_paid(
    world: StandInClient, service: Any, invoice: dict[str, Any], fault: Fault
) -> None:
    world.arm(fault)

    assert not _seems_paid(service, invoice["bolt11"])
    until(lambda: world.armed() == [])
    assert service.read(invoice["payment_hash"]).status_code == 404
    assert service.pay(invoice["bolt11"]).json()["status"] == "success"


def until(happened: Callable[[], bool]) -> None:
    """Wait for what the server does after the client has left: asking is what takes the time."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline


def _seems_paid(service: Any, bolt11: str) -> bool:
    try:
        answer = requests.post(
            service.url + "/api/v1/payments",
            json={"out": True, "bolt11": bolt11},
            headers={"X-Api-Key": service.key},
            timeout=0.5,
        )
        return answer.status_code == 201 and answer.json()["status"] == "success"
    except (requests.RequestException, ValueError):
        return False


def test_a_paid_payout_can_be_unknown_for_the_first_reads(
    world: StandInClient, service: Any, invoice: dict[str, Any]
) -> None:
    missing = Fault(
        target="lnbits.read",
        kind=FaultKind.STATUS,
        status=404,
        times=2,
        match=invoice["payment_hash"],
    )
    world.arm(missing)
    service.pay(invoice["bolt11"])

    reads = [service.read(invoice["payment_hash"]) for _ in range(3)]

    assert [read.status_code for read in reads] == [404, 404, 200]
    assert reads[0].json() == {"detail": "Payment does not exist."}
    assert reads[2].json()["paid"] is True
