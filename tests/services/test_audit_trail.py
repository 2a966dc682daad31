"""The ledger as beancount reads it: clean after any life, and not after any tampering."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from config.settings import STAND_IN_ADMIN_KEY
from gateways.http import HttpClient
from gateways.lightning.lnbits import LnbitsPayouts
from local.stand_in.faults import Fault, FaultKind
from models.invoice import InvoiceKind
from models.ledger import Account
from models.wallet_move import MoveState, WalletMove
from services.money import audit_trail, owner_moves, reconcile
from tests.architecture.source import ROOT
from tests.conftest import empty
from tests.support import audit
from tests.support.life import Life
from tests.support.lived import LivedOnce
from tests.support.owing import claim, claimed, owing
from tests.support.rows import all_of


@pytest.fixture(autouse=True)
def _nothing_planted_stays(life: Life) -> Iterator[None]:
    yield
    empty(life.tools)
    life.stand_in.reset()


@LivedOnce
def every_kind_of_life(life: Life) -> None:
    complete = life.complete()
    claim(life, complete)
    life.work()
    life.create()
    life.evaluating()
    life.executing()
    owing(life)
    odd = life.create()
    life.pay(odd, InvoiceKind.EVAL, amount_msats=10_001)
    life.poll()
    claimed(life)
    owner_moves.state(life.tools, -1500, note="fees of the node")


def test_an_empty_ledger_and_every_kind_of_life_are_clean(life: Life) -> None:
    assert audit.complaints(life.tools) == []

    every_kind_of_life(life)

    assert audit.complaints(life.tools) == []
    assert life.balances()[Account.ROUNDING] == 999


TAMPERED = {
    "an amount": "UPDATE ledger_entries SET amount_msats = amount_msats + 1 WHERE id = {}",
    "a side": "UPDATE ledger_entries SET credit = 'earned'"
    " WHERE id = (SELECT max(id) FROM ledger_entries WHERE credit = 'held')",
    "a row that is gone": "DELETE FROM ledger_entries WHERE id = {}",
    "a row too many": "INSERT INTO ledger_entries (id, event_key, debit, credit, amount_msats)"
    " VALUES (999999, 'x:1', 'wallet', 'earned', 1)",
    "a receipt": "UPDATE receipts SET amount_msats = amount_msats + 1"
    " WHERE id = (SELECT max(id) FROM receipts)",
    "the fee of a receipt": "UPDATE receipts SET fee_msats = fee_msats + 1"
    " WHERE id = (SELECT max(id) FROM receipts)",
    "a payout": "UPDATE payouts SET amount_sats = amount_sats + 1"
    " WHERE id = (SELECT max(id) FROM payouts)",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=list(TAMPERED))
def test_what_was_tampered_with_is_found(life: Life, statement: str) -> None:
    every_kind_of_life(life)
    with life.tools.database.transaction("test.tamper") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        row = session.scalars(text("SELECT max(id) FROM ledger_entries")).one()
        session.execute(text(statement.format(row)))

    assert any("Balance failed" in complaint for complaint in audit.complaints(life.tools))


def test_no_key_of_a_caller_and_no_invoice_is_exported(life: Life) -> None:
    every_kind_of_life(life)

    text_of_all = "".join(audit_trail.lines(life.tools))

    with life.tools.database.transaction("test.ids") as session:
        ids = session.scalars(text("SELECT public_id::text FROM jobs")).all()
    assert len(ids) > 5
    assert not any(public_id in text_of_all for public_id in ids)
    assert "lnbc" not in text_of_all


COMMANDS = """
import contextlib, io, json, runpy, sys
for line in sys.stdin:
    module, *arguments = json.loads(line)
    sys.argv[1:] = arguments
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
"""Runs one ``python -m …`` after the other: importing takes each process two seconds."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(life: Life, database_url: str, redis_url: str) -> Iterator[Run]:
    """Run a command as an operator does; its exit code, and what it says on both outputs."""
    environ = {
        "PATH": os.defpath,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "STAND_IN_URL": life.stand_in.url,
    }
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        into, out_of = process.stdin, process.stdout

        def run(*command: str) -> tuple[int, str, str]:
            into.write(json.dumps(command) + "\n")
            into.flush()
            code, out, err = json.loads(out_of.readline())
            return code, out, err

        yield run
        into.close()


def test_the_commands_write_what_bean_check_reads_and_a_person_understands(
    life: Life, tmp_path: Path, run: Run
) -> None:
    owing(life)
    life.complete()
    owner_moves.state(life.tools, -1500, note="fees of the node")

    books = tmp_path / "ledger.beancount"
    books.write_text(run("workers.books")[1])
    assert run("beancount.scripts.check", str(books)) == (0, "", "")

    code, compared, _ = run("workers.reconcile")
    assert code == 0
    assert "more in the wallets than the books say" in compared, "1.5 sats were never taken"
    life.stand_in.top_up(-100)
    assert run("workers.reconcile")[0] == 1
    stated = run("workers.owner_moves", "state", "-98.5", "--note", "a test")
    assert stated[:2] == (0, "0 waiting\n"), stated
    code, compared, _ = run("workers.reconcile")
    assert (code, "agree" in compared) == (0, True), compared
    assert run("workers.owner_moves", "book", "m1", "--note", "x")[0] == 1


def test_all_that_is_over_is_booked_at_once_and_what_is_on_its_way_is_left(
    life: Life, run: Run
) -> None:
    life.complete()
    reconcile.run(life.tools)
    paying = LnbitsPayouts(life.stand_in.url, STAND_IN_ADMIN_KEY, HttpClient())
    life.stand_in.arm(Fault(target="lnbits.pay", kind=FaultKind.PAYMENT_PENDING, reads=9))
    for sats in (3, 2, 1):
        paying.send(life.stand_in.payer_invoice(sats))
    reconcile.run(life.tools)

    code, said, _ = run("workers.owner_moves", "book", "all", "--note", "rent")

    states = sorted(move.state for move in all_of(life.tools, WalletMove))
    assert states == [MoveState.BOOKED, MoveState.BOOKED, MoveState.PENDING]
    assert (code, said.splitlines()[-1]) == (0, "1 waiting")
    code, _, why = run("workers.owner_moves", "refund", "m999999")
    assert (code, "Traceback" in why) == (1, False)
