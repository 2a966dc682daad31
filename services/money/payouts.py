"""Money out, in the money worker: send a committed BOLT11 and find out what became of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import func

from gateways.errors import OutsideError
from gateways.lightning import (
    Age,
    PayoutOutcome,
    PayoutReading,
    Payouts,
    SendOutcome,
)
from models.payout import Payout
from services.money import held_payouts, payout_evidence, reconcile, wallets
from services.money.held_payouts import Held
from services.money.payout_evidence import Conclusion
from services.room import PAYOUTS_AT_ONCE, Room
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

AT_ONCE = Room(PAYOUTS_AT_ONCE)
FOR_A_PLACE = timedelta(milliseconds=500)
"""Others want this thread; but of hundreds of claims at once none should wait for another ring."""
POST_WITHIN = timedelta(seconds=60)
"""Counting a POST and making it, all in all: both have shorter limits of their own."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a reading came to, and what is to be done about it."""

    held: Held
    reading: PayoutReading
    conclusion: Conclusion


def send(tools: Toolbox, payout_id: int) -> None:
    """Take a payout one step on. Safe to call any number of times, from anywhere, at once."""
    assert tools.payouts is not None, "only the money worker pays"
    with AT_ONCE.place(patience=FOR_A_PLACE) as is_free:
        held = held_payouts.claim(tools, payout_id) if is_free else None
        if held is None:
            return
        with tools.leases.hold(Payout, held.id, held.claim):
            _take_on(tools, tools.payouts, held)


def _take_on(tools: Toolbox, lightning: Payouts, held: Held) -> None:
    """Find out what became of it; send it, or send it again, if that is what it lacks."""
    obstacle = _obstacle(tools, lightning, held)
    if obstacle is not None:
        held_payouts.look_again(tools, held, _nothing_read(obstacle))
        return
    # reconcile may have found it sent, or taken another one in
    known = held_payouts.reload(tools, held)
    if known is None:
        return
    seen = _look(tools, lightning, known)
    if seen.conclusion is Conclusion.POST:
        held_back = _held_back(tools, lightning)
        if held_back is not None:
            held_payouts.look_again(tools, seen.held, _nothing_read(held_back))
            return
        posted = _post(tools, lightning, seen.held)
        if posted is None:
            return
        seen = _look(tools, lightning, posted)
    _record(tools, seen)


def _look(tools: Toolbox, lightning: Payouts, held: Held) -> _Seen:
    """What is known of it now. Of what was never sent there is nothing to read."""
    if held.evidence.posts == 0:
        conclusion = payout_evidence.before_first_post(held.evidence)
        return _Seen(held=held, reading=_nothing_read("not_sent"), conclusion=conclusion)
    reading, known = _read(tools, lightning, held)
    conclusion = payout_evidence.conclude(reading.outcome, known.evidence)
    return _Seen(held=known, reading=reading, conclusion=conclusion)


def _obstacle(tools: Toolbox, lightning: Payouts, held: Held) -> str | None:
    """Why nothing may be sent or concluded at all for now."""
    if not wallets.is_paying_wallet_proved(tools, lightning):
        # another wallet would not know of a payout that the first one has sent
        return "wallet_not_proved"
    if held.evidence.posts == 0 and not reconcile.prove(tools):
        # a restored database has forgotten payouts, and that it sent this one
        return "database_not_proved"
    return None


def _held_back(tools: Toolbox, lightning: Payouts) -> str | None:
    """Why nothing may be sent now, nor sent again; what was sent may be read all the same."""
    if not reconcile.prove(tools):
        # a restored database has forgotten how this one ended, and what was paid in its stead
        return "database_not_proved"
    if _are_stopped(tools):
        return "payouts_stopped"
    # a POST to nobody knows what would make all that follows worth less
    return "lnbits_silent" if lightning.age() is Age.SILENT else None


def _nothing_read(code: str) -> PayoutReading:
    return PayoutReading(outcome=PayoutOutcome.UNKNOWN, code=code)


def _are_stopped(tools: Toolbox) -> bool:
    with tools.database.reading("payouts.stopped") as session:
        return reconcile.are_payouts_stopped(session)


def _post(tools: Toolbox, lightning: Payouts, held: Held) -> Held | None:
    """Count the POST, commit, then send. None = it is not ours to send, and nothing was sent."""
    age = lightning.age()
    not_after = time.monotonic() + POST_WITHIN.total_seconds()
    counted = _count_post(tools, held, age, key=lightning.key_mark())
    if counted is None:
        return None
    # who freezes in between wakes too late to send
    report = lightning.send(held.payment_request, held.mark, not_after=not_after)
    logger.info("payout posted", payout=held.id, outcome=report.outcome.value, code=report.code)
    refused = 1 if report.outcome is SendOutcome.REFUSED else 0
    answered: dict[str, object] = {
        "refusals": Payout.refusals + refused,
        # what was refused before sending has written nothing that could be untrue
        "candid_posts": Payout.candid_posts + (0 if age is Age.YOUNG else refused),
        "last_code": report.code,
    }
    was_always_candid = counted.was_always_candid
    if payout_evidence.is_its_nodes_word(report, age, was_always_candid=was_always_candid):
        answered["believed_post"] = counted.evidence.posts
    elif counted.evidence.posts_at_first_failed is not None:
        said = {"age": age.value, "code": report.code}
        logger.error("nobody confirms that a payout failed", payout=held.id, **said)
    return _note(tools, "payouts.posted", held, answered)


def _count_post(tools: Toolbox, held: Held, age: Age, *, key: str) -> Held | None:
    """One transaction with the proof of the wallet: nobody changes the wallet before it ends."""
    posting = {
        "posts": Payout.posts + 1,
        "candid_posts": Payout.candid_posts + (1 if age is Age.YOUNG else 0),
        "last_post_at": func.now(),
    }
    with tools.database.transaction("payouts.posting") as session:
        if not wallets.holds_paying_wallet(session, key):
            return None
        return held_payouts.write(session, held, posting)


def _read(tools: Toolbox, lightning: Payouts, held: Held) -> tuple[PayoutReading, Held]:
    """Read the payout back and put on record what counts as evidence."""
    reading = lightning.read(held.payment_hash)
    noted = None
    if reading.outcome is PayoutOutcome.FAILED:
        failed = {
            "row_was_read": True,
            "first_failed_at": func.coalesce(Payout.first_failed_at, func.now()),
            "posts_at_first_failed": func.coalesce(Payout.posts_at_first_failed, Payout.posts),
        }
        noted = _note(tools, "payouts.failed_reading", held, failed)
    if reading.outcome is PayoutOutcome.PENDING and held.evidence.is_pending_news:
        pending = {"row_was_read": True, "vouched_posts": 0}
        noted = _note(tools, "payouts.pending_reading", held, pending)
    if reading.outcome is PayoutOutcome.MISSING and held.evidence.row_was_read:
        logger.error("LNbits has lost the row of a payout", payout=held.id, job=held.mark.job_id)
        gone = {"first_failed_at": None, "posts_at_first_failed": None, "last_code": reading.code}
        noted = _note(tools, "payouts.row_is_gone", held, gone)
    if payout_evidence.missing_counts(reading.outcome, held.evidence) and _key_is_good(lightning):
        first = func.coalesce(Payout.first_missing_at, func.now())
        missing = {"first_missing_at": first, "last_code": reading.code}
        noted = _note(tools, "payouts.missing_reading", held, missing)
    return reading, noted or held


def _key_is_good(lightning: Payouts) -> bool:
    """A wrong key sees no payments: a 404 means something only beside a readable wallet."""
    try:
        lightning.balance()
    except OutsideError:
        return False
    return True


def _note(tools: Toolbox, name: str, held: Held, values: Mapping[str, object]) -> Held | None:
    """Write evidence on a payout we still hold. None = it is ours no longer."""
    with tools.database.transaction(name) as session:
        return held_payouts.write(session, held, values)


def _record(tools: Toolbox, seen: _Seen) -> None:
    if seen.conclusion is Conclusion.PAID:
        held_payouts.end_as_paid(tools, seen.held, seen.reading)
    elif seen.conclusion is Conclusion.FAILED:
        held_payouts.end_as_failed(tools, seen.held, seen.reading)
    else:
        held_payouts.look_again(tools, seen.held, seen.reading)
