"""Money out, in the money worker: send a committed BOLT11 and find out what became of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Bundle, Session

from config.settings import Settings
from gateways.errors import OutsideError
from gateways.lightning import (
    Age,
    PayoutMark,
    PayoutOutcome,
    PayoutReading,
    Payouts,
    SendOutcome,
)
from models import due, money_moves
from models.database import UNLOADED, ago
from models.job import Job
from models.ledger import Account
from models.money import Msats, msats
from models.payout import Payout, PayoutState
from services import retry
from services.money import adoption, ledger, payout_evidence, reconcile, wallets
from services.money.payout_evidence import Conclusion, Evidence
from services.room import PAYOUTS_AT_ONCE, Room
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

FIRST_LOOK = timedelta(seconds=1)
LAST_LOOK = timedelta(minutes=30)
SHARE_OF_LOOKS = 4
"""Looks may use one in so many of the requests that LNbits allows."""
REQUESTS_OF_A_LOOK = 2
"""Reading it back; now and then proving the key, or handing it over and reading once more."""
AT_ONCE = Room(PAYOUTS_AT_ONCE)
FOR_A_PLACE = timedelta(milliseconds=500)
"""Others want this thread; but of hundreds of claims at once none should wait for another ring."""
POST_WITHIN = timedelta(seconds=60)
"""Counting a POST and making it, all in all: both have shorter limits of their own."""
HELD_BACK = timedelta(seconds=5)
"""Before something that was never sent is looked at again, at first."""
HELD_BACK_AT_MOST = timedelta(seconds=30)
"""Hundreds may wait for LNbits, and looking at them costs what could be done for others."""


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A payout that this worker holds."""

    id: int
    claim: int
    payment_hash: str
    payment_request: str
    mark: PayoutMark
    since_claim: timedelta
    """Since a caller first asked for it."""
    was_always_candid: bool
    """Each POST went to an LNbits that says "failed" only if its node does."""
    evidence: Evidence


_EVIDENCE: Bundle[Any] = Bundle(
    "evidence",
    Payout.posts,
    Payout.refusals,
    Payout.believed_post,
    Payout.posts_at_first_failed,
    Payout.row_was_read,
    Payout.vouched_posts,
    ago(Payout.last_post_at).label("since_post"),
    ago(Payout.first_failed_at).label("since_first_failed"),
    ago(Payout.invoice_expires_at).label("since_expiry"),
    ago(Payout.first_missing_at).label("since_first_missing"),
)
"""The fields of ``Evidence``, by their names."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a reading came to, and what is to be done about it."""

    held: _Held
    reading: PayoutReading
    conclusion: Conclusion


def send(tools: Toolbox, payout_id: int) -> None:
    """Take a payout one step on. Safe to call any number of times, from anywhere, at once."""
    assert tools.payouts is not None, "only the money worker pays"
    with AT_ONCE.place(patience=FOR_A_PLACE) as is_free:
        held = _claim(tools, payout_id) if is_free else None
        if held is None:
            return
        with tools.leases.hold(Payout, held.id, held.claim):
            _take_on(tools, tools.payouts, held)


def _take_on(tools: Toolbox, lightning: Payouts, held: _Held) -> None:
    """Find out what became of it; send it, or send it again, if that is what it lacks."""
    obstacle = _obstacle(tools, lightning, held)
    if obstacle is not None:
        _look_again(tools, held, _nothing_read(obstacle))
        return
    known = _reload(tools, held)  # reconcile may have found it sent, or taken another one in
    if known is None:
        return
    seen = _look(tools, lightning, known)
    if seen.conclusion is Conclusion.POST:
        held_back = _held_back(tools, lightning)
        if held_back is not None:
            _look_again(tools, seen.held, _nothing_read(held_back))
            return
        posted = _post(tools, lightning, seen.held)
        if posted is None:
            return
        seen = _look(tools, lightning, posted)
    _record(tools, seen)


def _look(tools: Toolbox, lightning: Payouts, held: _Held) -> _Seen:
    """What is known of it now. Of what was never sent there is nothing to read."""
    if held.evidence.posts == 0:
        conclusion = payout_evidence.before_first_post(held.evidence)
        return _Seen(held=held, reading=_nothing_read("not_sent"), conclusion=conclusion)
    reading, known = _read(tools, lightning, held)
    conclusion = payout_evidence.conclude(reading.outcome, known.evidence)
    return _Seen(held=known, reading=reading, conclusion=conclusion)


def _obstacle(tools: Toolbox, lightning: Payouts, held: _Held) -> str | None:
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


def _reload(tools: Toolbox, held: _Held) -> _Held | None:
    with tools.database.reading("payouts.reload") as session:
        return _load(session, held.id, held.claim)


def _are_stopped(tools: Toolbox) -> bool:
    with tools.database.reading("payouts.stopped") as session:
        return reconcile.are_payouts_stopped(session)


def _claim(tools: Toolbox, payout_id: int) -> _Held | None:
    with tools.database.transaction("payouts.claim") as session:
        sending = Payout.state == PayoutState.SENDING
        claimed = due.claim(session, Payout, payout_id, lease=tools.settings.lease, where=sending)
        return None if claimed is None else _load(session, payout_id, claimed.number)


def _load(session: Session, payout_id: int, claim: int) -> _Held | None:
    """Read a payout we hold, every span computed by the database. None = it is ours no longer."""
    row = session.execute(
        select(
            Payout.job_id,
            Job.public_id,
            Payout.payment_hash,
            Payout.payment_request,
            (Payout.candid_posts == Payout.posts).label("was_always_candid"),
            ago(Payout.created_at).label("since_claim"),
            _EVIDENCE,
        )
        .join(Job, Job.id == Payout.job_id)
        .where(Payout.id == payout_id, Payout.claim == claim, Payout.state == PayoutState.SENDING)
    ).one_or_none()
    if row is None:
        return None
    return _Held(
        id=payout_id,
        claim=claim,
        payment_hash=row.payment_hash,
        payment_request=row.payment_request,
        mark=PayoutMark(
            job_id=row.job_id,
            job_digits=row.public_id.hex[: adoption.DIGITS],
            payout_id=payout_id,
        ),
        since_claim=row.since_claim,
        was_always_candid=row.was_always_candid,
        evidence=Evidence(**row.evidence._asdict()),
    )


def _post(tools: Toolbox, lightning: Payouts, held: _Held) -> _Held | None:
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


def _count_post(tools: Toolbox, held: _Held, age: Age, *, key: str) -> _Held | None:
    """One transaction with the proof of the wallet: nobody changes the wallet before it ends."""
    posting = {
        "posts": Payout.posts + 1,
        "candid_posts": Payout.candid_posts + (1 if age is Age.YOUNG else 0),
        "last_post_at": func.now(),
    }
    with tools.database.transaction("payouts.posting") as session:
        if not wallets.holds_paying_wallet(session, key):
            return None
        return _written(session, held, posting)


def _read(tools: Toolbox, lightning: Payouts, held: _Held) -> tuple[PayoutReading, _Held]:
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


def _note(tools: Toolbox, name: str, held: _Held, values: Mapping[str, object]) -> _Held | None:
    """Write evidence on a payout we still hold. None = it is ours no longer."""
    with tools.database.transaction(name) as session:
        return _written(session, held, values)


def _written(session: Session, held: _Held, values: Mapping[str, object]) -> _Held | None:
    session.execute(
        update(Payout)
        .where(Payout.id == held.id, Payout.claim == held.claim)
        .values(values)
        .execution_options(**UNLOADED)
    )
    return _load(session, held.id, held.claim)


def _said(reading: PayoutReading) -> dict[str, str]:
    """What goes on record of a reading. A missing row says less than the answer to the POST."""
    return {} if reading.outcome is PayoutOutcome.MISSING else {"last_code": reading.code}


def _record(tools: Toolbox, seen: _Seen) -> None:
    if seen.conclusion is Conclusion.PAID:
        _record_paid(tools, seen.held, seen.reading)
    elif seen.conclusion is Conclusion.FAILED:
        _record_failed(tools, seen.held, seen.reading)
    else:
        _look_again(tools, seen.held, seen.reading)


def _record_paid(tools: Toolbox, held: _Held, reading: PayoutReading) -> None:
    with tools.database.transaction("payouts.paid") as session:
        book_paid(session, held.id, held.claim, reading.fee, reading.preimage)


def book_paid(
    session: Session, payout_id: int, claim: int, fee: Msats, preimage: str | None
) -> None:
    """End a payout as paid, in the books too. Does nothing if it is not held with this claim."""
    payout = money_moves.settle_payout(
        session,
        payout_id,
        claim,
        state=PayoutState.PAID,
        fee_msats=fee,
        preimage=preimage,
    )
    if payout is None:
        return
    ledger.post(
        session,
        f"paid:{payout.id}",
        debit=Account.IN_FLIGHT,
        credit=Account.WALLET,
        amount=msats(payout.amount_sats),
        job_id=payout.job_id,
    )
    ledger.post(
        session,
        f"routing_fee:{payout.id}",
        debit=Account.ROUTING_FEES,
        credit=Account.WALLET,
        amount=fee,
        job_id=payout.job_id,
    )


def _record_failed(tools: Toolbox, held: _Held, reading: PayoutReading) -> None:
    with tools.database.transaction("payouts.failed") as session:
        payout = money_moves.settle_payout(
            session, held.id, held.claim, state=PayoutState.FAILED, **_said(reading)
        )
        if payout is None:
            return
        ledger.take_back(session, payout)
    logger.error(
        "payout failed, the debt is open again",
        payout=held.id,
        job=held.mark.job_id,
        code=reading.code,
    )


def _look_again(tools: Toolbox, held: _Held, reading: PayoutReading) -> None:
    logger.info(
        "payout in doubt",
        payout=held.id,
        job=held.mark.job_id,
        outcome=reading.outcome.value,
        code=reading.code,
    )
    with tools.database.transaction("payouts.look_again") as session:
        said = _said(reading)
        if said:
            held_by_us = (Payout.id == held.id, Payout.claim == held.claim)
            session.execute(
                update(Payout).where(*held_by_us).values(said).execution_options(**UNLOADED)
            )
        if held.evidence.posts > 0:
            waited = held.evidence.since_post or timedelta(0)
            delay = retry.patience(waited, at_least=FIRST_LOOK, at_most=LAST_LOOK)
            delay = max(delay, retry.jittered(_turn(session, tools.settings)))
        else:
            delay = retry.patience(held.since_claim, at_least=HELD_BACK, at_most=HELD_BACK_AT_MOST)
        due.put_off(session, Payout, held.id, held.claim, delay=delay)


def _turn(session: Session, settings: Settings) -> timedelta:
    """How long a look has to wait so that those at other payouts in doubt find their time, too.

    Any caller can put payouts in doubt, by invoices that nobody can be reached for: the requests
    that LNbits allows must not be used up by looking at them.
    """
    if settings.lightning_is_stand_in:  # that has no request limit
        return timedelta(0)
    in_doubt = session.scalar(
        select(func.count(Payout.id)).where(Payout.state == PayoutState.SENDING, Payout.posts > 0)
    )
    a_minute = settings.lnbits_requests_per_minute / SHARE_OF_LOOKS / REQUESTS_OF_A_LOOK
    return timedelta(minutes=1) * (max((in_doubt or 0) - 1, 0) / a_minute)
