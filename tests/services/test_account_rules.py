"""The rules of accounts: silent on what is no job's, loud on every planted defect."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from config.queues import TaskName
from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways.http import HttpClient
from gateways.lightning import IssuedInvoice
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.lnbits import PAYOUTS_ADMIN_KEY, PAYOUTS_INVOICE_KEY
from models import schema
from models.ledger import Account, LedgerEntry
from models.money import Sats
from models.payout import Payout
from models.tick import Tick
from models.violation import Violation
from services.money import owner_moves, reconcile
from services.operate import health, invariants, ticks
from services.operate.account_rules import ACCOUNTS_OF_NOW, AccountRule
from services.proof import Proof
from tests.conftest import empty
from tests.support.life import Life
from tests.support.lived import LivedOnce
from tests.support.owing import claim, owing
from tests.support.rows import all_of, let_pass


@pytest.fixture(autouse=True)
def _nothing_planted_stays(life: Life) -> Iterator[None]:
    """Before the books of every test are looked at."""
    yield
    empty(life.tools)
    life.stand_in.reset()


def an_invoice(life: Life, invoice_key: str, sats: int) -> IssuedInvoice:
    """One that we did not make, in a wallet of ours."""
    income = LnbitsIncome(life.stand_in.url, invoice_key, HttpClient())
    return income.create_invoice(Sats(sats), memo="by hand", lifetime=timedelta(hours=1))


def a_transfer(life: Life, admin_key: str, invoice_key: str, sats: int) -> None:
    paying = LnbitsPayouts(life.stand_in.url, admin_key, HttpClient())
    paying.send(an_invoice(life, invoice_key, sats).payment_request)


def a_stranger_pays(life: Life, sats: int, *, fee_msats: int = 0) -> None:
    invoice = an_invoice(life, STAND_IN_INVOICE_KEY, sats)
    life.stand_in.take_fee(invoice.payment_hash, fee_msats)
    life.stand_in.pay(invoice.payment_hash)
    life.poll()


@LivedOnce
def every_kind_of_move(life: Life) -> None:
    """Transfers both ways, money for nobody that waits and that was booked, the owner's words."""
    paying = LnbitsPayouts(life.stand_in.url, PAYOUTS_ADMIN_KEY, HttpClient())
    of_two_wallets = life.tools.with_(payouts=paying, proof=Proof())
    life.complete()
    reconcile.run(of_two_wallets)
    a_transfer(life, STAND_IN_ADMIN_KEY, PAYOUTS_INVOICE_KEY, 20)
    a_transfer(life, PAYOUTS_ADMIN_KEY, STAND_IN_INVOICE_KEY, 5)
    life.poll()
    reconcile.run(of_two_wallets)
    a_stranger_pays(life, 50, fee_msats=300)
    owner_moves.book(life.tools, owner_moves.waiting(life.tools)[0].reference, note="float")
    a_stranger_pays(life, 7)
    owner_moves.state(life.tools, -1500, note="fees of the node")
    owing(life)


def sweep(life: Life) -> None:
    """What beat does every minute."""
    let_pass(life.tools, Tick, timedelta(minutes=2))
    assert ticks.run(life.tools, TaskName.CHECK_BOOKS)


def plant(life: Life, statement: str) -> None:
    """Write what no code of ours would write; guards are put aside as only a superuser can."""
    with life.tools.database.transaction("test.plant") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement))


def broken(life: Life, rule: AccountRule = AccountRule.FITS_TABLES) -> set[str | None]:
    return {
        violation.account
        for violation in all_of(life.tools, Violation)
        if violation.mended_at is None and violation.rule == rule
    }


def test_sound_accounts_break_no_rule(life: Life) -> None:
    assert invariants.sweep_everything(life.tools) == 0

    every_kind_of_move(life)

    balances = life.balances()
    assert (balances[Account.UNMATCHED], balances[Account.OWNER]) == (7000, 48_500)
    jobless = [e.event_key for e in all_of(life.tools, LedgerEntry) if e.job_id is None]
    kinds = {re.sub(r":[0-9].*|:[0-9a-f]{64}.*", "", key) for key in jobless}
    assert kinds == {"receipt", "income_fee", "transfer", "owner:receipt", "owner:move"}
    assert invariants.sweep_everything(life.tools) == 0
    assert invariants.sweep(life.tools) == 0


_ENTRY = (
    "INSERT INTO ledger_entries (event_key, debit, credit, amount_msats)"
    " VALUES ('planted:1', '{}', '{}', 1)"
)
DEFECTS = {
    "money for nobody that became the owner's by itself": (
        _ENTRY.format("unmatched", "owner"),
        {Account.UNMATCHED, Account.OWNER},
    ),
    "the owner's that became nobody's": (
        _ENTRY.format("owner", "unmatched"),
        {Account.UNMATCHED, Account.OWNER},
    ),
    "a transfer that was none": (
        _ENTRY.format("unmatched", "wallet"),
        {Account.UNMATCHED, Account.WALLET},
    ),
    "income that is no job's": (
        _ENTRY.format("unmatched", "earned"),
        {Account.UNMATCHED, Account.EARNED},
    ),
    "an entry that lost its job": (
        (
            "UPDATE ledger_entries SET job_id = NULL"
            " WHERE id = (SELECT max(id) FROM ledger_entries WHERE credit = 'earned')"
        ),
        {Account.HELD, Account.EARNED},
    ),
    "a receipt that is not booked": (
        "DELETE FROM ledger_entries WHERE credit = 'unmatched' AND amount_msats = 7000",
        {Account.WALLET, Account.UNMATCHED},
    ),
    "a booking of another amount": (
        (
            "UPDATE ledger_entries SET amount_msats = amount_msats + 1"
            " WHERE event_key LIKE 'owner:receipt:%'"
        ),
        {Account.UNMATCHED, Account.OWNER},
    ),
    "the owner's move that is not booked": (
        "DELETE FROM ledger_entries WHERE event_key LIKE 'owner:move:%'",
        {Account.WALLET, Account.OWNER},
    ),
    "a fee that is not booked": (
        "DELETE FROM ledger_entries WHERE event_key LIKE 'income_fee:%'",
        {Account.WALLET, Account.ROUTING_FEES},
    ),
    "a booking that nobody made": (
        "DELETE FROM wallet_moves WHERE kind = 'received'",
        {Account.UNMATCHED, Account.OWNER},
    ),
}


@pytest.mark.parametrize(("statement", "accounts"), DEFECTS.values(), ids=list(DEFECTS))
def test_what_is_broken_is_found_with_its_accounts(
    life: Life, statement: str, accounts: set[Account]
) -> None:
    every_kind_of_move(life)
    plant(life, statement)

    invariants.sweep_everything(life.tools)

    assert broken(life) == {account.value for account in accounts}


def test_every_rule_has_a_planted_defect() -> None:
    has_one = {AccountRule.FITS_TABLES, AccountRule.FEES_IN_PROPORTION}
    assert set(AccountRule) == ACCOUNTS_OF_NOW.keys() == has_one


def test_the_duty_finds_it_however_old_it_is_and_says_so_once_and_until_it_is_mended(
    life: Life,
) -> None:
    every_kind_of_move(life)
    for _ in range(3):
        sweep(life)
    plant(life, _ENTRY.format("unmatched", "owner"))

    with capture_logs() as logs:
        sweep(life)
        sweep(life)

    said = [line for line in logs if line["event"] == "a rule is broken"]
    assert [(line["log_level"], line["account"]) for line in said] == [
        ("error", "owner"),
        ("error", "unmatched"),
    ]
    assert _broken_rules_of_readyz(life) == {AccountRule.FITS_TABLES.value: 2}

    plant(life, "DELETE FROM ledger_entries WHERE event_key = 'planted:1'")
    sweep(life)
    assert broken(life) == set()
    assert _broken_rules_of_readyz(life) == {}


_REFUNDS = (
    "INSERT INTO payouts (job_id, payment_hash, payment_request, amount_sats, invoice_expires_at,"
    " state, posts, settled_at, fee_msats)"
    " SELECT 1, 'planted' || n, 'lnbcrt', {sats}, now(), '{state}', 1,"
    " now() - interval '{age}', {fee} FROM generate_series(1, {number}) n"
)


def refunds_of_a_day(
    number: int, *, sats: int, fee: int, age: str = "23 hours", state: str = "paid"
) -> str:
    return _REFUNDS.format(number=number, sats=sats, fee=fee, age=age, state=state)


DEAR = {
    "ten sats each through a hop that takes two": refunds_of_a_day(501, sats=10, fee=2000),
    "twenty sats each through a hop that takes two": refunds_of_a_day(501, sats=20, fee=2000),
    "one that has cost more than all": refunds_of_a_day(1, sats=10, fee=1_000_001),
}
CHEAP = {
    "none at all": "SELECT 1",
    "as many as are not worth a look": refunds_of_a_day(500, sats=10, fee=2000),
    "one sat in twenty": refunds_of_a_day(2000, sats=20, fee=1000),
    "a fair hundredth of much": refunds_of_a_day(501, sats=1000, fee=10_000),
    "dear ones of the day before": refunds_of_a_day(9000, sats=10, fee=2000, age="25 hours"),
    "dear ones that were never paid": refunds_of_a_day(501, sats=10, fee=2000, state="failed"),
}


@pytest.mark.parametrize("statement", DEAR.values(), ids=list(DEAR))
def test_fees_of_routing_that_are_out_of_proportion_are_found(life: Life, statement: str) -> None:
    plant(life, statement)

    invariants.sweep(life.tools)

    assert broken(life, AccountRule.FEES_IN_PROPORTION) == {Account.ROUTING_FEES.value}


@pytest.mark.parametrize("statement", CHEAP.values(), ids=list(CHEAP))
def test_fees_of_routing_that_fit_what_was_refunded_alarm_nobody(
    life: Life, statement: str
) -> None:
    plant(life, statement)

    invariants.sweep(life.tools)

    assert broken(life, AccountRule.FEES_IN_PROPORTION) == set()


def test_a_fee_that_lnbits_has_told_alarms_once_and_until_its_day_is_over(life: Life) -> None:
    owing_one = owing(life)
    life.stand_in.top_up(2000)
    pending = FaultKind.PAYMENT_PENDING
    life.stand_in.arm(Fault(target="lnbits.pay", kind=pending, reads=1, fee_msats=1_001_000))
    claim(life, owing_one)
    life.work()
    life.make_due()
    life.work()
    assert life.debts(owing_one) == [("late", 10, "paid")]

    with capture_logs() as logs:
        sweep(life)
        sweep(life)

    said = [line for line in logs if line["event"] == "a rule is broken"]
    assert [(line["rule"], line["account"]) for line in said] == [
        (AccountRule.FEES_IN_PROPORTION.value, "routing_fees")
    ]
    assert _broken_rules_of_readyz(life) == {AccountRule.FEES_IN_PROPORTION.value: 1}
    let_pass(life.tools, Payout, timedelta(hours=24))
    sweep(life)
    assert _broken_rules_of_readyz(life) == {}


def test_the_fees_of_a_day_are_found_without_reading_all_refunds_there_ever_were(
    life: Life,
) -> None:
    query = ACCOUNTS_OF_NOW[AccountRule.FEES_IN_PROPORTION]
    with life.tools.database.transaction("test.plan") as session:
        # a table of few rows is read as a whole, unless that is forbidden
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(session.scalars(text(f"EXPLAIN {query}")))

    assert "ix_payouts_settled" in plan
    assert "Seq Scan" not in plan


def _broken_rules_of_readyz(life: Life) -> object:
    found = health.check(life.tools, schema_revision=schema.HEAD)
    return found.parts["books"]["brokenRules"]
