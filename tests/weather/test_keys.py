"""Wrong keys: noticed by name, and no payment is lost, invented or made twice by one."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from config.queues import TaskName
from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways.lightning import Payouts
from local.stand_in.lnbits import PAYER_INVOICE_KEY
from local.stand_in.lnbits_payments import WALLET_IDS
from local.stand_in.rows import Wallet
from models.invoice import InvoiceKind, Receipt
from models.lifecycle import JobState
from models.payout import Payout, PayoutState
from models.tick import Tick
from services.money import doubtful_payouts, payouts, wallets
from services.toolbox import Toolbox
from tests.conformance.scripted_server import ScriptedServer, json_answer
from tests.support.rows import all_of, change, let_pass, only
from tests.weather.conftest import Sky, at
from tests.weather.storms import STORMS, Storm, in_every_storm
from tests.weather.test_money_out import a_claim, assert_paid_once, pass_a_minute, payments_out

POLL, SWEEP = TaskName.POLL_PAYMENTS, TaskName.SWEEP_INVOICES
INCOME, PAYOUTS = TaskName.CHECK_INCOME, TaskName.CHECK_PAYOUTS
NOBODYS_KEY = "0" * 32

WithKeys = Callable[..., Toolbox]


@pytest.fixture
def with_keys(sky: Sky) -> WithKeys:
    """The deployment after its keys were changed and its worker restarted."""

    def changed(invoice: str = STAND_IN_INVOICE_KEY, admin: str = STAND_IN_ADMIN_KEY) -> Toolbox:
        return at(sky.tools, sky.life.stand_in.url, invoice_key=invoice, admin_key=admin)

    return changed


def test_with_the_right_keys_both_parts_are_well(sky: Sky) -> None:
    sky.life.complete()

    sky.come_round(INCOME, PAYOUTS)

    for part in (sky.check("lightningIncome"), sky.check("lightningPayouts")):
        assert (part["ok"], part["error"]) == (True, None)
        assert part["ageSeconds"] < 10


def test_before_a_key_was_ever_proved_its_part_is_not_well(sky: Sky) -> None:
    assert sky.check("lightningIncome") == {"ok": False, "error": None, "ageSeconds": None}


def test_a_proof_that_is_too_old_is_none(sky: Sky) -> None:
    sky.come_round(INCOME, PAYOUTS)

    let_pass(sky.tools, Tick, timedelta(seconds=80))

    assert not sky.check("lightningIncome")["ok"]
    assert not sky.check("lightningPayouts")["ok"]


@pytest.mark.parametrize(
    ("invoice", "code"),
    [
        (NOBODYS_KEY, "wrong_key"),
        (STAND_IN_ADMIN_KEY, "key_can_pay"),
        (PAYER_INVOICE_KEY, "other_wallet"),
    ],
    ids=["nobody's", "the one that pays", "of another wallet"],
)
def test_given_a_key_of_the_income_that_is_not_the_right_one_then_readyz_and_an_error_say_which(
    sky: Sky, with_keys: WithKeys, invoice: str, code: str
) -> None:
    sky.life.create()

    with capture_logs() as logs:
        sky.come_round(INCOME, tools=with_keys(invoice=invoice))

    assert sky.check("lightningIncome")["error"] == code
    assert sky.readyz()["status"] == "degraded"
    assert [(line["log_level"], line["code"]) for line in logs if "code" in line] == [
        ("error", code)
    ]
    sky.come_round(INCOME)
    assert sky.check("lightningIncome")["ok"]


@pytest.mark.parametrize(
    ("admin", "code"),
    [(NOBODYS_KEY, "wrong_key"), (STAND_IN_INVOICE_KEY, "key_cannot_pay")],
    ids=["nobody's", "that cannot pay"],
)
def test_given_a_key_of_the_payouts_that_is_not_the_right_one_then_readyz_says_which(
    sky: Sky, with_keys: WithKeys, admin: str, code: str
) -> None:
    sky.come_round(PAYOUTS, tools=with_keys(admin=admin))

    assert sky.check("lightningPayouts")["error"] == code
    assert sky.readyz()["status"] == "degraded"
    sky.come_round(PAYOUTS)
    assert sky.check("lightningPayouts")["ok"]


@in_every_storm
def test_given_a_storm_over_the_wallets_then_the_parts_say_which_and_it_is_no_wrong_key(
    sky: Sky, storm: Storm
) -> None:
    sky.storm("lnbits.wallet", storm)

    sky.come_round(INCOME, PAYOUTS)

    assert sky.check("lightningIncome")["error"] == storm.code
    assert sky.check("lightningPayouts")["error"] == storm.code


def test_with_a_wrong_key_a_payment_waits_until_the_right_one_is_back(
    sky: Sky, with_keys: WithKeys
) -> None:
    view = sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL)
    wrong = with_keys(invoice=NOBODYS_KEY)
    sky.let_invoices_age(2 * 3600)

    sky.come_round(POLL, SWEEP, tools=wrong)

    assert (sky.error_of(POLL), sky.error_of(SWEEP)) == ("wrong_key", "wrong_key")
    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT
    sky.come_round(POLL)
    assert sky.life.state(view) is JobState.EVALUATING


def test_with_a_key_of_another_wallet_nothing_expires_and_a_payment_is_found_later(
    sky: Sky, with_keys: WithKeys
) -> None:
    view, unpaid = sky.life.create(), sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL)
    another = with_keys(invoice=PAYER_INVOICE_KEY)
    sky.let_invoices_age(3601)

    sky.come_round(POLL, SWEEP, INCOME, tools=another)

    assert all_of(sky.tools, Receipt) == []
    assert sky.life.state(unpaid) is JobState.AWAITING_EVAL_PAYMENT
    assert sky.check("lightningIncome")["error"] == "other_wallet"
    sky.come_round(POLL)
    assert sky.life.state(view) is JobState.EVALUATING


def test_an_invoice_that_has_expired_long_ago_is_not_looked_for(sky: Sky) -> None:
    sky.life.create()
    sky.let_invoices_age(3601)
    sky.come_round(SWEEP)
    sky.life.stand_in.reset()

    sky.come_round(INCOME)

    assert sky.check("lightningIncome")["ok"]


def test_an_invoice_that_lnbits_has_lost_looks_like_a_wrong_key_only_while_it_can_be_paid(
    sky: Sky, with_keys: WithKeys
) -> None:
    view = sky.life.create()
    losing = with_keys(invoice=PAYER_INVOICE_KEY)
    found = []

    for age in (3601, 600, 300):  # its deadline, and the ten minutes that a late payment gets
        sky.let_invoices_age(age)
        sky.come_round(SWEEP, INCOME, tools=losing)
        found.append(sky.check("lightningIncome")["error"])

    assert found == ["other_wallet", None, None]
    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT
    assert not sky.check("invoices")["ok"]


@pytest.fixture
def elsewhere(sky: Sky, between: ScriptedServer) -> Toolbox:
    """The deployment with the admin key of a wallet that knows none of our payments."""
    wallet = {"name": "elsewhere", "balance": 10**9, "id": "another-wallet"}
    nothing = json_answer({"detail": "Payment does not exist."}, 404)
    between.respond = lambda heard: json_answer(wallet) if "wallet" in heard.path else nothing
    return at(sky.tools, between.url, admin_key="of another wallet")


def in_doubt_though_paid(sky: Sky) -> None:
    """A refund that our wallet has paid, which we could not read back."""
    a_claim(sky)
    sky.come_round(PAYOUTS)
    sky.storm("lnbits.read", STORMS["hung"])
    sky.life.work()
    sky.clear()
    assert len(payments_out(sky)) == 1
    assert only(sky.tools, Payout).state is PayoutState.SENDING


def test_given_a_refund_in_doubt_when_the_key_is_changed_to_another_wallet_then_it_stays_in_doubt(
    sky: Sky, elsewhere: Toolbox
) -> None:
    in_doubt_though_paid(sky)

    for _ in range(4):
        sky.come_round(PAYOUTS, tools=elsewhere)
        let_pass(sky.tools, Payout, timedelta(hours=1))
        payouts.send(elsewhere, only(sky.tools, Payout).id)

    payout = only(sky.tools, Payout)
    assert (payout.state, payout.posts) == (PayoutState.SENDING, 1)
    assert sky.check("lightningPayouts")["error"] == "other_wallet"
    assert sky.check("refunds")["errors"] == {"wallet_not_proved": 1}
    sky.come_round(PAYOUTS)
    pass_a_minute(sky)
    assert only(sky.tools, Payout).state is PayoutState.PAID
    assert len(payments_out(sky)) == 1


def test_given_a_refund_in_doubt_that_a_person_calls_failed_then_another_wallet_may_pay(
    sky: Sky, elsewhere: Toolbox
) -> None:
    """Its row would be looked for there in vain, and all refunds would wait for it."""
    a_claim(sky)
    sky.come_round(PAYOUTS, TaskName.RECONCILE)
    sky.storm("lnbits.pay", STORMS["reset"])
    sky.life.work()
    sky.clear()
    let_pass(sky.tools, Payout, timedelta(hours=3))
    in_doubt = only(sky.tools, Payout)
    assert (in_doubt.state, in_doubt.posts) == (PayoutState.SENDING, 1)

    doubtful_payouts.vouch_failed(sky.tools, in_doubt.id, 1)
    sky.come_round(PAYOUTS, tools=elsewhere)
    payouts.send(elsewhere, in_doubt.id)

    assert sky.check("lightningPayouts")["ok"]
    assert only(sky.tools, Payout).state is PayoutState.FAILED


def test_given_a_key_that_is_revoked_while_a_refund_is_in_doubt_then_readyz_says_so_and_it_waits(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_doubt_though_paid(sky)
    revoked = at(sky.tools, sky.life.stand_in.url, admin_key="revoked")
    monkeypatch.setattr(payouts_of(revoked), "key_mark", payouts_of(sky.tools).key_mark)

    with capture_logs() as logs:
        let_pass(sky.tools, Payout, timedelta(hours=1))
        payouts.send(revoked, only(sky.tools, Payout).id)

    assert [line["code"] for line in logs if line["event"] == "payout in doubt"] == ["wrong_key"]
    assert sky.check("refunds")["errors"] == {"wrong_key": 1}
    pass_a_minute(sky)
    assert only(sky.tools, Payout).state is PayoutState.PAID


def test_given_a_new_key_that_is_not_proved_yet_then_nothing_is_sent_until_it_is(
    sky: Sky, elsewhere: Toolbox
) -> None:
    sky.come_round(PAYOUTS, TaskName.RECONCILE)
    view = a_claim(sky)

    payouts.send(elsewhere, only(sky.tools, Payout).id)

    assert only(sky.tools, Payout).posts == 0
    assert sky.check("refunds")["errors"] == {"wallet_not_proved": 1}
    sky.come_round(PAYOUTS, tools=elsewhere)
    assert sky.check("lightningPayouts")["ok"], "nothing was in doubt: another wallet may pay"
    sky.come_round(PAYOUTS)
    pass_a_minute(sky)
    assert_paid_once(sky, view)


def test_given_a_new_key_of_the_same_wallet_then_it_speaks_for_what_is_in_doubt(
    sky: Sky, between: ScriptedServer
) -> None:
    in_doubt_though_paid(sky)
    wallet = {"name": "ours", "balance": 10**9, "id": WALLET_IDS[Wallet.SERVICE]}
    between.respond = lambda _: json_answer(wallet)
    renewed = at(sky.tools, between.url, admin_key="the new one")
    assert not wallets.is_paying_wallet_proved(renewed, payouts_of(renewed))

    sky.come_round(PAYOUTS, tools=renewed)

    assert sky.check("lightningPayouts")["ok"]
    assert wallets.is_paying_wallet_proved(renewed, payouts_of(renewed))


def test_given_the_operator_has_cleared_the_record_then_another_wallet_is_taken(
    sky: Sky, elsewhere: Toolbox
) -> None:
    in_doubt_though_paid(sky)
    sky.come_round(PAYOUTS, tools=elsewhere)
    assert sky.check("lightningPayouts")["error"] == "other_wallet"

    change(sky.tools, Tick, cursor=None)
    sky.come_round(PAYOUTS, tools=elsewhere)

    assert sky.check("lightningPayouts")["ok"]


def payouts_of(tools: Toolbox) -> Payouts:
    assert tools.payouts is not None
    return tools.payouts
