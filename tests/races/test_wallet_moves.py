"""A person books what reconcile explains at the same moment: it is one of the two, never both."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType

import pytest
from sqlalchemy import func, select, text

from models import moves
from models.invoice import Receipt
from models.ledger import Account, LedgerEntry
from models.money import Sats
from models.wallet_move import MoveKind, MoveState, WalletMove
from services.errors import NotBooked
from services.money import ledger, owner_moves, wallet_moves
from services.toolbox import Toolbox
from tests.support import rows
from tests.support.life import Life

HASH = "ab" * 32
SATS_70 = 70_000
PATIENCE_SECONDS = 30.0


def note(tools: Toolbox, kind: MoveKind, amount: int, payment_hash: str = HASH) -> None:
    wallet = {"wallet_id": kind.value, "payment_hash": payment_hash}
    values = {"kind": kind, **wallet, "amount_msats": amount}
    with tools.database.transaction("test.note") as session:
        moves.note_wallet_move(session, MoveState.WAITING, values)


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


def until_it_stands_or_ends(tools: Toolbox, other: Future[None]) -> None:
    """Until the other one waits for a lock of ours, or did not have to."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not other.done():
        with tools.database.reading("test.waiting") as session:
            if session.scalar(waiting):
                return
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@contextmanager
def booked_before(
    tools: Toolbox, reference: str, module: ModuleType, name: str
) -> Iterator[Callable[[], None]]:
    """Somebody books this just before that function is called first; how that ended."""
    begun: list[Future[None]] = []
    as_it_is: Callable[..., object] = getattr(module, name)

    def after_somebody(*args: object, **kwargs: object) -> object:
        if not begun:
            begun.append(pool.submit(owner_moves.book, tools, reference, note="mine"))
            until_it_stands_or_ends(tools, begun[0])
        return as_it_is(*args, **kwargs)

    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, after_somebody)
        yield lambda: begun[0].result(PATIENCE_SECONDS)


def test_a_move_that_is_booked_while_it_is_paired_is_paired_and_not_booked(tools: Toolbox) -> None:
    note(tools, MoveKind.SENT, -SATS_70)
    note(tools, MoveKind.TOPPED_UP, SATS_70)
    (sent, _) = rows.all_of(tools, WalletMove)

    with booked_before(tools, f"m{sent.id}", moves, "end_wallet_moves") as booking:
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
        moves.end_wallet_moves(session, [move.id], MoveState.TRANSFER)

    assert rows.only(tools, WalletMove).state is MoveState.BOOKED
