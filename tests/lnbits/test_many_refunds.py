"""Refunds by the hundred from B to A while the line between them breaks: each once, or in doubt."""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from config.settings import STAND_IN_INVOICE_KEY
from gateways.http import HttpClient
from gateways.lightning import Age, SettledPayment, lnbits
from gateways.lightning.lnbits import LnbitsIncome, LnbitsPayouts
from models.debt import DebtState
from models.invoice import InvoiceKind
from models.money import Msats
from models.payout import Payout, PayoutState
from services.errors import Conflict, ErrorCode, InvalidRequest
from services.jobs import intake
from services.jobs.intake import JobView
from services.money import payments, payouts, reconcile, refund_invoice, refunds
from services.money.payout_evidence import MISSING_AFTER_EXPIRY
from services.toolbox import Toolbox
from tests.lnbits.line import Line
from tests.lnbits.shop import A_MINUTE, Shop
from tests.lnbits.waiting import wait_until
from tests.support.rows import all_of

REFUNDS = int(os.environ.get("HONESTWORK_LNBITS_REFUNDS", "100"))  # noqa: TID251 - an entry point
SATS = 10
SEED = 20_261_122
WORKERS = 4
LONGER_THAN_LNBITS_WAITS = 6.0
HASTY_SECONDS = 0.5
SHORT_LIFE_SECONDS = 20
"""Of an invoice that shall expire: long enough to be handed over on a busy machine."""
MOST_STRIKES = 12 * max(1, REFUNDS // 100)
"""Each hits what is on its way. A slow machine takes longer, and is not hit more often for it."""


class Nemesis:
    """Breaks the line again and again; what it does follows from its seed, when does not."""

    def __init__(self, line: Line, seed: int) -> None:
        self._line = line
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.strikes: Counter[str] = Counter()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._rage)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._line.mend()

    def _rage(self) -> None:
        deeds: list[Callable[[], None]] = [self._cut, self._cut, self._refuse, self._delay]
        while self.strikes.total() < MOST_STRIKES and not self._over.wait(
            self._random.uniform(0.1, 0.7)
        ):
            deed = self._random.choice(deeds)
            self.strikes[deed.__name__] += 1
            deed()
            if self.strikes.total() == 5:
                self.strikes["_hold"] += 1
                self._for(LONGER_THAN_LNBITS_WAITS, self._line.slow(LONGER_THAN_LNBITS_WAITS))

    def _cut(self) -> None:
        self._line.cut()

    def _refuse(self) -> None:
        self._for(self._random.uniform(0.05, 0.2), self._line.refused())

    def _delay(self) -> None:
        self._for(self._random.uniform(0.2, 1.0), self._line.slow(self._random.uniform(0.1, 0.4)))

    def _for(self, seconds: float, fault: AbstractContextManager[None]) -> None:
        with fault:
            self._over.wait(seconds)


def owing(shop: Shop, count: int) -> list[JobView]:
    """Cancelled jobs that were paid all the same. Their money came elsewhere: B shall only pay."""
    elsewhere = LnbitsIncome(shop.life.stand_in.url, STAND_IN_INVOICE_KEY, HttpClient())
    unhurried = shop.tools.settings.model_copy(update={"lnbits_requests_per_minute": 1_000_000})
    tools = shop.tools.with_(income=elsewhere, settings=unhurried)
    views = [intake.create(tools, "Never mind.", client_key=f"c{n}") for n in range(count)]
    for view in views:
        intake.cancel(tools, view.job.public_id)
        paid = view.invoices[InvoiceKind.EVAL]
        payments.settle(
            tools,
            SettledPayment(
                payment_hash=paid.payment_hash,
                amount=Msats(paid.amount_sats * 1000),
                settled_at=datetime.now(UTC),
            ),
        )
    return views


def claimed(shop: Shop, count: int) -> list[JobView]:
    views = owing(shop, count)
    with ThreadPoolExecutor(WORKERS) as threads:
        texts = list(threads.map(lambda _: shop.rig.payer.invoice(SATS), views))
    for view, text in zip(views, texts, strict=True):
        refunds.claim(shop.tools, shop.life.view(view).job, text)
    return views


def send_all(shop: Shop) -> None:
    """What several workers do at once with all that is due."""
    live = [row.id for row in all_of(shop.tools, Payout) if row.state is PayoutState.SENDING]
    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(lambda payout_id: payouts.send(shop.tools, payout_id), live))


def look_again(shop: Shop, after: timedelta = A_MINUTE) -> None:
    shop.let_time_pass(after)
    shop.life.make_due()
    send_all(shop)


def is_paid_on_a(shop: Shop, payout: Payout) -> bool:
    return shop.rig.payer.payment(payout.payment_hash)["paid"] is True


def assert_each_once_or_in_doubt(shop: Shop, had_msats: int) -> Counter[PayoutState]:
    """PAID is paid on A, and what is paid on A is PAID; A got so much and not a sat more."""
    rows: list[Payout] = all_of(shop.tools, Payout)
    with ThreadPoolExecutor(WORKERS) as threads:
        on_a = list(threads.map(lambda row: is_paid_on_a(shop, row), rows))
    for row, is_paid in zip(rows, on_a, strict=True):
        assert row.state is (PayoutState.PAID if is_paid else PayoutState.SENDING)
    assert shop.rig.payer.balance_msats() - had_msats == 1000 * SATS * sum(on_a)
    return Counter(row.state for row in rows)


def test_given_refunds_by_the_hundred_over_a_line_that_breaks_then_each_is_paid_once_or_in_doubt(
    shop: Shop,
) -> None:
    views = claimed(shop, REFUNDS)
    had = shop.rig.payer.balance_msats()
    nemesis = Nemesis(shop.rig.line, SEED)

    with nemesis.at_work():
        send_all(shop)
    look_again(shop)
    look_again(shop)

    ended = assert_each_once_or_in_doubt(shop, had)
    assert nemesis.strikes.total() > 5
    assert ended[PayoutState.PAID] > REFUNDS // 2
    look_again(shop, timedelta(hours=3))
    assert assert_each_once_or_in_doubt(shop, had) == ended
    assert_no_other_invoice_is_taken(shop, views)


def assert_no_other_invoice_is_taken(shop: Shop, views: list[JobView]) -> None:
    """For a refund in doubt, however long it is."""
    seen = [shop.life.view(view) for view in views]
    in_doubt = [view for view in seen if view.debts[0].state is DebtState.PAYING]
    for view in in_doubt[:5]:
        with pytest.raises(Conflict) as refused:
            refunds.claim(shop.tools, view.job, shop.rig.payer.invoice(SATS))
        assert refused.value.code is ErrorCode.REFUND_IN_PROGRESS


def test_given_b_is_killed_in_the_middle_of_refunds_then_each_is_paid_once_or_in_doubt(
    shop: Shop,
) -> None:
    claimed(shop, 30)
    had = shop.rig.payer.balance_msats()
    sending = threading.Thread(target=send_all, args=(shop,))

    sending.start()
    wait_until(lambda: shop.rig.payer.balance_msats() != had, 60, "the first is paid")
    shop.rig.b.server.kill()
    sending.join()
    shop.rig.b.start()
    look_again(shop)
    look_again(shop)

    ended = assert_each_once_or_in_doubt(shop, had)
    assert ended[PayoutState.PAID] > 20


def test_given_answers_of_b_that_get_lost_when_it_has_paid_then_each_refund_is_paid_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(shop, 10)
    had = shop.rig.payer.balance_msats()
    way_to_b = Line(shop.rig.b.server.port)
    behind = LnbitsPayouts(way_to_b.url, shop.wallet.admin_key, HttpClient())
    lossy = shop.tools.with_(payouts=behind)
    first, *others = [row.id for row in all_of(shop.tools, Payout)]
    payouts.send(lossy, first)  # and the database is proved, in fair weather

    monkeypatch.setattr(lnbits, "PAY_SECONDS", HASTY_SECONDS)
    monkeypatch.setattr(lnbits, "GET_SECONDS", HASTY_SECONDS)
    with way_to_b.slow(LONGER_THAN_LNBITS_WAITS):
        for payout_id in others:
            payouts.send(lossy, payout_id)
    monkeypatch.undo()
    everything = len(others) * SATS * 1000 + SATS * 1000
    wait_until(lambda: shop.rig.payer.balance_msats() - had == everything, 60, "A has it all")
    way_to_b.close()
    still_open = Counter(row.state for row in all_of(shop.tools, Payout))
    look_again(shop)

    assert still_open[PayoutState.SENDING] == len(others)
    assert assert_each_once_or_in_doubt(shop, had) == {PayoutState.PAID: 10}


def test_given_an_invoice_that_expired_while_b_was_down_then_another_one_is_paid_once(
    shop: Shop,
) -> None:
    (view,) = claimed(shop, 1)
    had = shop.rig.payer.balance_msats()
    reconcile.run(shop.tools)
    shop.rig.b.stop()
    try:
        send_all(shop)
        look_again(shop)
        shop.let_time_pass(timedelta(hours=3))
    finally:
        shop.rig.b.start()

    look_again(shop)
    look_again(shop)

    assert shop.payout.state is PayoutState.FAILED
    refunds.claim(shop.tools, shop.life.view(view).job, shop.rig.payer.invoice(SATS))
    send_all(shop)
    assert shop.rig.payer.balance_msats() - had == 1000 * SATS


@dataclass(frozen=True, kw_only=True)
class Short:
    """A refund to an invoice with seconds to live."""

    view: JobView
    payout_id: int
    payment_hash: str
    invoice: str


def claimed_shortly(shop: Shop, view: JobView, monkeypatch: pytest.MonkeyPatch) -> Short:
    """Who expects an invoice to live for two minutes would keep this test waiting as long."""
    text = shop.rig.payer.invoice(SATS, expiry=SHORT_LIFE_SECONDS)
    with monkeypatch.context() as lenient:
        lenient.setattr(refund_invoice, "SHORTEST_LIFE", timedelta(0))
        claim = refunds.claim(shop.tools, view.job, text)
    return Short(
        view=view, payout_id=claim.payout_id, payment_hash=claim.payment_hash, invoice=text
    )


def claim_another(shop: Shop, short: Short) -> None:
    refunds.claim(shop.tools, short.view.job, shop.rig.payer.invoice(SATS))


def states_of(shop: Shop, *shorts: Short) -> list[tuple[PayoutState, int]]:
    """How they stand, and how often each was handed over."""
    rows = {row.id: row for row in all_of(shop.tools, Payout)}
    return [(rows[short.payout_id].state, rows[short.payout_id].posts) for short in shorts]


@contextmanager
def over_a_line(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Line, Toolbox]]:
    """Our way to B can be broken, and we are in a hurry there."""
    with closing(Line(shop.rig.b.server.port)) as way_to_b, monkeypatch.context() as hurried:
        behind = LnbitsPayouts(way_to_b.url, shop.wallet.admin_key, HttpClient())
        assert behind.age() is Age.YOUNG  # asked in fair weather, and kept
        hurried.setattr(lnbits, "PAY_SECONDS", HASTY_SECONDS)
        hurried.setattr(lnbits, "GET_SECONDS", HASTY_SECONDS)
        yield way_to_b, shop.tools.with_(payouts=behind)


@contextmanager
def b_is_away(shop: Shop) -> Iterator[None]:
    shop.rig.b.server.kill()
    try:
        yield
    finally:
        shop.rig.b.start()


def test_given_invoices_that_run_out_while_b_is_down_then_each_refund_is_paid_once_in_the_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [shop.life.view(view) for view in owing(shop, 3)]
    had = shop.rig.payer.balance_msats()
    reconcile.run(shop.tools)

    with over_a_line(shop, monkeypatch) as (way_to_b, lossy):
        answer_lost = claimed_shortly(shop, views[0], monkeypatch)
        with way_to_b.slow(LONGER_THAN_LNBITS_WAITS):
            payouts.send(lossy, answer_lost.payout_id)
        request_lost = claimed_shortly(shop, views[1], monkeypatch)
        with way_to_b.refused():
            payouts.send(lossy, request_lost.payout_id)
    wait_until(lambda: shop.rig.payer.balance_msats() == had + 1000 * SATS, 60, "A has paid one")
    never_sent = claimed_shortly(shop, views[2], monkeypatch)
    all_three = (answer_lost, request_lost, never_sent)

    with b_is_away(shop):
        payouts.send(shop.tools, never_sent.payout_id)
        assert states_of(shop, *all_three) == [(PayoutState.SENDING, n) for n in (1, 1, 0)]
        wait_until(
            lambda: has_run_out(shop, request_lost) and has_run_out(shop, never_sent),
            60,
            "A calls both of the others expired",
        )

    shop.life.make_due()
    send_all(shop)
    assert states_of(shop, *all_three) == [
        (PayoutState.PAID, 1),
        (PayoutState.SENDING, 1),
        (PayoutState.FAILED, 0),
    ]
    assert_paid_to_another(shop, request_lost, never_sent)
    assert shop.rig.payer.balance_msats() == had + 3 * 1000 * SATS


def has_run_out(shop: Shop, short: Short) -> bool:
    return shop.rig.payer.payment(short.payment_hash).get("status") == "failed"


def assert_paid_to_another(shop: Shop, in_doubt: Short, failed: Short) -> None:
    """What failed is owed again at once, what is in doubt when nobody can pay it any more."""
    with pytest.raises(Conflict) as refused:
        claim_another(shop, in_doubt)
    assert refused.value.code is ErrorCode.REFUND_IN_PROGRESS
    with pytest.raises(InvalidRequest) as expired:
        refunds.claim(shop.tools, failed.view.job, failed.invoice)
    assert expired.value.code is ErrorCode.INVOICE_EXPIRED
    claim_another(shop, failed)
    send_all(shop)

    look_again(shop, MISSING_AFTER_EXPIRY)
    look_again(shop)
    assert states_of(shop, in_doubt) == [(PayoutState.FAILED, 1)]
    claim_another(shop, in_doubt)
    send_all(shop)
    assert Counter(row.state for row in all_of(shop.tools, Payout)) == {
        PayoutState.PAID: 3,
        PayoutState.FAILED: 2,
    }
