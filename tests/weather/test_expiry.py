"""Expiry: nothing ends on our word alone, so in bad weather nothing ends."""

from datetime import timedelta

import pytest

from config.queues import TaskName
from models.invoice import Invoice, InvoiceKind
from models.job import ExpiredReason
from models.lifecycle import JobState
from models.tick import Tick
from services.jobs import intake
from tests.support.rows import all_of, measured_rest
from tests.weather.conftest import Sky
from tests.weather.storms import STORMS, Storm, in_every_storm

SWEEP = TaskName.SWEEP_INVOICES
PAST_THE_DEADLINE = 3601
NOBODY_CAN_PAY = 3600 + 600 + 1
A_MINUTE = 61
STATES = "GET /api/v1/payments/paginated"


@in_every_storm
def test_given_a_storm_then_no_invoice_expires_until_lnbits_has_said_that_it_is_unpaid(
    sky: Sky, storm: Storm
) -> None:
    view = sky.life.create()
    sky.let_invoices_age(PAST_THE_DEADLINE)
    sky.storm("lnbits.states", storm)

    sky.come_round(SWEEP)

    assert sky.error_of(SWEEP) == storm.code
    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT
    sky.clear()
    sky.let_invoices_age(A_MINUTE)
    sky.come_round(SWEEP)
    assert sky.error_of(SWEEP) is None
    after = sky.life.view(view).job
    assert (after.state, after.expired_reason) == (JobState.EXPIRED, ExpiredReason.UNPAID)


@in_every_storm
def test_given_a_storm_when_it_was_paid_meanwhile_then_asking_once_more_finds_the_payment(
    sky: Sky, storm: Storm
) -> None:
    view = sky.life.awaiting_work_payment()
    sky.hide_from_feed(view.invoices[InvoiceKind.WORK].payment_hash)
    sky.let_invoices_age(PAST_THE_DEADLINE)
    sky.storm("lnbits.states", storm)
    sky.come_round(SWEEP)
    sky.life.pay(view, InvoiceKind.WORK)

    sky.clear()
    sky.let_invoices_age(A_MINUTE)
    sky.come_round(SWEEP)

    assert sky.life.state(view) is JobState.EXECUTING


def test_given_lnbits_knows_nothing_of_an_invoice_then_it_does_not_expire_and_is_asked_again(
    sky: Sky,
) -> None:
    view = sky.life.create()
    sky.let_invoices_age(PAST_THE_DEADLINE)
    sky.life.stand_in.reset()

    for _ in range(3):
        sky.come_round(SWEEP)
        sky.let_invoices_age(A_MINUTE)

    assert sky.life.state(view) is JobState.AWAITING_EVAL_PAYMENT


def test_given_more_invoices_than_fit_a_page_then_each_sweep_asks_about_a_page(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.jobs.expiry.PAGE", 3)
    views = [sky.life.create() for _ in range(7)]
    sky.let_invoices_age(PAST_THE_DEADLINE)
    before = sky.life.stand_in.counts().requests.get(STATES, 0)

    expired = []
    for _ in range(3):
        sky.come_round(SWEEP)
        expired.append([sky.life.state(view) for view in views].count(JobState.EXPIRED))

    assert expired == [3, 6, 7]
    asked = [[1, 2], [1, 2], [1]]  # at once: more and more, while LNbits is quick
    assert sky.life.stand_in.counts().requests[STATES] - before == sum(map(len, asked))


def test_an_invoice_is_asked_about_at_30_s_2_min_10_min_at_its_deadline_and_while_payable(
    sky: Sky,
) -> None:
    """It can be paid for ten minutes longer than the job waits; after that it is left alone."""
    sky.life.create()
    asked: list[tuple[int, int]] = []

    for age in (10, 40, 100, 140, 570, 630, 3500, 3660, 3730, 3800, 3910, 4000, 4150, 4250, 9000):
        already = asked[-1][0] if asked else 0
        sky.let_invoices_age(age - already)
        sky.come_round(SWEEP)
        asked.append((age, all_of(sky.tools, Invoice)[0].checks))

    assert asked == [
        (10, 0),
        (40, 1),
        (100, 1),
        (140, 2),
        (570, 2),
        (630, 3),
        (3500, 3),
        (3660, 4),
        (3730, 5),
        (3800, 5),
        (3910, 6),
        (4000, 6),
        (4150, 7),
        (4250, 7),
        (9000, 7),
    ]


def test_a_cancelled_job_is_asked_about_no_more_once_nobody_can_pay_it(sky: Sky) -> None:
    view = sky.life.create()
    intake.cancel(sky.tools, view.job.public_id)
    before = sky.life.stand_in.counts().requests.get(STATES, 0)

    sky.let_invoices_age(NOBODY_CAN_PAY)
    sky.come_round(SWEEP, SWEEP)

    assert sky.life.stand_in.counts().requests.get(STATES, 0) == before
    assert sky.life.view(view).job.expired_reason is ExpiredReason.CANCELLED


@pytest.mark.parametrize(
    ("seconds_late", "state", "debts"),
    [
        (550, JobState.EVALUATING, []),
        (610, JobState.EXPIRED, [("late", 10, "owed")]),
    ],
)
def test_money_up_to_600_seconds_late_revives_a_job_and_later_money_is_owed_back(
    sky: Sky, seconds_late: int, state: JobState, debts: list[tuple[str, int, str]]
) -> None:
    view = sky.life.create()
    sky.let_invoices_age(PAST_THE_DEADLINE)
    sky.come_round(SWEEP)
    assert sky.life.state(view) is JobState.EXPIRED

    sky.let_invoices_age(seconds_late - 1)
    sky.life.pay(view, InvoiceKind.EVAL)
    sky.come_round(TaskName.POLL_PAYMENTS)

    assert sky.life.state(view) is state
    assert sky.life.debts(view) == debts


def test_given_a_revived_job_then_a_second_storm_over_the_states_takes_nothing_back(
    sky: Sky,
) -> None:
    view = sky.life.create()
    sky.let_invoices_age(PAST_THE_DEADLINE)
    sky.come_round(SWEEP)
    sky.life.pay(view, InvoiceKind.EVAL)
    sky.come_round(TaskName.POLL_PAYMENTS)
    sky.storm("lnbits.states", STORMS["node away"])

    sky.let_invoices_age(A_MINUTE)
    sky.come_round(SWEEP)

    assert sky.life.state(view) is JobState.EVALUATING


def test_after_a_storm_the_sweep_rests_5_seconds_at_least(sky: Sky) -> None:
    sky.life.create()
    sky.let_invoices_age(PAST_THE_DEADLINE)
    sky.storm("lnbits.states", STORMS["rate limit"])

    with measured_rest(sky.tools, Tick) as rest:
        sky.come_round(SWEEP)

    assert rest.at_least <= timedelta(seconds=5) <= rest.at_most
