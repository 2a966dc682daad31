"""How much may be under way unpaid: by payer, by resource, and on a creator's key in a day."""

from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from config.settings import Settings
from gateways.x402.signatures import ONE_KEY_SIGNATURE_CHARS, is_of_one_key
from models import locks
from models.creator import Creator
from models.database import ago, is_young
from models.locks import Lock
from models.money import Usd, UsdMicros, usd_of
from models.run import UNSETTLED_RUNS, Run, RunState
from models.run_lifecycle import RunEvent
from services.errors import ErrorCode, TooManyRequests
from services.instant.failures import RunFailure

WINDOW = timedelta(hours=1)
FAILURES_MAX = 3
"""So many runs of a payer that came to nothing within the window, and it is refused for a while."""
REFUSALS_MAX = 20
"""So many payments of a payer that were no good within the window, and it is let in now and then
only: each costs a question to the facilitator and a row, and its payer nothing. A client that asks
again while its wallet is being filled does not come near it.
"""
REFUSALS_REST = timedelta(minutes=5)
"""From the last refusal to the next try, once there were so many: for somebody whose wallet is full
again that is not long, and for a key that is shown for ever it is twelve questions an hour.
"""
TESTS_AT_ONCE = 8
"""Of a creator: nobody pays for them, and each can hold a place of a worker for minutes."""
UNPAID_WINDOW = timedelta(days=1)
UNPAID_ANYWAY = Decimal(1)
"""Dollars of a creator's that runs may cost for nothing, whatever is earned."""
UNPAID_SHARE = Decimal("0.1")
"""Above that, what they may cost of what was earned in the same time."""
SOON = timedelta(seconds=5)
_IS_UNSETTLED = Run.state.in_(sorted(UNSETTLED_RUNS))
_TAKES_A_PLACE = and_(
    _IS_UNSETTLED,
    Run.settlement["errorReason"].astext.is_distinct_from(RunEvent.MOVED_UNASKED.value),
)
"""Not what waits for a person because the creator was paid before we asked: whoever signs can have
their money moved so, and would close a resource for as long as nobody looks.
"""
_MAY_BE_MADE_UP = and_(
    Run.state == RunState.RECEIVED,
    func.length(Run.payment["payload"]["signature"].astext) != ONE_KEY_SIGNATURE_CHARS,
)
"""A smart wallet's payment before the facilitator has judged it: perhaps it is nobody's."""
_OF_ONE_KEY = "isOfOneKey"


def what_is_left_of(signature: str) -> dict[str, Any]:
    """What ``runs.payment`` holds of one that was not found good: whether its payer has signed it.

    Kilobytes that anybody could have us keep, and nobody asks for again.
    """
    return {_OF_ONE_KEY: is_of_one_key(signature)}


def is_all_that_is_left() -> ColumnElement[bool]:
    """Whether a run's payment was no good, or nobody could judge it, and so was not kept."""
    return or_(
        Run.state == RunState.REFUSED, func.coalesce(Run.payment.has_key(_OF_ONE_KEY), False)
    )


def hold_still(session: Session, creator: Creator, payer: str | None) -> None:
    """Let nobody else begin a run for this payer until the commit, nor one of a creator with a cap
    for a day, nor another test (``payer`` None): so that fifty at once are counted one by one.

    All other buyers of a creator do not wait for each other. So a resource may, at one moment, have
    a few runs more unsettled than it should: as many as doors were asked at once.
    """
    # always in this order
    if payer is None or creator.cost_cap_per_day_usd is not None:
        locks.take(session, Lock.RUNS_OF_A_CREATOR, str(creator.id))
    if payer is not None:
        locks.take(session, Lock.RUNS_OF_A_PAYER, payer)


def is_crowded(session: Session, settings: Settings, resource_id: int) -> bool:
    """Whether as many runs of a resource are unsettled as may be."""
    return resource_id in crowded(session, settings, [resource_id])


def crowded(session: Session, settings: Settings, resource_ids: Collection[int]) -> frozenset[int]:
    """Those of these resources of which as many runs are unsettled as may be."""
    full = (
        select(Run.resource_id)
        .where(Run.resource_id.in_(resource_ids), _TAKES_A_PLACE)
        .group_by(Run.resource_id)
        .having(func.count() >= settings.max_unsettled_per_resource)
    )
    return frozenset(session.scalars(full))


def check_payer(session: Session, settings: Settings, payer: str, signature: str) -> None:
    """Raise TooManyRequests for who has too much unsettled, or had too many runs for nothing.

    Against who has proved to be the payer counts nothing that anybody could have made up.
    """
    runs = Run.payer == payer
    theirs = and_(runs, ~_MAY_BE_MADE_UP) if is_of_one_key(signature) else runs
    if _unsettled(session, theirs) >= settings.max_unsettled_per_payer:
        raise TooManyRequests(
            "Other runs of this payer are not settled yet; nothing was charged.",
            code=ErrorCode.PAYER_LIMITED,
            retry_after=SOON,
        )
    _check_failures(session, payer)
    _check_refusals(session, payer)


def _check_failures(session: Session, payer: str) -> None:
    failed, oldest = session.execute(
        select(func.count(), ago(func.min(Run.created_at))).where(
            Run.payer == payer,
            Run.state == RunState.FAILED,
            # not the payer's doing, and perhaps not even the payer's payment
            Run.error_code != RunFailure.FACILITATOR_AWAY,
            Run.created_at > func.now() - WINDOW,
        )
    ).one()
    if failed >= FAILURES_MAX:
        raise TooManyRequests(
            "Too many runs of this payer failed within an hour; nothing was charged.",
            code=ErrorCode.PAYER_LIMITED,
            retry_after=max(WINDOW - oldest, SOON),
        )


def _check_refusals(session: Session, payer: str) -> None:
    """Only those that the payer has signed: by others' anybody could be kept from buying."""
    refused, since_last = session.execute(
        select(func.count(), ago(func.max(Run.ended_at))).where(
            Run.payer == payer,
            Run.state == RunState.REFUSED,
            Run.payment.contains({_OF_ONE_KEY: True}),
            Run.created_at > func.now() - WINDOW,
        )
    ).one()
    if refused >= REFUSALS_MAX and is_young(since_last, REFUSALS_REST):
        raise TooManyRequests(
            "Too many payments of this payer were no good within an hour; nothing was charged.",
            code=ErrorCode.PAYER_LIMITED,
            retry_after=max(REFUSALS_REST - since_last, SOON),
        )


def check_tests(session: Session, creator_id: int) -> None:
    """Raise TooManyRequests for a creator who tries out too much at once: workers are for all."""
    tests = and_(Run.creator_id == creator_id, Run.is_owner_test)
    if _unsettled(session, tests) >= TESTS_AT_ONCE:
        raise TooManyRequests(
            "Other tests of yours are still running.",
            code=ErrorCode.RATE_LIMITED,
            retry_after=SOON,
        )


def _unsettled(session: Session, of: ColumnElement[bool]) -> int:
    query = select(func.count()).where(of, _IS_UNSETTLED)
    return session.scalar(query) or 0


def is_within_caps(session: Session, creator: Creator, worst: Usd) -> bool:
    """Whether the creator's key may be used for a call that may cost so much."""
    most = affordable(session, creator)
    return most is None or worst <= most


def affordable(session: Session, creator: Creator) -> Usd | None:
    """The most that the next call on the creator's key may cost; None = anything."""
    per_call, per_day = creator.cost_cap_per_call_usd, creator.cost_cap_per_day_usd
    left = None if per_day is None else per_day - _spent_today(session, creator.id)
    caps = [cap for cap in (per_call, left) if cap is not None]
    return Usd(min(caps)) if caps else None


def _spent_today(session: Session, creator_id: int) -> Decimal:
    """What today's runs (UTC) cost, or at most may cost."""
    cost = func.coalesce(Run.model_cost_usd, Run.worst_cost_usd)
    return session.scalar(
        select(func.sum(cost)).where(
            Run.creator_id == creator_id,
            Run.created_at >= func.date_trunc("day", func.now()),
            Run.state != RunState.REFUSED,
        )
    ) or Decimal(0)


def is_drained(session: Session, creator_id: int) -> bool:
    """Whether runs that nobody paid for cost a creator more than can be borne.

    A wallet that is emptied has them for nothing, and so has who asks for an empty answer. A
    payer's failures are counted by address, and addresses cost nothing. What a facilitator that is
    away leaves unpaid is in it, too: it is made and lost as long as that lasts.
    """
    lost = session.scalar(
        select(func.sum(Run.model_cost_usd)).where(
            Run.creator_id == creator_id,
            Run.state == RunState.FAILED,
            Run.model_cost_usd > 0,
            ~Run.is_owner_test,
            Run.created_at > func.now() - UNPAID_WINDOW,
        )
    ) or Decimal(0)
    return lost > UNPAID_ANYWAY and lost > UNPAID_SHARE * _earned(session, creator_id)


def _earned(session: Session, creator_id: int) -> Usd:
    """What came in, in the same time."""
    micros = session.scalar(
        select(func.sum(Run.paid_usd_micros)).where(
            Run.creator_id == creator_id, Run.created_at > func.now() - UNPAID_WINDOW
        )
    )
    return usd_of(UsdMicros(int(micros or 0)))
