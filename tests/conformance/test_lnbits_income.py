"""Receiving through LNbits: what its answers, documented and odd, are taken for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateways.errors import OutsideError, Refused, Unavailable
from gateways.http import HttpClient
from gateways.lightning import Direction, Income, InvoiceReading
from gateways.lightning.lnbits import LnbitsIncome
from models.money import Msats, Sats
from tests.conformance.invoices import PAYMENT_HASH, a_hash, an_invoice
from tests.conformance.scripted_server import (
    HANG,
    RESET,
    Heard,
    Say,
    ScriptedServer,
    answer,
    json_answer,
)

KEY = "an-invoice-key"
HOUR = timedelta(hours=1)
SETTLED_AT = "2026-11-21T23:34:25.995485+00:00"


@pytest.fixture
def income(server: ScriptedServer, http: HttpClient) -> Income:
    return LnbitsIncome(server.url + "/", KEY, http)


def created(**changes: Any) -> dict[str, Any]:
    row = {
        "payment_hash": PAYMENT_HASH,
        "amount": 21_000,
        "bolt11": an_invoice(21_000),
        "status": "pending",
        "expiry": "2026-11-22T00:34:25",
    }
    return {name: value for name, value in {**row, **changes}.items() if value is not None}


def row(hash_of_it: str, **changes: Any) -> dict[str, Any]:
    return {
        "payment_hash": hash_of_it,
        "status": "success",
        "amount": 10_000,
        "fee": 0,
        "updated_at": SETTLED_AT,
        **changes,
    }


def page(*rows: Any) -> Say:
    return json_answer({"data": list(rows), "total": len(rows)})


def create(income: Income, sats: int = 21) -> Any:
    return income.create_invoice(Sats(sats), memo="eval 1a2b3c4d", lifetime=HOUR)


# Creating


def test_an_invoice_is_asked_for_as_incoming_in_whole_sats_with_its_lifetime(
    server: ScriptedServer, income: Income
) -> None:
    server.says(json_answer(created(), 201))

    invoice = income.create_invoice(
        Sats(21), memo="für " + "x" * 700, lifetime=timedelta(seconds=4200)
    )

    [heard] = server.heard
    assert (heard.method, heard.path) == ("POST", "/api/v1/payments")
    assert heard.headers["x-api-key"] == KEY
    assert heard.json == {
        "out": False,
        "amount": 21,
        "memo": "f?r " + "x" * 635,
        "expiry": 4200,
    }
    assert invoice.payment_hash == PAYMENT_HASH
    assert invoice.payment_request == created()["bolt11"]


def test_an_invoice_names_the_address_that_lnbits_shall_nudge(
    server: ScriptedServer, http: HttpClient
) -> None:
    nudged = "https://honest.example/api/hooks/lnbits/a-token"
    server.says(json_answer(created(), 201))

    create(LnbitsIncome(server.url, KEY, http, webhook=nudged))

    [heard] = server.heard
    assert heard.json["webhook"] == nudged


def test_older_servers_name_the_invoice_payment_request(
    server: ScriptedServer, income: Income
) -> None:
    older = created(bolt11=None, payment_request=an_invoice(21_000))
    server.says(json_answer(older, 201))

    assert create(income).payment_request == older["payment_request"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bolt11": an_invoice(20_000)}, "wrong_invoice"),
        ({"bolt11": an_invoice(21_001)}, "wrong_invoice"),
        ({"bolt11": an_invoice(None)}, "wrong_invoice"),
        ({"payment_hash": a_hash("another")}, "wrong_invoice"),
        ({"payment_hash": None}, "wrong_invoice"),
        ({"bolt11": "lnbcrt-no-invoice"}, "bad_invoice"),
        ({"bolt11": None}, "bad_invoice"),
        ({"bolt11": 7}, "bad_invoice"),
    ],
)
def test_an_invoice_that_is_not_the_one_asked_for_is_never_handed_out(
    server: ScriptedServer, income: Income, changes: dict[str, Any], code: str
) -> None:
    server.says(json_answer(created(**changes), 201))

    with pytest.raises(Unavailable) as caught:
        create(income)

    assert caught.value.code == code


@pytest.mark.parametrize(("sats", "lifetime"), [(0, HOUR), (-1, HOUR), (1, timedelta(0))])
def test_what_lnbits_would_silently_change_is_not_even_asked(
    server: ScriptedServer, income: Income, sats: int, lifetime: timedelta
) -> None:
    with pytest.raises(Refused):
        income.create_invoice(Sats(sats), memo="", lifetime=lifetime)

    assert server.heard == []


def failed(detail: str) -> dict[str, str]:
    return {"detail": detail, "status": "failed"}


@pytest.mark.parametrize(
    ("say", "kind", "code"),
    [
        (
            json_answer(failed("Invoice amount 10000001 sats is too high. Max allowed: …"), 520),
            Refused,
            "amount_too_high",
        ),
        (json_answer(failed("Amountless invoices not supported."), 520), Refused, "amountless"),
        (
            json_answer({"detail": "Unable to connect to node", "status": "pending"}, 520),
            Unavailable,
            "http_520",
        ),
        (
            json_answer({"detail": [{"loc": ["body", "amount"], "msg": "x"}]}, 400),
            Refused,
            "http_400",
        ),
        (json_answer({"detail": "No Api Key provided."}, 401), Refused, "http_401"),
        (json_answer({"detail": "Wallet not found."}, 404), Refused, "wrong_key"),
        (
            json_answer({"error": "Rate limit exceeded: 200 per 1 minute"}, 429),
            Unavailable,
            "http_429",
        ),
        (json_answer({"detail": "Unexpected error! ID: x"}, 500), Unavailable, "http_500"),
        (answer(502, "<html>Bad gateway</html>"), Unavailable, "http_502"),
        (answer(307, "", headers={"location": "/first_install"}), Unavailable, "http_307"),
        (answer(200, "<html>hello</html>"), Unavailable, "not_json"),
        (json_answer([]), Unavailable, "not_an_object"),
        (RESET, Unavailable, "connection"),
    ],
)
def test_trouble_with_creating_is_unavailable_or_refused(
    server: ScriptedServer, income: Income, say: Say, kind: type[OutsideError], code: str
) -> None:
    server.says(say)

    with pytest.raises(OutsideError) as caught:
        create(income)

    assert isinstance(caught.value, kind)
    assert caught.value.code == code
    assert len(server.heard) == 1


# The feed of settled payments


def test_the_feed_is_one_request_for_settled_incoming_payments_newest_first(
    server: ScriptedServer, income: Income
) -> None:
    server.says(page(row(a_hash(1)), row(a_hash(2), amount=12_345)))

    found = income.settled_payments(page=3, page_size=100)

    [heard] = server.heard
    assert heard.path == "/api/v1/payments/paginated"
    assert {name: values[0] for name, values in heard.query.items()} == {
        "status": "success",
        "amount[gt]": "0",
        "sortby": "updated_at",
        "direction": "desc",
        "limit": "100",
        "offset": "300",
    }
    assert [(payment.payment_hash, payment.amount) for payment in found] == [
        (a_hash(1), Msats(10_000)),
        (a_hash(2), Msats(12_345)),
    ]
    assert found[0].settled_at == datetime(2026, 11, 21, 23, 34, 25, 995485, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "pending"},
        {"status": "failed"},
        {"status": None},
        {"amount": -10_000},
        {"amount": 0},
        {"amount": "10000"},
        {"amount": True},
        {"amount": 1.5},
        {"payment_hash": "internal_" + "0" * 55},
        {"payment_hash": "AB" * 32},
        {"payment_hash": None},
    ],
)
def test_a_row_that_is_no_settled_income_is_left_out_whatever_was_filtered(
    server: ScriptedServer, income: Income, changes: dict[str, Any]
) -> None:
    server.says(page(row(a_hash(1), **changes), row(a_hash(2))))

    found = income.settled_payments(page=0, page_size=100)

    assert [payment.payment_hash for payment in found] == [a_hash(2)]


@pytest.mark.parametrize(
    ("said", "fee"),
    [
        (0, 0),
        (-1500, 1500),
        (1500, 1500),
        (10_000, 10_000),
        (10_001, 0),
        (-(10**30), 0),
        (None, 0),
        ("1500", 0),
        (1.5, 0),
        (True, 0),
        ({}, 0),
    ],
)
def test_what_lnbits_took_off_income_is_its_fee_by_either_sign_and_never_more_than_came(
    server: ScriptedServer, income: Income, said: object, fee: int
) -> None:
    server.says(page(row(a_hash(1), fee=said)))
    [payment] = income.settled_payments(page=0, page_size=10)
    server.says(page(row(a_hash(1), fee=said)))
    [moved] = income.movements(Direction.IN, page=0, page_size=10).movements
    server.says(page(row(a_hash(1), fee=said)))
    state = income.invoice_states([a_hash(1)])[a_hash(1)]

    assert (payment.amount, payment.fee) == (10_000, fee)
    assert (moved.amount, moved.fee) == (10_000, fee)
    assert state.payment == payment


def test_a_row_that_does_not_speak_of_a_fee_has_none(
    server: ScriptedServer, income: Income
) -> None:
    without = {name: value for name, value in row(a_hash(1)).items() if name != "fee"}
    server.says(page(without))

    [payment] = income.settled_payments(page=0, page_size=10)

    assert payment.fee == 0


def test_a_full_page_without_any_settled_income_is_not_the_end_of_the_feed(
    server: ScriptedServer, income: Income
) -> None:
    server.says(page(row(a_hash(1), status="pending"), row(a_hash(2), amount=-1)))

    with pytest.raises(Unavailable) as caught:
        income.settled_payments(page=0, page_size=2)

    assert caught.value.code == "filters_ignored"


def test_an_lnbits_too_old_to_sort_says_so(server: ScriptedServer, income: Income) -> None:
    server.says(json_answer({"detail": "Invalid sortby field."}, 400))

    with pytest.raises(Refused) as caught:
        income.settled_payments(page=0, page_size=2)

    assert caught.value.code == "too_old"


def test_an_empty_feed_is_empty(server: ScriptedServer, income: Income) -> None:
    server.says(page())

    assert income.settled_payments(page=0, page_size=100) == []


@pytest.mark.parametrize(
    ("time", "settled_at"),
    [
        ("2026-11-21T18:34:25-05:00", datetime(2026, 11, 21, 23, 34, 25, tzinfo=UTC)),
        ("2026-11-21T23:34:25Z", datetime(2026, 11, 21, 23, 34, 25, tzinfo=UTC)),
        ("2026-11-21T23:34:25", datetime(2026, 11, 21, 23, 34, 25, tzinfo=UTC)),
        (1763768065, datetime(2025, 11, 21, 23, 34, 25, tzinfo=UTC)),
    ],
)
def test_the_time_of_settlement_is_aware_utc(
    server: ScriptedServer, income: Income, time: object, settled_at: datetime
) -> None:
    server.says(page(row(a_hash(1), updated_at=time)))

    [payment] = income.settled_payments(page=0, page_size=10)

    assert payment.settled_at == settled_at
    assert payment.settled_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("time", [None, "yesterday", 10**30, {}, "0001-01-01T00:00:00+23:00"])
def test_money_with_an_unreadable_date_is_still_money(
    server: ScriptedServer, income: Income, time: object
) -> None:
    server.says(page(row(a_hash(1), updated_at=time)))

    [payment] = income.settled_payments(page=0, page_size=10)

    assert payment.amount == 10_000


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (json_answer({"data": None}), "bad_answer"),
        (json_answer({"data": [1]}), "bad_answer"),
        (json_answer([row(a_hash(1))]), "not_an_object"),
        (json_answer({"error": "Rate limit exceeded"}, 429), "http_429"),
        (json_answer({"detail": "Unexpected error! ID: x"}, 500), "http_500"),
    ],
)
def test_a_feed_that_makes_no_sense_is_unavailable(
    server: ScriptedServer, income: Income, say: Say, code: str
) -> None:
    server.says(say)

    with pytest.raises(Unavailable) as caught:
        income.settled_payments(page=0, page_size=10)

    assert caught.value.code == code


# Asking about invoices


def test_states_are_asked_for_in_one_request_that_makes_lnbits_ask_its_node(
    server: ScriptedServer, income: Income
) -> None:
    paid, pending, expired, odd, absent = map(a_hash, range(5))
    server.says(
        page(
            row(paid),
            row(pending, status="pending"),
            row(expired, status="failed", labels=["expired"]),
            row(odd, status="new-in-2.0"),
        )
    )

    states = income.invoice_states([paid, pending, expired, odd, absent])

    [heard] = server.heard
    assert heard.path == "/api/v1/payments/paginated"
    assert heard.query["payment_hash[in]"] == [",".join([paid, pending, expired, odd, absent])]
    assert heard.query["recheck_pending"] == ["true"]
    assert {payment_hash: state.reading for payment_hash, state in states.items()} == {
        paid: InvoiceReading.PAID,
        pending: InvoiceReading.UNPAID,
        expired: InvoiceReading.UNPAID,
        odd: InvoiceReading.UNKNOWN,
    }
    payment = states[paid].payment
    assert payment is not None
    assert payment.amount == 10_000
    assert states[pending].payment is None


def test_nothing_asked_is_nothing_sent(server: ScriptedServer, income: Income) -> None:
    assert income.invoice_states([]) == {}
    assert server.heard == []


@pytest.mark.parametrize("turned_round", [False, True])
def test_the_paid_row_counts_when_a_hash_has_two(
    server: ScriptedServer, income: Income, turned_round: bool
) -> None:
    rows = [row(a_hash(1)), row(a_hash(1), status="pending"), row(a_hash(1), amount=-10_000)]
    server.says(page(*(reversed(rows) if turned_round else rows)))

    states = income.invoice_states([a_hash(1)])

    assert states[a_hash(1)].reading is InvoiceReading.PAID


def test_a_row_of_money_out_says_nothing_about_an_invoice(
    server: ScriptedServer, income: Income
) -> None:
    server.says(page(row(a_hash(1), amount=-10_000)))

    assert income.invoice_states([a_hash(1)]) == {}


def keyed(paid: bool, **more: Any) -> dict[str, Any]:
    return {"paid": paid, "preimage": None, **more}


OLD_LNBITS = {
    "ignores the filter": page(row(a_hash("somebody else's"))),
    "shows its SQL": json_answer({"detail": 'near "payment_hash[in]": syntax error'}, 500),
    "calls it bad": json_answer({"detail": "bad filter"}, 400),
}


@pytest.mark.parametrize("manner", OLD_LNBITS)
def test_an_lnbits_too_old_for_the_filter_is_asked_hash_by_hash_from_then_on(
    server: ScriptedServer, income: Income, manner: str
) -> None:
    one, two, three = a_hash(1), a_hash(2), a_hash(3)

    def respond(heard: Heard) -> Say:
        if heard.path.endswith("/paginated"):
            return OLD_LNBITS[manner]
        if heard.path.endswith(one):
            return json_answer(keyed(True, details=row(one)))
        if heard.path.endswith(two):
            return json_answer(keyed(False, status="pending", details=row(two, status="pending")))
        return json_answer({"detail": "Payment does not exist."}, 404)

    server.respond = respond

    first = income.invoice_states([one, two, three])
    second = income.invoice_states([one])

    assert {key: state.reading for key, state in first.items()} == {
        one: InvoiceReading.PAID,
        two: InvoiceReading.UNPAID,
    }
    assert second[one].reading is InvoiceReading.PAID
    assert [heard.path.rpartition("/")[2] for heard in server.heard] == [
        "paginated",
        one,
        two,
        three,
        one,
    ]
    assert all(heard.headers["x-api-key"] == KEY for heard in server.heard)


def test_a_passing_error_does_not_make_an_lnbits_old(
    server: ScriptedServer, income: Income
) -> None:
    server.says(json_answer({"detail": "Unexpected error! ID: x"}, 500), page(row(a_hash(1))))

    with pytest.raises(Unavailable):
        income.invoice_states([a_hash(1)])
    states = income.invoice_states([a_hash(1)])

    assert states[a_hash(1)].reading is InvoiceReading.PAID


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        (keyed(True, details=row(a_hash(1))), InvoiceReading.PAID),
        (
            keyed(False, status="failed", details=row(a_hash(1), status="failed")),
            InvoiceReading.UNPAID,
        ),
        pytest.param(
            keyed(False, details=row(a_hash(1), status="pending")),
            InvoiceReading.UNKNOWN,
            id="the node could not be asked",
        ),
        pytest.param(keyed(True), InvoiceReading.UNKNOWN, id="paid, but our key is unknown"),
        pytest.param(keyed(False), InvoiceReading.UNKNOWN, id="our key is unknown"),
        pytest.param(
            keyed(True, details=row(a_hash(1), amount=-10_000)),
            InvoiceReading.UNKNOWN,
            id="our own wallet paid it",
        ),
        pytest.param(keyed(True, details="x"), InvoiceReading.UNKNOWN, id="nonsense"),
    ],
)
def test_one_invoice_is_read_by_what_is_certain(
    server: ScriptedServer, income: Income, body: dict[str, Any], reading: InvoiceReading
) -> None:
    server.says(OLD_LNBITS["calls it bad"], json_answer(body))

    assert income.invoice_states([a_hash(1)])[a_hash(1)].reading is reading


def test_trouble_in_the_middle_of_many_leaves_out_the_rest(
    server: ScriptedServer, income: Income
) -> None:
    pending = keyed(False, status="pending", details=row(a_hash(1), status="pending"))
    server.says(
        OLD_LNBITS["calls it bad"],
        json_answer(pending),
        json_answer({"error": "Rate limit exceeded"}, 429),
    )

    states = income.invoice_states([a_hash(1), a_hash(2), a_hash(3)])

    assert list(states) == [a_hash(1)]
    assert len(server.heard) == 3


def test_trouble_at_the_first_of_many_is_trouble(server: ScriptedServer, income: Income) -> None:
    server.says(OLD_LNBITS["calls it bad"], json_answer({"error": "Rate limit exceeded"}, 429))

    with pytest.raises(Unavailable) as caught:
        income.invoice_states([a_hash(1), a_hash(2)])

    assert caught.value.code == "http_429"


# Balance


def test_the_balance_is_read_in_millisats(server: ScriptedServer, income: Income) -> None:
    server.says(json_answer({"name": "income", "balance": 4_999_000_001}))

    assert income.balance() == Msats(4_999_000_001)
    assert server.heard[0].path == "/api/v1/wallet"


@pytest.mark.parametrize(
    ("say", "kind"),
    [
        (json_answer({"detail": "Wallet not found."}, 404), Refused),
        (json_answer({"balance": None}), Unavailable),
        (json_answer({"balance": "12"}), Unavailable),
        (json_answer({"balance": 1.5}), Unavailable),
        (HANG, Unavailable),
    ],
)
def test_a_balance_that_cannot_be_read_is_an_error(
    server: ScriptedServer,
    income: Income,
    say: Say,
    kind: type[OutsideError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if say is HANG:
        monkeypatch.setattr("gateways.lightning.lnbits.GET_SECONDS", 0.3)
    server.says(say)

    with pytest.raises(kind):
        income.balance()


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (json_answer({"name": "ours", "balance": 1, "id": "w1"}), "key_can_pay"),
        (json_answer({"detail": "Wallet not found."}, 404), "wrong_key"),
        (answer(404, "<html>not found</html>"), "http_404"),
    ],
)
def test_a_key_of_the_income_that_is_not_the_right_one_is_refused_by_name(
    server: ScriptedServer, income: Income, say: Say, code: str
) -> None:
    server.says(say)

    with pytest.raises(Refused) as refused:
        income.check_key()

    assert refused.value.code == code


def test_a_key_that_opens_a_wallet_and_cannot_pay_is_the_right_kind(
    server: ScriptedServer, income: Income
) -> None:
    server.says(json_answer({"name": "ours", "balance": 1}))

    income.check_key()
