"""Every gateway against ``local.stand_in``, as it runs on the bench and in all other tests."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY, STAND_IN_MODEL_KEY
from gateways import bolt11
from gateways.errors import Billed, OutsideError, Refused, Unavailable
from gateways.http import HttpClient
from gateways.lightning import (
    Direction,
    Income,
    InvoiceReading,
    IssuedInvoice,
    MovementState,
    PayoutMark,
    PayoutOutcome,
    Payouts,
    SendOutcome,
)
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from gateways.lightning.stand_in import StandInPayer
from gateways.llms import LanguageModel, Question, Stop
from gateways.llms.anthropic import AnthropicModel
from gateways.llms.openai_compatible import OpenAiCompatibleModel
from gateways.prices.feeds import KNOWN_SOURCES, known_feeds
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient, running_stand_in
from models.money import Msats, Sats

VERDICT = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["accepted", "reason"],
    "additionalProperties": False,
}


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInClient]:
    with running_stand_in(tmp_path_factory.mktemp("stand-in")) as client:
        yield client


@pytest.fixture
def stand_in(running: StandInClient) -> StandInClient:
    running.reset()
    return running


@pytest.fixture
def income(stand_in: StandInClient, http: HttpClient) -> Income:
    return LnbitsIncome(stand_in.url, STAND_IN_INVOICE_KEY, http)


@pytest.fixture
def payouts(stand_in: StandInClient, http: HttpClient) -> Payouts:
    return LnbitsPayouts(stand_in.url, STAND_IN_ADMIN_KEY, http)


def issue(income: Income, sats: int = 10) -> IssuedInvoice:
    return income.create_invoice(Sats(sats), memo="eval 1a2b3c4d", lifetime=timedelta(seconds=4200))


def lnbits_requests(stand_in: StandInClient) -> int:
    seen = stand_in.counts().requests
    return sum(count for route, count in seen.items() if " /api/v1/" in route)


# Money in


def test_an_invoice_lives_as_long_as_asked_and_is_for_what_was_asked(income: Income) -> None:
    invoice = issue(income, 21)

    read = bolt11.read(invoice.payment_request)
    assert read.amount == 21_000
    assert read.payment_hash == invoice.payment_hash
    assert read.expires_at - read.created_at == timedelta(seconds=4200)
    assert read.description == "eval 1a2b3c4d"


def test_a_paid_invoice_comes_out_of_the_feed_and_of_its_state_with_what_arrived(
    income: Income, stand_in: StandInClient, http: HttpClient
) -> None:
    paid, overpaid, unpaid = issue(income), issue(income), issue(income)
    before = income.balance()

    assert StandInPayer(stand_in.url, http).pay(paid.payment_hash)
    stand_in.pay(overpaid.payment_hash, amount_msats=12_345)

    feed = income.settled_payments(page=0, page_size=100)
    assert [(payment.payment_hash, payment.amount) for payment in feed] == [
        (overpaid.payment_hash, Msats(12_345)),
        (paid.payment_hash, Msats(10_000)),
    ]
    absent = "0" * 64
    states = income.invoice_states(
        [invoice.payment_hash for invoice in (paid, overpaid, unpaid)] + [absent]
    )
    assert {payment_hash: state.reading for payment_hash, state in states.items()} == {
        paid.payment_hash: InvoiceReading.PAID,
        overpaid.payment_hash: InvoiceReading.PAID,
        unpaid.payment_hash: InvoiceReading.UNPAID,
    }
    assert states[overpaid.payment_hash].payment == feed[0]
    assert income.balance() - before == 22_345


def test_a_fee_of_income_is_told_by_the_feed_and_by_its_state_and_is_off_the_balance(
    income: Income, stand_in: StandInClient
) -> None:
    early, late = issue(income).payment_hash, issue(income).payment_hash
    stand_in.take_fee(early, 1500)
    for payment_hash in (early, late):
        stand_in.pay(payment_hash)
    assert income.balance() == 18_500
    stand_in.take_fee(late, -700)

    feed = income.settled_payments(page=0, page_size=100)

    assert [(payment.payment_hash, payment.fee) for payment in feed] == [(late, 700), (early, 1500)]
    states = income.invoice_states([early, late])
    assert [states[payment.payment_hash].payment for payment in feed] == feed
    assert income.balance() == 17_800


def test_the_feed_is_read_in_pages(income: Income, stand_in: StandInClient) -> None:
    hashes = [issue(income).payment_hash for _ in range(5)]
    for payment_hash in hashes:
        stand_in.pay(payment_hash)

    pages = [income.settled_payments(page=page, page_size=2) for page in range(4)]

    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [payment.payment_hash for page in pages for payment in page] == hashes[::-1]


def test_a_hundred_states_are_one_request(income: Income, stand_in: StandInClient) -> None:
    hashes = [issue(income).payment_hash for _ in range(100)]
    before = lnbits_requests(stand_in)

    states = income.invoice_states(hashes)

    assert set(states) == set(hashes)
    assert lnbits_requests(stand_in) - before == 1


def test_the_payer_knows_no_strangers_invoice_and_may_pay_again(
    income: Income, stand_in: StandInClient, http: HttpClient
) -> None:
    payer = StandInPayer(stand_in.url, http)
    invoice = issue(income)

    assert payer.pay(invoice.payment_hash)
    assert payer.pay(invoice.payment_hash)
    assert not payer.pay("0" * 64)
    assert len(income.settled_payments(page=0, page_size=10)) == 1


def test_a_wrong_key_is_refused(stand_in: StandInClient, http: HttpClient) -> None:
    wrong = LnbitsIncome(stand_in.url, "no-key-of-anybody", http)

    for attempt in (
        lambda: issue(wrong),
        lambda: wrong.settled_payments(page=0, page_size=10),
        lambda: wrong.invoice_states(["0" * 64]),
        wrong.balance,
    ):
        with pytest.raises(Refused):
            attempt()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(target="lnbits", kind=FaultKind.STATUS, status=429), "http_429"),
        (Fault(target="lnbits", kind=FaultKind.STATUS, status=500), "http_500"),
        (Fault(target="lnbits", kind=FaultKind.STATUS, status=520), "http_520"),
        (Fault(target="lnbits", kind=FaultKind.TRUNCATED), "not_json"),
        (Fault(target="lnbits", kind=FaultKind.BODY), "not_json"),
        (Fault(target="lnbits.create", kind=FaultKind.RESET, after_effect=True), "connection"),
    ],
)
def test_a_fault_while_creating_is_unavailable_and_the_next_try_works(
    income: Income, stand_in: StandInClient, fault: Fault, code: str
) -> None:
    stand_in.arm(fault)

    with pytest.raises(Unavailable) as caught:
        issue(income)

    assert caught.value.code == code
    assert issue(income).payment_hash


def test_a_feed_with_doubled_and_reordered_rows_gives_each_payment_once(
    income: Income, stand_in: StandInClient
) -> None:
    hashes = [issue(income).payment_hash for _ in range(3)]
    for payment_hash in hashes:
        stand_in.pay(payment_hash)
    for kind in (FaultKind.DUPLICATED_ROWS, FaultKind.REORDERED_ROWS):
        stand_in.arm(Fault(target="lnbits.feed", kind=kind))

    for _ in range(2):
        found = income.settled_payments(page=0, page_size=10)
        assert sorted(payment.payment_hash for payment in found) == sorted(hashes)


# Money out


def test_a_payout_is_paid_when_it_is_read_back_as_paid(
    payouts: Payouts, stand_in: StandInClient
) -> None:
    stand_in.top_up(1000)
    before = payouts.balance()
    text = stand_in.payer_invoice(100)
    payment_hash = bolt11.read(text).payment_hash

    missing = payouts.read(payment_hash)
    report = payouts.send(text)
    paid = payouts.read(payment_hash)

    assert missing.outcome is PayoutOutcome.MISSING
    assert report.outcome is SendOutcome.SENT
    assert paid.outcome is PayoutOutcome.PAID
    assert before - payouts.balance() == 100_000 + paid.fee


def test_a_payout_keeps_its_mark_in_the_list_of_the_wallet(
    payouts: Payouts, stand_in: StandInClient
) -> None:
    stand_in.top_up(1000)
    mark = PayoutMark(job_id=57, job_digits="1a2b3c4d", payout_id=12)
    text = stand_in.payer_invoice(100)

    payouts.send(text, mark)

    page = payouts.movements(Direction.OUT, page=0, page_size=10)
    [sent] = page.movements
    assert (sent.payment_hash, sent.amount) == (bolt11.read(text).payment_hash, -100_000)
    assert (sent.mark, sent.state, page.is_last) == (mark, MovementState.SETTLED, True)
    assert sent.wallet_id == payouts.wallet_id()


def test_sending_again_never_pays_twice_and_is_never_a_conclusion(
    payouts: Payouts, stand_in: StandInClient
) -> None:
    stand_in.top_up(1000)
    before = payouts.balance()
    text = stand_in.payer_invoice(100)

    reports = [payouts.send(text) for _ in range(3)]

    assert {report.outcome for report in reports} == {SendOutcome.SENT}
    paid = payouts.read(bolt11.read(text).payment_hash)
    assert paid.outcome is PayoutOutcome.PAID
    assert before - payouts.balance() == 100_000 + paid.fee
    assert len(stand_in.effects("payment_out")) == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (
            Fault(target="lnbits.pay", kind=FaultKind.RESET, after_effect=True),
            PayoutOutcome.PAID,
        ),
        (
            Fault(target="lnbits.pay", kind=FaultKind.STATUS, status=520, after_effect=True),
            PayoutOutcome.PAID,
        ),
        (Fault(target="lnbits.pay", kind=FaultKind.RESET), PayoutOutcome.MISSING),
        (Fault(target="lnbits.pay", kind=FaultKind.STATUS, status=503), PayoutOutcome.MISSING),
        (Fault(target="lnbits.pay", kind=FaultKind.STATUS, status=429), PayoutOutcome.MISSING),
        (
            Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=5),
            PayoutOutcome.PENDING,
        ),
        (Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_FAILED), PayoutOutcome.FAILED),
    ],
)
def test_a_send_that_goes_wrong_is_sent_and_reading_tells_the_truth(
    payouts: Payouts, stand_in: StandInClient, fault: Fault, outcome: PayoutOutcome
) -> None:
    stand_in.top_up(1000)
    text = stand_in.payer_invoice(100)
    stand_in.arm(fault)

    report = payouts.send(text)
    found = payouts.read(bolt11.read(text).payment_hash)

    assert report.outcome is SendOutcome.SENT
    assert found.outcome is outcome


def test_a_pending_payout_becomes_paid_when_it_is_read_often_enough(
    payouts: Payouts, stand_in: StandInClient
) -> None:
    stand_in.top_up(1000)
    text = stand_in.payer_invoice(100)
    stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=2))
    payouts.send(text)

    outcomes = [payouts.read(bolt11.read(text).payment_hash).outcome for _ in range(3)]

    assert outcomes[0] is PayoutOutcome.PENDING
    assert outcomes[-1] is PayoutOutcome.PAID


def test_known_refusals_are_refused_and_leave_no_row(
    payouts: Payouts, stand_in: StandInClient
) -> None:
    text = stand_in.payer_invoice(10_000_000)

    assert payouts.send("lnbcrt-garbage").outcome is SendOutcome.REFUSED
    poor = payouts.send(text)
    assert (poor.outcome, poor.code) == (SendOutcome.REFUSED, "insufficient_balance")
    assert payouts.read(bolt11.read(text).payment_hash).outcome is PayoutOutcome.MISSING


def test_the_invoice_key_cannot_pay(stand_in: StandInClient, http: HttpClient) -> None:
    stand_in.top_up(1000)
    cannot = LnbitsPayouts(stand_in.url, STAND_IN_INVOICE_KEY, http)

    assert cannot.send(stand_in.payer_invoice(1)).outcome is SendOutcome.REFUSED
    assert stand_in.effects("payment_out") == []


def test_a_wrong_key_neither_finds_nor_misses_a_payout(
    payouts: Payouts, stand_in: StandInClient, http: HttpClient
) -> None:
    stand_in.top_up(1000)
    paid, never_sent = stand_in.payer_invoice(100), stand_in.payer_invoice(100)
    payouts.send(paid)
    wrong = LnbitsPayouts(stand_in.url, "no-key-of-anybody", http)

    for text in (paid, never_sent):
        found = wrong.read(bolt11.read(text).payment_hash)
        assert found.outcome is PayoutOutcome.UNKNOWN
    assert wrong.send(never_sent).outcome is SendOutcome.REFUSED
    with pytest.raises(Refused):
        wrong.balance()


# Models

MakeModel = Callable[[str], LanguageModel]
BOTH = pytest.mark.parametrize(
    ("target", "make", "model"),
    [
        (
            "anthropic",
            lambda url: AnthropicModel(STAND_IN_MODEL_KEY, url, 10.0),
            "claude-haiku-5-5",
        ),
        (
            "openai",
            lambda url: OpenAiCompatibleModel(STAND_IN_MODEL_KEY, f"{url}/v1", 10.0),
            "some-model",
        ),
    ],
    ids=["anthropic", "openai"],
)


def question(model: str, user: str, schema: dict[str, Any] | None = None) -> Question:
    return Question(
        model=model,
        system="You are asked.",
        user=user,
        max_output_tokens=256,
        answer_schema=schema,
    )


@BOTH
def test_the_stand_in_judges_and_works(
    stand_in: StandInClient, target: str, make: MakeModel, model: str
) -> None:
    asked = make(stand_in.url)

    accepted = asked.ask(question(model, "Write a haiku.", VERDICT))
    rejected = asked.ask(question(model, "REJECT this.", VERDICT))
    work = asked.ask(question(model, "Write a haiku."))

    assert json.loads(accepted.text)["accepted"] is True
    assert json.loads(rejected.text)["accepted"] is False
    assert work.stop is Stop.DONE
    assert work.text
    assert work.input_tokens > 0
    assert 0 < work.output_tokens <= 256
    assert stand_in.counts().model_calls == 3


@BOTH
@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        (FaultKind.REFUSAL, Stop.REFUSED),
        (FaultKind.MAX_TOKENS, Stop.CUT),
        (FaultKind.EMPTY, Stop.DONE),
    ],
)
def test_the_ways_to_stop_come_through(
    stand_in: StandInClient,
    target: str,
    make: MakeModel,
    model: str,
    kind: FaultKind,
    stop: Stop,
) -> None:
    stand_in.arm(Fault(target=target, kind=kind))

    found = make(stand_in.url).ask(question(model, "Write a haiku."))

    assert found.stop is stop


@BOTH
@pytest.mark.parametrize(
    ("changes", "kind", "code", "billed"),
    [
        ({"kind": "status", "status": 429}, Unavailable, "http_429", Billed.NO),
        ({"kind": "status", "status": 529}, Unavailable, "http_529", Billed.NO),
        ({"kind": "status", "status": 400}, Refused, "http_400", Billed.NO),
        ({"kind": "reset"}, Unavailable, "connection", Billed.UNKNOWN),
        ({"kind": "truncated"}, Unavailable, "not_json", Billed.UNKNOWN),
        ({"kind": "body"}, Unavailable, "not_json", Billed.UNKNOWN),
    ],
)
def test_model_faults_come_through_as_our_errors(
    *,
    stand_in: StandInClient,
    target: str,
    make: MakeModel,
    model: str,
    changes: dict[str, Any],
    kind: type[OutsideError],
    code: str,
    billed: Billed,
) -> None:
    stand_in.arm(Fault(target=target, retry_after="3", **changes))
    asked = make(stand_in.url)

    with pytest.raises(OutsideError) as caught:
        asked.ask(question(model, "Write a haiku."))

    assert isinstance(caught.value, kind)
    assert (caught.value.code, caught.value.billed) == (code, billed)
    assert asked.ask(question(model, "Write a haiku.")).text


# Prices


@pytest.mark.parametrize("name", KNOWN_SOURCES)
def test_every_feed_is_read_from_the_stand_in(
    stand_in: StandInClient, http: HttpClient, name: str
) -> None:
    stand_in.set_btc_price(Decimal(81_234))
    [feed] = known_feeds((f"{name}={stand_in.url}/feeds/{name}",), http)

    assert feed.fetch().usd == Decimal(81_234)

    stand_in.arm(Fault(target=f"feed.{name}", kind=FaultKind.BODY))
    with pytest.raises(Unavailable):
        feed.fetch()
