"""Our services, without processes, on a wallet of B; the customer is the payer on A."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from config.settings import Settings
from local.stand_in.testing import StandInClient
from models.invoice import Invoice, InvoiceKind
from models.job import Job
from models.lifecycle import JobState
from models.payout import Payout, PayoutState
from services import toolbox
from services.jobs.intake import JobView
from services.money import refunds
from services.toolbox import Role, Toolbox
from tests.conftest import empty
from tests.lnbits.rig import Rig
from tests.lnbits.waiting import wait_until
from tests.lnbits.wallet import Wallet
from tests.support.books import assert_balanced
from tests.support.canary import Listener
from tests.support.confidential import confidential_in
from tests.support.doorbell import RecordingDoorbell
from tests.support.life import Life
from tests.support.rows import let_pass, only

OPENING_SATS = 5_000
A_MINUTE = timedelta(seconds=61)


@dataclass(frozen=True)
class Shop:
    """Our services on a wallet of B; the customer is the payer on A."""

    rig: Rig
    wallet: Wallet
    life: Life

    @property
    def tools(self) -> Toolbox:
        return self.life.tools

    def pay(self, view: JobView, kind: InvoiceKind) -> None:
        self.rig.payer.pay(view.invoices[kind].payment_request)

    def wait_for(self, view: JobView, state: JobState) -> JobView:
        """Poll and work until the job is there: B hears of a payment a moment later."""

        def is_there() -> bool:
            self.life.poll()
            self.life.work()
            return self.life.state(view) is state

        wait_until(is_there, 60, f"the job is {state.value}")
        return self.life.view(view)

    def complete(self) -> JobView:
        view = self.life.create()
        self.pay(view, InvoiceKind.EVAL)
        view = self.wait_for(view, JobState.AWAITING_WORK_PAYMENT)
        self.pay(view, InvoiceKind.WORK)
        return self.wait_for(view, JobState.COMPLETE)

    def claim(self, view: JobView) -> int:
        """Claim everything that is owed; it is not sent yet. Returns its millisats."""
        owed = refunds.owed(self.life.view(view).debts)
        refunds.claim(self.tools, view.job, self.rig.payer.invoice(owed))
        return owed * 1000

    def let_time_pass(self, by: timedelta) -> None:
        for model in (Invoice, Job, Payout):
            let_pass(self.tools, model, by)

    def look_again(self) -> PayoutState:
        """A minute later: how the payout stands then."""
        self.let_time_pass(A_MINUTE)
        self.life.make_due()
        self.life.work()
        return self.payout.state

    @property
    def payout(self) -> Payout:
        payout: Payout = only(self.tools, Payout)
        return payout


@contextmanager
def open_shop(
    rig: Rig,
    *,
    database_url: str,
    redis_url: str,
    doorbell: RecordingDoorbell,
    stand_in: StandInClient,
    log: Listener,
) -> Iterator[Shop]:
    """On an empty database and a new wallet.

    Its books balance when it closes, and its log has told nothing that is confidential.
    """
    wallet = rig.b.new_wallet("shop in the weather", sats=OPENING_SATS)
    settings = Settings.load(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STAND_IN_URL": stand_in.url,
            "LNBITS_URL": wallet.url,
            "LNBITS_INVOICE_KEY": wallet.invoice_key,
            "LNBITS_ADMIN_KEY": wallet.admin_key,
            "PRICE_FEEDS": f"coingecko={stand_in.url}/feeds/coingecko",
            "REFUND_WAIT_SECONDS": "0",
        }
    )
    tools = toolbox.build(settings, Role.MONEY).with_(doorbell=doorbell)
    log.lines.clear()
    try:
        yield Shop(rig, wallet, Life(tools, doorbell, stand_in))
        assert_balanced(tools)
        log.judge(confidential=confidential_in(tools.database, settings))
    finally:
        empty(tools)
        tools.database.close()
