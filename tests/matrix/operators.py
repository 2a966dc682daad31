"""What they do who run the service and own its wallets, and what befalls both of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import text, update

from config.queues import TaskName
from gateways.lightning import Income, Payouts
from local.stand_in.faults import FaultKind, PaymentEnd
from models import tables
from models.money import Msats, Sats, msats
from models.payout import Payout
from models.reconciliation import Verdict
from models.run import Run
from models.wallet_move import WalletMove
from services.errors import NotBooked
from services.instant import doubts
from services.instant.settlement import CHAIN_DECIDES_WITHIN
from services.money import doubtful_payouts, owner_moves, reconcile, wallets
from tests.matrix.acts import arm
from tests.matrix.stage import Stage
from tests.support import rows
from tests.support.lived import Copy, copied, put_back

NOTE = "the owner's"
WITHDRAWN, TOPPED_UP, FOUND = Sats(3), Sats(50), Sats(70)
LONG_EXPIRED, LONG_LAPSED = timedelta(hours=3), 2 * CHAIN_DECIDES_WITHIN
TABLES = {table.name: table for table in tables.metadata.sorted_tables}


def _income(stage: Stage) -> Income:
    return stage.tools.income


def _wallet(stage: Stage) -> Payouts:
    assert stage.tools.payouts is not None
    return stage.tools.payouts


@contextmanager
def _unless_told(words: str) -> Iterator[None]:
    """Who said it before and got no answer is refused in these words, and content with them."""
    try:
        yield
    except NotBooked as told:
        if words not in str(told):
            raise


# --- a database that is put back


def back_up(stage: Stage) -> None:
    copy = copied(stage.tools)
    stage.memory["backup"] = {table.name: lines for table, lines in copy.rows.items()}


def restore(stage: Stage) -> None:
    """Put the backup in the place of the tables, as ``pg_restore --clean`` does. Rings are lost.

    What has begun before is not told: it finds out by itself that these are other tables.
    """
    with stage.tools.database.transaction("test.restore") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(f"TRUNCATE {', '.join(TABLES)}"))
    backup = {TABLES[name]: lines for name, lines in stage.memory["backup"].items()}
    put_back(stage.tools, Copy(at=rows.now(stage.tools), rows=backup))
    stage.doorbell.rung.clear()


# --- money of the owner's


def withdraw(stage: Stage) -> None:
    """By whoever has the admin key in hand, beside the service."""
    _wallet(stage).send(stage.world.payer_invoice(WITHDRAWN))


def withdraw_in_vain(stage: Stage) -> None:
    """Twice: both are on their way for now, and will fail when they are asked about."""
    ends = {"reads": 1, "then": PaymentEnd.FAILED}
    arm("lnbits.pay", FaultKind.PAYMENT_PENDING, **ends)(stage)
    withdraw(stage)
    withdraw(stage)


def _on_their_way(stage: Stage) -> list[str]:
    """Payment hashes of the owner's two, as reconcile has written them down."""
    moves = [move.payment_hash for move in rows.all_of(stage.tools, WalletMove)]
    assert len(moves) == 2, "both were noticed"
    return moves


def delete_a_row(stage: Stage) -> None:
    """LNbits shows the first one no more, and it was noticed long ago."""
    gone, _ = _on_their_way(stage)
    arm("lnbits.feed", FaultKind.MISSING_ROW, text=gone)(stage)
    rows.change(stage.tools, WalletMove, seen_at=WalletMove.seen_at - rows.HOUR)


def fail_the_other(stage: Stage) -> None:
    """LNbits asks its node about the second one, and learns that it has failed."""
    _, failing = _on_their_way(stage)
    _wallet(stage).read(failing)


def top_up(stage: Stage) -> None:
    """By an invoice that the service knows nothing of."""
    invoice = _income(stage).create_invoice(TOPPED_UP, memo="float", lifetime=timedelta(hours=1))
    assert stage.world.pay(invoice.payment_hash)


def find_money(stage: Stage) -> None:
    """More is there than any row shows."""
    stage.world.top_up(FOUND)


def compare_everything(stage: Stage) -> None:
    """By hand, and the same as the duty but for how far back it reads."""
    with stage.action(TaskName.RECONCILE.value):
        reconcile.run(stage.tools, everything=True)


def book_as_owners(stage: Stage) -> None:
    """Book all that waits; who got no answer looks at what waits still."""
    with stage.action("book as the owner's"):
        for waits in owner_moves.waiting(stage.tools):
            with _unless_told("does not wait to be booked"):
                owner_moves.book(stage.tools, waits.reference, note=NOTE)


def state_as_owners(stage: Stage) -> None:
    """Say what was found; who got no answer says it again."""
    with stage.action("state as the owner's"), _unless_told("says so already"):
        owner_moves.state(stage.tools, msats(FOUND), note=NOTE)


def agree(stage: Stage) -> None:
    """Books and wallets agree: nothing waits, nothing was booked twice."""
    assert owner_moves.waiting(stage.tools) == []
    assert reconcile.run(stage.tools).verdict is Verdict.CLEAN


# --- payouts whose end nobody knows


def expire_invoices(stage: Stage) -> None:
    """So long ago that nothing can be on its way any more."""
    rows.let_pass(stage.tools, Payout, LONG_EXPIRED)


def say_that_lnbits_was_restored(stage: Stage) -> None:
    with stage.action("say that lnbits was restored"):
        doubtful_payouts.distrust_missing_rows(stage.tools)


def say_that_it_failed(stage: Stage) -> None:
    """Say it of all that is in doubt; who got no answer looks at what is in doubt still."""
    with stage.action("say that it failed"):
        for doubt in doubtful_payouts.waiting(stage.tools):
            with _unless_told("is not in doubt"):
                doubtful_payouts.vouch_failed(stage.tools, doubt.payout_id, doubt.posts)


def say_that_the_wallet_may_be_left(stage: Stage) -> None:
    """Say it of the one on record; who got no answer says it again."""
    wallet = _wallet(stage).wallet_id()
    with stage.action("say that the wallet may be left"):
        wallets.leave(stage.tools, wallet)


def look_at_the_node(stage: Stage) -> None:
    """Its preimage is there, whatever LNbits has told so far."""
    payout = rows.only(stage.tools, Payout)
    stage.memory["preimage"] = _wallet(stage).read(payout.payment_hash).preimage


def say_that_it_was_paid(stage: Stage) -> None:
    """Show the preimage; who got no answer shows it again."""
    payout_id, preimage = stage.memory["payout"], stage.memory["preimage"]
    with stage.action("say that it was paid"), _unless_told("is not in doubt"):
        doubtful_payouts.book_paid(stage.tools, payout_id, preimage, Msats(0))


# --- sales whose end nobody knows


def lapse_for_good(stage: Stage) -> None:
    """So long ago that no chain is waited for any more."""
    with stage.tools.database.transaction("test.lapse_for_good") as session:
        session.execute(update(Run).values(valid_before=Run.valid_before - LONG_LAPSED))


def say_that_it_was_settled(stage: Stage) -> None:
    """Name the transaction on the chain; who got no answer names it again."""
    [moved] = stage.world.effects("tokens_moved")
    with stage.action("say that it was settled"), _unless_told("is not doubtful"):
        doubts.book_settled(stage.tools, stage.memory["run"], moved.details["transaction"])


def say_that_it_was_not_settled(stage: Stage) -> None:
    with stage.action("say that it was not settled"), _unless_told("is not doubtful"):
        doubts.book_not_settled(stage.tools, stage.memory["run"])
