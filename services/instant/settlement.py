"""Moving the money for a result that is made and sealed, in the money worker.

Every request to settle is counted and committed before it is made. Its outcome has three values: an
unknown one is asked about again with the same payment, never answered with a fresh price. Money
that moved before the first request was moved by somebody else's: it sells nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from gateways.x402 import (
    Facilitator,
    Moved,
    NotMoved,
    PaymentKey,
    Settlement,
    SettlementOutcome,
    Unknown,
)
from gateways.x402.signatures import is_of_one_key
from models import due, run_moves
from models.run import CallKind, CallOutcome, Run, RunState
from models.run_lifecycle import RunEvent
from services import retry
from services.instant import failures, journal
from services.instant.failures import RunFailure
from services.recording import insist
from services.room import SETTLEMENTS_AT_ONCE, Room
from services.toolbox import Toolbox

logger = structlog.get_logger(__name__)

AT_ONCE = Room(SETTLEMENTS_AT_ONCE)
FIRST_LOOK = timedelta(seconds=2)
LAST_LOOK = timedelta(minutes=5)
CHAIN_DECIDES_WITHIN = timedelta(days=1)
"""Since the payment lapsed: what the chain has not told by then, a person must find out."""
CLOCKS_DIFFER = timedelta(seconds=5)
"""By so much a transfer may be dated before the request of ours that caused it.

PostgreSQL dates the request, the block its transfer: in whole seconds, and on Base by slots of two,
whose time may be past when the transfer is put in. That makes three; two more are for the clocks
themselves, which NTP keeps closer than that. More would sell more of what other shops have settled.
"""
MOVED_UNASKED = RunEvent.MOVED_UNASKED.value
"""As the operator is told it, in place of a facilitator's code."""
_JOURNALLED = {
    SettlementOutcome.SETTLED: CallOutcome.ANSWERED,
    SettlementOutcome.REFUSED: CallOutcome.REFUSED,
    SettlementOutcome.UNKNOWN: CallOutcome.DOUBTFUL,
}


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A run that this worker holds; ``past`` = since its payment lapsed, negative before that."""

    run: Run
    claim: int
    past: timedelta
    asked_at: datetime | None
    """When the first request to settle was put on record; None = none is."""

    @property
    def has_lapsed(self) -> bool:
        """The token refuses the payment from here on: asking to settle is of no use."""
        return self.past >= timedelta(0)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A request to settle that is on record and about to be made."""

    call_id: int
    first_at: datetime
    """When the first one for this run was put on record."""


@dataclass(frozen=True, kw_only=True)
class _MovedUnasked:
    """The creator was paid before we asked: at another shop, or by a request that is forgotten."""

    transaction: str


_Finding = Moved | _MovedUnasked | NotMoved | Unknown


def settle(tools: Toolbox, run_id: int) -> None:
    """Take the settling of a run one step on. Safe to call any number of times, at once."""
    with AT_ONCE.place() as is_free:
        held = _claim(tools, run_id) if is_free else None
        if held is None:
            return
        with tools.leases.hold(Run, run_id, held.claim):
            _take_on(tools, held)


def _claim(tools: Toolbox, run_id: int) -> _Held | None:
    with tools.database.transaction("runs.claim_settling") as session:
        settling = Run.state == RunState.SETTLING
        claimed = due.claim(session, Run, run_id, lease=tools.settings.lease, where=settling)
        if claimed is None:
            return None
        assert claimed.row.valid_before is not None
        return _Held(
            run=claimed.row,
            claim=claimed.number,
            past=claimed.at - claimed.row.valid_before,
            asked_at=_first_asked(session, run_id),
        )


def _first_asked(session: Session, run_id: int) -> datetime | None:
    return session.scalar(select(journal.first_begun(CallKind.SETTLE)).where(Run.id == run_id))


def _take_on(tools: Toolbox, held: _Held) -> None:
    was_asked_for = held.run.settle_posts or held.has_lapsed  # a restored row may have forgotten
    finding = _on_chain(tools, held.run, asked_at=held.asked_at) if was_asked_for else None
    if finding is not None and _end_by_chain(tools, held, finding):
        return
    if held.has_lapsed:
        _end_without_asking(tools, held, finding)
        return
    if tools.facilitator is None:
        _look_again(tools, held, reason="no_facilitator")
        return
    _ask_to_settle(tools, tools.facilitator, held)


def _end_by_chain(tools: Toolbox, held: _Held, finding: _Finding) -> bool:
    """Do what follows from what became of requests whose answer is not known. True = the end."""
    assert held.run.valid_before is not None
    if isinstance(finding, Moved):
        logger.info("settlement found on the chain", run=held.run.id)
        _keep_settled(tools, held.run, finding.transaction)
        return True
    if isinstance(finding, _MovedUnasked):
        _keep_moved_unasked(tools, held, finding)
        return True
    if isinstance(finding, NotMoved) and finding.is_for_ever(held.run.valid_before):
        why = RunFailure.SETTLEMENT_FAILED if finding.is_spent else None  # the payer's own doing
        _keep_not_settled(tools, held, said(held.run, RunFailure.SETTLEMENT_FAILED), why)
        return True
    return False


def _on_chain(tools: Toolbox, run: Run, *, asked_at: datetime | None) -> _Finding:
    """What the chain says, whoever wants to know it. ``asked_at``: of our first request.

    A payer may sign one authorization and show it at two shops where the creator is paid the same:
    the money moves once, for whoever asked first.
    """
    finding = _told_by_chain(tools, run)
    if isinstance(finding, Moved) and not _may_be_ours(finding, asked_at):
        return _MovedUnasked(transaction=finding.transaction)
    return finding


def _may_be_ours(moved: Moved, asked_at: datetime | None) -> bool:
    return asked_at is not None and moved.at >= asked_at - CLOCKS_DIFFER


def _told_by_chain(tools: Toolbox, run: Run) -> Moved | NotMoved | Unknown:
    network, asset, payer, nonce = run.network, run.asset, run.payer, run.nonce
    assert network is not None
    assert asset is not None
    assert payer is not None
    assert nonce is not None
    assert run.requirement is not None
    if tools.chain is None:
        return Unknown(reason="no_chain")
    return tools.chain.authorization(
        PaymentKey(network=network, asset=asset, payer=payer, nonce=nonce),
        pay_to=str(run.requirement["payTo"]),
        amount=run.price_usd_micros,
        since=run.created_at,
    )


def _end_without_asking(tools: Toolbox, held: _Held, finding: _Finding | None) -> None:
    """The payment has lapsed. Never asked to be settled = not settled; else nobody may guess.

    Nor of one that was used some time: a restored row may have forgotten that it was asked for.
    """
    if held.past < CHAIN_DECIDES_WITHIN and _chain_knows(tools, held.run):
        _look_again(tools, held, reason="chain_undecided")
    elif held.run.settle_posts == 0 and not _is_of_another_time(finding):
        _keep_not_settled(tools, held, said(held.run, "expired"))
    else:
        _lose_sight(tools, held)


def _chain_knows(tools: Toolbox, run: Run) -> bool:
    return tools.chain is not None and tools.chain.knows(run.network or "")


def _lose_sight(tools: Toolbox, held: _Held) -> None:
    logger.error("nobody can say whether a run was settled", run=held.run.id)
    with tools.database.transaction("runs.lost_sight") as session:
        run_moves.advance(
            session,
            held.run.id,
            expect=RunState.SETTLING,
            on=RunEvent.LOST_SIGHT,
            claim=held.claim,
        )


def _ask_to_settle(tools: Toolbox, facilitator: Facilitator, held: _Held) -> None:
    request = _count_request(tools, held)
    if request is None:
        return
    assert held.run.payment is not None
    assert held.run.requirement is not None
    answer = facilitator.settle(held.run.payment, held.run.requirement)
    ending = _held_against_chain(tools, held.run, answer, asked_at=request.first_at)
    if isinstance(ending, Settlement):
        logger.info(
            "settlement asked for",
            run=held.run.id,
            outcome=ending.outcome.value,
            code=ending.reason,
        )
    # If this were lost, a second request would only hear that the payment was used.
    insist(
        lambda: _record(tools, held, request.call_id, ending),
        for_long=tools.settings.lease,
    )


def _held_against_chain(
    tools: Toolbox, run: Run, settlement: Settlement, *, asked_at: datetime
) -> Settlement | _MovedUnasked:
    """What the facilitator says, as far as the chain does not say otherwise.

    A node that cannot be reached says nothing: then a success is believed, and a refusal is not.
    A success may also be what it told another shop: some repeat their answer to a payment.
    """
    if tools.chain is None or not tools.chain.knows(run.network or ""):
        return settlement
    finding = _on_chain(tools, run, asked_at=asked_at)
    if isinstance(finding, _MovedUnasked):
        return finding
    if isinstance(finding, Moved):
        return Settlement(
            outcome=SettlementOutcome.SETTLED,
            transaction=finding.transaction,
            answer=said(run, None, finding.transaction),
        )
    if _is_believable(settlement, finding):
        return settlement
    return replace(settlement, outcome=SettlementOutcome.UNKNOWN, reason="chain_differs")


def _is_believable(settlement: Settlement, finding: NotMoved | Unknown) -> bool:
    """A use that nobody finds where ours would be is older, or the node's logs lag: look again."""
    match settlement.outcome:
        case SettlementOutcome.SETTLED:
            return isinstance(finding, Unknown) and not finding.is_of_another_time
        case SettlementOutcome.REFUSED:
            return isinstance(finding, NotMoved)
        case SettlementOutcome.UNKNOWN:
            return not _is_of_another_time(finding)


def _is_of_another_time(finding: _Finding | None) -> bool:
    return isinstance(finding, Unknown) and finding.is_of_another_time


def _count_request(tools: Toolbox, held: _Held) -> _Request | None:
    """Commit that a request to settle is about to be made. None = it is ours no longer."""
    with tools.database.transaction("runs.posting") as session:
        counted = session.scalar(
            update(Run)
            .where(
                Run.id == held.run.id,
                Run.claim == held.claim,
                Run.settle_posts == held.run.settle_posts,
                Run.state == RunState.SETTLING,
            )
            .values(settle_posts=Run.settle_posts + 1)
            .returning(Run.id)
        )
        if counted is None:
            return None
        call_id = journal.begin(session, held.run.id, CallKind.SETTLE, held.claim)
        first_at = _first_asked(session, held.run.id)
        assert first_at is not None
        return _Request(call_id=call_id, first_at=first_at)


def _record(
    tools: Toolbox, held: _Held, call_id: int, settlement: Settlement | _MovedUnasked
) -> None:
    """Safe to repeat."""
    with tools.database.transaction("runs.posted") as session:
        if isinstance(settlement, _MovedUnasked):
            journal.end(session, call_id, CallOutcome.DOUBTFUL, code=MOVED_UNASKED)
            _moved_unasked(session, held, settlement)
            return
        journal.end(session, call_id, _JOURNALLED[settlement.outcome], code=settlement.reason)
        if settlement.outcome is SettlementOutcome.SETTLED and settlement.transaction is not None:
            _settled(session, tools, held.run, settlement.transaction, settlement.answer)
        elif settlement.outcome is SettlementOutcome.REFUSED and held.run.settle_posts == 0:
            # Only of the first request: an earlier one may be why the wallet is empty now.
            _not_settled(session, held, settlement.answer)
        else:
            _note_answer(session, held, settlement)
            _put_off(session, held, first=retry.backoff(held.run.settle_posts + 1))


def _note_answer(session: Session, held: _Held, settlement: Settlement) -> None:
    """For whoever has to find out what happened: a transaction once told stays on record."""
    reason = settlement.reason or "unknown"
    transaction = settlement.transaction or last_told(held.run) or ""
    session.execute(
        update(Run)
        .where(Run.id == held.run.id, Run.claim == held.claim)
        .values(settlement=said(held.run, reason, transaction))
    )


def last_told(run: Run) -> str | None:
    """The hash of the transaction that somebody named last, true or not."""
    return (run.settlement or {}).get("transaction") or None


def _keep_moved_unasked(tools: Toolbox, held: _Held, moved: _MovedUnasked) -> None:
    with tools.database.transaction("runs.moved_unasked") as session:
        _moved_unasked(session, held, moved)


def _moved_unasked(session: Session, held: _Held, moved: _MovedUnasked) -> None:
    """Leave it to a person whose sale that was."""
    logger.error("money had moved before a run asked for it", run=held.run.id)
    run_moves.advance(
        session,
        held.run.id,
        expect=RunState.SETTLING,
        on=RunEvent.MOVED_UNASKED,
        claim=held.claim,
        settlement=said(held.run, MOVED_UNASKED, moved.transaction),
    )


def _keep_settled(tools: Toolbox, run: Run, transaction: str) -> None:
    with tools.database.transaction("runs.settled") as session:
        _settled(session, tools, run, transaction, said(run, None, transaction))


def _settled(
    session: Session, tools: Toolbox, run: Run, transaction: str, answer: Mapping[str, Any]
) -> None:
    """The money is there, whoever holds the run now: whether we still do does not matter."""
    for state in (RunState.SETTLING, RunState.DOUBTFUL):
        if state is RunState.DOUBTFUL and _had_moved_unasked(session, run.id):
            return  # who told us that it is settled may only not have looked when
        run_moves.advance(
            session,
            run.id,
            expect=state,
            on=RunEvent.SETTLED,
            **paid(tools, run, transaction, answer),
        )


def _had_moved_unasked(session: Session, run_id: int) -> bool:
    last_answer = Run.settlement["errorReason"].astext
    return session.scalar(select(last_answer).where(Run.id == run_id)) == MOVED_UNASKED


def paid(tools: Toolbox, run: Run, transaction: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a settled run keeps. The platform's fee is rounded down to a micro-dollar."""
    fee = Decimal(run.price_usd_micros) * tools.settings.platform_fee_pct / 100
    return {
        "settled_at": func.now(),
        "transaction": transaction,
        "settlement": dict(answer),
        "paid_usd_micros": run.price_usd_micros,
        "fee_usd_micros": int(fee.to_integral_value(rounding=ROUND_FLOOR)),
    }


def _keep_not_settled(
    tools: Toolbox, held: _Held, answer: Mapping[str, Any], why: RunFailure | None = None
) -> None:
    with tools.database.transaction("runs.not_settled") as session:
        _not_settled(session, held, answer, why)


def _not_settled(
    session: Session, held: _Held, answer: Mapping[str, Any], why: RunFailure | None = None
) -> None:
    run_moves.advance(
        session,
        held.run.id,
        expect=RunState.SETTLING,
        on=RunEvent.NOT_SETTLED,
        claim=held.claim,
        error_code=why or why_not_settled(session, held.run),
        settlement=dict(answer),
    )


def why_not_settled(session: Session, run: Run) -> RunFailure:
    """Whether the facilitator said no, or could not be asked at all."""
    if (run.settlement or {}).get("errorReason") == MOVED_UNASKED:
        return RunFailure.SETTLEMENT_FAILED  # the payer's own doing
    codes = journal.codes(session, run.id, CallKind.SETTLE)
    signed = (run.payment or {}).get("payload", {})
    is_plain = is_of_one_key(str(signed.get("signature")))
    return failures.of_settling(codes, is_of_one_key=is_plain)


def said(run: Run, reason: str | None, transaction: str = "") -> dict[str, Any]:
    """A settlement in x402's own words, where no facilitator has said it."""
    said = {
        "success": reason is None,
        "transaction": transaction,
        "network": (run.requirement or {}).get("network"),
        "payer": run.payer,
    }
    return said if reason is None else said | {"errorReason": str(reason)}


def _look_again(tools: Toolbox, held: _Held, *, reason: str) -> None:
    logger.info("settlement in doubt", run=held.run.id, code=reason)
    with tools.database.transaction("runs.settle_later") as session:
        _put_off(session, held, first=FIRST_LOOK)


def _put_off(session: Session, held: _Held, *, first: timedelta) -> None:
    """Until the payment lapses at most; after that less and less often."""
    if held.has_lapsed:
        delay = retry.patience(held.past, at_least=FIRST_LOOK, at_most=LAST_LOOK)
        due.put_off(session, Run, held.run.id, held.claim, delay=delay)
        return
    due.put_off(session, Run, held.run.id, held.claim, delay=first, at_latest=Run.valid_before)
