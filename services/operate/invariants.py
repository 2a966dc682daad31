"""The rules that must hold at every commit, looked after while the service runs.

Once a minute for what was touched since, so that it costs the same with a million old
ones; over everything on demand. What is broken stays on record until it was seen mended.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from config.queues import TaskName
from models.event import JobEventRow
from models.job import Job
from models.ledger import LedgerEntry
from models.run import Run
from models.tick import Tick
from models.violation import Violation
from services.operate.account_rules import ACCOUNTS_OF_NOW
from services.operate.run_rules import OF_RUNS, RUNS_OF_NOW
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

AT_A_TIME = 2000
FIRST_LOOK_BACK = 10_000
"""Rows of history and ledger that the very first sweep goes back."""
ENDED_OF_LATE = timedelta(minutes=10)
"""Runs that ended since are looked at; a sweep comes every minute."""


class Rule(StrEnum):
    """What is broken, by job."""

    BOOKS_FIT_TABLES = "books_fit_tables"
    """I1: per job the ledger says what invoices, receipts, debts and payouts say."""
    PAYOUT_FITS_DEBTS = "payout_fits_debts"
    """I3: a payout is as large as the debts it covers, and a failed one covers none."""
    ONE_LIVE_PAYOUT = "one_live_payout"
    CHARGE_ADDS_UP = "charge_adds_up"
    """I5: charged and owed back make what was paid; no result without charge."""
    FAILED_OWES = "failed_owes"
    CALLS_WITHIN_BOUNDS = "calls_within_bounds"
    """I6: one answer per step, and at most three calls that may have been billed."""
    LEASE_LOOKED_AFTER = "lease_looked_after"
    """I4: nothing is due for more than 120 s without a worker."""
    DEADLINE_KEPT = "deadline_kept"
    """I4: a paid job has ended 120 s after its deadline."""
    HISTORY_WHOLE = "history_whole"
    """I7: each event leads on from the one before, and the last one to where the job is."""
    RETURN_BEGUN = "return_begun"
    """I17: what is owed on a job that has ended is on its way to ``refundTo``, or was given up."""


_BOOKS_FIT_TABLES = """
SELECT j.id FROM jobs j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(msats) FILTER (WHERE account = 'held'), 0) AS held,
           coalesce(sum(msats) FILTER (WHERE account = 'earned'), 0) AS earned,
           coalesce(sum(msats) FILTER (WHERE account = 'owed'), 0) AS owed,
           coalesce(sum(msats) FILTER (WHERE account = 'in_flight'), 0) AS in_flight,
           coalesce(sum(msats) FILTER (WHERE account = 'unmatched'), 0) AS unmatched,
           coalesce(sum(msats) FILTER (WHERE account = 'owner'), 0) AS owner,
           coalesce(-sum(msats) FILTER (WHERE account = 'wallet'), 0) AS wallet,
           coalesce(-sum(msats) FILTER (WHERE account = 'routing_fees'), 0) AS fees,
           coalesce(-sum(msats) FILTER (WHERE account = 'rounding'), 0) AS rounding
    FROM (
        SELECT credit AS account, amount_msats AS msats FROM ledger_entries WHERE job_id = j.id
        UNION ALL
        SELECT debit, -amount_msats FROM ledger_entries WHERE job_id = j.id) AS pairs) b
CROSS JOIN LATERAL (
    SELECT coalesce(1000 * sum(amount_sats) FILTER (WHERE state = 'owed'), 0) AS owed,
           coalesce(1000 * sum(amount_sats) FILTER (WHERE state = 'paying'), 0) AS paying,
           coalesce(1000 * sum(amount_sats) FILTER (WHERE state = 'paid'), 0) AS paid
    FROM debts WHERE job_id = j.id) d
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount_msats), 0) AS came, coalesce(sum(fee_msats), 0) AS fees
    FROM receipts WHERE job_id = j.id) r
CROSS JOIN LATERAL (
    SELECT coalesce(sum((1000 - amount_msats % 1000) % 1000), 0) AS up
    FROM debts JOIN receipts ON receipts.id = receipt_id
    WHERE debts.job_id = j.id AND cause IN ('late', 'duplicate')) rounded
CROSS JOIN LATERAL (
    SELECT coalesce(1000 * sum(amount_sats) FILTER (WHERE state = 'paid'), 0) AS paid,
           coalesce(sum(fee_msats), 0) AS fees
    FROM payouts WHERE job_id = j.id) p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(1000 * amount_sats) FILTER (
               WHERE (j.state = 'evaluating' AND kind = 'eval')
                  OR (j.state = 'executing' AND kind = 'work')), 0) AS undelivered,
           coalesce(sum(1000 * amount_sats) FILTER (
               WHERE kind = 'eval' AND EXISTS (
                   SELECT FROM job_events e
                   WHERE e.job_id = j.id AND e.event IN ('accepted', 'declined'))), 0)
           + 1000 * coalesce(j.actual_amount_sats, 0) AS delivered
    FROM invoices WHERE job_id = j.id) i
WHERE j.id = ANY(:ids)
  AND (b.held, b.earned, b.owed, b.in_flight, p.paid, b.wallet,
       b.fees, b.rounding, b.unmatched, b.owner) IS DISTINCT FROM
      (i.undelivered, i.delivered, d.owed, d.paying, d.paid,
       r.came - r.fees - p.paid - p.fees, r.fees + p.fees, rounded.up, 0, 0)
"""
_PAYOUT_FITS_DEBTS = """
SELECT p.job_id FROM payouts p
LEFT JOIN LATERAL (
    SELECT coalesce(sum(amount_sats), 0) AS sats, count(*) FILTER (
               WHERE state <> CASE p.state WHEN 'paid' THEN 'paid' ELSE 'paying' END) AS others
    FROM debts WHERE payout_id = p.id) d ON true
WHERE p.job_id = ANY(:ids)
  AND (d.others > 0 OR d.sats <> CASE p.state WHEN 'failed' THEN 0 ELSE p.amount_sats END)
"""
_ONE_LIVE_PAYOUT = """
SELECT job_id FROM payouts WHERE job_id = ANY(:ids) AND state = 'sending'
GROUP BY job_id HAVING count(*) > 1
"""
_CHARGE_ADDS_UP = """
SELECT j.id FROM jobs j WHERE j.id = ANY(:ids) AND j.state = 'complete'
  AND j.work_amount_sats IS DISTINCT FROM j.actual_amount_sats + (
      SELECT coalesce(sum(amount_sats), 0) FROM debts
      WHERE job_id = j.id AND cause = 'unused_work')
"""
_FAILED_OWES = """
SELECT j.id FROM jobs j WHERE j.id = ANY(:ids) AND j.state = 'failed' AND NOT EXISTS (
    SELECT FROM debts WHERE job_id = j.id AND cause IN ('failed_work', 'failed_evaluation'))
"""
_CALLS_WITHIN_BOUNDS = """
SELECT DISTINCT job_id FROM (
    SELECT job_id FROM attempts WHERE job_id = ANY(:ids)
    GROUP BY job_id, step
    HAVING count(*) FILTER (WHERE outcome = 'answered') > 1
        OR count(*) FILTER (WHERE outcome IS NULL OR outcome NOT IN ('unavailable', 'refused')) > 3
) AS too_many
"""
_HISTORY_WHOLE = """
SELECT j.id FROM jobs j
LEFT JOIN LATERAL (
    SELECT count(*) AS events, min(version) AS oldest, max(version) AS newest,
           bool_and(source IS NOT DISTINCT FROM before) AS leads_on,
           (array_agg(target ORDER BY version DESC))[1] AS ends_in
    FROM (SELECT version, source, target, lag(target) OVER (ORDER BY version) AS before
          FROM job_events WHERE job_id = j.id) AS of_job) h ON true
WHERE j.id = ANY(:ids)
  AND (h.events, h.oldest, h.newest, h.leads_on, h.ends_in) IS DISTINCT FROM
      (j.version, 1, j.version, true, j.state)
"""
_RETURN_BEGUN = """
SELECT r.job_id FROM refund_destinations r JOIN jobs j ON j.id = r.job_id
WHERE r.job_id = ANY(:ids) AND CASE
    WHEN r.state IN ('waiting', 'paid') THEN
        j.state IN ('rejected', 'complete', 'failed', 'expired')
        AND EXISTS (SELECT FROM debts WHERE job_id = r.job_id AND state = 'owed')
    WHEN r.state = 'paying' THEN
        NOT EXISTS (SELECT FROM payouts WHERE id = r.payout_id AND state = 'sending')
    END
"""
_LEASE_LOOKED_AFTER = """
SELECT id FROM jobs WHERE due_at < now() - interval '120 s'
UNION SELECT job_id FROM payouts WHERE due_at < now() - interval '120 s'
UNION SELECT job_id FROM refund_destinations WHERE due_at < now() - interval '120 s'
"""
_DEADLINE_KEPT = """
SELECT id FROM jobs WHERE due_at IS NOT NULL AND give_up_at < now() - interval '120 s'
"""

OF_JOBS: Mapping[StrEnum, str] = {
    Rule.BOOKS_FIT_TABLES: _BOOKS_FIT_TABLES,
    Rule.PAYOUT_FITS_DEBTS: _PAYOUT_FITS_DEBTS,
    Rule.ONE_LIVE_PAYOUT: _ONE_LIVE_PAYOUT,
    Rule.CHARGE_ADDS_UP: _CHARGE_ADDS_UP,
    Rule.FAILED_OWES: _FAILED_OWES,
    Rule.CALLS_WITHIN_BOUNDS: _CALLS_WITHIN_BOUNDS,
    Rule.HISTORY_WHOLE: _HISTORY_WHOLE,
    Rule.RETURN_BEGUN: _RETURN_BEGUN,
}
OF_NOW: Mapping[StrEnum, str] = {
    Rule.LEASE_LOOKED_AFTER: _LEASE_LOOKED_AFTER,
    Rule.DEADLINE_KEPT: _DEADLINE_KEPT,
}

_CURSOR = Tick.name == TaskName.CHECK_BOOKS.value
"""The duty's row, whose cursor is ``event:entry:event:entry``: how far the last but one sweep and
the last one came. From the last but one on, since rows may be committed in another order."""


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What rules are about: jobs, runs of instant resources, or accounts of the ledger."""

    name: str
    """As logs say it."""
    subject: InstrumentedAttribute[Any]
    """Whom a violation names: a job or a run by its number, an account by its name."""
    rules: Mapping[StrEnum, str]
    """Queries for what breaks them, among ``:ids``."""
    rules_of_now: Mapping[StrEnum, str]
    """The same of all there are."""


JOBS = _Kind(
    name="job",
    subject=Violation.job_id,
    rules=OF_JOBS,
    rules_of_now=OF_NOW,
)
RUNS = _Kind(
    name="run",
    subject=Violation.run_id,
    rules=OF_RUNS,
    rules_of_now=RUNS_OF_NOW,
)
ACCOUNTS = _Kind(
    name="account",
    subject=Violation.account,
    rules={},
    rules_of_now=ACCOUNTS_OF_NOW,
)


def sweep(tools: Toolbox) -> int:
    """Look at what was touched of late and at what was broken; returns how much is broken."""
    with tools.database.transaction("invariants.touched") as session:
        before, here = _cursor(session)
        jobs = _touched(session, *before) | _broken_so_far(session, JOBS)
        runs = _ended_of_late(session) | _broken_so_far(session, RUNS)
        session.execute(update(Tick).where(_CURSOR).values(cursor=here))
    broken = _look_at(tools, JOBS, sorted(jobs)) + _look_at(tools, RUNS, sorted(runs))
    return broken + _look_at(tools, ACCOUNTS, [])


def sweep_everything(tools: Toolbox) -> int:
    """The same for every job and run there is: a second or so for ten thousand."""
    broken = _look_at_all(tools, JOBS, Job.id) + _look_at_all(tools, RUNS, Run.id)
    return broken + _look_at(tools, ACCOUNTS, [])


def _look_at_all(tools: Toolbox, kind: _Kind, number: InstrumentedAttribute[int]) -> int:
    broken, last = 0, 0
    while True:
        with tools.database.transaction("invariants.all") as session:
            ids = list(
                session.scalars(
                    select(number).where(number > last).order_by(number).limit(AT_A_TIME)
                )
            )
        if not ids:
            return _look_at(tools, kind, []) + broken
        broken += _look_at_some(tools, kind, ids)
        last = ids[-1]


def _cursor(session: Session) -> tuple[tuple[int, int], str]:
    """Where to begin, and what to remember."""
    event = session.scalar(select(func.max(JobEventRow.id))) or 0
    entry = session.scalar(select(func.max(LedgerEntry.id))) or 0
    kept = session.scalar(select(Tick.cursor).where(_CURSOR).with_for_update())
    if kept is None:
        start = max(0, event - FIRST_LOOK_BACK), max(0, entry - FIRST_LOOK_BACK)
        return start, f"{start[0]}:{start[1]}:{event}:{entry}"
    old_event, old_entry, last_event, last_entry = map(int, kept.split(":"))
    return (old_event, old_entry), f"{last_event}:{last_entry}:{event}:{entry}"


def _touched(session: Session, event: int, entry: int) -> set[int]:
    """Whatever changes money or state of a job leaves a row in its history or in the ledger."""
    moved = select(JobEventRow.job_id).where(JobEventRow.id > event)
    booked = select(LedgerEntry.job_id).where(
        LedgerEntry.id > entry, LedgerEntry.job_id.is_not(None)
    )
    return set(session.scalars(moved)) | {job for job in session.scalars(booked) if job}


def _ended_of_late(session: Session) -> set[int]:
    """Before its end a run is looked after by its lease and its deadline."""
    return set(session.scalars(select(Run.id).where(Run.ended_at > func.now() - ENDED_OF_LATE)))


def _broken_so_far(session: Session, kind: _Kind) -> set[int]:
    still = select(kind.subject).where(Violation.mended_at.is_(None), kind.subject.is_not(None))
    return {number for number in session.scalars(still) if number is not None}


def _look_at(tools: Toolbox, kind: _Kind, ids: list[int]) -> int:
    """Look at these, and at what must hold of all of them at this moment."""
    with tools.database.transaction("invariants.now") as session:
        found = {rule: _found(session, query) for rule, query in kind.rules_of_now.items()}
        broken = _put_on_record(session, kind, found, None)
    for start in range(0, len(ids), AT_A_TIME):
        broken += _look_at_some(tools, kind, ids[start : start + AT_A_TIME])
    return broken


def _look_at_some(tools: Toolbox, kind: _Kind, ids: list[int]) -> int:
    with tools.database.transaction("invariants.some") as session:
        found = {rule: _found(session, query, ids) for rule, query in kind.rules.items()}
        return _put_on_record(session, kind, found, ids)


def _found(session: Session, query: str, ids: list[int] | None = None) -> set[Any]:
    return set(session.scalars(text(query), {} if ids is None else {"ids": ids}))


def _put_on_record(
    session: Session, kind: _Kind, found: Mapping[StrEnum, set[Any]], among: Iterable[int] | None
) -> int:
    """``among``: those that were looked at; None = all. Returns how many are broken."""
    for rule, subjects in found.items():
        mended = update(Violation).where(
            Violation.rule == rule.value,
            Violation.mended_at.is_(None),
            kind.subject.not_in(subjects),
        )
        if among is not None:
            mended = mended.where(kind.subject.in_(among))
        session.execute(mended.values(mended_at=func.now()))
        for subject in sorted(subjects):
            _put_one_on_record(session, kind, rule, subject)
    return sum(len(subjects) for subjects in found.values())


def _put_one_on_record(session: Session, kind: _Kind, rule: StrEnum, subject: int | str) -> None:
    is_new = session.scalar(
        insert(Violation)
        .values({"rule": rule.value, kind.subject.key: subject, "last_seen_at": func.now()})
        .on_conflict_do_update(
            index_elements=["rule", kind.subject.key],
            index_where=text("mended_at IS NULL"),
            set_={"last_seen_at": func.now()},
        )
        .returning(Violation.first_seen_at == Violation.last_seen_at)
    )
    if is_new:
        logger.error("a rule is broken", rule=rule.value, **{kind.name: subject})
