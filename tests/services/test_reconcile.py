"""The books against the wallet: what stops payouts, what only alarms, and what explains itself."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, text
from structlog.testing import capture_logs

from config.settings import STAND_IN_ADMIN_KEY, STAND_IN_INVOICE_KEY
from gateways import bolt11
from gateways.errors import OutsideError
from gateways.http import HttpClient
from gateways.lightning import (
    Direction,
    MovementPage,
    MovementState,
    PayoutMark,
    PayoutOutcome,
    lnbits,
)
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from local.stand_in.faults import Fault, FaultKind, PaymentEnd
from local.stand_in.lnbits import PAYOUTS_ADMIN_KEY, PAYOUTS_INVOICE_KEY
from local.stand_in.rows import Payment, Rows, Status, Wallet
from local.stand_in.testing import StandInClient, running_stand_in
from models import money_moves
from models.invoice import InvoiceKind
from models.job import Job
from models.ledger import Account, LedgerEntry
from models.money import Msats, Sats
from models.payout import Payout, PayoutState
from models.reconciliation import Reconciliation, Verdict
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.errors import NotBooked
from services.jobs import intake
from services.money import ledger, owner_moves, payouts, reconcile, wallet_lists
from services.operate import invariants
from services.proof import Proof
from services.toolbox import Toolbox
from tests.conftest import empty
from tests.support import audit
from tests.support.books import assert_balanced
from tests.support.life import Life
from tests.support.owing import claim, claimed, owing
from tests.support.restoring import forgotten
from tests.support.rows import HOUR, all_of, change, let_pass, only

CLEAN, SHORTFALL, SURPLUS = Verdict.CLEAN, Verdict.SHORTFALL, Verdict.SURPLUS


def run(life: Life, tools: Toolbox | None = None) -> tuple[Verdict, bool]:
    found = reconcile.run(tools or life.tools)
    return found.verdict, found.confirmed


def admin(life: Life, key: str = STAND_IN_ADMIN_KEY) -> LnbitsPayouts:
    """Whoever has the admin key in hand, beside the service."""
    return LnbitsPayouts(life.stand_in.url, key, HttpClient())


def withdraw(life: Life, sats: int) -> None:
    admin(life).send(life.stand_in.payer_invoice(sats))


def two_wallets(life: Life) -> Toolbox:
    """Paying from a wallet of its own."""
    return life.tools.with_(payouts=admin(life, PAYOUTS_ADMIN_KEY), proof=Proof())


def paid(life: Life) -> None:
    claimed(life)
    life.work()


def test_sound_books_are_clean_in_every_state_of_a_payout(life: Life) -> None:
    assert run(life) == (CLEAN, False)
    owing(life)
    assert run(life) == (CLEAN, True)
    paid(life)
    assert run(life) == (CLEAN, True)
    claimed(life)
    pending = Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=3, fee_msats=1000)
    life.stand_in.arm(pending)
    life.complete()
    life.work()

    for _ in range(4):
        assert run(life)[0] is CLEAN
        let_pass(life.tools, Payout, timedelta(seconds=61))
        life.make_due()
        life.work()

    assert all(payout.state is PayoutState.PAID for payout in all_of(life.tools, Payout))
    assert run(life) == (CLEAN, True)
    assert life.balances()[Account.ROUTING_FEES] == 1000


def test_money_that_is_missing_stops_payouts_when_it_was_seen_twice_and_not_before(
    life: Life,
) -> None:
    life.complete()
    run(life)
    life.stand_in.top_up(-1)

    assert run(life) == (SHORTFALL, False)
    paid(life)
    assert run(life) == (SHORTFALL, True)
    stopped = claimed(life)
    life.work()

    assert [p.state for p in all_of(life.tools, Payout)] == [PayoutState.PAID, PayoutState.SENDING]
    assert life.create().job.id > stopped.job.id, "intake goes on"
    life.stand_in.top_up(1)
    assert run(life) == (CLEAN, False)
    life.make_due()
    life.work()
    assert [p.state for p in all_of(life.tools, Payout)] == [PayoutState.PAID, PayoutState.PAID]


def test_a_payout_that_was_posted_is_read_on_while_payouts_are_stopped(life: Life) -> None:
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.RESET, after_effect=True))
    life.stand_in.arm(Fault(target="lnbits.read", kind=FaultKind.STATUS, status=500))
    paid(life)
    life.stand_in.top_up(-5)
    run(life)
    assert run(life) == (SHORTFALL, True)

    life.make_due()
    life.work()

    assert only(life.tools, Payout).state is PayoutState.PAID
    life.stand_in.top_up(5)


def test_a_surplus_alarms_and_stops_nothing(life: Life) -> None:
    life.stand_in.top_up(1)
    with capture_logs() as logs:
        assert run(life) == (SURPLUS, False)
        assert run(life) == (SURPLUS, True)

    paid(life)

    assert only(life.tools, Payout).state is PayoutState.PAID
    said = [line["log_level"] for line in logs if line["event"] == "books and wallets differ"]
    assert said == ["warning", "error"]
    life.stand_in.top_up(-1)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_when_lnbits_does_not_answer_nothing_is_concluded(life: Life, status: int) -> None:
    run(life)
    life.stand_in.top_up(-1)
    life.stand_in.arm(Fault(target="lnbits.feed", kind=FaultKind.STATUS, status=status))

    with pytest.raises(OutsideError):
        reconcile.run(life.tools)

    assert [row.verdict for row in all_of(life.tools, Reconciliation)] == [CLEAN]
    life.stand_in.top_up(1)


def test_a_withdrawal_waits_for_a_person_and_stops_payouts_until_it_is_booked(life: Life) -> None:
    life.complete()
    paid(life)
    run(life)
    withdraw(life, 3)
    assert run(life) == (SHORTFALL, False)
    assert run(life) == (SHORTFALL, True)
    move = only(life.tools, WalletMove)
    assert (move.kind, move.state, move.amount_msats) == (MoveKind.SENT, MoveState.WAITING, -3000)

    owner_moves.book(life.tools, owner_moves.waiting(life.tools)[0].reference, note="rent")

    assert run(life) == (CLEAN, False)
    assert life.balances()[Account.OWNER] == -3000
    assert only(life.tools, WalletMove).note == "rent"
    empty(life.tools)
    life.stand_in.reset()


def test_a_withdrawal_that_fails_after_all_stops_payouts_no_longer(life: Life) -> None:
    life.complete()
    run(life)
    slow = Fault(
        target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=1, then=PaymentEnd.FAILED
    )
    life.stand_in.arm(slow)
    withdraw(life, 3)
    assert run(life) == (SHORTFALL, False)
    move = only(life.tools, WalletMove)
    assert move.state is MoveState.PENDING

    assert admin(life).read(move.payment_hash).outcome is PayoutOutcome.FAILED

    assert run(life) == (CLEAN, False)
    assert only(life.tools, WalletMove).state is MoveState.VOID
    assert owner_moves.waiting(life.tools) == []


def test_a_pending_withdrawal_whose_row_was_deleted_is_let_go_by_a_full_comparison(
    life: Life,
) -> None:
    """LNbits calls a payment that its node never heard of pending for ever."""
    life.complete()
    run(life)
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=9))
    withdraw(life, 3)
    run(life)
    move = only(life.tools, WalletMove)
    assert move.state is MoveState.PENDING
    life.stand_in.arm(
        Fault(target="lnbits.feed", kind=FaultKind.MISSING_ROW, text=move.payment_hash, times=99)
    )

    reconcile.run(life.tools, everything=True)
    assert only(life.tools, WalletMove).state is MoveState.PENDING, "another run may be at work"
    change(life.tools, WalletMove, seen_at=func.now() - HOUR)
    run(life)
    assert only(life.tools, WalletMove).state is MoveState.PENDING, "it has not read the whole list"
    reconcile.run(life.tools, everything=True)

    assert only(life.tools, WalletMove).state is MoveState.VOID
    assert owner_moves.waiting(life.tools) == []
    empty(life.tools)
    life.stand_in.reset()


def test_a_withdrawal_is_seen_even_if_as_much_came_in_meanwhile(life: Life) -> None:
    life.complete()
    run(life)
    withdraw(life, 3)
    life.stand_in.top_up(3)

    assert run(life) == (SHORTFALL, False)
    life.stand_in.reset()
    empty(life.tools)


def test_money_for_nobody_can_be_booked_once_and_with_a_note_only(life: Life) -> None:
    life.create()
    stranger = admin(life)  # an invoice that we did not make, in our own wallet

    income = LnbitsIncome(life.stand_in.url, STAND_IN_INVOICE_KEY, HttpClient())
    invoice = income.create_invoice(Sats(50), memo="top up", lifetime=timedelta(hours=1))
    life.stand_in.pay(invoice.payment_hash)
    life.poll()
    assert stranger.balance() == 50_000
    assert run(life)[0] is CLEAN
    (waits,) = owner_moves.waiting(life.tools)

    with pytest.raises(NotBooked):
        owner_moves.book(life.tools, waits.reference, note="  ")
    owner_moves.book(life.tools, waits.reference, note="float")
    with pytest.raises(NotBooked):
        owner_moves.book(life.tools, waits.reference, note="float")

    assert life.balances()[Account.OWNER] == 50_000
    assert life.balances()[Account.UNMATCHED] == 0
    assert owner_moves.waiting(life.tools) == []
    assert run(life)[0] is CLEAN


def test_what_no_row_shows_can_be_stated_by_a_person(life: Life) -> None:
    life.stand_in.top_up(70)
    assert run(life)[0] is SURPLUS

    owner_moves.state(life.tools, 70_000, note="opening balance")

    assert run(life)[0] is CLEAN
    assert life.balances()[Account.OWNER] == 70_000


def test_what_is_stated_twice_because_the_answer_was_lost_is_booked_once(life: Life) -> None:
    owner_moves.state(life.tools, 70_000, note="opening balance")

    with pytest.raises(NotBooked, match="says so already"):
        owner_moves.state(life.tools, 70_000, note=" opening balance ")

    assert life.balances()[Account.OWNER] == 70_000
    owner_moves.state(life.tools, 70_000, note="opening balance of the second wallet")
    assert life.balances()[Account.OWNER] == 140_000


@pytest.mark.parametrize("amount", [10**19, -(10**19), 10**400])
def test_more_than_all_bitcoin_cannot_be_stated(life: Life, amount: int) -> None:
    with pytest.raises(NotBooked):
        owner_moves.state(life.tools, amount, note="a slip of the keyboard")


def transfer(life: Life, key_from: str, invoice_key: str, sats: int) -> None:

    income = LnbitsIncome(life.stand_in.url, invoice_key, HttpClient())
    invoice = income.create_invoice(Sats(sats), memo="move", lifetime=timedelta(hours=1))
    admin(life, key_from).send(invoice.payment_request)


def test_a_transfer_between_our_two_wallets_is_no_loss_either_way(life: Life) -> None:

    tools = two_wallets(life)
    life.complete()
    assert run(life, tools) == (CLEAN, False)

    transfer(life, STAND_IN_ADMIN_KEY, PAYOUTS_INVOICE_KEY, 20)
    assert run(life, tools) == (CLEAN, True)
    transfer(life, PAYOUTS_ADMIN_KEY, STAND_IN_INVOICE_KEY, 5)
    life.poll()
    assert run(life, tools) == (CLEAN, True)

    states = {move.state for move in all_of(life.tools, WalletMove)}
    assert states == {MoveState.TRANSFER}
    assert life.balances()[Account.UNMATCHED] == 0
    assert owner_moves.waiting(life.tools) == []
    empty(life.tools)
    life.stand_in.reset()


def test_a_top_up_of_the_paying_wallet_alarms_until_it_is_booked(life: Life) -> None:

    tools = two_wallets(life)
    life.complete()
    run(life, tools)
    income = LnbitsIncome(life.stand_in.url, PAYOUTS_INVOICE_KEY, HttpClient())
    invoice = income.create_invoice(Sats(40), memo="float", lifetime=timedelta(hours=1))
    life.stand_in.pay(invoice.payment_hash)

    assert run(life, tools) == (SURPLUS, False)
    owner_moves.book(tools, owner_moves.waiting(tools)[0].reference, note="float")

    assert run(life, tools) == (CLEAN, False)
    assert life.balances()[Account.OWNER] == 40_000


def test_income_is_no_top_up_when_lnbits_shows_none_for_a_moment(life: Life) -> None:
    for _ in range(2):  # of a wallet that is new to us nothing old is written down
        life.complete()
        life.stand_in.arm(Fault(target="lnbits.feed", kind=FaultKind.MISSING_ROW))
        run(life)

    assert all_of(life.tools, WalletMove) == []


@pytest.mark.parametrize("posts", [0, 1])
def test_a_payout_whose_row_is_listed_is_known_to_have_one(life: Life, posts: int) -> None:
    """That LNbits has none any more proves nothing then, however long after its expiry."""
    life.complete()
    claimed(life)
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=9))
    life.stand_in.arm(Fault(target="lnbits.read", kind=FaultKind.STATUS, status=503))
    life.work()
    unread = only(life.tools, Payout)
    assert (unread.posts, unread.row_was_read) == (1, False)
    if not posts:  # its database was restored to before it was handed over
        change(life.tools, Payout, posts=0, candid_posts=0, believed_post=0, last_post_at=None)

    run(life)

    payout = only(life.tools, Payout)
    assert (payout.posts, payout.row_was_read) == (1, True)
    if posts:
        assert payout.last_post_at == unread.last_post_at
    assert payout.last_post_at is not None


def test_what_comes_and_goes_while_reconcile_reads_is_no_difference(life: Life) -> None:
    """Each request of reconcile is followed by a payment in and a payout, both recorded."""
    life.complete()

    class Busy(LnbitsPayouts):
        busy = False

        def balance(self) -> Msats:
            found = super().balance()
            if not self.busy:
                self.busy = True
                paid(life)
                life.complete()
            return found

        def wallet_id(self) -> str:
            found = super().wallet_id()
            claimed(life)
            life.complete()
            return found

    busy = Busy(life.stand_in.url, STAND_IN_ADMIN_KEY, HttpClient())

    assert run(life, life.tools.with_(payouts=busy))[0] is CLEAN


@pytest.mark.parametrize("end", [PaymentEnd.SUCCESS, PaymentEnd.FAILED])
def test_a_payout_that_is_decided_after_the_wallet_was_read_is_no_shortfall(
    life: Life, end: PaymentEnd
) -> None:
    """While it was under way LNbits kept back more than it cost in the end."""
    owing(life)
    claimed(life)
    pending = Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=2, then=end)
    life.stand_in.arm(pending)
    life.work()

    class Decided(LnbitsPayouts):
        def balance(self) -> Msats:
            found = super().balance()
            for passes in (timedelta(hours=2), *[timedelta(seconds=61)] * 2):
                if only(life.tools, Payout).state is PayoutState.SENDING:
                    let_pass(life.tools, Payout, passes)
                    life.make_due()
                    life.work()
            assert only(life.tools, Payout).state is not PayoutState.SENDING
            return found

    decided = Decided(life.stand_in.url, STAND_IN_ADMIN_KEY, HttpClient())

    assert run(life, life.tools.with_(payouts=decided))[0] is CLEAN


def test_where_much_has_happened_a_few_large_pages_are_read_and_not_many_small_ones(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request may fail, and then nothing is concluded and no refund is sent."""
    monkeypatch.setattr(wallet_lists, "PAGE", 2)
    for _ in range(9):
        paid(life)
    run(life)
    before = life.stand_in.counts().requests["GET /api/v1/payments/paginated"]

    assert run(life)[0] is CLEAN

    asked = life.stand_in.counts().requests["GET /api/v1/payments/paginated"] - before
    assert asked == len(["whose wallet", "a small page", "a large page", "newest income"])


def test_a_forgotten_payout_that_settles_while_the_list_is_read_is_found(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the head of the list, which was read, and from where nobody has been so far.

    No shortfall shows it either while there is more in the wallet than the books say.
    """
    monkeypatch.setattr(wallet_lists, "PAGE_OF_ALL", 2)
    view = owing(life)

    def hand_over_and_try_others() -> None:
        claim(life, view)
        life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=2))
        life.work()
        life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_FAILED, times=3))
        life.stand_in.top_up(100)
        for _ in range(3):
            withdraw(life, 1)

    life = forgotten(life, hand_over_and_try_others)
    assert all_of(life.tools, Payout) == []
    older = admin(life).movements(Direction.OUT, page=1, page_size=2).movements
    (under_way,) = [row for row in older if row.state is MovementState.PENDING]

    class Settling(LnbitsPayouts):
        def movements(self, direction: Direction, *, page: int, page_size: int) -> MovementPage:
            found = super().movements(direction, page=page, page_size=page_size)
            if page == 0:
                assert self.read(under_way.payment_hash).outcome is PayoutOutcome.PAID
            return found

    settling = Settling(life.stand_in.url, STAND_IN_ADMIN_KEY, HttpClient())

    assert reconcile.prove(life.tools.with_(payouts=settling))

    found = only(life.tools, Payout)
    assert (found.payment_hash, found.job_id) == (under_way.payment_hash, view.job.id)
    life.make_due()
    life.work()
    assert life.debts(view) == [("late", 10, "paid")]
    life.stand_in.top_up(-100)


@pytest.fixture
def wallet_of_long_rows(tmp_path: Path) -> Iterator[StandInClient]:
    """A full page of payments of others, each as long as an invoice for a refund can make it."""
    past = Rows(tmp_path / "stand_in.sqlite3")
    with past.transaction():
        for number in range(lnbits.PAGE_LIMIT):
            past.insert(a_long_row(number, past.moment()))
    with running_stand_in(tmp_path) as stand_in:
        yield stand_in


def a_long_row(number: int, moment: int) -> Payment:
    return Payment(
        wallet=Wallet.SERVICE,
        checking_id=f"{number:064x}",
        payment_hash=f"{number:064x}",
        bolt11="lnbcrt1".ljust(bolt11.MAX_LENGTH, "q"),
        amount=-1000,
        fee=-2000,
        status=Status.SUCCESS if number % 2 else Status.FAILED,
        memo="\x01" * lnbits.MEMO_LENGTH,
        expires_at=moment,
        created_at=moment,
        updated_at=moment,
    )


def test_however_long_the_invoices_are_that_were_paid_the_wallet_can_be_read(
    life: Life, wallet_of_long_rows: StandInClient
) -> None:
    """What every refund waits for after a restart must not be in the hand of who claims some."""
    url = wallet_of_long_rows.url
    fresh = life.tools.with_(
        income=LnbitsIncome(url, STAND_IN_INVOICE_KEY, HttpClient()),
        payouts=LnbitsPayouts(url, STAND_IN_ADMIN_KEY, HttpClient()),
        proof=Proof(),
    )

    assert reconcile.prove(fresh)

    last = only(life.tools, Reconciliation)
    assert (last.verdict, last.outgoing_read_to is not None) == (CLEAN, True)


def test_a_run_goes_on_where_the_last_one_came_to(life: Life) -> None:
    for _ in range(3):
        paid(life)
    run(life)
    let_pass_ledger(life)
    run(life)
    before = life.stand_in.counts().requests

    run(life)

    after = life.stand_in.counts().requests
    asked = {
        name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name)
    }
    del asked["GET /stand-in/counts"]
    assert asked == {"GET /api/v1/payments/paginated": 3, "GET /api/v1/wallet": 2}
    last = all_of(life.tools, Reconciliation)[-1]
    assert last.folded_to > 0
    assert reconcile.run(life.tools, everything=True).verdict is CLEAN


def let_pass_ledger(life: Life) -> None:

    with life.tools.database.transaction("test.age_ledger") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("UPDATE ledger_entries SET at = at - interval '1 h'"))


def test_a_process_pays_nothing_before_it_has_read_the_wallet(life: Life) -> None:
    claimed(life)
    fresh = life.tools.with_(proof=Proof(clock=lambda: 0.0))
    life.stand_in.arm(Fault(target="lnbits.feed", kind=FaultKind.STATUS, status=429))

    payouts.send(fresh, only(life.tools, Payout).id)

    assert (only(life.tools, Payout).state, only(life.tools, Payout).posts) == ("sending", 0)
    life.stand_in.disarm()
    life.make_due()
    payouts.send(life.tools.with_(proof=Proof()), only(life.tools, Payout).id)
    assert only(life.tools, Payout).state is PayoutState.PAID


def proved_failed(life: Life) -> Payout:
    """A payout on its way that LNbits has called failed for so long that we had to believe it."""
    payout: Payout = only(life.tools, Payout)
    with life.tools.database.transaction("test.proved_failed") as session:
        failed = money_moves.settle_payout(
            session, payout.id, payout.claim, state=PayoutState.FAILED
        )
        assert failed is not None
        ledger.take_back(session, failed)
    return payout


def test_a_person_can_say_that_a_failed_payout_which_was_paid_after_all_paid_what_came_later(
    life: Life,
) -> None:
    """The caller has meanwhile been paid by another invoice, so it is worth a part of itself."""
    life.stand_in.top_up(1000)
    owner_moves.state(life.tools, 1_000_000, note="float")
    price = life.awaiting_work_payment().invoices[InvoiceKind.WORK].amount_sats
    view = life.create()
    life.pay(view, InvoiceKind.EVAL, amount_msats=(10 + price + 7) * 1000)
    life.poll()
    life.work()
    intake.cancel(life.tools, view.job.public_id)
    claim(life, view)
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=2))
    life.work()
    first = proved_failed(life)
    claim(life, view)
    life.work()
    life.pay(life.view(view), InvoiceKind.WORK)
    life.poll()
    assert admin(life).read(first.payment_hash).outcome is PayoutOutcome.PAID
    assert run(life)[0] is SHORTFALL

    owner_moves.book_as_payout(life.tools, owner_moves.waiting(life.tools)[0].reference)
    life.make_due()
    life.work()

    assert [payout.amount_sats for payout in all_of(life.tools, Payout)] == [price, price + 7]
    assert {payout.state for payout in all_of(life.tools, Payout)} == {PayoutState.PAID}
    balances = life.balances()
    assert (balances[Account.OWED], balances[Account.OWNER]) == (0, 1_000_000 - 7000)
    assert invariants.sweep_everything(life.tools) == 0
    assert audit.complaints(life.tools) == []
    assert_balanced(life.tools)
    assert run(life)[0] is CLEAN
    empty(life.tools)
    life.stand_in.reset()


def test_what_was_booked_as_the_owners_is_no_refund_any_more(life: Life) -> None:
    life.complete()
    paid(life)
    run(life)
    mark = PayoutMark(job_id=owing(life).job.id, job_digits="0" * 8, payout_id=1)
    admin(life).send(life.stand_in.payer_invoice(10), mark)
    run(life)
    (waits,) = owner_moves.waiting(life.tools)
    change(life.tools, WalletMove, marked_job_digits=last_digits(life))
    owner_moves.book(life.tools, waits.reference, note="mine")

    with pytest.raises(NotBooked):
        owner_moves.book_as_payout(life.tools, waits.reference)

    assert len(all_of(life.tools, Payout)) == 1
    empty(life.tools)
    life.stand_in.reset()


def test_money_on_its_way_that_is_more_than_was_owed_is_decided_when_it_has_arrived(
    life: Life,
) -> None:
    """It may still fail, and then all of it comes back."""
    life.stand_in.top_up(1000)
    owner_moves.state(life.tools, 1_000_000, note="float")
    life.complete()
    paid(life)
    mark = PayoutMark(job_id=owing(life).job.id, job_digits=last_digits(life), payout_id=1)
    ends = {"reads": 1, "then": PaymentEnd.FAILED}
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, **ends))
    admin(life).send(life.stand_in.payer_invoice(17), mark)
    run(life)
    (waits,) = owner_moves.waiting(life.tools)
    before = len(all_of(life.tools, LedgerEntry))

    with pytest.raises(NotBooked):
        owner_moves.book_as_payout(life.tools, waits.reference)

    assert len(all_of(life.tools, LedgerEntry)) == before
    empty(life.tools)
    life.stand_in.reset()


def last_digits(life: Life) -> str:
    digits: str = all_of(life.tools, Job)[-1].public_id.hex[:8]
    return digits
