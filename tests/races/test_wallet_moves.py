"""A person books what reconcile explains at the same moment: it is one of the two, never both."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from types import ModuleType

import pytest
from sqlalchemy import func, select

from models import money_moves
from models.invoice import Receipt
from models.ledger import Account, LedgerEntry
from models.money import Sats
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.errors import NotBooked
from services.money import ledger, owner_moves, wallet_moves
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.life import Life
from tests.support.together import all_at_once, just_before, together

HASH = "ab" * 32
SATS_70 = 70_000


def note(tools: Toolbox, kind: MoveKind, amount: int, payment_hash: str = HASH) -> None:
    wallet = {"wallet_id": kind.value, "payment_hash": payment_hash}
    values = {"kind": kind, **wallet, "amount_msats": amount}
    with tools.database.transaction("test.note") as session:
        money_moves.note_wallet_move(session, MoveState.WAITING, values)


def receive_for_nobody(life: Life) -> Receipt:
    """An invoice that somebody made in our own wallet, and paid."""
    lifetime = timedelta(hours=1)
    invoice = life.tools.income.create_invoice(Sats(70), memo="top up", lifetime=lifetime)
    life.stand_in.pay(invoice.payment_hash)
    life.poll()
    receipt: Receipt = rows.only(life.tools, Receipt)
    return receipt


def entries(tools: Toolbox) -> int:
    with tools.database.reading("test.entries") as session:
        return session.scalars(select(func.count()).select_from(LedgerEntry)).one()


def booked_before(
    tools: Toolbox, reference: str, module: ModuleType, name: str
) -> AbstractContextManager[Callable[[], None]]:
    """Somebody books this just before that function is called first; how that ended."""
    book = lambda: owner_moves.book(tools, reference, note="mine")  # noqa: E731
    return just_before(tools, module, name, book)


def test_a_move_that_is_booked_while_it_is_paired_is_paired_and_not_booked(tools: Toolbox) -> None:
    note(tools, MoveKind.SENT, -SATS_70)
    note(tools, MoveKind.TOPPED_UP, SATS_70)
    (sent, _) = rows.all_of(tools, WalletMove)

    with booked_before(tools, f"m{sent.id}", money_moves, "end_wallet_moves") as booking:
        wallet_moves.pair_transfers(tools)
        with pytest.raises(NotBooked):
            booking()

    assert {move.state for move in rows.all_of(tools, WalletMove)} == {MoveState.TRANSFER}
    assert entries(tools) == 0


def test_a_receipt_that_is_booked_while_it_is_paired_leaves_the_ledger_once(life: Life) -> None:
    receipt = receive_for_nobody(life)
    note(life.tools, MoveKind.SENT, -SATS_70, receipt.payment_hash)

    with booked_before(life.tools, f"r{receipt.id}", ledger, "post") as booking:
        wallet_moves.pair_transfers(life.tools)
        with pytest.raises(NotBooked):
            booking()

    assert life.balances()[Account.UNMATCHED] == 0
    life.stand_in.top_up(-70)  # what the pairing says has left


def test_a_move_that_was_booked_before_it_is_explained_stays_booked(tools: Toolbox) -> None:
    note(tools, MoveKind.SENT, -SATS_70)
    move = rows.only(tools, WalletMove)
    owner_moves.book(tools, f"m{move.id}", note="mine")

    with tools.database.transaction("test.explain") as session:
        money_moves.end_wallet_moves(session, [move.id], MoveState.TRANSFER)

    assert rows.only(tools, WalletMove).state is MoveState.BOOKED


def tell(tools: Toolbox, state: MoveState) -> None:
    """The wallet's word on its row, as reconcile hears it."""
    values = {"kind": MoveKind.SENT, "wallet_id": "w", "payment_hash": HASH}
    with tools.database.transaction("test.tell") as session:
        if state is MoveState.VOID:
            money_moves.void_wallet_moves(session, WalletMove.payment_hash == HASH)
        else:
            money_moves.note_wallet_move(session, state, {**values, "amount_msats": -SATS_70})


def test_a_move_that_many_note_at_once_is_one_row(tools: Toolbox) -> None:
    results = all_at_once(lambda: tell(tools, MoveState.WAITING))

    assert results == [None] * 8
    assert rows.only(tools, WalletMove).state is MoveState.WAITING


@pytest.mark.parametrize("round_", range(4))
def test_a_move_that_is_booked_while_others_note_and_void_it_is_booked_once_or_came_to_nothing(
    tools: Toolbox, round_: int
) -> None:
    tell(tools, MoveState.WAITING)
    reference = f"m{rows.only(tools, WalletMove).id}"
    words = [MoveState.WAITING, MoveState.VOID, MoveState.WAITING, MoveState.PENDING]
    book = lambda: owner_moves.book(tools, reference, note="mine")  # noqa: E731

    telling: list[Callable[[], None]] = [
        book,
        *[partial(tell, tools, word) for word in words],
        book,
    ]
    results = together(*telling[round_:], *telling[:round_])

    assert [error for error in results if not isinstance(error, NotBooked | None)] == []
    refused = sum(isinstance(result, NotBooked) for result in results)
    is_booked = rows.only(tools, WalletMove).state is MoveState.BOOKED
    assert (refused, entries(tools)) == ((1, 1) if is_booked else (2, 0))


@pytest.mark.parametrize("word", [MoveState.WAITING, MoveState.PENDING, MoveState.VOID])
def test_a_move_that_is_noted_or_voided_while_it_is_being_booked_stays_booked(
    tools: Toolbox, word: MoveState
) -> None:
    tell(tools, MoveState.WAITING)
    reference = f"m{rows.only(tools, WalletMove).id}"

    with just_before(tools, ledger, "post", lambda: tell(tools, word)) as telling:
        owner_moves.book(tools, reference, note="mine")
        telling()

    assert rows.only(tools, WalletMove).state is MoveState.BOOKED
    assert entries(tools) == 1
