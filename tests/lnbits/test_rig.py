"""The rig does what later tests lean on: real payments, and every fault that it promises."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.lnbits.conftest import ENVIRON
from tests.lnbits.rig import Rig
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import LnbitsSaidNo, Wallet

SATS = 5_000
LONGER_THAN_LNBITS_WAITS = 60
"""Seconds; what is held is let go as soon as LNbits has given up, after five."""
AT_ONCE_SECONDS = 4


@pytest.fixture
def wallet(rig: Rig) -> Wallet:
    """A wallet on B of this test alone: a fault may lock up money in it for good."""
    return rig.b.new_wallet("of one test", sats=SATS)


def test_what_a_customer_pays_on_a_shows_on_b_by_itself(rig: Rig, wallet: Wallet) -> None:
    payment_hash = rig.payer.pay(wallet.invoice(21))

    assert wallet.hears_of(payment_hash, seconds=60)
    assert wallet.balance_msats() == (SATS + 21) * 1000


def test_a_payout_from_b_reaches_the_payer_on_a_to_the_sat(rig: Rig, wallet: Wallet) -> None:
    held, had = rig.node.balance_msats(), rig.payer.balance_msats()

    wallet.pay(rig.payer.invoice(100))

    assert rig.payer.balance_msats() == had + 100_000
    assert rig.node.balance_msats() == held - 100_000
    assert wallet.balance_msats() == (SATS - 100) * 1000


def test_given_a_is_frozen_when_b_pays_then_the_answer_is_pending_and_the_money_locked(
    rig: Rig, wallet: Wallet
) -> None:
    bolt11 = rig.payer.invoice(100)

    with rig.a.frozen():
        answer = wallet.try_to_pay(bolt11)

    assert answer["status"] == "pending"
    assert wallet.balance_msats() < (SATS - 100) * 1000


def test_given_a_slow_line_when_b_pays_then_it_is_paid_but_known_only_after_asking(
    rig: Rig, wallet: Wallet
) -> None:
    bolt11 = rig.payer.invoice(100)
    had = rig.payer.balance_msats()

    with rig.line.slow(LONGER_THAN_LNBITS_WAITS):
        answer = wallet.try_to_pay(bolt11)

    assert answer["status"] == "pending"
    assert rig.payer.balance_msats() == had + 100_000
    assert wallet.payment(answer["payment_hash"])["paid"] is True


def test_given_a_refused_line_when_b_pays_then_the_answer_is_pending_at_once(
    rig: Rig, wallet: Wallet
) -> None:
    # a busy machine may stand still, but not every time
    assert any(_pending_after(rig, wallet) < AT_ONCE_SECONDS for _ in range(3))


def _pending_after(rig: Rig, wallet: Wallet) -> float:
    bolt11 = rig.payer.invoice(100)
    begun = time.monotonic()

    with rig.line.refused():
        answer = wallet.try_to_pay(bolt11)

    assert answer["status"] == "pending"
    return time.monotonic() - begun


def test_given_a_refused_line_when_b_is_asked_for_an_invoice_then_it_makes_none(
    rig: Rig, wallet: Wallet
) -> None:
    with rig.line.refused(), pytest.raises(LnbitsSaidNo, match="520"):
        wallet.invoice(100)

    assert wallet.invoice(100).startswith("lnbc")


def test_given_a_cut_line_then_b_hears_of_payments_again_after_it_has_reconnected(rig: Rig) -> None:
    rig.line.cut()

    rig.b.hear()


def test_given_b_was_down_when_the_customer_paid_then_b_learns_of_it_by_asking(
    rig: Rig, wallet: Wallet
) -> None:
    invoice = wallet.new_invoice(33)
    rig.b.stop()
    payment_hash = rig.payer.pay(invoice["bolt11"])

    rig.b.start()

    wait_until(lambda: bool(wallet.payment(payment_hash)["paid"]), 60, "B asks its node")


def test_given_a_request_limit_when_it_is_used_up_then_b_answers_429(rig: Rig) -> None:
    path = f"{rig.b.url}/api/v1/payments/{'0' * 64}"

    with rig.b.server.limited_to(3):
        statuses = [requests.get(path, timeout=10).status_code for _ in range(4)]

    assert statuses[-1] == 429
    assert 429 not in statuses[:3]


def test_given_its_owner_is_killed_then_no_lnbits_is_left(tmp_path: Path) -> None:
    environ = {**ENVIRON, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.lnbits"], stdout=subprocess.PIPE, text=True, env=environ
    )
    assert owner.stdout is not None
    pids = next(line for line in owner.stdout if line.startswith("# pids=")).split("=")[1].split()
    assert all(_is_running(pid) for pid in pids)

    owner.kill()
    owner.communicate()

    assert len(pids) == 2
    wait_until(lambda: not any(_is_running(pid) for pid in pids), 60, "both LNbits are gone")


def _is_running(pid: str) -> bool:
    try:
        # empty for a zombie that nobody has buried yet
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False
