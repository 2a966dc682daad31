"""Money in under bad weather: later, and never lost, doubled or invented."""

import threading
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from config.queues import TaskName
from gateways.lightning import lnbits
from local.stand_in.faults import Fault, FaultKind
from models.invoice import InvoiceKind, Receipt
from models.job import Job
from models.ledger import Account
from models.lifecycle import JobState
from models.money import Sats
from models.tick import Tick
from services.money import payments
from tests.support.rows import all_of, let_pass, measured_rest
from tests.weather.conftest import Sky
from tests.weather.storms import STORMS, Storm, in_every_storm

POLL, REREAD, SWEEP = TaskName.POLL_PAYMENTS, TaskName.REREAD_PAYMENTS, TaskName.SWEEP_INVOICES
REAL_DEADLINES = (lnbits.GET_SECONDS, lnbits.CREATE_SECONDS, lnbits.PAY_SECONDS)
FEED = "GET /api/v1/payments/paginated"


@in_every_storm
def test_given_a_storm_over_the_feed_then_it_has_a_name_and_the_payment_is_found_after_it(
    sky: Sky, storm: Storm
) -> None:
    view = sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL)
    sky.storm("lnbits.feed", storm)

    with capture_logs() as logs:
        sky.come_round(POLL)

    assert sky.error_of(POLL) == storm.code
    told = [line for line in logs if line["event"] == "duty turned away"]
    assert [(line["duty"], line["code"]) for line in told] == [(POLL.value, storm.code)]
    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT
    sky.clear()
    sky.come_round(POLL)
    assert sky.error_of(POLL) is None
    assert sky.life.state(view) is JobState.EVALUATING


def test_given_a_storm_that_lasts_then_readyz_is_degraded_until_it_is_over(sky: Sky) -> None:
    sky.fair_weather()
    assert sky.readyz()["status"] == "ready"
    sky.storm("lnbits", STORMS["hung"])

    sky.come_round(POLL)
    let_pass(sky.tools, Tick, timedelta(seconds=20))

    assert sky.readyz()["status"] == "degraded"
    assert POLL.value in sky.check("duties")["late"]
    sky.clear()
    sky.fair_weather()
    assert sky.readyz()["status"] == "ready"


@pytest.mark.parametrize(
    ("wish", "rest_seconds"), [(None, 5), ("1", 5), ("30", 30)], ids=["none", "short", "long"]
)
def test_given_a_rate_limit_then_the_poll_rests_as_long_as_lnbits_wishes_and_5_s_at_least(
    sky: Sky, wish: str | None, rest_seconds: int
) -> None:
    sky.life.stand_in.arm(
        Fault(target="lnbits.feed", kind=FaultKind.STATUS, status=429, retry_after=wish)
    )

    with measured_rest(sky.tools, Tick) as rest:
        sky.come_round(POLL)

    assert rest.at_least <= timedelta(seconds=rest_seconds) <= rest.at_most


def test_the_real_deadlines_outlast_an_lnbits_that_takes_8_seconds() -> None:
    assert min(REAL_DEADLINES) > 8


def test_given_an_answer_within_the_deadline_then_slow_is_no_trouble(sky: Sky) -> None:
    view = sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL)
    slow = Fault(target="lnbits.feed", kind=FaultKind.DELAY, seconds=0.2)
    sky.life.stand_in.arm(slow)

    sky.come_round(POLL)

    assert sky.error_of(POLL) is None
    assert sky.life.state(view) is JobState.EVALUATING


@pytest.mark.parametrize("kind", [FaultKind.DUPLICATED_ROWS, FaultKind.REORDERED_ROWS])
def test_given_a_feed_with_rows_doubled_or_out_of_order_then_each_payment_counts_once(
    sky: Sky, kind: FaultKind
) -> None:
    views = [sky.life.create() for _ in range(3)]
    for view in views:
        sky.life.pay(view, InvoiceKind.EVAL)
    sky.life.stand_in.arm(Fault(target="lnbits.feed", kind=kind, times=10))

    sky.come_round(POLL, REREAD, POLL)

    assert [sky.life.state(view) for view in views] == [JobState.EVALUATING] * 3
    assert sky.life.balances()[Account.WALLET] == 30_000


def test_given_pages_that_move_while_they_are_read_then_each_payment_counts_once(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.money.payments.FEED_PAGE", 2)
    views = [sky.life.create() for _ in range(6)]
    for view in views[:5]:
        sky.life.pay(view, InvoiceKind.EVAL)
    sky.life.stand_in.hold("lnbits.feed", match="offset=2")
    poll = threading.Thread(target=sky.come_round, args=(POLL,))
    poll.start()
    sky.life.stand_in.wait_until_held()
    sky.life.pay(views[5], InvoiceKind.EVAL)
    sky.life.stand_in.release()
    poll.join()
    sky.come_round(POLL)

    assert [sky.life.state(view) for view in views] == [JobState.EVALUATING] * 6
    assert len(all_of(sky.tools, Receipt)) == 6


def test_given_a_row_that_the_feed_hides_then_the_safety_net_finds_the_payment(sky: Sky) -> None:
    view = sky.life.create()
    sky.hide_from_feed(view.invoices[InvoiceKind.EVAL].payment_hash)
    sky.life.pay(view, InvoiceKind.EVAL)
    sky.come_round(POLL, REREAD)
    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT

    sky.let_invoices_age(31)
    sky.come_round(SWEEP)

    assert sky.life.state(view) is JobState.EVALUATING


def test_given_a_poll_cut_off_between_two_pages_then_the_rest_is_found_by_reading_back(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.money.payments.FEED_PAGE", 2)
    sky.come_round(REREAD)
    views = [sky.life.create() for _ in range(4)]
    for view in views:
        sky.life.pay(view, InvoiceKind.EVAL)
    fault = STORMS["error 500"].fault
    sky.life.stand_in.arm(
        fault.model_copy(update={"target": "lnbits.feed", "match": "offset=2", "times": 1})
    )
    sky.come_round(POLL)
    sky.come_round(POLL)
    assert len(all_of(sky.tools, Receipt)) == 2, "the second poll stops at what is known"

    sky.come_round(REREAD)

    assert [sky.life.state(view) for view in views] == [JobState.EVALUATING] * 4


@pytest.mark.parametrize(
    ("away", "reads_back"),
    [
        (None, timedelta(hours=24)),
        (timedelta(seconds=60), timedelta(minutes=3)),
        (timedelta(minutes=10), timedelta(hours=24)),
        (timedelta(days=3), timedelta(days=3, minutes=2)),
    ],
    ids=["never ran", "a minute", "ten minutes", "three days"],
)
def test_reading_back_goes_to_before_its_last_good_run(
    sky: Sky, monkeypatch: pytest.MonkeyPatch, away: timedelta | None, reads_back: timedelta
) -> None:
    overlaps: list[timedelta] = []
    monkeypatch.setattr(payments, "read_back", lambda _, overlap: overlaps.append(overlap))
    if away is not None:
        sky.come_round(REREAD)
        let_pass(sky.tools, Tick, away)
        overlaps.clear()

    sky.come_round(REREAD)

    (overlap,) = overlaps
    assert reads_back <= overlap < reads_back + timedelta(seconds=10)


def test_money_for_an_invoice_that_is_not_ours_is_kept_on_record_once_and_alarmed(
    sky: Sky,
) -> None:
    stranger = sky.tools.income.create_invoice(
        Sats(21), memo="somebody else's", lifetime=timedelta(hours=1)
    )
    sky.life.stand_in.pay(stranger.payment_hash)

    with capture_logs() as logs:
        sky.come_round(POLL, POLL, REREAD)

    alarms = [line for line in logs if line["log_level"] == "error"]
    assert [line["event"] for line in alarms] == ["payment for no invoice of ours"]
    assert sky.life.balances()[Account.UNMATCHED] == 21_000
    assert all_of(sky.tools, Job) == []


def test_money_that_is_less_than_the_price_moves_nothing_and_is_owed_back(sky: Sky) -> None:
    view = sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL, amount_msats=9_500)

    with capture_logs() as logs:
        sky.come_round(POLL)

    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT
    assert sky.life.debts(view) == [("duplicate", 10, "owed")]
    assert "invoice paid in part" in [line["event"] for line in logs]


def test_a_payment_in_time_that_an_outage_hid_for_hours_still_moves_its_job(sky: Sky) -> None:
    view = sky.life.create()
    sky.life.pay(view, InvoiceKind.EVAL)
    sky.storm("lnbits", STORMS["hung"])
    sky.let_invoices_age(3 * 3600)
    sky.come_round(POLL, SWEEP)
    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT

    sky.clear()
    sky.come_round(POLL)

    assert sky.life.state(view) is JobState.EVALUATING
    assert sky.life.debts(view) == []


def test_the_price_of_a_poll_is_one_request_however_many_invoices_are_open(sky: Sky) -> None:
    for _ in range(5):
        sky.life.create()
    before = sky.life.stand_in.counts().requests.get(FEED, 0)

    sky.come_round(POLL)

    assert sky.life.stand_in.counts().requests[FEED] - before == 1
