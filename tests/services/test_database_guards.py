"""What the database refuses whatever the code says: the last wall around the money."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic import command
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from models import migrate, schema
from models.attempt import Attempt
from models.database import Base
from models.debt import Debt, DebtCause
from models.event import JobEventRow
from models.invoice import Invoice, Receipt
from models.job import Job
from models.ledger import Account, LedgerEntry
from models.lifecycle import JobState
from models.money import Msats
from models.payout import Payout
from services.money import ledger
from tests.support import rows
from tests.support.life import Life
from tests.support.owing import claimed, owing


@contextmanager
def _refused(
    life: Life, saying: str, error: type[DBAPIError] = IntegrityError
) -> Iterator[Session]:
    """The statements inside do not survive, and the database says why."""
    with (
        pytest.raises(error, match=saying),
        life.tools.database.transaction("test.guard") as session,
    ):
        yield session


@pytest.mark.parametrize("table", [LedgerEntry, JobEventRow], ids=["ledger", "history"])
@pytest.mark.parametrize("how", ["update", "delete", "truncate"])
def test_the_ledger_and_the_history_are_append_only(
    life: Life, table: type[Base], how: str
) -> None:
    owing(life)
    statements: dict[str, Any] = {
        "update": update(table).values(job_id=None),
        "delete": delete(table),
        "truncate": text(f"TRUNCATE {table.__tablename__} CASCADE"),
    }

    with _refused(life, "append-only", DBAPIError) as session:
        session.execute(statements[how])


@pytest.mark.parametrize("state", [JobState.EVALUATING, JobState.EXECUTING])
def test_a_job_cannot_fail_without_owing(life: Life, state: JobState) -> None:
    view = life.evaluating() if state is JobState.EVALUATING else life.executing()

    with _refused(life, "failed without a debt", DBAPIError) as session:
        session.execute(update(Job).values(state=JobState.FAILED, due_at=None))

    assert life.state(view) is state


def test_a_second_live_payout_of_a_job_cannot_be_written(life: Life) -> None:
    claimed(life)

    with _refused(life, "uq_payouts_live_job") as session:
        session.execute(insert(Payout).values(_another_payout(session)))


def test_one_payment_hash_is_paid_out_once_for_all_jobs(life: Life) -> None:
    claimed(life)
    other = owing(life)

    with _refused(life, "uq_payouts_payment_hash") as session:
        again = _another_payout(session) | {
            "job_id": other.job.id,
            "payment_hash": rows.only(life.tools, Payout).payment_hash,
        }
        session.execute(insert(Payout).values(again))


def _another_payout(session: Session) -> dict[str, Any]:
    first = session.scalars(select(Payout)).one()
    return {
        "job_id": first.job_id,
        "payment_hash": "f" * 64,
        "payment_request": "lnbcrt1",
        "amount_sats": 1,
        "invoice_expires_at": func.now(),
        "due_at": func.now(),
    }


def test_one_payment_is_received_once(life: Life) -> None:
    life.evaluating()
    receipt = rows.only(life.tools, Receipt)

    with _refused(life, "uq_receipts_payment_hash") as session:
        session.execute(
            insert(Receipt).values(
                payment_hash=receipt.payment_hash, amount_msats=1, settled_at=func.now()
            )
        )


def test_one_cause_of_one_payment_is_owed_once(life: Life) -> None:
    owing(life)
    debt = rows.only(life.tools, Debt)

    with _refused(life, "uq_debts_receipt_id_cause") as session:
        session.execute(
            insert(Debt).values(
                job_id=debt.job_id, receipt_id=debt.receipt_id, cause=debt.cause, amount_sats=1
            )
        )


def test_one_event_is_posted_once(life: Life) -> None:
    owing(life)
    entry = rows.all_of(life.tools, LedgerEntry)[0]

    with _refused(life, "uq_ledger_entries_event_key") as session:
        ledger.post(
            session,
            entry.event_key,
            debit=Account.WALLET,
            credit=Account.EARNED,
            amount=Msats(entry.amount_msats),
            job_id=None,
        )


def test_one_step_has_one_answer(life: Life) -> None:
    life.awaiting_work_payment()
    attempt = rows.only(life.tools, Attempt)

    with _refused(life, "uq_attempts_answered") as session:
        session.execute(
            insert(Attempt).values(
                job_id=attempt.job_id,
                step=attempt.step,
                claim=9,
                model="m",
                prompt_version="p",
                outcome=attempt.outcome,
                ended_at=func.now(),
            )
        )


@pytest.mark.parametrize(
    ("table", "values", "guard"),
    [
        (Job, {"state": "paid"}, "state_known"),
        (Job, {"due_at": None}, "working_is_due"),
        (Job, {"payable_until": func.now()}, "awaiting_has_deadline"),
        (Job, {"expired_reason": "unpaid"}, "expired_has_reason"),
        (Job, {"result": "early"}, "complete_has_result"),
        (Job, {"work_amount_sats": 5, "actual_amount_sats": 6}, "charge_within_payment"),
        (Job, {"work_amount_sats": 5, "actual_amount_sats": -1}, "charge_within_payment"),
        (Invoice, {"amount_sats": 0}, "amount_positive"),
        (Receipt, {"amount_msats": -1}, "amount_positive"),
        (Receipt, {"fee_msats": -1}, "fee_not_negative"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_job_that_makes_no_sense_cannot_be_written(
    life: Life, table: type[Base], values: dict[str, Any], guard: str
) -> None:
    life.evaluating()

    with _refused(life, guard) as session:
        _write(session, table, values)


def _write(session: Session, table: type[Base], values: dict[str, Any]) -> None:
    """Past the enums of the code, as another program would write it."""
    plain = {
        name: text(f"'{value}'") if isinstance(value, str) else value
        for name, value in values.items()
    }
    session.execute(update(table).values(plain))


@pytest.mark.parametrize(
    ("values", "guard"),
    [
        ({"state": "paid", "due_at": func.now()}, "sending_is_due"),
        ({"due_at": None}, "sending_is_due"),
        ({"posts": 1, "refusals": 2}, "refusals_within_posts"),
        ({"amount_sats": 0}, "amount_positive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_payout_that_makes_no_sense_cannot_be_written(
    life: Life, values: dict[str, Any], guard: str
) -> None:
    claimed(life)

    with _refused(life, guard) as session:
        _write(session, Payout, values)


@pytest.mark.parametrize(
    ("values", "guard"),
    [
        ({"state": "owed"}, "covered_unless_owed"),
        ({"payout_id": None}, "covered_unless_owed"),
        ({"amount_sats": -10}, "amount_positive"),
        ({"cause": "kindness"}, "cause_known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_debt_that_makes_no_sense_cannot_be_written(
    life: Life, values: dict[str, Any], guard: str
) -> None:
    claimed(life)

    with _refused(life, guard) as session:
        _write(session, Debt, values)


@pytest.mark.parametrize(
    ("debit", "credit", "amount", "guard"),
    [
        ("wallet", "wallet", 1, "two_accounts"),
        ("wallet", "held", 0, "amount_positive"),
        ("wallet", "held", -1, "amount_positive"),
        ("wallet", "pocket", 1, "credit_known"),
        ("pocket", "held", 1, "debit_known"),
    ],
)
def test_an_entry_that_makes_no_sense_cannot_be_written(
    life: Life, debit: str, credit: str, amount: int, guard: str
) -> None:
    with _refused(life, guard) as session:
        session.execute(
            text(
                "INSERT INTO ledger_entries (event_key, debit, credit, amount_msats)"
                " VALUES ('test', :debit, :credit, :amount)"
            ),
            {"debit": debit, "credit": credit, "amount": amount},
        )


def test_the_models_are_what_the_migrations_make(life: Life) -> None:
    command.check(migrate.configuration(life.tools.settings.database_url))


def test_this_code_wants_the_newest_migration(life: Life) -> None:
    url = life.tools.settings.database_url

    assert migrate.revision_there(url) == schema.HEAD


def test_migrating_again_changes_nothing(life: Life) -> None:
    view = life.create()

    migrate.upgrade(life.tools.settings.database_url)

    assert life.state(view) is JobState.AWAITING_EVAL_PAYMENT


def test_the_causes_of_debts_are_those_of_the_contract() -> None:
    assert {cause.value for cause in DebtCause} == {
        "unused_work",
        "failed_work",
        "failed_evaluation",
        "duplicate",
        "late",
    }
