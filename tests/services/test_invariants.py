"""The sweep that looks after the rules: silent on sound books, loud on every planted defect."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from config.queues import TaskName
from models.tick import Tick
from models.violation import Violation
from services.jobs.intake import JobView
from services.operate import invariants, ticks
from services.operate.invariants import OF_JOBS, OF_NOW, Rule
from tests.conftest import empty
from tests.support.life import Life
from tests.support.lived import LivedOnce
from tests.support.owing import claim, claimed, owing
from tests.support.rows import all_of, let_pass


@pytest.fixture(autouse=True)
def _nothing_planted_stays(life: Life) -> Iterator[None]:
    """Before the books of every test are looked at."""
    yield
    empty(life.tools)
    life.stand_in.reset()


def plant(life: Life, statement: str, **values: object) -> None:
    """Write what no code of ours would write; guards are put aside as only a superuser can."""
    with life.tools.database.transaction("test.plant") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement), values)


def sweep(life: Life) -> None:
    """What beat does every minute."""
    let_pass(life.tools, Tick, timedelta(minutes=2))
    assert ticks.run(life.tools, TaskName.CHECK_BOOKS)


def open_violations(life: Life) -> int:
    return sum(violation.mended_at is None for violation in all_of(life.tools, Violation))


def broken(life: Life) -> set[tuple[str, int]]:
    """What is on record as broken, after a sweep of everything."""
    invariants.sweep_everything(life.tools)
    return {
        (violation.rule, violation.job_id)
        for violation in all_of(life.tools, Violation)
        if violation.mended_at is None
    }


@LivedOnce
def every_kind_of_life(life: Life) -> JobView:
    """Jobs in many states; returns a complete one whose unused part was paid back."""
    complete = life.complete()
    claim(life, complete)
    life.work()
    for make in (life.create, life.evaluating, life.awaiting_work_payment, life.executing):
        make()
    owing(life)
    claimed(life)
    return complete


def test_sound_books_break_no_rule(life: Life) -> None:
    every_kind_of_life(life)

    assert broken(life) == set()
    assert invariants.sweep(life.tools) == 0


DEFECTS = {
    "a ledger entry that is not true": (
        (
            "UPDATE ledger_entries SET amount_msats = amount_msats + 1000"
            " WHERE job_id = :job AND credit = 'earned'"
        ),
        Rule.BOOKS_FIT_TABLES,
    ),
    "a ledger entry that is gone": (
        "DELETE FROM ledger_entries WHERE job_id = :job AND event_key LIKE 'paid:%'",
        Rule.BOOKS_FIT_TABLES,
    ),
    "a fee of income that is not booked": (
        "UPDATE receipts SET fee_msats = 1 WHERE job_id = :job",
        Rule.BOOKS_FIT_TABLES,
    ),
    "a debt that nobody paid and that is called paid": (
        "UPDATE payouts SET state = 'failed' WHERE job_id = :job",
        Rule.PAYOUT_FITS_DEBTS,
    ),
    "a payout that is larger than its debts": (
        "UPDATE payouts SET amount_sats = amount_sats + 1 WHERE job_id = :job",
        Rule.PAYOUT_FITS_DEBTS,
    ),
    "two live payouts": (
        (
            "DROP INDEX uq_payouts_live_job;"
            " UPDATE payouts SET state = 'sending', settled_at = NULL, due_at = now()"
            " WHERE job_id = :job;"
            " INSERT INTO payouts (job_id, payment_hash, payment_request, amount_sats,"
            " invoice_expires_at, state, due_at)"
            " SELECT job_id, 'another', payment_request, amount_sats, invoice_expires_at, state,"
            " due_at FROM payouts WHERE job_id = :job"
        ),
        Rule.ONE_LIVE_PAYOUT,
    ),
    "a charge that is too high": (
        "UPDATE jobs SET actual_amount_sats = actual_amount_sats + 1 WHERE id = :job",
        Rule.CHARGE_ADDS_UP,
    ),
    "a failed job that owes nothing": (
        "UPDATE jobs SET state = 'failed', result = NULL WHERE id = :job",
        Rule.FAILED_OWES,
    ),
    "a routing fee that went to nobody": (
        (
            "INSERT INTO ledger_entries (event_key, debit, credit, amount_msats, job_id)"
            " VALUES ('x:1', 'owner', 'routing_fees', 1, :job)"
        ),
        Rule.BOOKS_FIT_TABLES,
    ),
    "a fraction that was not rounded up": (
        (
            "INSERT INTO ledger_entries (event_key, debit, credit, amount_msats, job_id)"
            " VALUES ('x:1', 'rounding', 'unmatched', 1, :job)"
        ),
        Rule.BOOKS_FIT_TABLES,
    ),
    "a fourth call": (
        (
            "INSERT INTO attempts (id, job_id, step, claim, model, prompt_version)"
            " SELECT 900000 + n, :job, 'execute', 1, 'm', 'p' FROM generate_series(1, 3) AS n"
        ),
        Rule.CALLS_WITHIN_BOUNDS,
    ),
    "a job that nobody looks after": (
        (
            "UPDATE jobs SET state = 'executing', result = NULL,"
            " give_up_at = now() + interval '1 h', due_at = now() - interval '121 s'"
            " WHERE id = :job"
        ),
        Rule.LEASE_LOOKED_AFTER,
    ),
    "a payout that nobody looks after": (
        (
            "UPDATE payouts SET state = 'sending', settled_at = NULL,"
            " due_at = now() - interval '121 s' WHERE job_id = :job"
        ),
        Rule.LEASE_LOOKED_AFTER,
    ),
    "a receiver that nobody asks": (
        (
            "INSERT INTO refund_destinations (job_id, address, state, trying_since, due_at)"
            " VALUES (:job, 'a@b.example', 'trying', now(), now() - interval '121 s')"
        ),
        Rule.LEASE_LOOKED_AFTER,
    ),
    "a return that was never begun": (
        (
            "INSERT INTO refund_destinations (job_id, address) VALUES (:job, 'a@b.example');"
            " UPDATE debts SET state = 'owed', payout_id = NULL WHERE job_id = :job"
        ),
        Rule.RETURN_BEGUN,
    ),
    "a debt that came after the return and did not begin it anew": (
        (
            "INSERT INTO refund_destinations (job_id, address, state)"
            " VALUES (:job, 'a@b.example', 'paid');"
            " UPDATE debts SET state = 'owed', payout_id = NULL WHERE job_id = :job"
        ),
        Rule.RETURN_BEGUN,
    ),
    "a return that waits for a payout which has ended": (
        (
            "INSERT INTO refund_destinations (job_id, address, state, trying_since, payout_id)"
            " SELECT job_id, 'a@b.example', 'paying', now(), id FROM payouts WHERE job_id = :job"
        ),
        Rule.RETURN_BEGUN,
    ),
    "an event that is gone": (
        "DELETE FROM job_events WHERE job_id = :job AND version = 2",
        Rule.HISTORY_WHOLE,
    ),
    "a history without a beginning": (
        "UPDATE job_events SET source = 'expired' WHERE job_id = :job AND version = 1",
        Rule.HISTORY_WHOLE,
    ),
    "a history that is gone": (
        "DELETE FROM job_events WHERE job_id = :job",
        Rule.HISTORY_WHOLE,
    ),
    "an event that does not lead on from the one before": (
        "UPDATE job_events SET source = 'expired' WHERE job_id = :job AND version = 2",
        Rule.HISTORY_WHOLE,
    ),
    "a move that the history does not tell": (
        "UPDATE jobs SET version = version + 1 WHERE id = :job",
        Rule.HISTORY_WHOLE,
    ),
    "a state that the history does not lead to": (
        "UPDATE jobs SET state = 'rejected', result = NULL WHERE id = :job",
        Rule.HISTORY_WHOLE,
    ),
    "a job past its deadline": (
        (
            "UPDATE jobs SET state = 'executing', result = NULL, due_at = now(),"
            " give_up_at = now() - interval '121 s' WHERE id = :job"
        ),
        Rule.DEADLINE_KEPT,
    ),
}


class _InOne:
    """A database that does everything in a transaction which is open already."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def transaction(self, name: str) -> Iterator[Session]:
        yield self._session


class _TakenBack(Exception):
    """Nothing of it stays, an index that was dropped neither."""


def found_when_planted(life: Life, statement: str, **values: object) -> set[tuple[str, int | None]]:
    """What a sweep of everything finds of a defect that nobody else ever sees."""
    found: set[tuple[str, int | None]] = set()
    with suppress(_TakenBack), life.tools.database.transaction("test.plant") as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement), values)
        session.execute(text("SET LOCAL session_replication_role = origin"))
        invariants.sweep_everything(life.tools.with_(database=_InOne(session)))
        found |= {(violation.rule, violation.job_id) for violation in session.scalars(_BROKEN)}
        raise _TakenBack
    return found


_BROKEN = select(Violation).where(Violation.mended_at.is_(None))


@pytest.mark.parametrize(("statement", "rule"), DEFECTS.values(), ids=list(DEFECTS))
def test_what_is_broken_is_found_with_its_job(life: Life, statement: str, rule: Rule) -> None:
    view = every_kind_of_life(life)

    assert (rule.value, view.job.id) in found_when_planted(life, statement, job=view.job.id)


def test_every_rule_has_a_planted_defect() -> None:
    assert {rule for _, rule in DEFECTS.values()} == set(Rule)
    assert set(Rule) == OF_JOBS.keys() | OF_NOW.keys()


def test_a_defect_in_what_was_touched_lately_is_found_by_the_duty_and_said_once(
    life: Life,
) -> None:
    view = every_kind_of_life(life)
    plant(life, DEFECTS["a ledger entry that is not true"][0], job=view.job.id)

    with capture_logs() as logs:
        sweep(life)
        sweep(life)

    said = [line for line in logs if line["event"] == "a rule is broken"]
    assert [(line["log_level"], line["rule"], line["job"]) for line in said] == [
        ("error", Rule.BOOKS_FIT_TABLES.value, view.job.id)
    ]


def test_what_is_broken_stays_on_record_until_it_is_mended(life: Life) -> None:
    view = every_kind_of_life(life)
    more = (
        "UPDATE ledger_entries SET amount_msats = amount_msats {} WHERE event_key LIKE 'earned:%'"
    )
    plant(life, more.format("+ 1000") + " AND job_id = :job", job=view.job.id)
    for _ in range(4):  # long after it was touched
        sweep(life)
        assert open_violations(life) == 1

    plant(life, more.format("- 1000") + " AND job_id = :job", job=view.job.id)

    sweep(life)
    assert open_violations(life) == 0


def test_a_sweep_looks_only_at_what_was_touched_since_the_last_but_one(life: Life) -> None:
    view = every_kind_of_life(life)
    for _ in range(3):
        sweep(life)
    plant(life, DEFECTS["a charge that is too high"][0], job=view.job.id)

    sweep(life)
    assert open_violations(life) == 0
    assert invariants.sweep_everything(life.tools) > 0
