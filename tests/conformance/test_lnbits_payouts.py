"""Paying through LNbits: what proves a payment or a refusal, and that all else is doubt."""

from typing import Any

import pytest

from gateways.errors import Refused, Unavailable
from gateways.http import DEFAULT_MAX_BYTES, HttpClient
from gateways.lightning import Age, Direction, PayoutOutcome, Payouts, SendOutcome
from gateways.lightning.lnbits import PAGE_LIMIT, LnbitsPayouts
from models.money import Msats
from tests.conformance.invoices import PAYMENT_HASH, PREIMAGE, a_hash, an_invoice
from tests.conformance.scripted_server import (
    CLOSE,
    HANG,
    RESET,
    Heard,
    Say,
    ScriptedServer,
    answer,
    json_answer,
)

KEY = "an-admin-key"
BOLT11 = an_invoice(10_000)
WALLET = json_answer({"id": "w", "name": "paying", "balance": 5_000_000})
NO_SUCH_PAYMENT = json_answer({"detail": "Payment does not exist."}, 404)


@pytest.fixture
def payouts(server: ScriptedServer, http: HttpClient) -> Payouts:
    return LnbitsPayouts(server.url, KEY, http)


def detail(text: object, status: str | None = "failed") -> dict[str, Any]:
    return {"detail": text} if status is None else {"detail": text, "status": status}


def test_the_bolt11_is_sent_as_outgoing_with_the_admin_key(
    server: ScriptedServer, payouts: Payouts
) -> None:
    server.says(json_answer({"status": "success", "amount": -10_000}, 201))

    report = payouts.send(BOLT11)

    [heard] = server.heard
    assert (heard.method, heard.path) == ("POST", "/api/v1/payments")
    assert heard.headers["x-api-key"] == KEY
    assert heard.json == {"out": True, "bolt11": BOLT11}
    assert report.outcome is SendOutcome.SENT


@pytest.mark.parametrize(
    "say",
    [
        json_answer({"status": "success", "amount": -10_000}, 201),
        json_answer({"status": "pending", "amount": -33_000, "fee": -2000}, 201),
        json_answer({"status": "failed", "amount": -10_000}, 201),
        json_answer({"status": "failed", "amount": 10_000, "wallet_id": "the payee"}, 201),
        json_answer(detail("Internal invoice already paid."), 520),
        json_answer(detail("Payment already paid.", "success"), 520),
        json_answer(detail("Payment is still pending.", "pending"), 520),
        json_answer(detail("Payment is failed node, retrying is not possible."), 520),
        json_answer(detail("Payment failed: Only internal invoices can be used!"), 520),
        json_answer(detail("Payment failed: Insufficient balance."), 520),
        json_answer(detail("Insufficient balance.", "pending"), 520),
        json_answer(detail("Invalid invoice. Bolt11 changed."), 520),
        json_answer(detail("rate-limited: slow down, please"), 520),
        json_answer(detail("Unexpected error! ID: x", None), 500),
        json_answer({"error": "Rate limit exceeded: 200 per 1 minute"}, 429),
        json_answer(detail("something that went wrong on the way", None), 400),
        json_answer(detail("Not found", None), 404),
        answer(404, "<html>not found</html>"),
        answer(403, "<html>forbidden by a proxy</html>"),
        answer(502, "<html>bad gateway</html>"),
        answer(520, "Insufficient balance."),
        answer(201, '{"status": "succ'),
        answer(307, "", headers={"location": "/first_install"}),
        RESET,
        CLOSE,
        HANG,
    ],
)
def test_an_answer_that_proves_nothing_is_sent_and_never_raises(
    server: ScriptedServer, payouts: Payouts, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    if say is HANG:
        monkeypatch.setattr("gateways.lightning.lnbits.PAY_SECONDS", 2.0)
    server.says(say)

    report = payouts.send(BOLT11)

    assert report.outcome is SendOutcome.SENT
    assert report.code
    assert len(server.heard_at_last()) == 1


@pytest.mark.parametrize(
    ("say", "was_considered"),
    [
        (json_answer({"status": "failed", "amount": -10_000}, 201), True),
        (json_answer(detail("Payment is failed node, retrying is not possible."), 520), True),
        (json_answer(detail("Payment failed: no route"), 520), False),
        (json_answer(detail("Payment is still pending.", "pending"), 520), False),
        (json_answer(detail("Payment already paid.", "success"), 520), False),
        (json_answer(detail("Only incoming payments allowed."), 520), False),
        (json_answer(detail("Could not fetch wallet 'w'."), 520), False),
        (
            json_answer(
                detail("The time limit of 5 seconds between payments has been reached."), 520
            ),
            False,
        ),
        (json_answer(detail("Insufficient balance."), 520), False),
        (json_answer(detail("You must reserve at least (10  sat) to cover …"), 520), False),
        (json_answer(detail("rate-limited: slow down, please"), 520), False),
        (json_answer({"error": "Rate limit exceeded: 200 per 1 minute"}, 429), False),
        (json_answer(detail("Unexpected error! ID: x", None), 500), False),
        (answer(201, "<html>a portal's greeting</html>"), False),
        (answer(520, "<html>a proxy's own 520</html>"), False),
        (RESET, False),
    ],
)
def test_a_payment_was_considered_only_if_lnbits_answered_as_it_does_then(
    server: ScriptedServer, payouts: Payouts, say: Say, was_considered: bool
) -> None:
    server.says(say)

    assert payouts.send(BOLT11).was_considered is was_considered


def test_that_it_failed_is_confirmed_only_by_the_node(
    server: ScriptedServer, payouts: Payouts
) -> None:
    node = "Payment is failed node, retrying is not possible."
    server.says(
        json_answer(detail(node), 520),
        json_answer(detail("Payment failed: no route"), 520),
        json_answer({"status": "failed", "amount": -10_000}, 201),
        json_answer(detail(node), 500),
    )

    assert [payouts.send(BOLT11).was_confirmed for _ in range(4)] == [True, False, False, False]


def version(said: object) -> Say:
    return json_answer({"openapi": "3.1.0", "info": {"title": "LNbits", "version": said}})


@pytest.mark.parametrize(
    ("say", "age"),
    [
        (version("1.6.2"), Age.YOUNG),
        (version("v1.6.2"), Age.YOUNG),
        (version("1.6.10"), Age.YOUNG),
        (version("1.7.0-rc1"), Age.YOUNG),
        (version("1.7.0rc1"), Age.YOUNG),
        (version("1.6.2.post1"), Age.YOUNG),
        (version("1.6.2+local"), Age.YOUNG),
        (version("2.0.0"), Age.YOUNG),
        (version("1.6.2-rc1"), Age.OLD),
        (version("1.6.2rc1"), Age.OLD),
        (version("1.6.2.dev3"), Age.OLD),
        (version("1.6.1"), Age.OLD),
        (version("1.5.2"), Age.OLD),
        (version("0.12.12"), Age.OLD),
        (version("1.6"), Age.UNKNOWN),
        (version("one.6.2"), Age.UNKNOWN),
        (version("9" * 5000 + ".0.0"), Age.UNKNOWN),
        (version(162), Age.UNKNOWN),
        (version(None), Age.UNKNOWN),
        (json_answer({"info": "1.6.2"}), Age.UNKNOWN),
        (json_answer({}), Age.UNKNOWN),
        (answer(200, "<html>a portal</html>"), Age.UNKNOWN),
        (json_answer({"detail": "Not Found"}, 404), Age.UNKNOWN),
        (json_answer({"error": "Rate limit exceeded: 200 per 1 minute"}, 429), Age.SILENT),
        (answer(502, "<html>a proxy</html>"), Age.SILENT),
        (RESET, Age.SILENT),
    ],
)
def test_only_an_lnbits_known_to_be_young_is_young(
    server: ScriptedServer, payouts: Payouts, say: Say, age: Age
) -> None:
    server.says(say)

    assert payouts.age() is age

    heard = server.heard_at_last()[0]  # a GET that was reset comes again
    assert (heard.method, heard.path) == ("GET", "/openapi.json")
    assert "x-api-key" not in heard.headers


def test_the_age_of_lnbits_is_asked_for_now_and_then(
    server: ScriptedServer, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been replaced, and by an older one; sooner if it did not answer."""
    hour, module = 3600.0, "gateways.lightning.lnbits_version"
    monkeypatch.setattr(f"{module}.SILENCE_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(f"{module}.KEPT_SECONDS", hour)
    kept = LnbitsPayouts(server.url, KEY, http)
    server.says(answer(502, "<html>"), version("1.6.2"), version("1.5.1"))
    assert [kept.age() for _ in range(3)] == [Age.SILENT, Age.YOUNG, Age.YOUNG]

    monkeypatch.setattr(f"{module}.KEPT_SECONDS", 0.0)
    fresh = LnbitsPayouts(server.url, KEY, http)
    server.says(version("1.6.2"), version("1.5.1"))
    assert [fresh.age() for _ in range(2)] == [Age.YOUNG, Age.OLD]


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (json_answer(detail("Insufficient balance."), 520), "insufficient_balance"),
        (
            json_answer(
                detail("You must reserve at least (10000  sat) to cover potential routing fees."),
                520,
            ),
            "insufficient_fee_reserve",
        ),
        (json_answer(detail("Bolt11 decoding failed."), 520), "not_decoded"),
        (json_answer(detail("Amountless invoices not supported."), 520), "amountless"),
        (
            json_answer(detail("Invoice amount 10000001 sats is too high. Max allowed: …"), 520),
            "amount_too_high",
        ),
        (json_answer(detail("Missing BOLT11 invoice", None), 400), "no_invoice"),
        (json_answer(detail([{"loc": ["body", "out"]}], None), 400), "http_400"),
        (json_answer(detail("No Api Key provided.", None), 401), "http_401"),
        (json_answer(detail("Invoice (or Admin) key required.", None), 403), "http_403"),
        (json_answer(detail("Wallet not found.", None), 404), "wrong_key"),
    ],
)
def test_a_refusal_known_to_come_before_anything_is_sent_is_refused(
    server: ScriptedServer, payouts: Payouts, say: Say, code: str
) -> None:
    server.says(say)

    report = payouts.send(BOLT11)

    assert report.outcome is SendOutcome.REFUSED
    assert report.code == code


# Reading back


def details(**changes: Any) -> dict[str, Any]:
    return {
        "payment_hash": PAYMENT_HASH,
        "amount": -10_000,
        "fee": -2_000,
        "status": "success",
        **changes,
    }


def reading(server: ScriptedServer, payouts: Payouts, body: dict[str, Any]) -> Any:
    server.says(json_answer(body))
    return payouts.read(PAYMENT_HASH)


def test_paid_is_a_success_with_money_going_out_read_with_the_admin_key(
    server: ScriptedServer, payouts: Payouts
) -> None:
    body = {"paid": True, "preimage": PREIMAGE, "details": details()}

    found = reading(server, payouts, body)

    assert found.outcome is PayoutOutcome.PAID
    assert found.fee == Msats(2_000)
    assert found.preimage == PREIMAGE
    [heard] = server.heard
    assert (heard.method, heard.path) == ("GET", f"/api/v1/payments/{PAYMENT_HASH}")
    assert heard.headers["x-api-key"] == KEY


@pytest.mark.parametrize("preimage", [None, "", "0" * 64, a_hash("other"), "zz" * 32, 7])
def test_a_preimage_is_neither_needed_nor_believed(
    server: ScriptedServer, payouts: Payouts, preimage: object
) -> None:
    body = {"paid": True, "preimage": preimage, "details": details(preimage=preimage)}

    found = reading(server, payouts, body)

    assert found.outcome is PayoutOutcome.PAID
    assert found.preimage is None


@pytest.mark.parametrize("fee", [0, None, "x", 1.5])
def test_a_fee_that_is_not_told_counts_as_none(
    server: ScriptedServer, payouts: Payouts, fee: object
) -> None:
    found = reading(server, payouts, {"paid": True, "details": details(fee=fee)})

    assert found.outcome is PayoutOutcome.PAID
    assert found.fee == 0


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (
            {"paid": False, "status": "pending", "details": details(status="pending")},
            PayoutOutcome.PENDING,
        ),
        pytest.param(
            {"paid": False, "details": details(status="pending")},
            PayoutOutcome.PENDING,
            id="the node could not be asked",
        ),
        (
            {"paid": False, "status": "failed", "details": details(status="failed")},
            PayoutOutcome.FAILED,
        ),
        pytest.param(
            {"paid": True, "preimage": PREIMAGE, "details": {"amount": -10_000}},
            PayoutOutcome.PAID,
            id="an old one without status in the row",
        ),
        pytest.param(
            {"status": "success", "details": details()},
            PayoutOutcome.PAID,
            id="no paid, but status says it",
        ),
    ],
)
def test_states_that_are_said_plainly_are_taken(
    server: ScriptedServer, payouts: Payouts, body: dict[str, Any], outcome: PayoutOutcome
) -> None:
    found = reading(server, payouts, body)

    assert found.outcome is outcome


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"paid": True, "preimage": PREIMAGE}, id="read without key: paid"),
        pytest.param({"paid": False, "preimage": None}, id="read without key: unpaid"),
        pytest.param({"paid": False, "status": "failed"}, id="read without key: failed"),
        pytest.param({"paid": True, "details": details(amount=10_000)}, id="the incoming row"),
        pytest.param({"paid": True, "details": details(amount=0)}, id="no money at all"),
        pytest.param({"paid": True, "details": details(amount=None)}, id="no amount"),
        pytest.param({"paid": True, "details": details(amount="-10000")}, id="amount as text"),
        pytest.param(
            {"paid": False, "status": "failed", "details": details(amount=10_000, status="failed")},
            id="the incoming row, failed",
        ),
        pytest.param(
            {"paid": True, "details": details(payment_hash=a_hash("x"))}, id="another's row"
        ),
        pytest.param({"paid": True, "details": details(status="failed")}, id="paid and failed"),
        pytest.param({"paid": True, "details": details(status="pending")}, id="paid and pending"),
        pytest.param({"paid": False, "details": details()}, id="unpaid and a success"),
        pytest.param({"paid": "true", "details": details()}, id="paid as text"),
        pytest.param(
            {"paid": False, "status": "failed", "details": details(status="pending")},
            id="failed and pending",
        ),
        pytest.param(
            {"paid": False, "details": details(status="failed")}, id="failed, node not asked"
        ),
        pytest.param(
            {"paid": False, "status": "odd", "details": details(status="odd")}, id="a new state"
        ),
        pytest.param({"paid": False, "status": [], "details": details(status={})}, id="nonsense"),
        pytest.param({"detail": "x"}, id="something else"),
        pytest.param({}, id="nothing"),
    ],
)
def test_whatever_is_not_plain_is_unknown(
    server: ScriptedServer, payouts: Payouts, body: dict[str, Any]
) -> None:
    found = reading(server, payouts, body)

    assert found.outcome is PayoutOutcome.UNKNOWN
    assert found.code
    assert found.preimage is None


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (HANG, "timeout"),
        (RESET, "connection"),
        (answer(200, "<html></html>"), "not_json"),
        (json_answer([]), "not_an_object"),
        (json_answer({"error": "Rate limit exceeded"}, 429), "http_429"),
        (json_answer({"detail": "Unexpected error! ID: x"}, 500), "http_500"),
        (json_answer({"detail": "Wallet not found."}, 404), "wrong_key"),
        (answer(404, "<html>not found</html>"), "http_404"),
        (json_answer({"detail": "No Api Key provided."}, 401), "http_401"),
    ],
)
def test_trouble_with_reading_is_unknown_and_never_raises(
    server: ScriptedServer,
    payouts: Payouts,
    say: Say,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if say is HANG:
        monkeypatch.setattr("gateways.lightning.lnbits.GET_SECONDS", 0.3)
    server.says(say)

    found = payouts.read(PAYMENT_HASH)

    assert (found.outcome, found.code) == (PayoutOutcome.UNKNOWN, code)


def test_missing_is_a_404_while_the_key_opens_its_wallet(
    server: ScriptedServer, payouts: Payouts
) -> None:
    server.respond = lambda heard: WALLET if heard.path.endswith("/wallet") else NO_SUCH_PAYMENT

    found = payouts.read(PAYMENT_HASH)

    assert found.outcome is PayoutOutcome.MISSING
    assert [heard.headers["x-api-key"] for heard in server.heard] == [KEY, KEY]


@pytest.mark.parametrize(
    ("wallet", "code"),
    [
        (json_answer({"detail": "Wallet not found."}, 404), "wrong_key"),
        (json_answer({"error": "Rate limit exceeded"}, 429), "http_429"),
        (answer(200, "<html></html>"), "not_json"),
    ],
)
def test_a_404_with_a_key_that_is_not_proved_good_is_unknown(
    server: ScriptedServer, payouts: Payouts, wallet: Say, code: str
) -> None:
    def respond(heard: Heard) -> Say:
        return wallet if heard.path.endswith("/wallet") else NO_SUCH_PAYMENT

    server.respond = respond

    found = payouts.read(PAYMENT_HASH)

    assert (found.outcome, found.code) == (PayoutOutcome.UNKNOWN, code)


@pytest.mark.parametrize("payment_hash", ["", "x", "../wallet", "AB" * 32, "0" * 63])
def test_what_is_no_hash_is_not_asked_for(
    server: ScriptedServer, payouts: Payouts, payment_hash: str
) -> None:
    assert payouts.read(payment_hash).outcome is PayoutOutcome.UNKNOWN
    assert server.heard == []


def test_the_balance_proves_that_the_key_is_good(server: ScriptedServer, payouts: Payouts) -> None:
    server.says(WALLET, json_answer({"detail": "Wallet not found."}, 404), answer(503, ""))

    assert payouts.balance() == Msats(5_000_000)
    with pytest.raises(Refused):
        payouts.balance()
    with pytest.raises(Unavailable):
        payouts.balance()


def test_the_wallet_is_told_to_a_key_that_may_pay(server: ScriptedServer, payouts: Payouts) -> None:
    server.says(json_answer({"name": "ours", "balance": 1, "id": "w1"}))

    assert payouts.wallet_id() == "w1"


@pytest.mark.parametrize("wallet_id", [{}, {"id": None}, {"id": ""}, {"id": 7}])
def test_a_key_that_is_not_told_its_wallet_cannot_pay(
    server: ScriptedServer, payouts: Payouts, wallet_id: dict[str, object]
) -> None:
    server.says(json_answer({"name": "ours", "balance": 1, **wallet_id}))

    with pytest.raises(Refused) as refused:
        payouts.wallet_id()

    assert refused.value.code == "key_cannot_pay"


def test_a_list_may_be_as_long_as_so_many_rows_can_be(
    server: ScriptedServer, payouts: Payouts
) -> None:
    long = answer(200, '{"data": [' + " " * DEFAULT_MAX_BYTES + "]}")
    server.says(long, long)

    page = payouts.movements(Direction.OUT, page=0, page_size=PAGE_LIMIT)
    with pytest.raises(Unavailable) as caught:
        payouts.movements(Direction.OUT, page=0, page_size=100)

    assert (page.movements, page.is_last) == ([], True)
    assert caught.value.code == "too_large"


def test_the_mark_of_a_key_is_its_own_and_gives_it_away_to_nobody(server: ScriptedServer) -> None:
    one, same, other = (
        LnbitsPayouts(server.url, key, HttpClient()) for key in ("ab" * 16, "ab" * 16, "cd" * 16)
    )

    assert one.key_mark() == same.key_mark() != other.key_mark()
    assert "ab" * 4 not in one.key_mark()
