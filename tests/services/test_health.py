"""Readiness: only an unusable database stops us; everything else is said, without a balance."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import create_engine, delete, text

from config.queues import EVERY
from config.settings import psycopg2_url
from models import migrate, schema
from models.btc_price import BtcPrice
from models.database import Database
from models.invoice import Receipt
from models.job import Job
from models.money import Sats
from models.payout import Payout
from models.refund_destination import RefundDestination
from models.tick import Tick
from services.operate import health, ticks
from services.operate.health import Health, Readiness
from tests.conftest import Servers, database_at
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claim, claimed, owing, owing_to


def _check(life: Life) -> Health:
    return health.check(life.tools, schema_revision=schema.HEAD)


@pytest.fixture
def well(life: Life) -> Life:
    """Every duty has just run, and there is a price."""
    for name in EVERY:
        ticks.run(life.tools, name)
    with life.tools.database.transaction("test.price") as session:
        session.execute(delete(BtcPrice))
        session.add(BtcPrice(price_usd=100_000, feeds={}))
    return life


def test_given_duties_that_run_and_a_price_then_we_are_ready(well: Life) -> None:
    found = _check(well)

    assert found.status is Readiness.READY, found.parts
    assert all(part["ok"] for part in found.parts.values())


def test_a_service_that_has_just_started_is_degraded_until_its_duties_have_run(life: Life) -> None:
    found = _check(life)

    assert found.status is Readiness.DEGRADED
    assert set(found.parts["duties"]["late"]) == {name.value for name in EVERY}


def test_a_duty_that_stopped_is_named(well: Life) -> None:
    rows.let_pass(well.tools, Tick, timedelta(seconds=20))

    found = _check(well)

    assert found.status is Readiness.DEGRADED
    assert "dispatch" in found.parts["duties"]["late"]
    assert "price.refresh" not in found.parts["duties"]["late"]


def test_what_is_dated_ahead_is_not_taken_for_new(well: Life) -> None:
    for model in (Tick, BtcPrice):
        rows.let_pass(well.tools, model, timedelta(hours=-1))

    found = _check(well)

    assert found.status is Readiness.DEGRADED
    assert set(found.parts["duties"]["late"]) == {name.value for name in EVERY}
    assert not found.parts["price"]["ok"]
    assert not found.parts["lightningIncome"]["ok"]
    assert not found.parts["lightningPayouts"]["ok"]


def test_a_job_that_nobody_takes_degrades(well: Life) -> None:
    well.evaluating()
    assert _check(well).parts["backlog"]["ok"]
    rows.let_pass(well.tools, Job, timedelta(seconds=61))

    found = _check(well)

    assert found.status is Readiness.DEGRADED
    assert found.parts["backlog"]["dueJobs"] == 1
    assert found.parts["backlog"]["oldestSeconds"] >= 61


def test_a_payout_in_doubt_for_an_hour_is_a_persons_business(well: Life) -> None:
    claimed(well)
    assert _check(well).parts["refunds"]["ok"]
    rows.let_pass(well.tools, Payout, timedelta(hours=1, seconds=1))

    found = _check(well)

    assert found.status is Readiness.DEGRADED
    assert found.parts["refunds"]["underWay"] == 1


@pytest.fixture
def poor(well: Life) -> Iterator[Life]:
    """The paying wallet has not enough for any refund."""
    well.stand_in.top_up(-15)
    yield well
    well.stand_in.top_up(15)


def test_refunds_that_failed_are_counted_by_what_they_were_told_and_alarm_nobody(
    poor: Life,
) -> None:
    claimed(poor)
    claimed(poor)

    poor.work()
    claimed(poor)
    rows.let_pass(poor.tools, Payout, timedelta(hours=2))
    poor.work()

    refunds = _check(poor).parts["refunds"]
    assert refunds["failed"] == {"insufficient_balance": 2, "not_sent": 1}
    assert (refunds["ok"], refunds["openDebts"], refunds["errors"]) == (True, 3, {})


def test_a_job_whose_refund_failed_again_and_again_counts_once(poor: Life) -> None:
    view = owing(poor)
    for _ in range(3):
        claim(poor, view)
        poor.work()

    assert _check(poor).parts["refunds"]["failed"] == {"insufficient_balance": 1}


def test_a_refund_that_failed_is_told_no_more_when_it_is_claimed_again(poor: Life) -> None:
    view = claimed(poor)
    poor.work()
    poor.stand_in.top_up(15)

    claim(poor, view)
    claimed_again = _check(poor).parts["refunds"]
    poor.work()
    paid = _check(poor).parts["refunds"]
    poor.stand_in.top_up(-15)

    assert (claimed_again["failed"], paid["failed"]) == ({}, {})
    assert (claimed_again["underWay"], paid["openDebts"]) == (1, 0)


def test_a_refund_that_failed_is_told_for_a_day(poor: Life) -> None:
    claimed(poor)
    poor.work()
    rows.change(poor.tools, Payout, settled_at=Payout.settled_at - timedelta(hours=23))
    assert _check(poor).parts["refunds"]["failed"] == {"insufficient_balance": 1}

    rows.change(poor.tools, Payout, settled_at=Payout.settled_at - timedelta(hours=1, seconds=1))

    assert _check(poor).parts["refunds"]["failed"] == {}


def test_a_receiver_whom_nobody_asks_is_a_persons_business(well: Life) -> None:
    owing_to(well)
    assert _check(well).parts["refunds"]["ok"]
    rows.let_pass(well.tools, RefundDestination, timedelta(seconds=61))

    found = _check(well)

    assert found.status is Readiness.DEGRADED
    assert found.parts["refunds"]["neglectedSeconds"] >= 61


def test_without_a_live_price_we_are_degraded(well: Life) -> None:
    with well.tools.database.transaction("test.price") as session:
        session.execute(delete(BtcPrice))

    found = _check(well)

    assert (found.status, found.parts["price"]["source"]) == (Readiness.DEGRADED, "fallback")


def test_a_schema_of_another_version_makes_us_unready(well: Life) -> None:
    found = health.check(well.tools, schema_revision="9999")

    assert found.status is Readiness.UNREADY
    assert not found.parts["migrations"]["ok"]


@pytest.fixture
def another_database(servers: Servers, worker_number: int) -> Iterator[Database]:
    """One of its own, and empty."""
    name = f"another_{worker_number}"
    somewhere = create_engine(psycopg2_url(servers.postgres_url), isolation_level="AUTOCOMMIT")
    with somewhere.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        database = Database(psycopg2_url(database_at(servers.postgres_url, name)))
        yield database
        database.close()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    somewhere.dispose()


@pytest.mark.parametrize("revision", [None, "0001", "0003"])
def test_a_database_that_was_not_brought_up_to_date_is_told_with_its_revision(
    life: Life, another_database: Database, revision: str | None
) -> None:
    if revision is not None:
        url = another_database.engine.url.render_as_string(hide_password=False)
        command.upgrade(migrate.configuration(url), revision)

    tools = life.tools.with_(database=another_database)
    found = health.check(tools, schema_revision=schema.HEAD)

    assert found.status is Readiness.UNREADY
    assert found.parts == {
        "database": {"ok": True},
        "migrations": {"ok": False, "revision": revision},
    }


def test_a_database_that_cannot_be_reached_makes_us_unready(life: Life) -> None:
    nowhere = Database("postgresql+psycopg2://nobody:nothing@127.0.0.1:1/none")

    found = health.check(life.tools.with_(database=nowhere), schema_revision=schema.HEAD)

    assert found.status is Readiness.UNREADY
    assert found.parts == {"database": {"ok": False}}
    nowhere.close()


def test_readiness_asks_nothing_outside(well: Life) -> None:
    def asked() -> dict[str, int]:
        seen = well.stand_in.counts().requests
        return {route: times for route, times in seen.items() if "/stand-in/" not in route}

    before = asked()
    _check(well)

    assert asked() == before


def test_readiness_tells_no_balance(well: Life) -> None:
    claimed(well)
    well.complete()

    told = str(_check(well).parts).lower()

    assert "sats" not in told
    assert "balance" not in told


def test_an_invoice_that_is_open_long_past_its_deadline_degrades(well: Life) -> None:
    view = well.create()
    well.age_invoices(view, timedelta(minutes=74))
    assert _check(well).parts["invoices"] | {"longestSeconds": 0} == {
        "ok": True,
        "overdue": 1,
        "longestSeconds": 0,
    }
    well.age_invoices(view, timedelta(minutes=2))

    found = _check(well)

    assert found.status is Readiness.DEGRADED
    assert not found.parts["invoices"]["ok"]
    assert found.parts["invoices"]["longestSeconds"] >= 16 * 60


def test_money_for_no_invoice_of_ours_degrades_for_a_day_and_stays_counted(well: Life) -> None:
    by_hand = well.tools.income.create_invoice(
        Sats(123_456), memo="made by hand", lifetime=timedelta(hours=1)
    )
    assert well.stand_in.pay(by_hand.payment_hash)
    well.poll()

    fresh = _check(well)
    rows.let_pass(well.tools, Receipt, timedelta(hours=24, seconds=1))
    later = _check(well)

    assert fresh.status is Readiness.DEGRADED
    assert (fresh.parts["receipts"]["ok"], fresh.parts["receipts"]["unmatched"]) == (False, 1)
    assert "123456" not in str(fresh.parts)
    assert (later.parts["receipts"]["ok"], later.parts["receipts"]["unmatched"]) == (True, 1)
