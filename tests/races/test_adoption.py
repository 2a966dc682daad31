"""A restored database takes its forgotten payouts in again while others claim, send and look."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import pytest

from local.stand_in.faults import Fault, FaultKind
from models import money_moves
from models.payout import Payout, PayoutState
from models.reconciliation import Verdict
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.errors import Conflict, ErrorCode
from services.jobs.intake import JobView
from services.money import (
    adoption,
    held_payouts,
    ledger,
    payouts,
    reconcile,
    refunds,
    wallet_lists,
    wallet_moves,
)
from services.money.held_payouts import Held
from services.money.refunds import Claim
from services.money.wallet_lists import ReadTo
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, claimed, owing
from tests.support.restoring import another_process, forgotten
from tests.support.together import all_at_once, just_before, together

ROUNDS = range(2)
A_MINUTE = timedelta(seconds=61)


def paid(life: Life, view: JobView, invoice: str | None = None) -> None:
    claim(life, view, invoice)
    life.work()
    assert sent_by(life) == [10]


def sent_by(life: Life) -> list[int]:
    """Sats of every payment that really left our wallet."""
    return [
        effect.details["amountMsat"] // 1000
        for effect in life.stand_in.effects("payment_out")
        if effect.details["wallet"] == "service"
    ]


def noted(life: Life) -> int:
    """Let reconcile write down what nothing explains; it goes no further. Returns the one move."""
    tools = life.tools
    assert tools.payouts is not None
    wallets = wallet_lists.read(
        tools.income, tools.payouts, read_to=lambda _: ReadTo(), everything=True
    )
    wallet_moves.take_note(tools, wallets)
    move_id: int = rows.only(tools, WalletMove).id
    return move_id


def claimed_and_sent(life: Life, view: JobView, invoice: str | None = None) -> Claim:
    """A caller claims, and a worker goes as far with it as it may."""
    made = claim(life, view, invoice or life.stand_in.payer_invoice(10))
    payouts.send(life.tools, made.payout_id)
    return made


def some_minutes_pass(life: Life) -> None:
    for _ in range(3):
        rows.let_pass(life.tools, Payout, A_MINUTE)
        reconcile.run(life.tools)
        life.make_due()
        life.work()


def errors(results: Sequence[object]) -> list[object]:
    """What went wrong but for claims that were told of the other one."""
    told = {ErrorCode.REFUND_IN_PROGRESS, ErrorCode.REFUND_ALREADY_PAID}
    return [
        result
        for result in results
        if isinstance(result, Exception)
        and not (isinstance(result, Conflict) and result.code in told)
    ]


def assert_paid_once(life: Life, view: JobView) -> None:
    some_minutes_pass(life)
    assert sent_by(life) == [10]
    assert life.debts(view) == [("late", 10, "paid")]
    states = [payout.state for payout in rows.all_of(life.tools, Payout)]
    assert states.count(PayoutState.PAID) == 1
    assert PayoutState.SENDING not in states
    assert reconcile.run(life.tools).verdict is Verdict.CLEAN, "else refunds would be stopped"


@pytest.mark.parametrize("round_", ROUNDS)
@pytest.mark.parametrize("whose", ["the same invoice", "other invoices"])
def test_a_forgotten_refund_that_is_claimed_and_sent_while_it_is_found_is_paid_once(
    life: Life, whose: str, round_: int
) -> None:
    view, invoice = owing(life), life.stand_in.payer_invoice(10)
    life = forgotten(life, lambda: paid(life, view, invoice))
    first, second = life, another_process(life)
    same = invoice if whose == "the same invoice" else None

    everybody: list[Callable[[], object]] = [
        lambda: reconcile.run(first.tools),
        lambda: claimed_and_sent(first, view, same),
        lambda: claimed_and_sent(second, view, same),
        lambda: reconcile.run(second.tools),
    ]
    results = together(*everybody[round_:], *everybody[:round_])

    assert not errors(results)
    assert_paid_once(life, view)


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_claim_that_was_forgotten_to_be_sent_is_sent_while_it_is_found_and_paid_once(
    life: Life, round_: int
) -> None:
    view = claimed(life)
    payout_id = rows.only(life.tools, Payout).id
    life = forgotten(life, life.work)
    first, second = life, another_process(life)

    everybody: list[Callable[[], object]] = [
        lambda: payouts.send(first.tools, payout_id),
        lambda: reconcile.run(first.tools),
        lambda: payouts.send(second.tools, payout_id),
        lambda: reconcile.run(second.tools),
    ]
    results = together(*everybody[round_:], *everybody[:round_])

    assert not errors(results)
    assert_paid_once(life, view)
    assert rows.only(life.tools, Payout).posts == 1


def test_a_forgotten_payout_that_many_adopt_is_taken_in_once(life: Life) -> None:
    view = owing(life)
    life = forgotten(life, lambda: paid(life, view))
    move_id = noted(life)

    results = all_at_once(lambda: adoption.adopt(life.tools, move_id))

    assert sorted(results, key=str) == [False] * 7 + [True], results
    payout = rows.only(life.tools, Payout)
    assert (payout.state, payout.posts) == (PayoutState.SENDING, 1)
    assert rows.only(life.tools, WalletMove).state is MoveState.ADOPTED
    assert_paid_once(life, view)


def test_a_forgotten_payout_that_is_noted_and_then_claimed_again_explains_itself(
    life: Life,
) -> None:
    view, invoice = owing(life), life.stand_in.payer_invoice(10)
    life = forgotten(life, lambda: paid(life, view, invoice))
    noted(life)

    claimed_and_sent(life, view, invoice)

    assert_paid_once(life, view)
    assert rows.only(life.tools, WalletMove).state is MoveState.VOID


def test_a_move_of_another_ones_payout_takes_no_claim_back(life: Life) -> None:
    view = owing(life)
    paid(life, view)
    payout, other = rows.only(life.tools, Payout), claimed(life)
    waiting = {
        "kind": MoveKind.SENT,
        "wallet_id": "somewhere",
        "payment_hash": payout.payment_hash,
        "payment_request": payout.payment_request,
        "amount_msats": -10_000,
        "changed_at": payout.created_at,
        "marked_job_id": other.job.id,
        "marked_job_digits": other.job.public_id.hex[: adoption.DIGITS],
    }
    with life.tools.database.transaction("test.note") as session:
        money_moves.note_wallet_move(session, MoveState.WAITING, waiting)

    assert not adoption.adopt(life.tools, rows.only(life.tools, WalletMove).id)

    states = {payout.job_id: payout.state for payout in rows.all_of(life.tools, Payout)}
    assert states == {view.job.id: PayoutState.PAID, other.job.id: PayoutState.SENDING}


def reopened_and_forgotten(life: Life) -> tuple[Life, JobView, str]:
    """Failed by the books; the wallet knows that its invoice was claimed again and paid."""
    view = claimed(life)
    payout = rows.only(life.tools, Payout)
    rows.let_pass(life.tools, Payout, timedelta(hours=3))  # its BOLT11 has expired for us
    life.work()
    assert rows.only(life.tools, Payout).state is PayoutState.FAILED
    rows.change(life.tools, Payout, invoice_expires_at=payout.invoice_expires_at)
    life = forgotten(life, lambda: paid(life, view, payout.payment_request))
    return life, view, payout.payment_request


def test_a_payout_that_failed_by_the_books_and_many_adopt_is_taken_in_once(life: Life) -> None:
    life, view, _ = reopened_and_forgotten(life)
    move_id = noted(life)

    results = all_at_once(lambda: adoption.adopt(life.tools, move_id))

    assert sorted(results, key=str) == [False] * 7 + [True], results
    payout = rows.only(life.tools, Payout)
    assert (payout.state, payout.sends, payout.posts) == (PayoutState.SENDING, 2, 1)
    assert_paid_once(life, view)


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_payout_that_failed_by_the_books_and_is_claimed_while_it_is_adopted_is_paid_once(
    life: Life, round_: int
) -> None:
    life, view, invoice = reopened_and_forgotten(life)
    move_id = noted(life)

    everybody: list[Callable[[], object]] = [
        lambda: adoption.adopt(life.tools, move_id),
        lambda: claim(life, view, invoice),
        lambda: adoption.adopt(life.tools, move_id),
        lambda: claim(life, view, life.stand_in.payer_invoice(10)),
    ]
    results = together(*everybody[round_:], *everybody[:round_])

    assert not errors(results)
    assert [result for result in results if isinstance(result, bool)].count(True) == 1
    live = [p for p in rows.all_of(life.tools, Payout) if p.state is PayoutState.SENDING]
    assert [(payout.payment_request, payout.posts) for payout in live] == [(invoice, 1)]
    life.doorbell.rung.clear()
    assert_paid_once(life, view)


def claimed_beside_a_failed_one(life: Life) -> tuple[Life, JobView, int]:
    """The wallet knows a payout that failed; the books have a claim with another invoice.

    So the claim may well be sent: nothing was paid so far.
    """
    view = owing(life)
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_FAILED))

    def fail() -> None:
        claim(life, view)
        life.work()

    life = forgotten(life, fail)
    move_id = noted(life)
    assert rows.only(life.tools, WalletMove).state is MoveState.VOID
    claim(life, view)
    life.doorbell.rung.clear()
    return life, view, move_id


def handed_over(life: Life, held: Held) -> bool:
    """The last step of a worker that has found nothing in its way; False = it is its no longer."""
    assert life.tools.payouts is not None
    return payouts._post(life.tools, life.tools.payouts, held) is not None


def assert_one_of_both(life: Life, view: JobView, *, is_adopted: bool, is_sent: bool) -> None:
    assert is_adopted is not is_sent
    assert sent_by(life) == ([10] if is_sent else [])
    (live,) = [p for p in rows.all_of(life.tools, Payout) if p.state is PayoutState.SENDING]
    assert live.posts == 1
    assert life.debts(view) == [("late", 10, "paying")]


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_claim_that_is_withdrawn_while_it_is_sent_is_one_of_both(life: Life, round_: int) -> None:
    life, view, move_id = claimed_beside_a_failed_one(life)
    held = held_payouts.claim(life.tools, rows.only(life.tools, Payout).id)
    assert held is not None

    both: list[Callable[[], object]] = [
        lambda: adoption.adopt(life.tools, move_id),
        lambda: handed_over(life, held),
    ]
    results = together(*(both if round_ % 2 else reversed(both)))

    is_adopted, is_sent = results if round_ % 2 else reversed(results)
    assert not errors(results), results
    assert_one_of_both(life, view, is_adopted=is_adopted is True, is_sent=is_sent is True)


@pytest.mark.parametrize("step", ["_covered", "withdraw_unsent", "_take_in"])
def test_a_claim_that_is_sent_in_the_middle_of_its_withdrawal_is_one_of_both(
    life: Life, step: str
) -> None:
    life, view, move_id = claimed_beside_a_failed_one(life)
    held = held_payouts.claim(life.tools, rows.only(life.tools, Payout).id)
    assert held is not None

    with just_before(life.tools, adoption, step, lambda: handed_over(life, held)) as sending:
        is_adopted = adoption.adopt(life.tools, move_id)
        is_sent = sending()

    assert_one_of_both(life, view, is_adopted=is_adopted, is_sent=is_sent)


def test_a_payout_that_is_being_recorded_as_paid_holds_an_adoption_up_and_is_not_held_up_by_it(
    life: Life,
) -> None:
    life, view, move_id = claimed_beside_a_failed_one(life)
    held, lightning = (
        held_payouts.claim(life.tools, rows.only(life.tools, Payout).id),
        life.tools.payouts,
    )
    assert held is not None
    assert lightning is not None
    posted = payouts._post(life.tools, lightning, held)
    assert posted is not None
    reading = lightning.read(held.payment_hash)

    adopt = lambda: adoption.adopt(life.tools, move_id)  # noqa: E731
    with just_before(life.tools, ledger, "post", adopt) as adopting:
        held_payouts.end_as_paid(life.tools, posted, reading)
        assert adopting() is False

    assert_paid_once(life, view)


@pytest.mark.parametrize("step", ["_covered", "withdraw_unsent", "_take_in"])
def test_a_claim_that_comes_in_the_middle_of_an_adoption_is_told_of_it(
    life: Life, step: str
) -> None:
    view = owing(life)
    life = forgotten(life, lambda: paid(life, view))
    move_id = noted(life)

    with just_before(life.tools, adoption, step, lambda: claim(life, view)) as claiming:
        assert adoption.adopt(life.tools, move_id)
        with pytest.raises(Conflict) as told:
            claiming()

    assert told.value.code is ErrorCode.REFUND_IN_PROGRESS
    assert_paid_once(life, view)


def test_a_claim_that_many_withdraw_is_owed_again_once(life: Life) -> None:
    view = claimed(life)

    def withdraw() -> None:
        with life.tools.database.transaction("test.withdraw") as session:
            adoption.withdraw_unsent(session, view.job.id)

    results = all_at_once(withdraw)

    assert results == [None] * 8
    assert rows.only(life.tools, Payout).state is PayoutState.FAILED
    assert life.debts(view) == [("late", 10, "owed")]
    assert refunds.owed(life.view(view).debts) == 10


def tell(life: Life, of: WalletMove, state: MoveState) -> None:
    """The wallet's word on a row, as reconcile hears it."""
    known = {
        name: getattr(of, name) for name in ("kind", "wallet_id", "payment_hash", "amount_msats")
    }
    with life.tools.database.transaction("test.tell") as session:
        if state is MoveState.VOID:
            money_moves.void_wallet_moves(session, WalletMove.payment_hash == of.payment_hash)
        else:
            money_moves.note_wallet_move(session, state, known)


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_move_that_is_adopted_while_others_note_and_void_it_stays_adopted(
    life: Life, round_: int
) -> None:
    view = owing(life)
    life = forgotten(life, lambda: paid(life, view))
    move_id = noted(life)
    move = rows.only(life.tools, WalletMove)
    words = [MoveState.WAITING, MoveState.VOID, MoveState.PENDING, MoveState.WAITING]

    telling: list[Callable[[], object]] = [
        *[partial(tell, life, move, word) for word in words],
        lambda: adoption.adopt(life.tools, move_id),
    ]
    results = together(*telling[round_:], *telling[:round_])

    assert not errors(results)
    assert True in results
    assert rows.only(life.tools, WalletMove).state is MoveState.ADOPTED
    assert_paid_once(life, view)


@pytest.mark.parametrize("word", [MoveState.WAITING, MoveState.PENDING, MoveState.VOID])
def test_a_move_that_is_noted_or_voided_in_the_middle_of_its_adoption_stays_adopted(
    life: Life, word: MoveState
) -> None:
    view = owing(life)
    life = forgotten(life, lambda: paid(life, view))
    move_id = noted(life)
    move = rows.only(life.tools, WalletMove)

    with just_before(life.tools, adoption, "_book", lambda: tell(life, move, word)) as telling:
        assert adoption.adopt(life.tools, move_id)
        telling()

    assert rows.only(life.tools, WalletMove).state is MoveState.ADOPTED
    assert_paid_once(life, view)
