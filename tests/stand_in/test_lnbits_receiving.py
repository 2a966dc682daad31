"""Creating invoices and asking about them, as LNbits answers."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests

from gateways import bolt11
from gateways.bolt11 import Network
from local.stand_in.testing import StandInClient


def test_an_invoice_is_real_and_for_what_was_asked(income: Any) -> None:
    answer = income.create(21, memo="Evaluation 1a2b3c4d", expiry=4200)

    invoice = bolt11.read(answer["bolt11"])
    assert invoice.network is Network.REGTEST
    assert invoice.amount == 21_000 == answer["amount"]
    assert invoice.payment_hash == answer["payment_hash"] == answer["checking_id"]
    assert hashlib.sha256(bytes.fromhex(answer["preimage"])).hexdigest() == invoice.payment_hash
    assert invoice.description == "Evaluation 1a2b3c4d" == answer["memo"]
    assert invoice.expires_at - invoice.created_at == timedelta(seconds=4200)
    assert answer["payment_request"] == answer["bolt11"]
    assert answer["status"] == "pending"
    assert datetime.fromisoformat(answer["expiry"]).tzinfo is None


def test_every_invoice_is_signed_by_the_same_node_and_has_its_own_hash(income: Any) -> None:
    invoices = [bolt11.read(income.create()["bolt11"]) for _ in range(3)]

    assert len({invoice.payee for invoice in invoices}) == 1
    assert len({invoice.payment_hash for invoice in invoices}) == 3


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        ({"amount": 0}, 520, "Amountless invoices not supported."),
        ({"amount": 10_000_001}, 520, "Max allowed: 10000000 sats."),
        ({"payment_hash": "ab" * 32}, 520, "Hold invoices are not supported by this wallet."),
        ({"amount": -1}, 400, "amount"),
        ({"amount": "ten"}, 400, "amount"),
        ({"memo": "x" * 640}, 400, "memo"),
        ({"memo": "x" * 641}, 400, "memo"),
        ({"unit": "XXX"}, 400, "unit"),
        ({"unit": "USD"}, 400, "Could not get exchange rate for USD."),
        ({"external_id": "has space"}, 400, "external_id"),
        ({"external_id": "x" * 257}, 400, "external_id"),
        ({"amount": None}, 500, "Unexpected error!"),
        ({"description_hash": "aa"}, 500, "Unexpected error!"),
        ({"expiry": -5}, 500, "Unexpected error!"),
    ],
)
def test_a_bad_order_is_refused_as_lnbits_refuses_it(
    income: Any, change: dict[str, Any], status: int, detail: str
) -> None:
    order = {"out": False, "amount": 10, "memo": "test", **change}

    answer = income.post("/api/v1/payments", order)

    assert answer.status_code == status
    assert detail in answer.text
    assert income.page("limit=0") == []


def test_broken_json_is_a_400_with_a_list(income: Any) -> None:
    answer = requests.post(
        income.url + "/api/v1/payments",
        data="{",
        headers={"X-Api-Key": income.key},
        timeout=30,
    )

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], list)


@pytest.mark.parametrize(
    ("change", "sats", "lifetime"),
    [
        ({"amount": 21.9}, 21, 3600),
        ({"amount": 10, "expiry": 0}, 10, 3600),
        ({"amount": 10, "expiry": None}, 10, 3600),
        ({"amount": 10, "unknown": "ignored"}, 10, 3600),
        ({"amount": 10, "memo": "x" * 639}, 10, 3600),
        ({"amount": 10_000_000}, 10_000_000, 3600),
    ],
)
def test_an_odd_order_is_taken_as_lnbits_takes_it(
    income: Any, change: dict[str, Any], sats: int, lifetime: int
) -> None:
    answer = income.post("/api/v1/payments", {"out": False, "memo": "test", **change})

    assert answer.status_code == 201
    invoice = bolt11.read(answer.json()["bolt11"])
    assert invoice.amount == sats * 1000
    assert invoice.expires_at - invoice.created_at == timedelta(seconds=lifetime)


def test_half_a_sat_makes_an_invoice_of_any_amount(income: Any) -> None:
    answer = income.post("/api/v1/payments", {"out": False, "amount": 0.5})

    assert answer.status_code == 201
    assert answer.json()["amount"] == 0
    assert bolt11.read(answer.json()["bolt11"]).amount is None


def test_a_description_hash_takes_the_place_of_the_memo(income: Any) -> None:
    answer = income.create(description_hash="cd" * 32)

    assert bolt11.read(answer["bolt11"]).description_hash == "cd" * 32
    assert answer["memo"] is None


def test_after_a_500_the_connection_is_dead_and_nobody_said_so(income: Any) -> None:
    with requests.Session() as session:
        headers = {"X-Api-Key": income.key}
        answer = session.post(
            income.url + "/api/v1/payments", json={"out": False}, headers=headers, timeout=30
        )

    assert answer.status_code == 500
    assert "connection" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize(
    ("key", "status", "detail"),
    [(None, 401, "No Api Key provided."), ("wrong", 404, "Wallet not found.")],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda lnbits: lnbits.post("/api/v1/payments", {"out": False, "amount": 10}),
        lambda lnbits: lnbits.get("/api/v1/payments"),
        lambda lnbits: lnbits.get("/api/v1/payments/paginated"),
        lambda lnbits: lnbits.get("/api/v1/wallet"),
    ],
)
def test_without_a_good_key_nothing_is_made_or_listed(
    income: Any, ask: Callable[[Any], requests.Response], key: str | None, status: int, detail: str
) -> None:
    answer = ask(income.with_key(key))

    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_the_key_may_stand_in_the_query(income: Any) -> None:
    answer = income.with_key(None).get(f"/api/v1/wallet?api-key={income.key}")

    assert answer.json()["name"] == "service"


def test_out_is_true_unless_told_otherwise(income: Any, service: Any) -> None:
    order = {"amount": 10, "memo": "test"}

    with_invoice_key = income.post("/api/v1/payments", order)
    with_admin_key = service.post("/api/v1/payments", order)

    assert with_invoice_key.status_code == 403
    assert with_invoice_key.json() == {"detail": "Invoice (or Admin) key required."}
    assert (with_admin_key.status_code, with_admin_key.json()) == (
        400,
        {"detail": "Missing BOLT11 invoice"},
    )


# --- status


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_pending_invoice_without_a_good_key_says_little(income: Any, key: str | None) -> None:
    invoice = income.create()

    answer = income.with_key(key).read(invoice["payment_hash"])

    assert (answer.status_code, answer.json()) == (200, {"paid": False, "preimage": None})


def test_a_pending_invoice_with_its_wallets_key_says_all(income: Any) -> None:
    invoice = income.create(external_id="job-1", extra={"tag": "x"})

    body = income.read(invoice["payment_hash"]).json()

    assert (body["paid"], body["status"], body["preimage"]) == (False, "pending", None)
    assert body["details"]["external_id"] == "job-1"
    assert body["details"]["extra"] == {"tag": "x"}
    assert body["details"]["preimage"] == invoice["preimage"]
    assert body["details"]["expiry"].endswith("+00:00")


def test_a_paid_invoice_shows_no_status_at_the_top(income: Any, world: StandInClient) -> None:
    invoice = income.create()
    world.pay(invoice["payment_hash"])

    with_key = income.read(invoice["payment_hash"]).json()
    without = income.with_key(None).read(invoice["payment_hash"]).json()

    assert without == {"paid": True, "preimage": invoice["preimage"]}
    assert (with_key["paid"], with_key["preimage"]) == (True, invoice["preimage"])
    assert "status" not in with_key
    assert with_key["details"]["status"] == "success"
    assert with_key["details"]["amount"] == 10_000


def test_another_wallets_key_sees_nothing_until_it_has_paid(
    income: Any, payer: Any, world: StandInClient
) -> None:
    invoice = income.create()

    before = payer.read(invoice["payment_hash"])
    world.pay(invoice["payment_hash"])
    after = payer.read(invoice["payment_hash"]).json()

    assert (before.status_code, before.json()) == (404, {"detail": "Payment does not exist."})
    assert after["details"]["amount"] == -10_000
    assert after["details"]["checking_id"] == f"internal_{invoice['payment_hash']}"


@pytest.mark.parametrize("payment_hash", ["00" * 32, "garbage", "sse"])
@pytest.mark.parametrize("has_key", [True, False])
def test_an_unknown_payment_does_not_exist(income: Any, payment_hash: str, has_key: bool) -> None:
    lnbits = income if has_key else income.with_key(None)

    answer = lnbits.read(payment_hash)

    assert (answer.status_code, answer.json()) == (404, {"detail": "Payment does not exist."})


def test_the_first_poll_after_expiry_fails_an_invoice_and_a_late_payment_mends_it(
    income: Any, world: StandInClient
) -> None:
    invoice = income.create()
    world.expire(invoice["payment_hash"])
    nobody = income.with_key(None)

    first = nobody.read(invoice["payment_hash"]).json()
    second = nobody.read(invoice["payment_hash"]).json()
    with_key = income.read(invoice["payment_hash"]).json()
    world.pay(invoice["payment_hash"])
    late = income.read(invoice["payment_hash"]).json()

    assert first == {"paid": False, "preimage": None}
    assert second == {"paid": False, "status": "failed"}
    assert (with_key["paid"], with_key["status"]) == (False, "failed")
    assert with_key["details"]["labels"] == ["expired"]
    assert late["paid"] is True


# --- the rest


def test_the_wallet_counts_in_millisats_and_names_itself_only_to_the_admin_key(
    income: Any, service: Any, world: StandInClient
) -> None:
    world.pay(income.create(21)["payment_hash"])

    assert income.get("/api/v1/wallet").json() == {"name": "service", "balance": 21_000}
    assert service.get("/api/v1/wallet").json().keys() == {"name", "balance", "id"}


def test_an_overpayment_arrives_as_what_was_paid(income: Any, world: StandInClient) -> None:
    invoice = income.create(10)

    world.pay(invoice["payment_hash"], amount_msats=12_500)

    assert income.read(invoice["payment_hash"]).json()["details"]["amount"] == 12_500
    assert income.balance() == 12_500


def test_a_fee_is_taken_off_the_payee_when_it_is_paid_or_later_and_never_off_the_payer(
    income: Any, payer: Any, world: StandInClient
) -> None:
    invoice = income.create(10)
    before = payer.balance()

    world.take_fee(invoice["payment_hash"], 1500)
    unpaid = income.balance()
    payer.pay(invoice["bolt11"])
    settled = income.read(invoice["payment_hash"]).json()["details"]
    world.take_fee(invoice["payment_hash"], -2000)
    [listed] = income.page("amount[gt]=0")

    assert (unpaid, settled["amount"], settled["fee"]) == (0, 10_000, 1500)
    assert (listed["amount"], listed["fee"], income.balance()) == (10_000, -2000, 8000)
    assert listed["updated_at"] > settled["updated_at"]
    assert payer.read(invoice["payment_hash"]).json()["details"]["fee"] == 0
    assert payer.balance() == before - 10_000


def test_a_fee_wants_an_invoice_and_a_number(income: Any, world: StandInClient) -> None:
    payment_hash = income.create()["payment_hash"]

    assert income.post(f"/stand-in/fee/{payment_hash}", {"feeMsat": "1"}).status_code == 400
    assert income.post("/stand-in/fee/" + "0" * 64, {"feeMsat": 1}).status_code == 404


def test_decode_says_what_an_invoice_says(income: Any) -> None:
    invoice = income.create(1000, memo="t")
    nobody = income.with_key(None)

    decoded = nobody.post("/api/v1/payments/decode", {"data": invoice["bolt11"]}).json()
    garbage = nobody.post("/api/v1/payments/decode", {"data": "garbage"})

    assert (decoded["currency"], decoded["amount_msat"]) == ("bcrt", 1_000_000)
    assert (decoded["expiry"], decoded["description"]) == (3600, "t")
    assert decoded["payment_hash"] == invoice["payment_hash"]
    assert garbage.status_code == 400
    assert garbage.json()["message"].startswith("Failed to decode: ")


@pytest.mark.parametrize(("sats", "reserve"), [(10, 2000), (1000, 10_000)])
def test_the_fee_reserve_is_one_percent_and_at_least_two_sats(
    income: Any, sats: int, reserve: int
) -> None:
    invoice = income.create(sats)["bolt11"]

    answer = income.with_key(None).get(f"/api/v1/payments/fee-reserve?invoice={invoice}")

    assert answer.json() == {"fee_reserve": reserve}


def test_health_needs_no_key(income: Any) -> None:
    body = income.with_key(None).get("/api/v1/health").json()

    assert body.keys() == {"server_time", "up_time"}
    assert body["up_time"].startswith("0")
