"""The judge of waiting: whoever gave up had a reason, and a run in which nothing happened is none.

As ``tests.chaos.checker``, which has these rules among its own.
"""

from collections.abc import Iterator
from datetime import datetime

from tests.chaos import sales
from tests.chaos.evidence import Evidence, Row
from tests.chaos.windows import windows_of

Sentences = Iterator[str]

SOON = 60.0
"""Seconds after all was calm, or after the last that happened to a job, within which more does."""
ASKED_AGAIN = 75.0
"""LNbits is asked once a minute for an invoice of which it could not say that it is unpaid."""


# --- I17: what is owed comes back, or it is known why not yet


def nobody_gives_up_without_a_reason(evidence: Evidence) -> Sentences:
    """A payout may be in doubt, a receiver may have failed; else whatever is owed moves on soon.

    Whoever was told to wait gives up early: what it waits for is looked at itself.
    """
    yield from _gave_up(evidence)
    yield from _never_sent(evidence)
    yield from _never_over(evidence)


def _never_sent(evidence: Evidence) -> Sentences:
    """A payout that nobody has handed over. When one was opened again is not known."""
    for payout in evidence.tables["payouts"]:
        since = evidence.read_at - max(evidence.calm_at, payout["created_at"].timestamp())
        is_unsent = payout["state"] == "sending" and payout["posts"] == 0 and payout["sends"] == 1
        if is_unsent and since > SOON:
            yield f"payout {payout['id']} was never sent, {since:.0f} s after it could be"


def _never_over(evidence: Evidence) -> Sentences:
    """A job that waits for a payment, although the time for it was over long before all was calm.

    Whose time was just over may have to wait for the next question, and nothing else of it is odd.
    """
    since = evidence.read_at - evidence.calm_at
    for job in evidence.tables["jobs"]:
        until = job["payable_until"]
        is_over = until is not None and until.timestamp() < evidence.calm_at - ASKED_AGAIN
        if job["state"].startswith("awaiting") and is_over and since > ASKED_AGAIN:
            yield f"job {job['id']} still {job['state']}, {since:.0f} s after all was calm"


def _gave_up(evidence: Evidence) -> Sentences:
    jobs = {str(job["public_id"]): job for job in evidence.tables["jobs"]}
    for line in evidence.callers:
        if line["what"] != "caller_gave_up":
            continue
        job = jobs.get(line["job"])
        if job is None:
            yield f"caller {line['number']} gave up at {line['seen'] or 'the first question'}"
        elif not _is_known_why(evidence, job):
            since = line["at"] - max(evidence.calm_at, _last_of(evidence, job, line))
            if since > SOON:
                yield f"job {job['id']}: gave up, {since:.0f} s after anything moved"


def _is_known_why(evidence: Evidence, job: Row) -> bool:
    went = evidence.money("payment_out")
    is_in_doubt = any(
        payout["state"] == "sending" and payout["posts"] and payout["payment_hash"] not in went
        for payout in evidence.by("payouts", "job_id")[job["id"]]
    )
    return is_in_doubt or any(
        row["state"] == "trying"
        and row["last_error"]
        and row["due_at"].timestamp() > evidence.calm_at
        for row in evidence.by("refund_destinations", "job_id")[job["id"]]
    )


def _last_of(evidence: Evidence, job: Row, gave_up: Row) -> float:
    """When something last happened to a job: it moved, money did, or its invoice ran out."""
    payouts = evidence.by("payouts", "job_id")[job["id"]]
    times: list[datetime | None] = [job["moved_at"], job["payable_until"]]
    times += [payout[name] for payout in payouts for name in ("created_at", "settled_at")]
    came: list[float] = [
        line["at"]
        for line in evidence.callers
        if line["what"] == "pays" and line["job"] == gave_up["job"]
    ]
    return max([time.timestamp() for time in times if time is not None] + came)


# --- I18: nothing was lost because nothing was done


MANY_ACTS = 40
KINDS_OF_MANY = 8
"""So many acts are of so many kinds at least, where they may be."""


def the_run_shows_something(evidence: Evidence) -> Sentences:
    """At least one whole job, one refund, one sale where anybody sells, and all that was planned.

    An act that met nothing is none.
    """
    if not any(job["state"] == "complete" for job in evidence.tables["jobs"]):
        yield "no job was ever complete"
    if not evidence.money("payment_out"):
        yield "nothing was ever paid back"
    if evidence.earnings is not None and not sales.transfers(evidence):
        yield "nothing was ever sold"
    acts = windows_of(evidence.acts)
    if len(acts) < evidence.planned:
        yield f"{evidence.planned} acts were planned and {len(acts)} have met something"
    kinds = {act.kind for act in acts}
    if evidence.planned >= MANY_ACTS and len(kinds) < KINDS_OF_MANY <= evidence.kinds:
        yield f"{evidence.planned} acts were of {len(kinds)} kinds only"
