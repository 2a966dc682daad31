"""The two-instance rig: A plays the Lightning network, B is the LNbits that we are customers of.

A runs on LNbits' FakeWallet; B's node is a wallet on A, reached over ``line``. So an invoice of B
is paid asynchronously by a payer on A, as in real life, and every sat stays inside the rig.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lnbits.install import lnbits_python
from tests.lnbits.line import Line
from tests.lnbits.server import FAKE_NODE, LnbitsServer, node_behind
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet

RICH_SATS = 20_000_000
OUR_SATS = 2_000_000
ANNOUNCE_SECONDS = 90


@dataclass(frozen=True, kw_only=True)
class OurLnbits:
    """B, with one wallet of ours that takes income and makes payouts."""

    server: LnbitsServer
    wallet: Wallet
    tester: Wallet
    """A wallet on A for what the rig itself pays, so that nobody's balance moves by it."""

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def invoice_key(self) -> str:
        return self.wallet.invoice_key

    @property
    def admin_key(self) -> str:
        return self.wallet.admin_key

    def wallet_balance_msats(self) -> int:
        return self.wallet.balance_msats()

    def new_wallet(self, name: str, *, sats: int = 0) -> Wallet:
        """Another wallet on B, filled by a payment over the line."""
        wallet = self.server.new_wallet(name)
        if sats:
            receive(wallet, sats, payer=self.tester)
        return wallet

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        """Start, and wait until B hears again of payments as they happen."""
        self.server.start()
        self.hear()

    def restart(self) -> None:
        """Stop and start on the same port and data. Ready when it returns."""
        self.stop()
        self.start()

    def hear(self) -> None:
        """Wait until a payment on A shows on B by itself: B's stream to its node stands."""
        wallet = self.server.new_wallet("listener")

        def announces() -> bool:
            payment_hash = self.tester.pay(wallet.invoice(1, memo="can you hear me"))
            return wallet.hears_of(payment_hash)

        wait_until(announces, ANNOUNCE_SECONDS, "B hears of payments on A")


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A and B, both running, and everybody who has a wallet there."""

    a: LnbitsServer
    b: OurLnbits
    line: Line
    payer: Wallet
    """A rich customer on A: pays invoices of B, and is paid by B."""
    node: Wallet
    """The wallet on A that is B's Lightning node: holds all money of B."""

    def wallet_balance_msats(self) -> int:
        """Balance of our wallet on B."""
        return self.b.wallet_balance_msats()

    def mend(self) -> None:
        """Take back every fault: when it returns B hears again of payments. Safe to repeat."""
        self.a.thaw()
        self.line.mend()
        if self.line.was_cut:
            # B calls its node again after 5 s, and is not told what was paid in between
            self.b.hear()
            self.line.was_cut = False


@contextmanager
def running_rig(environ: Mapping[str, str]) -> Iterator[Rig]:
    """Both servers on free ports with fresh data; all gone at the end. Call from the main thread.

    Installs LNbits first if it is not there yet. Raises CannotInstall or DidNotStart.
    """
    python = lnbits_python(environ)
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="lnbits-rig-")))

        a = LnbitsServer("A", python, folder / "a", FAKE_NODE)
        ending.callback(a.stop)
        a.set_up()
        payer = a.new_wallet("payer", sats=RICH_SATS)
        tester = a.new_wallet("tester", sats=RICH_SATS)
        node = a.new_wallet("node of B")

        line = Line(a.port)
        ending.callback(line.close)
        b = LnbitsServer("B", python, folder / "b", node_behind(line.url, node.admin_key))
        ending.callback(b.stop)
        b.set_up()

        wallet = b.new_wallet("ours")
        ours = OurLnbits(server=b, wallet=wallet, tester=tester)
        ours.hear()
        receive(wallet, OUR_SATS, payer=tester)
        yield Rig(a=a, b=ours, line=line, payer=payer, node=node)


def receive(wallet: Wallet, sats: int, *, payer: Wallet) -> None:
    """Let this wallet be paid, and wait until it has the money."""
    payment_hash = payer.pay(wallet.invoice(sats, memo="top up"))
    wait_until(
        lambda: bool(wallet.payment(payment_hash)["paid"]), ANNOUNCE_SECONDS, "B has a top-up"
    )
