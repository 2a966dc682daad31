"""What must hold of runs of instant resources at every commit, as queries for whatever breaks it.

What needs the chain to be told (that money moved, that it did not) is not asked here.
"""

from collections.abc import Mapping
from enum import StrEnum


class RunRule(StrEnum):
    """What is broken, by run."""

    SOLD_WHOLE = "run_sold_whole"
    """Whoever paid has a result and was charged its price; nobody else was charged."""
    POSTS_ON_RECORD = "run_posts_on_record"
    """Each request to settle is in the journal, and no money came without one, as far as we know.

    Only a person may know better: the database was restored to a moment before the request.
    """
    CALLS_WITHIN_BOUNDS = "run_calls_within_bounds"
    """One answer at most, and at most three calls that may have been billed."""
    LEASE_LOOKED_AFTER = "run_lease_looked_after"
    """Nothing is due for more than 120 s without a worker."""
    DEADLINE_KEPT = "run_deadline_kept"
    """A run has its result, or has come to nothing, 120 s after its call must have ended."""


_SOLD_WHOLE = """
SELECT id FROM runs WHERE id = ANY(:ids) AND (
    (state = 'succeeded' AND result IS NULL AND pruned_at IS NULL)
    OR paid_usd_micros <> CASE
        WHEN state = 'succeeded' AND NOT is_owner_test THEN price_usd_micros ELSE 0 END)
"""
_POSTS_ON_RECORD = """
SELECT r.id FROM runs r WHERE r.id = ANY(:ids) AND (
    r.settle_posts <> (SELECT count(*) FROM run_calls WHERE run_id = r.id AND kind = 'settle')
    OR (r.settled_at IS NOT NULL AND r.settle_posts = 0
        AND NOT coalesce(r.settlement ? 'bookedByHand', false)))
"""
_CALLS_WITHIN_BOUNDS = """
SELECT run_id FROM run_calls WHERE run_id = ANY(:ids) AND kind IN ('model', 'proxy')
GROUP BY run_id
HAVING count(*) FILTER (WHERE outcome = 'answered') > 1
    OR count(*) FILTER (WHERE outcome IS NULL OR outcome NOT IN ('unavailable', 'refused')) > 3
"""
_LEASE_LOOKED_AFTER = "SELECT id FROM runs WHERE due_at < now() - interval '120 s'"
_DEADLINE_KEPT = """
SELECT id FROM runs
WHERE due_at IS NOT NULL AND state IN ('received', 'running')
  AND run_by < now() - interval '120 s'
"""

OF_RUNS: Mapping[StrEnum, str] = {
    RunRule.SOLD_WHOLE: _SOLD_WHOLE,
    RunRule.POSTS_ON_RECORD: _POSTS_ON_RECORD,
    RunRule.CALLS_WITHIN_BOUNDS: _CALLS_WITHIN_BOUNDS,
}
RUNS_OF_NOW: Mapping[StrEnum, str] = {
    RunRule.LEASE_LOOKED_AFTER: _LEASE_LOOKED_AFTER,
    RunRule.DEADLINE_KEPT: _DEADLINE_KEPT,
}
